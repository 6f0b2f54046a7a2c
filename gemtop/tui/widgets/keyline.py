"""The last line of a screen: its keys, each of which can be clicked.

Textual's own footer makes a widget of every key, a third of the time to the first frame; this is one line of cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events

from gemtop.charts.grid import Canvas, Cells
from gemtop.tui.widgets.cells import CellWidget, text_width


@dataclass(frozen=True, slots=True)
class KeyHint:
    """A key, what it does, and the action of the screen that a click runs."""

    key: str
    text: str
    action: str


class KeyLine(CellWidget):
    """Shows hints from the left; those that find no room are left out."""

    DEFAULT_CSS = """
    KeyLine { dock: bottom; height: 1; width: 1fr; background: $panel; }
    """

    def __init__(self, hints: Sequence[KeyHint], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._hints = tuple(hints)
        self._spans: list[tuple[int, int, KeyHint]] = []

    def show_hints(self, hints: Sequence[KeyHint]) -> None:
        if tuple(hints) != self._hints:
            self._hints = tuple(hints)
            self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        self._spans = []
        x = 1
        for hint in self._hints:
            cells = text_width(hint.key) + 1 + text_width(hint.text)
            if x + cells > width:
                break
            canvas.put(x, 0, hint.key, "key")
            canvas.put(x + text_width(hint.key) + 1, 0, hint.text, "text")
            self._spans.append((x, x + cells, hint))
            x += cells + 2
        return canvas.freeze()

    async def on_click(self, event: events.Click) -> None:
        """Run the action of the key that was clicked."""
        for start, end, hint in self._spans:
            if start <= event.x < end:
                event.stop()
                await self.screen.run_action(hint.action)
