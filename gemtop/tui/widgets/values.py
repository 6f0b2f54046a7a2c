"""Labelled values in columns that stay where they are while the values change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gemtop.charts.grid import BADGE, Canvas, Cells
from gemtop.domain.ascii_text import to_ascii
from gemtop.domain.text import printable, text_width
from gemtop.tui.widgets.cells import CellWidget, clip

_GAP = 3
"""Blanks between one pair and the next; fewer where the width is short."""


@dataclass(frozen=True, slots=True)
class Value:
    """A label and its value. The value is right-aligned in its column, or left-aligned for words."""

    label: str
    text: str
    role: str = "text"
    label_role: str = "muted"
    left: bool = False


class ValueGrid(CellWidget):
    """Rows of label and value pairs, one above the other.

    Columns are as wide as the widest value they have held, so that a number that grows by a digit moves
    nothing twice. A new number of columns or a new size starts afresh.
    """

    DEFAULT_CSS = """
    ValueGrid { height: auto; width: 1fr; }
    """

    scrolls = False
    """The frame says how many rows are below those that find room: one can go to them."""

    def __init__(
        self,
        *,
        title: str = "",
        framed: bool = False,
        ascii_only: bool | None = None,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(title=title, framed=framed, ascii_only=ascii_only, name=name, id=id, classes=classes)
        self._rows: tuple[tuple[Value, ...], ...] = ()
        self._label_cells: list[int] = []
        self._value_cells: list[int] = []
        self._width = 0

    def show_rows(self, rows: Sequence[Sequence[Value]]) -> None:
        """Show these rows; only cells that changed are refreshed."""
        new = tuple(tuple(map(self._shown, row)) for row in rows)
        if new == self._rows and self._width:
            return
        taller = len(new) != len(self._rows)
        self._rows = new
        self._widen()
        if taller and self.styles.is_auto_height:
            self.refresh(layout=True)
        self.rebuild()

    def _shown(self, value: Value) -> Value:
        """The value in what this terminal can show; a badge has a blank at either end."""
        if self.ascii_only:
            value = replace(value, label=to_ascii(value.label), text=to_ascii(value.text))
        text = _line(value.text)
        return replace(value, label=_line(value.label), text=f" {text} " if value.role.startswith(BADGE) else text)

    def forget_widths(self) -> None:
        """Let columns be as narrow as what comes next: the values are of something else from now on."""
        self._width = 0

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """As high as there are rows, with frame or title."""
        return len(self._rows) + (2 if self.framed else 1 if self.has_title_row else 0)

    def _widen(self) -> None:
        columns = max((len(row) for row in self._rows), default=0)
        if columns != len(self._label_cells):
            self._label_cells = [0] * columns
            self._value_cells = [0] * columns
        for row in self._rows:
            for column, value in enumerate(row):
                if column == 0 and len(row) == 1 and columns > 1:
                    continue
                self._label_cells[column] = max(self._label_cells[column], text_width(value.label))
                self._value_cells[column] = max(self._value_cells[column], text_width(value.text))

    def draw(self, width: int, height: int) -> Cells:
        """The rows; what finds no room on the right is cut with an ellipsis."""
        if width != self._width:
            self._width = width
            self._label_cells = []
            self._widen()
        self.rows_below = len(self._rows) - height if self.scrolls else 0
        canvas = Canvas(width, height)
        columns = len(self._label_cells)
        wanted = sum(self._label_cells) + sum(map(bool, self._label_cells)) + sum(self._value_cells)
        gap = max(1, min(_GAP, (width - wanted) // max(1, columns - 1)))
        for y, row in enumerate(self._rows[:height]):
            x = 0
            alone = len(row) == 1 and len(self._label_cells) > 1
            for column, value in enumerate(row):
                label_cells = text_width(value.label) if alone else self._label_cells[column]
                value_cells = text_width(value.text) if alone else self._value_cells[column]
                room = max(0, width - x - label_cells - bool(label_cells))
                text = clip(value.text, room)
                canvas.put(x, y, clip(value.label, max(0, width - x)), value.label_role)
                x += label_cells + bool(label_cells)
                pad = 0 if value.left else max(0, min(value_cells, width - x) - text_width(text))
                canvas.put(x + pad, y, text, value.role)
                x += value_cells + gap
        return canvas.freeze()


def _line(text: str) -> str:
    """In one line, with the blanks that keep its parts apart."""
    return printable(" ".join(text.splitlines()).replace("\t", " "))


def fitting(parts: Sequence[str], room: int, gap: str = ", ") -> str:
    """The first of these parts that there is room for; of the first alone a piece when it is drawn."""
    words = ""
    for part in parts:
        longer = f"{words}{gap}{part}" if words else part
        if words and text_width(longer) > room:
            break
        words = longer
    return words
