"""The memory ledger: one stacked bar for each device, what the model holds of it, what others hold, what is free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemtop.charts.grid import Canvas, Cells
from gemtop.charts.spec import Reading
from gemtop.charts.stacked import shares
from gemtop.domain.text import one_line, text_width
from gemtop.tui.widgets.cells import CellWidget, clip

if TYPE_CHECKING:
    from gemtop.tui.ledger import DeviceBar, Steady
    from gemtop.view import SessionView

PARTS = ("weights", "kv", "compute", "other", "free")
_GLYPHS = {"": "", **dict(zip(PARTS, "█▓▒░·", strict=True))}
_ASCII_GLYPHS = {"": "", **dict(zip(PARTS, "#=+-.", strict=True))}
"""Each part can be told without its colour."""
_LEAST_BAR = 8
"""A bar of fewer cells says nothing."""
_WIDE_BAR = 20
"""A bar that leaves room for the sizes of another device behind its own."""
_LEAST_CUT = 4
"""Cells of a value, before it is left out rather than cut."""
Entry = tuple[str, str, str]
"""The part that a word is of, or nothing; the word; its value."""


@dataclass(frozen=True, slots=True)
class BarText:
    """One device's memory as it is drawn."""

    name: str
    used: str
    """18.1 of 24.0 GiB."""
    parts: tuple[int, ...]
    """Bytes of each of PARTS."""
    free_known: bool
    """What others hold is known, so that the rest is free."""
    reason: str
    """Why something is not known."""
    main: bool
    """It holds much of the model: its details come first."""
    whole: tuple[Entry, ...]
    """All in one line."""
    legend: tuple[Entry, ...]
    """The same in two: the parts,"""
    planned: tuple[Entry, ...]
    """and what was planned of them."""


@dataclass(frozen=True, slots=True)
class LedgerText:
    """All that the ledger draws."""

    bars: tuple[BarText, ...] = ()
    label: str = ""
    """Of the reading in the title."""
    reading: str = ""


@dataclass(frozen=True, slots=True)
class _Style:
    """How a line of words is set."""

    gap: int
    behind: str
    """Behind the glyph of a part."""
    short: bool = False

    def shown(self, words: str) -> str:
        for whole, part in _SHORT if self.short else ():
            words = words.replace(whole, part)
        return words


_SHORT = (("compute", "comp"), (" MiB", "M"), (" GiB", "G"))
_STYLES = (_Style(3, " "), _Style(2, " "), _Style(1, " "), _Style(1, ""), _Style(1, "", True))


class MemoryLedger(CellWidget):
    """Draws the memory of a view. Where room is short details go first, then devices, which are named."""

    DEFAULT_CSS = """
    MemoryLedger { height: 1fr; width: 1fr; min-height: 1; }
    """

    def __init__(self, *, framed: bool = True, ascii_only: bool | None = None, id: str | None = None) -> None:
        super().__init__(title="memory", framed=framed, ascii_only=ascii_only, id=id)
        self._text = LedgerText()
        self._note = ""
        self._steady: Steady | None = None

    @property
    def has_title_row(self) -> bool:
        """Without a frame the bars stand alone, with their names."""
        return self.framed

    def show_view(self, view: SessionView, note: str = "") -> None:
        """Show the memory of this moment, and below it a line of words where there is room for them."""
        from gemtop.tui.ledger import device_bars

        self.show_bars(device_bars(view), note)

    def show_bars(self, bars: Sequence[DeviceBar], note: str = "") -> None:
        """Show these; only cells that changed are refreshed."""
        from gemtop.tui.ledger import Steady

        if self._steady is None:
            self._steady = Steady()
        text = self._steady.texts(bars, self.inner_size()[0])
        if (text, note) == (self._text, self._note):
            return
        self._text, self._note = text, note
        self.set_title("memory", [Reading(text.label, text.reading)] if text.reading else [])
        self.rebuild()

    # Drawing

    def draw(self, width: int, height: int) -> Cells:
        """A line for each device, and more for those that matter most where there is room."""
        canvas, bars = Canvas(width, height), self._text.bars
        if not bars or not height:
            return canvas.freeze()
        lines, noted = _lines(bars, height, bool(self._note))
        y = 0
        for bar, count in zip(bars, lines, strict=False):
            y = self._draw_device(canvas, y, bar, count)
        if y < height and len(lines) < len(bars):
            left = bars[len(lines) :]
            words = f"{len(left)} more: {', '.join(bar.name for bar in left)}"
            canvas.put(0, y, clip(words, width), "muted")
        elif noted:
            canvas.put(0, y, clip(one_line(self._note), width), "muted")
        return canvas.freeze()

    def _draw_device(self, canvas: Canvas, y: int, bar: BarText, lines: int) -> int:
        """Returns the line after it."""
        self._draw_bar(canvas, y, bar)
        if lines == 2:
            self._draw_entries(canvas, y + 1, bar.whole)
        elif lines > 2:
            self._draw_entries(canvas, y + 1, bar.legend)
            self._draw_entries(canvas, y + 2, bar.planned)
        return y + lines

    def _draw_bar(self, canvas: Canvas, y: int, bar: BarText) -> None:
        """The bar over the width; of several devices with its name before it and its sizes behind it."""
        start, end, bars = 0, canvas.width, self._text.bars
        if len(bars) > 1 or not self.has_title_row:
            names = min(max(text_width(one.name) for one in bars), max(4, canvas.width // 5))
            sizes = max(len(one.used) for one in bars)
            canvas.put(0, y, clip(bar.name, names), "muted")
            start = names + 1
            label, more = self._others(end - start - sizes - 1) if canvas.height == 1 else ("", "")
            behind = sizes + text_width(label + more)
            if end - start - behind - 1 >= _LEAST_BAR:
                end -= behind + 1
                x = canvas.put(end + 1, y, bar.used.rjust(sizes), "text")
                canvas.put(canvas.put(x, y, label, "muted"), y, more, "text")
        if end - start < 1:
            return
        if not any(bar.parts):
            canvas.put(start, y, clip(f"N/A ({bar.reason})", end - start), "muted")
            return
        glyphs = _ASCII_GLYPHS if self.ascii_only else _GLYPHS
        for part, cells in zip(PARTS, shares(bar.parts, end - start), strict=True):
            if part == "free" and not bar.free_known:
                break  # what is not known to be free is left blank
            start = canvas.put(start, y, glyphs[part] * cells, part)

    def _others(self, room: int) -> tuple[str, str]:
        """Of the devices that have no line: the name and sizes of the only one, or at least that there are some."""
        others = self._text.bars[1:]
        if len(others) == 1:
            whole = f"   {others[0].name} ", others[0].used
            named = f" (+{others[0].name})", ""
            return whole if room - sum(map(text_width, whole)) >= _WIDE_BAR else named
        return (f" (+{len(others)} devices)", "") if others else ("", "")

    def _draw_entries(self, canvas: Canvas, y: int, entries: Sequence[Entry]) -> None:
        """Words with the glyph of their part before them; with less between them where room is short, then cut."""
        glyphs = _ASCII_GLYPHS if self.ascii_only else _GLYPHS
        for style in _STYLES:
            texts = [
                (glyphs[part] and glyphs[part] + style.behind, part, style.shown(word), style.shown(text))
                for part, word, text in entries
            ]
            cells = sum(text_width(f"{mark}{word} {text}") for mark, _, word, text in texts)
            if cells + style.gap * (len(texts) - 1) <= canvas.width:
                break
        x = 0
        for mark, part, word, text in texts:
            if x and x + text_width(f"{mark}{word} ") + _LEAST_CUT > canvas.width:
                break
            x = canvas.put(x, y, mark, part)
            x = canvas.put(x, y, f"{clip(word, canvas.width - x)} ", "muted")
            x = canvas.put(x, y, clip(text, canvas.width - x), "text") + style.gap


def _lines(bars: Sequence[BarText], height: int, note: bool) -> tuple[list[int], bool]:
    """Lines of each device that is shown, and whether the note has one: those that hold the model have theirs first."""
    if len(bars) > height:
        return [1] * max(1, height - 1), False
    lines, left = [1] * len(bars), height - len(bars)
    main = [at for at, bar in enumerate(bars) if bar.main]
    rest = [at for at, bar in enumerate(bars) if not bar.main]
    for at in main * 2:
        if left:
            lines[at], left = lines[at] + 1, left - 1
    noted = note and left > 0
    left -= noted
    for at in rest * 2:
        if left:
            lines[at], left = lines[at] + 1, left - 1
    return lines, noted
