"""Two outputs to the same prompt, held against each other token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gemtop.comparison.job import Top
from gemtop.comparison.outcome import Outcome
from gemtop.domain.comparison import Seen, VariantFacts, part_at
from gemtop.domain.word_diff import Piece, stretches, word_diff

NO_TOPS = "the most likely tokens there are asked for when all outputs are there"
RECORDED = "the history keeps no probabilities: a comparison of the two models would name the five most likely tokens"


@dataclass(frozen=True, slots=True)
class Side:
    """An output, and whose it is."""

    label: str
    training: str
    quantization: str
    output: str
    tokens: tuple[int, ...] = ()
    """Ids of what was generated; none where they are not known."""
    pieces: tuple[str, ...] = ()
    """What each token added to the output; none where that is not known."""
    passed: bool | None = None
    """Whether the answer is right; None where it was not checked."""
    note: str = ""
    """Why it is not, and what else is to be said of it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two outputs to a prompt, the baseline's on the left."""

    title: str
    prompt: str
    left: Side
    right: Side
    at: int | None
    """Position of the first token that differs; None where none does, or tokens are not known."""
    left_top: Top = ()
    """Most likely tokens there; empty where they are not known."""
    right_top: Top = ()
    reason: str = ""
    """Why they are not known."""
    marks: tuple[tuple[Piece, ...], tuple[Piece, ...]] = field(init=False)
    """The outputs in pieces that both have and that one alone has: `same` and `removed`, `same` and `added`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", marked(self.left, self.right))

    @property
    def same(self) -> bool:
        return self.left.output == self.right.output and self.at is None

    def first(self, side: Side) -> tuple[int, str] | None:
        """Id and text of the first token that differs; None where that output has ended before."""
        if self.at is None or self.at >= len(side.tokens):
            return None
        return side.tokens[self.at], side.pieces[self.at] if side.pieces else ""


def marked(left: Side, right: Side) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both outputs in pieces: by tokens where it is known what each of them says, else by words."""
    if not (_told(left) and _told(right)):
        pieces = word_diff(left.output, right.output)
        return (
            tuple(piece for piece in pieces if piece.kind != "added"),
            tuple(piece for piece in pieces if piece.kind != "removed"),
        )
    ours: list[Piece] = []
    theirs: list[Piece] = []
    for stretch in stretches(left.tokens, right.tokens):
        if stretch.ours:
            ours.append(Piece("same" if stretch.same else "removed", _text(left, stretch.ours)))
        if stretch.theirs:
            theirs.append(Piece("same" if stretch.same else "added", _text(right, stretch.theirs)))
    return _whole(ours, left), _whole(theirs, right)


def _told(side: Side) -> bool:
    known = bool(side.pieces) or not side.output
    return known and len(side.pieces) == len(side.tokens) and side.output.startswith("".join(side.pieces))


def _text(side: Side, positions: range) -> str:
    return "".join(side.pieces[positions.start : positions.stop])


def _whole(pieces: Sequence[Piece], side: Side) -> tuple[Piece, ...]:
    """Without empty ones, and with what an incomplete last character added, which is the last token's."""
    rest = side.output[sum(len(piece.text) for piece in pieces) :]
    last = pieces[-1].kind if pieces else "same"
    return tuple(piece for piece in (*pieces, Piece(last, rest)) if piece.text)


def of_outcome(found: Outcome, prompt_id: str, number: int) -> Pair | None:
    """A variant's output to a prompt beside the baseline's; None where one of them is not there yet."""
    job = found.job
    ours, theirs = found.seen.get((job.baseline, prompt_id)), found.seen.get((number, prompt_id))
    if ours is None or theirs is None:
        return None
    asked = next(one for one in job.prompts if one.id == prompt_id)
    apart = next((one for one in found.apart.get(number, ()) if one.prompt_id == prompt_id), None)
    known = apart is not None and bool(apart.baseline_top or apart.variant_top)
    return Pair(
        title=prompt_id,
        prompt=asked.text,
        left=_side(job.variants[job.baseline].facts, ours),
        right=_side(job.variants[number].facts, theirs),
        at=part_at(ours.tokens, theirs.tokens),
        left_top=apart.baseline_top if apart else (),
        right_top=apart.variant_top if apart else (),
        reason="" if known else NO_TOPS if ours.prompt_tokens == theirs.prompt_tokens else "the prompts' tokens differ",
    )


def _side(facts: VariantFacts, seen: Seen) -> Side:
    return Side(
        facts.label, facts.training, facts.quantization, seen.output, seen.tokens, seen.pieces, seen.passed, seen.reason
    )
