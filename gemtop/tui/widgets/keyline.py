"""The last line of a screen: its keys, each of which can be clicked.

Textual's own footer makes a widget of every key, a third of the time to the first frame; this is one line of cells.
"""

from __future__ import annotations

from collections.abc import Sequence

from textual import events

from gemtop.charts.grid import Canvas, Cells
from gemtop.keymap import KeyHint, fitting
from gemtop.tui.bindings import keys_of
from gemtop.tui.widgets.cells import CellWidget


class KeyLine(CellWidget):
    """Shows hints from the left, those that find no room left out, and a note at the right."""

    DEFAULT_CSS = """
    KeyLine { dock: bottom; height: 1; width: 1fr; background: $panel; }
    """

    def __init__(self, hints: Sequence[KeyHint], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._hints = tuple(hints)
        self._spans: list[tuple[int, int, KeyHint]] = []
        self._note = ""

    def show_note(self, note: str) -> None:
        """Words at the right end, where the keys leave room for them."""
        if note != self._note:
            self._note = note
            self.rebuild()

    def show_hints(self, hints: Sequence[KeyHint]) -> None:
        if tuple(hints) != self._hints:
            self._hints = tuple(hints)
            self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        self._spans = []
        for x, label, hint in fitting(self._hints, keys_of(self.app), width):
            text_x = x + len(label) + 1
            canvas.put(x, 0, label, "key")
            canvas.put(text_x, 0, hint.text, "text")
            self._spans.append((x, text_x + len(hint.text), hint))
        start = width - len(self._note) - 1
        if canvas.is_blank(start - 2, 0, len(self._note) + 2):
            canvas.put(start, 0, self._note, "muted")
        return canvas.freeze()

    async def on_click(self, event: events.Click) -> None:
        """Run the action of the key that was clicked."""
        for start, end, hint in self._spans:
            if start <= event.x < end and hint.action:
                event.stop()
                focused = self.screen.focused
                of_prompt = any(name.startswith("prompt.") for name in hint.actions)
                # The prompt's own actions: the screen has others of the same names, one of which leaves the program.
                await (focused if of_prompt and focused is not None else self.screen).run_action(hint.action)
