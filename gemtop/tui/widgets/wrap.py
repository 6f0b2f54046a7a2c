"""Text that grows at its end, wrapped to a width: each new piece costs its own length, not that of the whole."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache

from rich.cells import cell_len

from gemtop.charts.grid import BLANK, CellRow
from gemtop.domain.text import cell_width, printable

TAB_CELLS = 4
_MARKS_KEPT = 4
"""Combining marks kept on one character; more would draw over the lines above and below."""
_ROW_CHARS = 8
"""What a row counts for beside its characters: a text of nothing but line ends takes room all the same."""
_PIECES_KEPT = 4096
"""Pieces of raw text before they are joined: a piece a token would take more room than the text."""
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@lru_cache(maxsize=8192)
def glyph_of(char: str) -> tuple[str, int]:
    """What to draw for one character of printable text, and its width: 0 joins the last, "" draws nothing.

    Characters that only steer how others are joined (zero-width joiners, variation selectors, skin tones)
    are left out: terminals disagree about the width of what they make, and one that disagrees shifts the
    rest of the line.
    """
    category = unicodedata.category(char)
    if category in ("Cf", "Zl", "Zp") or 0xFE00 <= ord(char) <= 0xFE0F or 0x1F3FB <= ord(char) <= 0x1F3FF:
        return ("", 0)
    if category == "Cs":
        return (_UNKNOWN, 1)
    if char.isascii() or cell_width(char) == cell_len(char):
        return (char, cell_width(char))
    # Textual cuts lines by its own table: where the two differ (about 800 characters), its answer counts.
    return (char, cell_len(char))


@dataclass(slots=True)
class VisualRow:
    """One line on the screen, and where it ends in its paragraph."""

    role: str
    glyphs: list[str] = field(default_factory=list)
    """Each with its combining marks; blanks beyond the width hang over the edge and are not drawn."""
    widths: list[int] = field(default_factory=list)
    starts_paragraph: bool = False
    paragraph: int = 0
    """Its number since the text was cleared: a place in the text is a paragraph and a character of it, at any width."""
    start: int = 0
    """Characters of the paragraph before this row."""
    drawn: CellRow | None = None

    @property
    def end(self) -> int:
        """Characters of the paragraph up to the end of this row."""
        return self.start + sum(map(len, self.glyphs))

    def cells(self, width: int) -> CellRow:
        """The row as cells, made once."""
        if self.drawn is None or len(self.drawn.glyphs) != width:
            glyphs: list[str] = []
            for glyph, wide in zip(self.glyphs, self.widths, strict=True):
                if len(glyphs) + wide > width:
                    break
                glyphs.append(glyph)
                glyphs.extend([""] * (wide - 1))
            used = len(glyphs)
            roles = tuple("" if glyph == BLANK else self.role for glyph in glyphs)
            blank = width - used
            self.drawn = CellRow(tuple(glyphs) + (BLANK,) * blank, roles + ("",) * blank)
        return self.drawn


def split_rows(glyphs: list[str], widths: list[int], width: int) -> list[tuple[int, int]]:
    """Where to break one paragraph: [start, end) of each row.

    Words move whole to the next row, words longer than a row are cut, blanks at the end of a row hang over
    its edge. Breaks before the last row never depend on what follows, so a paragraph that grew needs only
    its last row split again.
    """
    rows: list[tuple[int, int]] = []
    start = used = 0
    word = -1
    """Start of the word that is being read."""
    word_cells = 0
    longest = max(2 * width, 2)
    for index, (glyph, wide) in enumerate(zip(glyphs, widths, strict=True)):
        if glyph == BLANK:
            word = -1
            if index - start >= longest:
                rows.append((start, index))
                start, used = index, 0
            used += 1
            continue
        if word < 0:
            word, word_cells = index, 0
        if used + wide > width and index > start:
            # The blanks before a word belong to the row above, where they hang or not.
            at = word if word > start and word_cells + wide <= width else index
            rows.append((start, at))
            start = at
            used = word_cells if at == word else 0
            if at == index:
                word, word_cells = index, 0
        used += wide
        word_cells += wide
    rows.append((start, len(glyphs)))
    return rows


class WrappedText:
    """The rows of a growing text at one width, the oldest dropped beyond `keep_chars`."""

    def __init__(self, width: int = 80, keep_chars: int = 200_000) -> None:
        self.width = max(1, width)
        self.keep_chars = keep_chars
        self.rows: list[VisualRow] = []
        self.dropped_rows = 0
        """Rows dropped from the front so far: what a scroll position has to be moved by."""
        self._raw: list[str] = []
        self._raw_chars = 0
        self._glyphs_held = 0
        self._column = 0
        self._open = False
        """Whether the last paragraph still grows."""
        self._paragraphs = 0

    @property
    def text(self) -> str:
        """What was appended, as it came; of a longer one at least the last `keep_chars` characters."""
        return "".join(self._raw)

    def clear(self) -> None:
        """Forget everything."""
        self.rows.clear()
        self._raw.clear()
        self._raw_chars = self._glyphs_held = self._column = self.dropped_rows = self._paragraphs = 0
        self._open = False

    def append(self, text: str, role: str = "text") -> None:
        """Add text to the end of the last paragraph; line ends begin new ones."""
        if not text:
            return
        text = text[-self.keep_chars :]
        self._raw.append(text)
        self._raw_chars += len(text)
        self._write(text, role)
        self._trim()

    def line(self, text: str, role: str) -> None:
        """Add paragraphs of their own in another role; they are not part of `text`."""
        self._open = False
        self._write(text[-self.keep_chars :], role)
        self._open = False
        self._trim()

    def resize(self, width: int) -> None:
        """Wrap everything anew."""
        width = max(1, width)
        if width == self.width:
            return
        self.width = width
        old, self.rows = self.rows, []
        first = 0
        for index in range(1, len(old) + 1):
            if index < len(old) and not old[index].starts_paragraph:
                continue
            paragraph = old[first:index]
            glyphs = [glyph for row in paragraph for glyph in row.glyphs]
            widths = [wide for row in paragraph for wide in row.widths]
            self._split(paragraph[0], glyphs, widths)
            first = index

    def _write(self, text: str, role: str) -> None:
        lines = printable(text.replace("\r\n", "\n")).split("\n")
        most = max(1, self.keep_chars // _ROW_CHARS)
        if len(lines) > most:
            # They would be dropped as soon as they were made, and with them all that stood before.
            lines = lines[-most:]
            self._open = False
        for number, line in enumerate(lines):
            if number:
                if not self._open:
                    self._add_rows(self._new_paragraph(role), [], [])
                self._open = False
                self._column = 0
            if line or (number and number < len(lines) - 1):
                self._extend(line, role)

    def _extend(self, line: str, role: str) -> None:
        """Add to the open paragraph, or open one."""
        if self._open and self.rows:
            last = self.rows.pop()
            self._glyphs_held -= len(last.glyphs)
        else:
            last = self._new_paragraph(role)
            self._column = 0
        glyphs, widths = last.glyphs, last.widths
        if line.isascii() and "\t" not in line:
            glyphs.extend(line)
            widths.extend([1] * len(line))
            self._column += len(line)
        else:
            self._extend_wide(line, glyphs, widths)
        self._add_rows(last, glyphs, widths)
        self._open = True

    def _extend_wide(self, line: str, glyphs: list[str], widths: list[int]) -> None:
        for char in line:
            if char == "\t":
                blanks = TAB_CELLS - self._column % TAB_CELLS
                glyphs.extend([BLANK] * blanks)
                widths.extend([1] * blanks)
                self._column += blanks
                continue
            glyph, wide = glyph_of(char)
            if not glyph:
                continue
            if wide == 0:
                if glyphs and glyphs[-1] != BLANK and len(glyphs[-1]) <= _MARKS_KEPT:
                    glyphs[-1] += glyph
                continue
            if wide > self.width:
                glyph, wide = _UNKNOWN, 1
            glyphs.append(glyph)
            widths.append(wide)
            self._column += wide

    def _new_paragraph(self, role: str) -> VisualRow:
        """The beginning of one, still empty."""
        self._paragraphs += 1
        return VisualRow(role, starts_paragraph=True, paragraph=self._paragraphs)

    def _add_rows(self, first: VisualRow, glyphs: list[str], widths: list[int]) -> None:
        self._split(first, glyphs, widths)
        self._glyphs_held += len(glyphs)

    def _split(self, first: VisualRow, glyphs: list[str], widths: list[int]) -> None:
        """The rows of a paragraph, or of the rest of it, that begin where `first` did."""
        start, starts = first.start, first.starts_paragraph
        for begin, end in split_rows(glyphs, widths, self.width):
            row = VisualRow(first.role, glyphs[begin:end], widths[begin:end], starts, first.paragraph, start)
            self.rows.append(row)
            start, starts = row.end, False

    def _trim(self) -> None:
        """Drop the oldest quarter too many at once, so that dropping is seldom."""
        slack = self.keep_chars // 4
        if self._raw_chars > self.keep_chars + slack or len(self._raw) > _PIECES_KEPT:
            self._raw = [self.text[-self.keep_chars :]]
            self._raw_chars = len(self._raw[0])
        held, drop = self._glyphs_held + _ROW_CHARS * len(self.rows), 0
        if held <= self.keep_chars + slack:
            return
        while held > self.keep_chars and drop < len(self.rows) - 1:
            held -= len(self.rows[drop].glyphs) + _ROW_CHARS
            self._glyphs_held -= len(self.rows[drop].glyphs)
            drop += 1
        del self.rows[:drop]
        self.dropped_rows += drop
