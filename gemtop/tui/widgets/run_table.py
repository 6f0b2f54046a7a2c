"""The runs of a session in a table, as wide as there is room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events

from gemtop.charts.grid import Canvas, Cells
from gemtop.domain.text import text_width
from gemtop.tui.widgets.cells import clip, plain
from gemtop.tui.widgets.side_list import Item, SideList

if TYPE_CHECKING:
    from gemtop.view import SessionView

_GAP = 2
_LEAST_HEIGHT = 3
"""Of a table with headings."""
_LEAST_WHY = 12
_MARKS = {"valid": ("✓ ", "+ "), "not valid": ("✗ ", "! ")}


@dataclass(frozen=True, slots=True)
class Column:
    key: str
    head: str
    least: int
    """Cells where nothing is wider, so that the first run moves nothing."""
    widest: int = 20
    left: bool = False
    """Words, not numbers."""


COLUMNS = (
    Column("number", "run", 3),
    Column("variant", "variant", 8, 22, left=True),
    Column("decode", "decode", 6),
    Column("prefill", "prefill", 7),
    Column("ttft", "TTFT s", 6),
    Column("tokens", "tokens", 6),
    Column("energy", "J/token", 7),
    Column("verdict", "verdict", 11, left=True),
    Column("why", "", 0, 200, left=True),
)
IMPORTANCE = ("number", "variant", "verdict", "decode", "ttft", "tokens", "energy", "prefill", "why")
"""Where there is no room for all columns, the last of these are left out."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, or the change of settings that it made."""

    number: int
    change: str
    """What was changed, and how long that took; such a row has no cells."""
    cells: Mapping[str, tuple[str, str]]
    """Text and colour role by column."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a column stands."""

    column: Column
    x: int
    cells: int


class RunTable(SideList):
    """The newest run first; the cursor stays with it until it is moved. Enter or a click asks for a run's details.

    The message is SideList.Chosen, its key the run's number.
    """

    def __init__(
        self, placeholder: str = "runs are listed here", *, quiet: bool = False, id: str | None = None
    ) -> None:
        """`quiet` draws the cursor only while the keys go here."""
        super().__init__("runs", placeholder, id=id)
        self.quiet = quiet
        self._rows: dict[str, RunRow] = {}
        self._widths = {column.key: column.least for column in COLUMNS}
        self._places: tuple[_Place, ...] = ()

    @property
    def number(self) -> int | None:
        """The run with the cursor."""
        return int(self.at) if self.at is not None else None

    def show_view(self, view: SessionView) -> None:
        """Show the runs of this moment; only cells that changed are refreshed."""
        from gemtop.tui.run_list import run_lines, table_rows

        self.show_rows(table_rows(run_lines(view)))

    def show_rows(self, rows: Sequence[RunRow]) -> None:
        """Show these, the newest first."""
        at_newest, found = self._at == 0, {str(row.number): row for row in rows}
        if found == self._rows:
            return
        self._rows = found
        self._widen()
        many = "run" if len(rows) == 1 else "runs"
        self.set_title(f"{len(rows)} {many}" if rows else "runs")
        if at_newest:
            self._items, self._at = (), 0  # the cursor stays on the first line, not on the run that was there
        self.show_items([Item(key, "") for key in found])

    def go_to(self, number: int) -> None:
        """The cursor onto a run, if it is there."""
        keys = list(self._rows)
        if str(number) in keys:
            self._at = keys.index(str(number))
            self.rebuild()

    def _widen(self) -> None:
        """Columns never get narrower: what is above and below a number stays where it is."""
        for row in self._rows.values():
            for column in COLUMNS:
                text = row.cells.get(column.key, ("", ""))[0]
                wanted = text_width(text) + (len(_MARKS[text][0]) if text in _MARKS else 0)
                self._widths[column.key] = max(self._widths[column.key], min(wanted, column.widest))

    # Drawing

    def draw(self, width: int, height: int) -> Cells:
        heads = int(height >= _LEAST_HEIGHT and bool(self._items))
        self._places = self._layout(width)
        rows = super().draw(width, height - heads)
        if not heads:
            return rows
        canvas = Canvas(width, height)
        for place in self._places:
            head = clip(place.column.head, place.cells)
            canvas.put(place.x if place.column.left else place.x + place.cells - len(head), 0, head, "muted")
        canvas.paste(0, 1, rows)
        return canvas.freeze()

    def _layout(self, width: int) -> tuple[_Place, ...]:
        """Columns that find room, in their order; what is at the end is cut."""
        kept, used = set[str](), -_GAP
        for key in IMPORTANCE:
            cells = self._widths[key]
            least = min(cells, _LEAST_WHY) if key == "why" else cells
            if cells and used + _GAP + least <= width:
                kept.add(key)
                used += _GAP + least
        places, x = list[_Place](), 0
        for column in COLUMNS:
            if column.key in kept:
                places.append(_Place(column, x, min(self._widths[column.key], width - x)))
                x += self._widths[column.key] + _GAP
        return tuple(places)

    def draw_item(self, canvas: Canvas, y: int, item: Item, width: int) -> None:
        row = self._rows[item.key]
        if row.change:
            x = self._widths["number"]
            canvas.put(0, y, item.key.rjust(x), "muted")
            canvas.put(x + _GAP, y, clip(plain(f"changed {row.change}"), width - x - _GAP), "muted")
            return
        for place in self._places:
            text, role = row.cells.get(place.column.key, ("", ""))
            text = clip(_MARKS.get(text, ("", ""))[self.ascii_only] + text, place.cells)
            x = place.x if place.column.left else place.x + place.cells - text_width(text)
            canvas.put(x, y, text, role)

    def on_click(self, event: events.Click) -> None:
        """A line below the headings."""
        event.prevent_default()  # else the base class takes it too, a line further up
        height = self.inner_size()[1]
        heads = int(height >= _LEAST_HEIGHT)
        at = self._top + event.y - 1 - heads
        if 1 + heads <= event.y <= height and at < len(self._items):
            event.stop()
            self._at = at
            self.rebuild()
            self.action_choose()
