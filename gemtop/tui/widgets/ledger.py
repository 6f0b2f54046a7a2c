"""The memory ledger: one stacked bar for each device, what the model holds of it, what others hold, what is free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gemtop.charts.grid import Canvas, Cells
from gemtop.charts.spec import Reading
from gemtop.charts.stacked import shares
from gemtop.domain.plan import GIB
from gemtop.domain.text import one_line, text_width
from gemtop.tui.ledger import PARTS, STEP_BYTES, DeviceBar, Entry, Words, device_bars, legend, planned
from gemtop.tui.widgets.cells import CellWidget, clip
from gemtop.view import SessionView

_GLYPHS = dict(zip(PARTS, "█▓▒░·", strict=True))
_ASCII_GLYPHS = dict(zip(PARTS, "#=+-.", strict=True))
"""Each part can be told without its colour."""
_LEAST_CUT = 4
"""Cells of a value, before it is left out rather than cut."""
_LEAST_BAR = 8
"""A bar of fewer cells says nothing."""
_MAIN_SHARE = 10
"""A device that holds a tenth of the model matters."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What other programs hold, as it is shown: readings that go to and fro by less move nothing."""

    parts: tuple[int, int, int]
    """Of the model: with another one it begins anew."""
    number_bytes: int | None
    bar_bytes: int | None


class MemoryLedger(CellWidget):
    """Draws the bars of a view. Where room is short details go first, then devices, which are named."""

    DEFAULT_CSS = """
    MemoryLedger { height: 1fr; width: 1fr; min-height: 1; }
    """

    def __init__(self, *, framed: bool = True, ascii_only: bool | None = None, id: str | None = None) -> None:
        super().__init__(title="memory", framed=framed, ascii_only=ascii_only, id=id)
        self._bars: tuple[DeviceBar, ...] = ()
        self._note = ""
        self._held: dict[str, _Held] = {}

    def show_view(self, view: SessionView, note: str = "") -> None:
        """Show the memory of this moment, and below it a line of words where there is room for them."""
        self.show_bars(device_bars(view), note)

    def show_bars(self, bars: Sequence[DeviceBar], note: str = "") -> None:
        """Show these; only cells that changed are refreshed."""
        if (tuple(bars), note) == (self._bars, self._note):
            return
        self._bars, self._note = tuple(bars), note
        width = max(1, self.inner_size()[0])
        self._held = {bar.name: _hold(self._held.get(bar.name), bar, width) for bar in bars}
        self.set_title("memory", self._title_readings())
        self.rebuild()

    def _words(self, bar: DeviceBar) -> Words:
        return Words(bar, self._held[bar.name].number_bytes)

    def _title_readings(self) -> list[Reading]:
        if len(self._bars) == 1:
            words = self._words(self._bars[0])
            return [Reading(self._bars[0].title, words.used)]
        own = sum(bar.use.total_bytes for bar in self._bars)
        return [Reading("model", f"{own / GIB:.1f} GiB")] if own else []

    # Drawing

    def draw(self, width: int, height: int) -> Cells:
        """A line for each device, and more for those that matter most where there is room."""
        canvas, bars = Canvas(width, height), self._bars
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

    def _draw_device(self, canvas: Canvas, y: int, bar: DeviceBar, lines: int) -> int:
        """Returns the line after it."""
        words = self._words(bar)
        self._draw_bar(canvas, y, bar, words)
        if lines == 2:
            known = legend(words, free=True)
            self._draw_entries(canvas, y + 1, known if bar.other_bytes is not None else [*known, *planned(words)])
        elif lines > 2:
            self._draw_entries(canvas, y + 1, legend(words, free=False))
            self._draw_entries(canvas, y + 2, planned(words))
        return y + lines

    def _draw_bar(self, canvas: Canvas, y: int, bar: DeviceBar, words: Words) -> None:
        """The bar over the width; of several devices with its name before it and its sizes behind it."""
        start, end = 0, canvas.width
        if len(self._bars) > 1:
            names = min(max(text_width(one.name) for one in self._bars), max(4, canvas.width // 5))
            sizes = max(len(self._words(one).used) for one in self._bars)
            more = f", {len(self._bars) - 1} more" if canvas.height == 1 else ""
            canvas.put(0, y, clip(bar.name, names), "muted")
            start = names + 1
            if end - start - sizes - len(more) - 1 >= _LEAST_BAR:
                end -= sizes + len(more) + 1
                canvas.put(end + 1, y, words.used.rjust(sizes) + more, "text")
        if end - start < 1:
            return
        parts = [*bar.parts, self._held[bar.name].bar_bytes or 0]
        total = max(bar.total_bytes or 0, sum(parts))
        parts.append(total - sum(parts))
        if not total:
            canvas.put(start, y, clip(f"N/A ({bar.reason})", end - start), "muted")
            return
        glyphs = _ASCII_GLYPHS if self.ascii_only else _GLYPHS
        known = bar.other_bytes is not None and bar.total_bytes is not None
        for part, cells in zip(PARTS, shares(parts, end - start), strict=True):
            if part == "free" and not known:
                break  # what is not known to be free is left blank
            start = canvas.put(start, y, glyphs[part] * cells, part)

    def _draw_entries(self, canvas: Canvas, y: int, entries: Sequence[Entry]) -> None:
        """Words with the glyph of their part before them; with less between them where room is short, then cut."""
        glyphs = {"": "", **(_ASCII_GLYPHS if self.ascii_only else _GLYPHS)}
        for style in _STYLES:
            texts = [(glyphs[p] and glyphs[p] + style.behind, p, style.word(word), text) for p, word, text in entries]
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


@dataclass(frozen=True, slots=True)
class _Style:
    """How a line of words is set."""

    gap: int
    behind: str
    """Behind the glyph of a part."""
    short: bool = False

    def word(self, word: str) -> str:
        return _SHORT.get(word, word) if self.short else word


_SHORT = {"compute": "comp"}
_STYLES = (_Style(3, " "), _Style(2, " "), _Style(1, " "), _Style(1, ""), _Style(1, "", True))


def _lines(bars: Sequence[DeviceBar], height: int, note: bool) -> tuple[list[int], bool]:
    """Lines of each device that is shown, and whether the note has one: those that hold the model have theirs first."""
    if len(bars) > height:
        return [1] * max(1, height - 1), False
    lines, left = [1] * len(bars), height - len(bars)
    whole = sum(bar.use.total_bytes for bar in bars)
    main = [at for at, bar in enumerate(bars) if bar.use.total_bytes * _MAIN_SHARE >= whole]
    rest = [at for at in range(len(bars)) if at not in main]
    for at in main * 2:
        if left:
            lines[at], left = lines[at] + 1, left - 1
    noted = note and left > 0
    left -= noted
    for at in rest * 2:
        if left:
            lines[at], left = lines[at] + 1, left - 1
    return lines, noted


def _hold(held: _Held | None, bar: DeviceBar, width: int) -> _Held:
    """What is shown of `other` now: the reading, or what was shown before where the two hardly differ."""
    now = bar.other_bytes
    if now is None or held is None or held.parts != bar.parts or held.number_bytes is None or held.bar_bytes is None:
        return _Held(bar.parts, now, now)
    cell = (bar.total_bytes or 0) // width
    return _Held(
        bar.parts,
        now if abs(now - held.number_bytes) >= STEP_BYTES else held.number_bytes,
        now if abs(now - held.bar_bytes) >= max(cell, STEP_BYTES) else held.bar_bytes,
    )
