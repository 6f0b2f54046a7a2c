"""What the terminal should show and what it has been sent, cell by cell.

Whatever draws puts cells here; what is sent are the cells in which the two differ, as many as the line takes at
once. So a picture that changes faster than the line drains is never sent as it was, only as it is now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from gemtop.tui.pens import BARE, RESET, Pen, blank_pen, change, seen_on_blanks

BLANK = " "
_JOINED_CELLS = 4
"""Fewer equal cells than this between two changes are sent again: moving over them costs as many bytes."""
_ERASED_CELLS = 9
"""So many blanks are erased rather than written."""
_SLOW_BYTES = 4096
"""Where there is room for less, what is sent comes in pieces that are seen one after the other."""
_UNKNOWN: Pen = (("?",), "", "")
_width_of = lru_cache(maxsize=8192)(cell_len)
PenOf = Callable[[Style | None], Pen]
_SURE = re.compile(
    "[\x20-\x7e\u00a1-\u02ff\u0370-\u0482\u2010-\u2027\u2190-\u21ff\u2500-\u25fc\u2800-\u28ff\u2e80-\ua4cf\uac00-\ud7a3\uff00-\uffe6]"
)
"""Characters that every terminal draws as wide as Textual thinks: of the others some are a cell wider or narrower."""


@lru_cache(maxsize=8192)
def _is_sure(glyph: str) -> bool:
    """Whether the cursor is known to be where it should be behind this glyph."""
    return not glyph or _SURE.fullmatch(glyph) is not None


class Picture:
    """A grid of cells and the copy of it that the terminal holds.

    `erases` says that the terminal erases in the pen's ground, as nearly all do (terminfo's bce).
    """

    def __init__(self, *, erases: bool = False) -> None:
        self.width = self.height = 0
        self.erases = erases
        self._glyphs: list[list[str]] = []
        self._pens: list[list[Pen]] = []
        self._sent_glyphs: list[list[str]] = []
        self._sent_pens: list[list[Pen]] = []
        self._changed: dict[int, int] = {}
        """Rows that may differ from what was sent, each with when it was changed last."""
        self._time = 0
        self._cursor: tuple[int, int] | None = None
        self._held: Pen | None = None
        """The terminal's pen; None where it is not known."""
        self.home: tuple[int, int] | None = None
        """Where the cursor rests when all is sent, for who types there; None lets it be."""

    # What draws --------------------------------------------------------------------------------------------

    def resize(self, width: int, height: int) -> None:
        """Begin anew in another size, all blank; nothing is known of what the terminal shows."""
        self.width, self.height = width, height
        self._glyphs = [[BLANK] * width for _ in range(height)]
        self._pens = [[BARE] * width for _ in range(height)]
        self.forget()

    def forget(self) -> None:
        """The terminal may show anything: all of it is to be sent."""
        self._sent_glyphs = [[BLANK] * self.width for _ in range(self.height)]
        self._sent_pens = [[_UNKNOWN] * self.width for _ in range(self.height)]
        self._changed = dict.fromkeys(range(self.height), self._time)
        self._cursor = self._held = None

    def tick(self) -> None:
        """What is put from now on is newer than all before, and is sent first."""
        self._time += 1

    def put_segments(self, x: int, y: int, segments: Iterable[Segment], pen_of: PenOf, right: int) -> None:
        """Lay segments of text from cell (x, y) on, up to column `right`; what lies outside goes nowhere."""
        if not self._holds(x, y):
            return
        right = min(right, self.width)
        first = x
        glyphs, pens = self._glyphs[y], self._pens[y]
        for text, style, control in segments:
            if control or x >= right:
                continue
            pen = pen_of(style)
            if text.isascii() and text.isprintable():
                count = min(len(text), right - x)
                text = text[:count]
                glyphs[x : x + count] = text
                pens[x : x + count] = [pen] * count
                if BLANK in text and (blank := blank_pen(pen)) is not pen:
                    for at in range(x, x + count):
                        if glyphs[at] == BLANK:
                            pens[at] = blank
                x += count
            else:
                x = self._put_wide(x, y, text, pen, min(right, x + cell_len(text)))
        self._mend(y, first, x)

    def _holds(self, x: int, y: int) -> bool:
        """Whether there is such a cell: what was drawn for a larger terminal may come after its resize."""
        return 0 <= x < self.width and 0 <= y < self.height

    def _put_wide(self, x: int, y: int, text: str, pen: Pen, right: int) -> int:
        """Text with characters of other widths than one, in just the cells up to `right`."""
        glyphs, pens = self._glyphs[y], self._pens[y]
        begun = x
        for char in text:
            wide = _width_of(char)
            if wide == 0:
                if x > begun and char.isprintable():  # marks join the character before; no control passes
                    at = x - 1 if glyphs[x - 1] else x - 2
                    glyphs[at] += char
                continue
            if x + wide > right:
                break
            glyphs[x], pens[x] = char, pen if char != BLANK else blank_pen(pen)
            if wide == 2:
                glyphs[x + 1], pens[x + 1] = "", pen
            x += wide
        for at in range(x, right):
            glyphs[at], pens[at] = BLANK, blank_pen(pen)
        return right

    def put_cells(self, x: int, y: int, glyphs: Sequence[str], pens: Sequence[Pen]) -> None:
        """Lay whole cells from (x, y) on; the cell after a wide glyph holds an empty string."""
        if not self._holds(x, y):
            return
        count = min(len(glyphs), self.width - x)
        self._glyphs[y][x : x + count] = glyphs[:count]
        self._pens[y][x : x + count] = [
            blank_pen(pen) if glyph == BLANK else pen for glyph, pen in zip(glyphs[:count], pens[:count], strict=True)
        ]
        self._mend(y, x, x + count)

    def _mend(self, y: int, start: int, end: int) -> None:
        """What was put lies between these columns: blank what it has left of wide glyphs at its edges."""
        glyphs, pens = self._glyphs[y], self._pens[y]
        for x in (start, end):
            before = x > 0 and _width_of(glyphs[x - 1][:1]) == 2
            after = x < self.width and glyphs[x] == ""
            if before and not after:
                glyphs[x - 1], pens[x - 1] = BLANK, blank_pen(pens[x - 1])
            elif after and not before:
                glyphs[x], pens[x] = BLANK, blank_pen(pens[x])
        self._changed[y] = self._time

    # What is sent ------------------------------------------------------------------------------------------

    @property
    def is_sent(self) -> bool:
        """Whether the terminal was sent all there is."""
        for y in list(self._changed):
            if self._glyphs[y] == self._sent_glyphs[y] and self._pens[y] == self._sent_pens[y]:
                del self._changed[y]
            else:
                return False
        return self.home is None or self.home == self._cursor

    def next_piece(self, most_bytes: int) -> str:
        """The next of what is to be sent, about `most_bytes` of UTF-8 at most; what was put last comes first."""
        out = _Piece(most_bytes)
        rows = sorted(self._changed, key=lambda row: (-self._changed[row], row))
        if most_bytes < _SLOW_BYTES:  # what is to be read comes before colours, such as those behind a dialog
            for y in rows:
                if not self._send_row(y, out, recoloured=False):
                    break
        for y in rows:
            if not self._send_row(y, out, recoloured=True):
                break
            del self._changed[y]
        if not self._changed and self.home is not None and self.home != self._cursor and self.width:
            out.add(f"\x1b[{self.home[1] + 1};{self.home[0] + 1}H")
            self._cursor = self.home
        return "".join(out.parts)

    def _send_row(self, y: int, out: _Piece, *, recoloured: bool) -> bool:
        """Send what differs in a row, in its colours alone or not; False where not all of it found room."""
        glyphs, pens = self._glyphs[y], self._pens[y]
        if glyphs == self._sent_glyphs[y] and pens == self._sent_pens[y]:
            return True
        tail = self._blank_tail(y) if self.erases else self.width
        for start, end in self._runs(y, recoloured):
            x = start
            while x < end:
                if out.is_full:
                    return False
                if x >= tail:
                    self._erase(y, x, self.width, "\x1b[K", out)
                    return True
                x = self._send_stretch(y, x, min(end, tail) if end > tail else end, out)
        return True

    def _runs(self, y: int, recoloured: bool) -> list[tuple[int, int]]:
        """Columns [start, end) in which the row differs from what was sent, none of it inside a wide glyph."""
        runs: list[tuple[int, int]] = []
        glyphs, pens = self._glyphs[y], self._pens[y]
        sent_glyphs, sent_pens = self._sent_glyphs[y], self._sent_pens[y]
        for x in range(self.width):
            if glyphs[x] == sent_glyphs[x] and (pens[x] is sent_pens[x] or not recoloured):
                continue
            start, end = x, x + 1
            while start > 0 and "" in (glyphs[start], sent_glyphs[start]):
                start -= 1
            while end < self.width and "" in (glyphs[end], sent_glyphs[end]):
                end += 1
            if runs and start - runs[-1][1] < _JOINED_CELLS:
                runs[-1] = (runs[-1][0], end)
            else:
                runs.append((start, end))
        return runs

    def _blank_tail(self, y: int) -> int:
        """The column from which the row holds nothing but blanks of one ground; beyond the width where few do."""
        glyphs, pens = self._glyphs[y], self._pens[y]
        last = pens[-1] if pens else BARE
        if seen_on_blanks(last):
            return self.width
        x = self.width
        while x > 0 and glyphs[x - 1] == BLANK and pens[x - 1] is last:
            x -= 1
        return x if self.width - x >= _JOINED_CELLS else self.width

    def _send_stretch(self, y: int, x: int, end: int, out: _Piece) -> int:
        """Send cells of one pen from column x on; the column after them."""
        glyphs, pens = self._glyphs[y], self._pens[y]
        pen = pens[x]
        blanks = x
        while blanks < end and glyphs[blanks] == BLANK and pens[blanks] is pen:
            blanks += 1
        if self.erases and blanks - x >= _ERASED_CELLS and not seen_on_blanks(pen):
            self._erase(y, x, blanks, f"\x1b[{blanks - x}X", out)
            return blanks
        stop, sure = x, True
        while stop < end and sure and (pens[stop] is pen or self._looks_so(glyphs[stop], pens[stop], pen)):
            sure = _is_sure(glyphs[stop])
            stop += 1
        while stop < end and glyphs[stop] == "":
            stop += 1
        text = "".join(glyphs[x:stop])
        self._go_to(x, y, out)
        self._take_pen(pen, out, only_ground=text.isspace())
        out.add(text)
        self._note_sent(y, x, stop)
        self._cursor = (stop, y) if sure and stop < self.width else None
        return stop

    def _writes_alike(self, glyphs: list[str], pens: list[Pen]) -> bool:
        """Whether cells that are there already may be written again with the pen that is held."""
        held = self._held or BARE
        return all(
            glyph.isascii() and glyph and (pen is held or self._looks_so(glyph, pen, held))
            for glyph, pen in zip(glyphs, pens, strict=True)
        )

    @staticmethod
    def _looks_so(glyph: str, own: Pen, pen: Pen) -> bool:
        """Whether a blank may be written with another pen than its own."""
        return glyph == BLANK and own[2] == pen[2] and not seen_on_blanks(own) and not seen_on_blanks(pen)

    def _erase(self, y: int, x: int, end: int, sequence: str, out: _Piece) -> None:
        self._go_to(x, y, out)
        self._take_pen(self._pens[y][x], out, only_ground=True)
        out.add(sequence)
        self._note_sent(y, x, end)

    def _note_sent(self, y: int, start: int, end: int) -> None:
        sent_glyphs, sent_pens = self._sent_glyphs[y], self._sent_pens[y]
        # The other half of a wide glyph is not what it was.
        for cut, half in ((start, start - 1), (end, end)):
            if cut < self.width and sent_glyphs[cut] == "":
                sent_glyphs[half], sent_pens[half] = BLANK, _UNKNOWN
        sent_glyphs[start:end] = self._glyphs[y][start:end]
        sent_pens[start:end] = self._pens[y][start:end]

    def _go_to(self, x: int, y: int, out: _Piece) -> None:
        if self._cursor == (x, y):
            return
        absolute = f"\x1b[{y + 1};{x + 1}H"
        if self._cursor is not None and self._cursor[1] == y and self._cursor[0] < x:
            between = self._glyphs[y][self._cursor[0] : x], self._pens[y][self._cursor[0] : x]
            if len(between[0]) <= _JOINED_CELLS and self._held is not None and self._writes_alike(*between):
                out.add("".join(between[0]))
                self._cursor = (x, y)
                return
            absolute = min(f"\x1b[{len(between[0])}C", absolute, key=len)
        out.add(absolute)
        self._cursor = (x, y)

    def _take_pen(self, pen: Pen, out: _Piece, *, only_ground: bool) -> None:
        if self._held is None:
            out.add(RESET)
            self._held = BARE
        held = self._held
        if only_ground and held[2] == pen[2] and not seen_on_blanks(held) and not seen_on_blanks(pen):
            return
        out.add(change(held, pen))
        self._held = pen


class _Piece:
    """Sequences that are put together, and how many bytes they come to."""

    def __init__(self, most_bytes: int) -> None:
        self.parts: list[str] = []
        self._left = most_bytes

    @property
    def is_full(self) -> bool:
        return self._left <= 0

    def add(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self._left -= len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
