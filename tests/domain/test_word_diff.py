"""Two texts in pieces that are the same and pieces that are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain import word_diff as module
from gemtop.domain.word_diff import Piece, word_diff

TEXTS = st.lists(st.sampled_from(["a", "b ", "c\n", " ", "dé", ".", "\t", "\x1b"]), max_size=30).map("".join)


def test_words_that_differ() -> None:
    assert word_diff("The answer is 42.", "The answer is 7.") == [
        Piece("The answer is ", "The answer is ", True),
        Piece("42", "7", False),
        Piece(".", ".", True),
    ]


def test_changes_with_a_space_between_are_one() -> None:
    assert [piece for piece in word_diff("one two", "three four") if not piece.same] == [
        Piece("one two", "three four", False)
    ]


@given(TEXTS, TEXTS)
def test_pieces_are_the_texts(left: str, right: str) -> None:
    pieces = word_diff(left, right)
    assert "".join(piece.left for piece in pieces) == left
    assert "".join(piece.right for piece in pieces) == right
    assert all((piece.left == piece.right) == piece.same for piece in pieces)


def test_long_texts_are_not_compared_to_their_end() -> None:
    left, right = "word " * 3 * module.MOST_WORDS, "other " * 3 * module.MOST_WORDS
    assert word_diff(left + "end", right + "end") == [
        Piece(left.rstrip(), right.rstrip(), False),
        Piece(" end", " end", True),
    ]
