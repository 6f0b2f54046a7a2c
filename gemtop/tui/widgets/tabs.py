"""The second line of a screen: the screens there are, which one this is, and what goes on in the others."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events

from gemtop.charts.grid import Canvas, Cells
from gemtop.domain.text import text_width
from gemtop.tui.bindings import keys_of
from gemtop.tui.widgets.cells import CellWidget

SCREENS = {"live": "Live", "compare": "Compare", "history": "History", "models": "Models", "log": "Log"}
"""The screens in their order, by the names of their modes."""
_GAP = 2


class TabsLine(CellWidget):
    """Keys and names of the screens; a click goes there."""

    DEFAULT_CSS = "TabsLine { height: 1; width: 1fr; }"

    def __init__(self, current: str) -> None:
        super().__init__(id="tabs")
        self._current = current
        self._marks: dict[str, str] = {}
        self._spans: list[tuple[int, int, str]] = []

    def show_marks(self, marks: Mapping[str, str]) -> None:
        """Words behind the names of screens where something goes on."""
        if dict(marks) != self._marks:
            self._marks = dict(marks)
            self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        self._spans = []
        keys, x = keys_of(self.app), 1
        for mode, name in SCREENS.items():
            here = mode == self._current
            label, mark = keys.label(f"app.{mode}"), self._marks.get(mode, "")
            cells = text_width(label) + 1 + text_width(name) + (1 + text_width(mark) if mark else 0)
            if x + cells > width:
                break
            end = canvas.put(x, 0, f"{label} ", "key" if here else "muted")
            end = canvas.put(end, 0, name, "title" if here else "text")
            if mark:
                end = canvas.put(end, 0, f" {mark}", "warn")
            if here:
                canvas.tint(x - 1, 0, end - x + 2, "key")
            self._spans.append((x - 1, end + 1, mode))
            x = end + _GAP + 1
        return canvas.freeze()

    async def on_click(self, event: events.Click) -> None:
        for start, end, mode in self._spans:
            if start <= event.x < end:
                event.stop()
                await self.app.run_action(f"show('{mode}')")
