"""A grid of terminal cells: characters and the names of their colours, no escape sequences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from gemtop.domain.text import cell_width

BLANK = " "
BADGE = "badge"
"""The role of text on a ground that has the whole colour: badge@qat."""
_width_of = lru_cache(maxsize=4096)(cell_width)


@dataclass(frozen=True, slots=True)
class CellRow:
    """One line of cells."""

    glyphs: tuple[str, ...]
    """What stands in each cell; the cell after a wide glyph holds an empty string."""
    roles: tuple[str, ...]
    """Name of the colour of each cell, for the theme to decide; empty is that of plain text.

    After an @ comes the name of the colour that tints its ground: decode@throttle; or fills it: badge@qat.
    """

    @property
    def text(self) -> str:
        """The line as a terminal shows it."""
        return "".join(self.glyphs)


@dataclass(frozen=True, slots=True)
class Cells:
    """A rectangle of cells."""

    width: int
    height: int
    rows: tuple[CellRow, ...]

    @property
    def text(self) -> str:
        """All lines, without trailing blanks: for tests and logs."""
        return "\n".join(row.text.rstrip() for row in self.rows)


def badge(role: str) -> str:
    """The role of text that is filled with the colour of another role."""
    return f"{BADGE}@{role}"


def _of_blanks(role: str) -> str:
    """Blanks of different colours look alike: one role keeps them from counting as changed. A ground can be seen."""
    return role if "@" in role else ""


def blank_row(width: int) -> CellRow:
    """A line of blanks."""
    return CellRow((BLANK,) * width, ("",) * width)


class Canvas:
    """A grid under construction. Whatever falls outside is cut off."""

    def __init__(self, width: int, height: int) -> None:
        self.width = max(0, width)
        self.height = max(0, height)
        self._glyphs = [[BLANK] * self.width for _ in range(self.height)]
        self._roles = [[""] * self.width for _ in range(self.height)]

    def put(self, x: int, y: int, text: str, role: str = "") -> int:
        """Write text from cell (x, y) on; returns the column after it. Zero-width characters join the last."""
        if not 0 <= y < self.height:
            return x
        if text.isascii() and x >= 0 and 0 < len(text) <= self.width - x:
            self._clear_halves(x, y, len(text))
            self._glyphs[y][x : x + len(text)] = text
            blank = _of_blanks(role)
            self._roles[y][x : x + len(text)] = [blank if char == BLANK else role for char in text]
            return x + len(text)
        for char in text:
            wide = _width_of(char)
            if wide == 0:
                if 0 < x <= self.width and self._glyphs[y][x - 1]:
                    self._glyphs[y][x - 1] += char
                continue
            if x >= 0 and x + wide <= self.width:
                self._clear_halves(x, y, wide)
                self._glyphs[y][x] = char
                self._roles[y][x] = _of_blanks(role) if char == BLANK else role
                if wide == 2:
                    self._glyphs[y][x + 1] = ""
                    self._roles[y][x + 1] = self._roles[y][x]
            x += wide
        return x

    def _clear_halves(self, x: int, y: int, wide: int) -> None:
        """Blank what is left of wide glyphs that are about to be overwritten by half."""
        line = self._glyphs[y]
        if line[x] == "" and x > 0:
            line[x - 1] = BLANK
        if x + wide < self.width and line[x + wide] == "":
            line[x + wide] = BLANK

    def paste(self, x: int, y: int, cells: Cells) -> None:
        """Lay another grid over this one."""
        for dy, row in enumerate(cells.rows):
            if not 0 <= y + dy < self.height:
                continue
            span = max(0, min(cells.width, self.width - x))
            self._glyphs[y + dy][x : x + span] = row.glyphs[:span]
            self._roles[y + dy][x : x + span] = row.roles[:span]

    def ground(self, start: int, end: int, rows: int, role: str) -> None:
        """Tint the ground of columns [start, end) of the first rows."""
        for y in range(min(rows, self.height)):
            self.tint(start, y, end - start, role)

    def tint(self, x: int, y: int, count: int, role: str) -> None:
        """Tint the ground of `count` cells from (x, y) on; badges keep theirs."""
        if 0 <= y < self.height:
            roles = self._roles[y]
            for column in range(max(0, x), min(x + count, self.width)):
                own = roles[column].partition("@")[0]
                if own != BADGE:
                    roles[column] = f"{own}@{role}"

    def is_blank(self, x: int, y: int, count: int = 1) -> bool:
        """Whether `count` cells from (x, y) on lie inside and are blank."""
        if not (0 <= y < self.height and x >= 0 and x + count <= self.width):
            return False
        return all(glyph == BLANK for glyph in self._glyphs[y][x : x + count])

    def freeze(self) -> Cells:
        """The grid as it stands."""
        return Cells(
            self.width,
            self.height,
            tuple(
                CellRow(tuple(glyphs), tuple(roles)) for glyphs, roles in zip(self._glyphs, self._roles, strict=True)
            ),
        )


def changed_runs(old: CellRow, new: CellRow, join_cells: int = 8) -> list[tuple[int, int]]:
    """Columns [start, end) where two lines of one width differ.

    Runs with fewer than `join_cells` equal cells between them are one run, since moving the cursor costs
    about as many bytes. No run begins or ends inside a wide glyph of either line.
    """
    if old == new:
        return []
    runs: list[tuple[int, int]] = []
    columns = zip(old.glyphs, new.glyphs, old.roles, new.roles, strict=True)
    for x, (was, is_now, was_role, role) in enumerate(columns):
        if was == is_now and was_role == role:
            continue
        if runs and x - runs[-1][1] < join_cells:
            runs[-1] = (runs[-1][0], x + 1)
        else:
            runs.append((x, x + 1))
    return [_whole_glyphs(old, new, start, end) for start, end in runs]


def _whole_glyphs(old: CellRow, new: CellRow, start: int, end: int) -> tuple[int, int]:
    width = len(new.glyphs)
    while start > 0 and (old.glyphs[start] == "" or new.glyphs[start] == ""):
        start -= 1
    while end < width and (old.glyphs[end] == "" or new.glyphs[end] == ""):
        end += 1
    return start, end
