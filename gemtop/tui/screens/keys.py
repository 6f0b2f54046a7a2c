"""Every key of a screen."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from gemtop.charts.grid import Canvas, CellRow
from gemtop.tui.widgets.cells import clip
from gemtop.tui.widgets.rows_view import RowsView

_KEYS_CELLS = 26
_DIALOG_ROWS = 4
"""Of frame, title and note."""
_DIALOG_CELLS = 100
"""Of the dialog, where the terminal is as wide."""
_AROUND_CELLS = 4
"""Of its frame."""


class KeysScreen(ModalScreen[None]):
    """Two columns: keys, and what they do."""

    DEFAULT_CSS = """
    KeysScreen { align: center middle; background: $background 60%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,enter", "dismiss", "Close", show=False),
    ]

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("keys", classes="title")
            yield RowsView(id="keys")
            yield Static("Esc closes; other keys: [keys] in gemtop config", classes="note", markup=False)

    def on_mount(self) -> None:
        view = self.query_one(RowsView)
        self.on_resize()
        view.show_rows(self._rows)
        view.focus()

    def on_resize(self) -> None:
        size = self.app.size
        rows = self._rows(min(size.width, _DIALOG_CELLS) - _AROUND_CELLS)
        self.query_one(RowsView).styles.height = min(len(rows), max(1, size.height - _DIALOG_ROWS))

    def _rows(self, width: int) -> list[CellRow]:
        """What finds no room in its column goes on below."""
        rows: list[CellRow] = []
        first = min(max(len(keys) for keys, _ in self._keys), _KEYS_CELLS, max(8, width // 3))
        for keys, words in self._keys:
            left = wrap(keys, first, break_on_hyphens=False)
            right = wrap(words, max(8, width - first - 2), break_on_hyphens=False)
            canvas = Canvas(width, max(len(left), len(right)))
            for y, line in enumerate(left):
                canvas.put(0, y, clip(line, first), "title")
            for y, line in enumerate(right):
                canvas.put(first + 2, y, clip(line, max(0, width - first - 2)), "text")
            rows += canvas.freeze().rows
        return rows
