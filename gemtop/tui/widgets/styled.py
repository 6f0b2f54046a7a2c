"""Text in several colours, wrapped to rows of cells: harmless, whatever a model says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from gemtop.charts.grid import BLANK, Canvas, CellRow, blank_row
from gemtop.domain.text import printable
from gemtop.tui.widgets.cells import plain
from gemtop.tui.widgets.wrap import TAB_CELLS, glyph_of, split_rows

Span = tuple[str, str]
"""Text and the role of its colour."""
_MARKS_KEPT = 4
"""Combining marks kept on one character."""


def styled_rows(spans: Iterable[Span], width: int) -> list[CellRow]:
    """The spans one after the other, line ends kept, in rows of `width` cells."""
    rows: list[CellRow] = []
    line: list[tuple[str, int, str]] = []
    for text, role in spans:
        for number, piece in enumerate(printable(plain(text).replace("\r\n", "\n")).split("\n")):
            if number:
                rows += _wrapped(line, width)
                line = []
            _extend(line, piece, role, width)
    return [*rows, *_wrapped(line, width)]


def _extend(line: list[tuple[str, int, str]], text: str, role: str, width: int) -> None:
    """Add glyphs with their widths and roles."""
    for char in text:
        if char == "\t":
            line += [(BLANK, 1, role)] * (TAB_CELLS - sum(wide for _, wide, _ in line) % TAB_CELLS)
            continue
        glyph, wide = glyph_of(char)
        if wide > width:
            glyph, wide = "\N{REPLACEMENT CHARACTER}", 1
        if wide:
            line.append((glyph, wide, role))
        elif glyph and line and line[-1][0] != BLANK and len(line[-1][0]) <= _MARKS_KEPT:
            line[-1] = (line[-1][0] + glyph, *line[-1][1:])


def _wrapped(line: Sequence[tuple[str, int, str]], width: int) -> list[CellRow]:
    found = split_rows([glyph for glyph, _, _ in line], [wide for _, wide, _ in line], width)
    return [_row(line[first:last], width) for first, last in found]


def _row(line: Sequence[tuple[str, int, str]], width: int) -> CellRow:
    """Blanks that hang over the edge are cut off; those on a tinted ground keep it."""
    glyphs: list[str] = []
    roles: list[str] = []
    for glyph, wide, role in line:
        if len(glyphs) + wide > width:
            break
        glyphs += [glyph] + [""] * (wide - 1)
        roles += ["" if glyph == BLANK and "@" not in role else role] * wide
    rest = width - len(glyphs)
    return CellRow(tuple(glyphs) + (BLANK,) * rest, tuple(roles) + ("",) * rest)


def columns(left: Sequence[CellRow], right: Sequence[CellRow], width: int, gap: str = " │ ") -> list[CellRow]:
    """Two columns of rows beside each other, in all `width` cells; the shorter one is filled up."""
    each, other = column_widths(width, len(gap))
    between = CellRow(tuple(gap), tuple("frame" if char != BLANK else "" for char in gap))
    return [
        CellRow(
            one.glyphs + between.glyphs + two.glyphs,
            one.roles + between.roles + two.roles,
        )
        for one, two in (
            (a or blank_row(each), b or blank_row(other)) for a, b in zip_longest(left, right, fillvalue=None)
        )
    ]


def column_widths(width: int, gap: int = 3) -> tuple[int, int]:
    """Cells of two columns in a width."""
    each = max(1, (width - gap) // 2)
    return each, max(1, width - gap - each)


def rule(title: str, width: int) -> CellRow:
    """A line with a title in it."""
    canvas = Canvas(width, 1)
    canvas.put(0, 0, "─" * width, "frame")
    if title:
        canvas.put(2, 0, f" {title} ", "title")
    return canvas.freeze().rows[0]
