"""The runs of a session in a table, as wide as there is room for."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events

from gemtop.charts.grid import Canvas, Cells
from gemtop.domain.text import text_width
from gemtop.tui.present import outcome_word
from gemtop.tui.run_list import COLUMNS, IMPORTANCE, RunLine, cell, role_of, run_lines
from gemtop.tui.widgets.cells import clip
from gemtop.tui.widgets.side_list import Item, SideList
from gemtop.view import SessionView

_GAP = 2
_LEAST_HEIGHT = 3
"""Of a table with headings."""
_WIDEST = {"variant": 22, "why": 200}
_LEAST = {"number": 3, "variant": 8, "decode": 6, "prefill": 7, "ttft": 6, "tokens": 6, "energy": 7, "verdict": 11}
"""Cells of a column that has nothing wider, so that the first run moves nothing."""
_LEAST_WHY = 12
_MARKS = {"valid": ("✓ ", "+ "), "not valid": ("✗ ", "! ")}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a column stands."""

    key: str
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
        self._lines: dict[str, RunLine] = {}
        self._widths: dict[str, int] = dict(_LEAST)
        self._places: tuple[_Place, ...] = ()

    @property
    def line(self) -> RunLine | None:
        """The run with the cursor."""
        return self._lines.get(self.at or "")

    @property
    def lines(self) -> tuple[RunLine, ...]:
        """All that is shown."""
        return tuple(self._lines.values())

    def show_view(self, view: SessionView) -> None:
        """Show the runs of this moment; only cells that changed are refreshed."""
        at_newest = self._at == 0
        lines = {str(line.run.number): line for line in run_lines(view)}
        if lines == self._lines:
            return
        self._lines = lines
        self._widen()
        many = "run" if len(lines) == 1 else "runs"
        self.set_title(f"{len(lines)} {many}" if lines else "runs")
        if at_newest:
            self._items, self._at = (), 0  # the cursor stays on the first line, not on the run that was there
        self.show_items([Item(key, "") for key in lines])

    def go_to(self, number: int) -> None:
        """The cursor onto a run, if it is there."""
        keys = list(self._lines)
        if str(number) in keys:
            self._at = keys.index(str(number))
            self.rebuild()

    def _widen(self) -> None:
        """Columns never get narrower: what is above and below a number stays where it is."""
        for line in self._lines.values():
            if line.change:
                continue
            for column in COLUMNS:
                extra = 2 if column.key == "verdict" else 0
                wanted = min(text_width(cell(line, column.key)) + extra, _WIDEST.get(column.key, 20))
                self._widths[column.key] = max(self._widths.get(column.key, 0), wanted)

    # Drawing

    def draw(self, width: int, height: int) -> Cells:
        heads = int(height >= _LEAST_HEIGHT and bool(self._items))
        self._places = self._layout(width)
        rows = super().draw(width, height - heads)
        if not heads:
            return rows
        canvas = Canvas(width, height)
        names = {column.key: column for column in COLUMNS}
        for place in self._places:
            column = names[place.key]
            x = place.x if column.left else place.x + place.cells - len(column.head)
            canvas.put(x, 0, clip(column.head, place.cells), "muted")
        canvas.paste(0, 1, rows)
        return canvas.freeze()

    def _layout(self, width: int) -> tuple[_Place, ...]:
        """Columns that find room, in their order."""
        kept: set[str] = set()
        used = -_GAP
        for key in IMPORTANCE:
            cells = self._widths.get(key, 0)
            if key == "why":
                cells = min(cells, max(_LEAST_WHY, width - used - _GAP)) if cells else 0
            if cells and used + _GAP + cells <= width:
                kept.add(key)
                used += _GAP + cells
        places, x = [], 0
        for column in COLUMNS:
            if column.key in kept:
                last = width - x
                cells = last if column.key == "why" else self._widths[column.key]
                places.append(_Place(column.key, x, cells))
                x += cells + _GAP
        return tuple(places)

    def draw_item(self, canvas: Canvas, y: int, item: Item, width: int) -> None:
        line = self._lines[item.key]
        numbers = self._widths["number"]
        if line.change:
            canvas.put(0, y, str(line.run.number).rjust(numbers), "muted")
            change = line.change.replace("→", "->") if self.ascii_only else line.change
            canvas.put(numbers + _GAP, y, clip(f"changed {change}", width - numbers - _GAP), "muted")
            return
        lefts = {column.key for column in COLUMNS if column.left}
        for place in self._places:
            text, role = self._cell(line, place.key)
            text = clip(text, place.cells)
            x = place.x if place.key in lefts else place.x + place.cells - text_width(text)
            canvas.put(x, y, text, role)

    def _cell(self, line: RunLine, key: str) -> tuple[str, str]:
        text = cell(line, key)
        if key == "variant":
            return text, role_of(line.run.variant)
        if key == "verdict":
            mark = _MARKS.get(text, ("", ""))[self.ascii_only]
            return mark + text, outcome_word(line.run)[1]
        if key in ("number", "why") or text == "-":
            return text, "muted"
        return text, "text"

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
