"""Places in wrapped text, and what lies between two of them: for selecting with the mouse."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from gemtop.charts.grid import CellRow
from gemtop.tui.widgets.wrap import VisualRow

_WORD = re.compile(r"\w+(?:['’./:@_-]\w+)*|\S|\s+")
TINT = "selection"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Between two characters: it stays where it is when the text is wrapped to another width."""

    paragraph: int
    character: int


Stretch = tuple[Place, Place]
"""From one place to another, the first not behind the second."""


def glyph_at(rows: Sequence[VisualRow], number: int, cell: int) -> Stretch:
    """The glyph in a cell of a row; behind the last one the row's end, below the last row the end of the text."""
    if not rows:
        return Place(0, 0), Place(0, 0)
    if not 0 <= number < len(rows):
        row = rows[0] if number < 0 else rows[-1]
        place = Place(row.paragraph, row.start if number < 0 else row.end)
        return place, place
    row, at, character = rows[number], 0, rows[number].start
    for glyph, wide in zip(row.glyphs, row.widths, strict=True):
        at += wide
        if cell < at:
            return Place(row.paragraph, character), Place(row.paragraph, character + len(glyph))
        character += len(glyph)
    return Place(row.paragraph, character), Place(row.paragraph, character)


def together(one: Stretch, other: Stretch) -> Stretch:
    """From the first place of both to the last."""
    return min(one[0], other[0]), max(one[1], other[1])


def word_at(rows: Sequence[VisualRow], place: Place) -> Stretch:
    """The word around a place, or the blanks, or a sign."""
    text = _text_of(_paragraph(rows, place.paragraph))
    first = _start(rows, place.paragraph)
    for match in _WORD.finditer(text):
        if match.start() <= place.character - first < match.end():
            return Place(place.paragraph, first + match.start()), Place(place.paragraph, first + match.end())
    return place, place


def paragraph_at(rows: Sequence[VisualRow], place: Place) -> Stretch:
    """The whole paragraph of a place, as far as it is kept."""
    found = _paragraph(rows, place.paragraph)
    if not found:
        return place, place
    return Place(place.paragraph, found[0].start), Place(place.paragraph, found[-1].end)


def text_between(rows: Sequence[VisualRow], stretch: Stretch) -> str:
    """The text as it was before it was wrapped: rows of a paragraph are one line."""
    first, last = stretch
    lines = []
    for paragraph, own in groupby(_between(rows, first.paragraph, last.paragraph), key=lambda row: row.paragraph):
        begin = first.character if paragraph == first.paragraph else 0
        end = last.character if paragraph == last.paragraph else None
        lines.append(_cut(list(own), begin, end))
    return "\n".join(lines)


def tinted(row: VisualRow, cells: CellRow, stretch: Stretch) -> CellRow:
    """The cells of a row with what is selected of it on a ground of its own."""
    first, last = stretch
    if not first.paragraph <= row.paragraph <= last.paragraph:
        return cells
    begin = first.character if row.paragraph == first.paragraph else 0
    end = last.character if row.paragraph == last.paragraph else None
    roles, at, character = list(cells.roles), 0, row.start
    for glyph, wide in zip(row.glyphs, row.widths, strict=True):
        if character >= begin and (end is None or character < end):
            for cell in range(at, min(at + wide, len(roles))):
                roles[cell] = f"{roles[cell] or row.role}@{TINT}"
        at, character = at + wide, character + len(glyph)
    found = tuple(roles)
    return cells if found == cells.roles else CellRow(cells.glyphs, found)


def _between(rows: Sequence[VisualRow], first: int, last: int) -> Sequence[VisualRow]:
    begin = bisect_right(rows, first - 1, key=lambda row: row.paragraph)
    return rows[begin : bisect_right(rows, last, key=lambda row: row.paragraph)]


def _paragraph(rows: Sequence[VisualRow], number: int) -> Sequence[VisualRow]:
    return _between(rows, number, number)


def _start(rows: Sequence[VisualRow], number: int) -> int:
    found = _paragraph(rows, number)
    return found[0].start if found else 0


def _text_of(rows: Sequence[VisualRow]) -> str:
    return "".join("".join(row.glyphs) for row in rows)


def _cut(rows: Sequence[VisualRow], begin: int, end: int | None) -> str:
    """Characters [begin, end) of a paragraph, with whole glyphs."""
    kept, character = [], rows[0].start
    for row in rows:
        for glyph in row.glyphs:
            if character >= begin and (end is None or character < end):
                kept.append(glyph)
            character += len(glyph)
    return "".join(kept)
