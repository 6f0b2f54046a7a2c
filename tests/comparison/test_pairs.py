"""Two outputs to the same prompt, token by token."""

from __future__ import annotations

from gemtop.comparison.job import Progress
from gemtop.comparison.outcome import outcome
from gemtop.comparison.pairs import NO_TOPS, Pair, Side, of_outcome
from gemtop.domain.comparison import Seen
from tests.comparison.test_job import job


def side(*tokens: tuple[int, str], output: str | None = None) -> Side:
    pieces = tuple(text for _, text in tokens)
    return Side("a", "ptq", "Q4_0", "".join(pieces) if output is None else output, tuple(i for i, _ in tokens), pieces)


def texts(pair: Pair) -> list[list[tuple[str, str]]]:
    return [[(piece.kind, piece.text) for piece in pieces] for pieces in pair.marks]


def test_tokens_that_differ_are_marked_even_within_a_word() -> None:
    left, right = side((1, " un"), (2, "happy"), (3, " end")), side((1, " un"), (4, "happiest"), (3, " end"))
    assert texts(Pair("p", "x", left, right, 1)) == [
        [("same", " un"), ("removed", "happy"), ("same", " end")],
        [("same", " un"), ("added", "happiest"), ("same", " end")],
    ]


def test_what_an_incomplete_last_character_left_is_marked_as_the_token_before() -> None:
    left, right = side((1, "a"), (2, ""), output="a\ufffd"), side((1, "a"))
    assert texts(Pair("p", "x", left, right, 1)) == [[("same", "a"), ("removed", "\ufffd")], [("same", "a")]]


def test_without_the_text_of_tokens_words_are_marked() -> None:
    left, right = Side("a", "", "", "one two", (1, 2)), Side("b", "", "", "one three", (1, 3))
    assert texts(Pair("p", "x", left, right, 1)) == [
        [("same", "one "), ("removed", "two")],
        [("same", "one "), ("added", "three")],
    ]


def test_the_first_token_that_differs_is_named_by_both() -> None:
    left, right = side((1, "a"), (2, "b")), side((1, "a"))
    pair = Pair("p", "x", left, right, 1)
    assert pair.first(left) == (2, "b")
    assert pair.first(right) is None, "it has ended"
    assert not pair.same


def seen(variant: int, *tokens: int) -> Seen:
    pieces = tuple(f" {token}" for token in tokens)
    return Seen(variant, 0, "p", {"status": "finished"}, "".join(pieces), (1, 2), tokens, True, "", pieces)


def test_of_a_comparison_the_baseline_is_on_the_left() -> None:
    progress = Progress(seen=[seen(0, 5, 6), seen(1, 5, 7)])
    pair = of_outcome(outcome(job(), progress), "p", 1)
    assert pair is not None
    assert (pair.left.output, pair.right.output, pair.at, pair.reason) == (" 5 6", " 5 7", 1, NO_TOPS)
    progress.tops[0, 1, "p"] = progress.tops[1, 1, "p"] = (1, ((6, " 6", 0.5),))
    pair = of_outcome(outcome(job(), progress), "p", 1)
    assert pair is not None and pair.left_top == ((6, " 6", 0.5),) and pair.reason == ""


def test_an_output_that_is_not_there_yet_makes_no_pair() -> None:
    assert of_outcome(outcome(job(), Progress(seen=[seen(0, 5)])), "p", 1) is None
