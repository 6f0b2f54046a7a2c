"""Rows made for a width, with a scroll of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType

from gemtop.charts.grid import Canvas, CellRow, Cells, blank_row
from gemtop.domain.text import text_width
from gemtop.tui.bindings import bindings
from gemtop.tui.widgets.cells import CellWidget

_WHEEL_ROWS = 3
_FAR = 1_000_000_000
MakeRows = Callable[[int], Sequence[CellRow]]
"""The rows, each as wide as it is told."""


class RowsView(CellWidget, can_focus=True):
    """Shows what `show_rows` was given; a note at the lower right says when there is more below."""

    DEFAULT_CSS = "RowsView { height: 1fr; width: 1fr; min-height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("list"),
        Binding("space", "page(1)", show=False),
    ]

    def __init__(self, *, title: str = "", framed: bool = False, id: str | None = None) -> None:
        super().__init__(title=title, framed=framed, id=id)
        self._make: MakeRows | None = None
        self._rows: Sequence[CellRow] = ()
        self._width = 0
        self._top = 0

    @property
    def top(self) -> int:
        """The first row shown."""
        return self._top

    def show_rows(self, make: MakeRows, *, from_top: bool = False) -> None:
        """Show other rows, where the view is, or from their beginning."""
        self._make, self._width = make, 0
        if from_top:
            self._top = 0
        self.rebuild()

    def scroll_to_row(self, row: int) -> None:
        self._top = row
        self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        if self._make is None or not width or not height:
            return Canvas(width, height).freeze()
        if width != self._width:
            self._rows, self._width = self._make(width), width
        self._top = max(0, min(self._top, len(self._rows) - height))
        shown = list(self._rows[self._top : self._top + height])
        shown += [blank_row(width)] * (height - len(shown))
        if self._top + height < len(self._rows):
            canvas = Canvas(width, 1)
            canvas.paste(0, 0, Cells(width, 1, (shown[-1],)))
            note = self._stroke(" ↓ more ", " v more ")
            canvas.put(width - text_width(note), 0, note, "prompt")
            shown[-1] = canvas.freeze().rows[0]
        return Cells(width, height, tuple(shown))

    def action_move(self, rows: int) -> None:
        """Scroll by rows; negative is up."""
        self.scroll_to_row(max(0, self._top + rows))

    def action_first(self) -> None:
        self.action_move(-_FAR)

    def action_last(self) -> None:
        self.action_move(_FAR)

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self.inner_size()[1] - 1))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_move(-_WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_move(_WHEEL_ROWS)
