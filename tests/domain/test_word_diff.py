"""Texts held against each other word by word."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.word_diff import Piece, as_marked_text, word_diff, words

_TEXTS = st.text(alphabet="ab \n.,é你\u0301", max_size=40) | st.text(max_size=20)


def test_what_differs_is_named_by_words() -> None:
    assert as_marked_text(word_diff("the quick brown fox", "the slow brown fox")) == "the [-quick-]{+slow+} brown fox"


def test_blanks_between_words_that_differ_belong_to_the_difference() -> None:
    pieces = word_diff("a quick brown fox", "a slow red fox")
    assert pieces == (
        Piece("same", "a "),
        Piece("removed", "quick brown"),
        Piece("added", "slow red"),
        Piece("same", " fox"),
    )


def test_indentation_is_a_difference() -> None:
    assert as_marked_text(word_diff("if x:\n  y", "if x:\n    y")) == "if x:[-\n  -]{+\n    +}y"


def test_one_that_ends_sooner_has_nothing_added() -> None:
    assert word_diff("one two", "one two three") == (Piece("same", "one two"), Piece("added", " three"))
    assert word_diff("one", "") == (Piece("removed", "one"),)
    assert word_diff("", "") == ()


def test_marks_stand_alone_and_ideographs_are_words() -> None:
    assert words("naïve, x_1 你好 नमस्ते") == ["naïve", ",", " ", "x_1", " ", "你", "好", " ", "नमस्ते"]


def test_a_model_that_says_the_same_over_and_over_takes_no_time() -> None:
    old, new = "a b " * 20_000, "b a a " * 20_000
    pieces = word_diff(old, new)
    assert "".join(piece.text for piece in pieces if piece.kind != "added") == old


@given(_TEXTS, _TEXTS)
def test_the_pieces_are_the_two_texts(old: str, new: str) -> None:
    pieces = word_diff(old, new)
    assert "".join(piece.text for piece in pieces if piece.kind != "added") == old
    assert "".join(piece.text for piece in pieces if piece.kind != "removed") == new
    assert all(piece.text for piece in pieces)
    assert all(one.kind != after.kind for one, after in pairwise(pieces))


@given(_TEXTS)
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    assert {piece.kind for piece in word_diff(text, text)} <= {"same"}
