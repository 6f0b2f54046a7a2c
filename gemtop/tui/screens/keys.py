"""Every key of a screen."""

from __future__ import annotations

from collections.abc import Sequence
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
        view.styles.height = min(len(self._keys), max(1, self.app.size.height - _DIALOG_ROWS))
        view.show_rows(self._rows)
        view.focus()

    def on_resize(self) -> None:
        view = self.query_one(RowsView)
        view.styles.height = min(len(self._keys), max(1, self.app.size.height - _DIALOG_ROWS))

    def _rows(self, width: int) -> list[CellRow]:
        rows = []
        first = min(max(len(keys) for keys, _ in self._keys), _KEYS_CELLS)
        for keys, words in self._keys:
            canvas = Canvas(width, 1)
            canvas.put(0, 0, clip(keys, first), "title")
            canvas.put(first + 2, 0, clip(words, max(0, width - first - 2)), "text")
            rows.append(canvas.freeze().rows[0])
        return rows
