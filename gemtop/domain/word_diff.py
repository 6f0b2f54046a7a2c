"""Two texts held against each other word by word, for every place that shows outputs side by side."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal, TypeVar

Kind = Literal["same", "removed", "added"]
_MOST_PAIRS = 100_000
"""Pairs of equal items up to which every one counts: difflib's time goes with them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text that both have, or one alone."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of two sequences."""

    same: bool
    ours: range
    """Positions in the first."""
    theirs: range


Item = TypeVar("Item", bound=Hashable)


def word_diff(old: str, new: str) -> tuple[Piece, ...]:
    """The two as pieces in order: `same` and `removed` put together are `old`, `same` and `added` are `new`.

    Of a place that differs `removed` comes first. Blanks between two words that differ belong to the difference.
    """
    pieces: list[Piece] = []
    gone = come = blank = ""
    """What differs at this place so far, and a blank after it that may lie between two words that differ."""
    ours, theirs = words(old), words(new)
    for stretch in stretches(ours, theirs):
        mine = "".join(ours[stretch.ours.start : stretch.ours.stop])
        other = "".join(theirs[stretch.theirs.start : stretch.theirs.stop])
        if not stretch.same:
            gone, come, blank = gone + blank + mine, come + blank + other, ""
        elif mine.isspace() and (gone or come):
            blank += mine
        else:
            pieces += _changed(gone, come)
            pieces.append(Piece("same", blank + mine))
            gone = come = blank = ""
    pieces += _changed(gone, come)
    pieces.append(Piece("same", blank))
    return tuple(
        Piece(kind, text)
        for kind, run in groupby(pieces, lambda piece: piece.kind)
        if (text := "".join(piece.text for piece in run))
    )


def words(text: str) -> list[str]:
    """A text in words, runs of blanks, and every other character alone; an ideograph is a word."""
    found: list[str] = []
    for kind, run in groupby(text, _kind):
        together = "".join(run)
        found += [together] if kind else together
    return found


def as_marked_text(pieces: Sequence[Piece]) -> str:
    """The pieces on one line of thought, as wdiff writes them: [-removed-]{+added+}."""
    around = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
    return "".join(around[piece.kind].format(piece.text) for piece in pieces)


def _kind(char: str) -> str:
    """What a character is joined by with others like it; empty for one that stands alone."""
    if char.isspace():
        return "space"
    ideograph = not char.isascii() and unicodedata.name(char, "").startswith(("CJK", "HIRAGANA", "KATAKANA"))
    if not ideograph and (char.isalnum() or char == "_" or unicodedata.category(char)[0] == "M"):
        return "word"
    return ""


def _changed(gone: str, come: str) -> Iterator[Piece]:
    if gone:
        yield Piece("removed", gone)
    if come:
        yield Piece("added", come)


def stretches(ours: Sequence[Item], theirs: Sequence[Item]) -> Iterator[Stretch]:
    """Two sequences in order, in stretches that both have and stretches that differ; empty ones may be among them."""
    least = min(len(ours), len(theirs))
    begin = next((i for i in range(least) if ours[i] != theirs[i]), least)
    after = next((i for i in range(least - begin) if ours[-1 - i] != theirs[-1 - i]), least - begin)
    end_a, end_b = len(ours) - after, len(theirs) - after
    yield Stretch(True, range(begin), range(begin))
    for tag, a, b, c, d in _matcher(ours[begin:end_a], theirs[begin:end_b]).get_opcodes():
        yield Stretch(tag == "equal", range(begin + a, begin + b), range(begin + c, begin + d))
    yield Stretch(True, range(end_a, len(ours)), range(end_b, len(theirs)))


def _matcher(ours: Sequence[Item], theirs: Sequence[Item]) -> SequenceMatcher[Item]:
    """No match begins with a blank, nor, where a model says the same over and over, with what is all over the text."""
    counts = Counter(item for item in theirs if not _is_blank(item))
    pairs = sum(counts[item] for item in ours)
    return SequenceMatcher(_is_blank, ours, theirs, autojunk=pairs > _MOST_PAIRS)


def _is_blank(item: object) -> bool:
    return isinstance(item, str) and item.isspace()
