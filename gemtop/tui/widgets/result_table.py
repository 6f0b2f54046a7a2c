"""Rows of a result: however many there are, those in view are asked for and no others."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from gemtop.charts.colours import named_variant_role
from gemtop.charts.grid import Canvas, Cells, badge
from gemtop.charts.spec import Reading
from gemtop.domain.text import one_line, text_width
from gemtop.history.formats import NULL, short
from gemtop.tui.bindings import bindings
from gemtop.tui.widgets.cells import CellWidget, clip, put_words

if TYPE_CHECKING:
    from gemtop.history.results import StoredResult

_BLOCK = 64
"""Rows are asked for in blocks of so many."""
_KEPT_BLOCKS = 32
_MEASURED_ROWS = 2 * _BLOCK
"""Widths of columns follow from the first rows, and from the extremes of numbers, and stay."""
_WIDEST = 40
_CHARACTERS = 400
"""As many of a long text are looked at for a cell."""
_LEFT = 2
_GAP = 2


class ResultTable(CellWidget, can_focus=True):
    """A cursor on a cell; Space marks the columns of a plot, o sorts by the column."""

    DEFAULT_CSS = "ResultTable { height: 1fr; width: 1fr; min-height: 3; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("list", "up", "down", "page_up", "page_down"),
        Binding("ctrl+home,g", "move(-1000000000000)", show=False),
        Binding("ctrl+end,G", "move(1000000000000)", show=False),
        Binding("left", "across(-1)", show=False),
        Binding("right", "across(1)", show=False),
        Binding("home", "across(-100000)", show=False),
        Binding("end", "across(100000)", show=False),
        *bindings("history", "mark", "sort", "look"),
    ]

    class SortAsked(Message):
        """Rows are wanted in the order of a column; None is the order they came in."""

        def __init__(self, column: int | None, descending: bool) -> None:
            self.column, self.descending = column, descending
            super().__init__()

    class Marked(Message):
        """Other columns are marked."""

    class LookedAt(Message):
        """A value is wanted whole."""

        def __init__(self, name: str, value: Any) -> None:
            self.name, self.value = name, value
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(title="result", framed=True, id=id)
        self._result: StoredResult | None = None
        self._blocks: OrderedDict[int, list[tuple[Any, ...]]] = OrderedDict()
        self._widths: list[int] = []
        self._row = self._column = self._top = self._left = 0
        self.marks: list[int] = []
        """Columns of a plot: x, then y."""
        self.order: tuple[int, bool] | None = None
        """The column rows are sorted by, and whether from the largest on."""

    @property
    def result(self) -> StoredResult | None:
        return self._result

    @property
    def column(self) -> int:
        """The column with the cursor."""
        return self._column

    def show_result(self, result: StoredResult) -> None:
        """Show another result from its beginning; marks stay where the columns are the same."""
        same = self._result is not None and self._result.columns == result.columns
        self._result = result
        self._row = self._top = 0
        self.order = None
        self._blocks.clear()
        if not same:
            self._column = self._left = 0
            self.marks = []
        rows = [row for first in range(0, _MEASURED_ROWS, _BLOCK) for row in self._block(first // _BLOCK)]
        self._widths = []
        for index, column in enumerate(result.columns):
            values = [row[index] for row in rows] + list(result.extremes.get(index, ()))
            cells = max((text_width(_cell(value)) for value in values), default=0)
            self._widths.append(min(max(cells, text_width(one_line(column.name)) + 2, 4), _WIDEST))
        self.rebuild()

    def show_order(self, order: tuple[int, bool] | None) -> None:
        """The result has been sorted."""
        self.order = order
        self._row = self._top = 0
        self._blocks.clear()
        self.rebuild()

    def as_tsv(self, most_rows: int) -> str:
        """The rows as they are ordered, at most so many, with a line of names; tabs and line ends within are blanks."""
        result = self._result
        if result is None:
            return ""
        lines = ["\t".join(one_line(column.name) for column in result.columns)]
        lines += [
            "\t".join("" if value is None else one_line(str(value)) for value in row)
            for row in result.rows(0, most_rows)
        ]
        return "\n".join(lines) + "\n"

    def at_cursor(self, name: str) -> Any:
        """What the row with the cursor has in the column of this name; None where there is none."""
        names = [column.name for column in self._result.columns] if self._result else []
        row = self._row_at(self._row) if name in names else None
        return None if row is None else row[names.index(name)]

    def _block(self, number: int) -> list[tuple[Any, ...]]:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        assert self._result is not None
        rows = self._result.rows(number * _BLOCK, _BLOCK)
        self._blocks[number] = rows
        if len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return rows

    def _row_at(self, row: int) -> tuple[Any, ...] | None:
        block = self._block(row // _BLOCK)
        return block[row % _BLOCK] if row % _BLOCK < len(block) else None

    # Drawing

    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        result = self._result
        if result is None or not height:
            put_words(canvas, "nothing has been run yet; F5 runs what is in the editor")
            return canvas.freeze()
        self._settle(width, height - 1)
        for index, x, room in self._columns(width):
            self._draw_head(canvas, index, x, room)
        for y in range(1, height):
            number = self._top + y - 1
            row = self._row_at(number) if number < result.count else None
            if row is None:
                break
            for index, x, room in self._columns(width):
                here = number == self._row and index == self._column
                self._draw_cell(canvas, row[index], index, x, y, room, here)
                if here:
                    canvas.tint(x, y, room, "prompt" if self.has_focus else "other")
            if number == self._row:
                canvas.put(0, y, self._stroke("▸", ">"), "prompt")
        if not result.count:
            canvas.put(_LEFT, 1, clip("no rows", width - _LEFT), "placeholder")
        return canvas.freeze()

    def _columns(self, width: int) -> list[tuple[int, int, int]]:
        """(column, its first cell, cells) of those in view; the last may be cut."""
        found, x = [], _LEFT
        for index in range(self._left, len(self._widths)):
            room = min(self._widths[index], width - x)
            if room < min(3, self._widths[index]):
                break
            found.append((index, x, room))
            x += self._widths[index] + _GAP
        return found

    def _draw_head(self, canvas: Canvas, index: int, x: int, room: int) -> None:
        assert self._result is not None
        column = self._result.columns[index]
        mark = " " + "xy"[self.marks.index(index)] if index in self.marks else ""
        if self.order is not None and self.order[0] == index:
            mark += self._stroke("▼", "v") if self.order[1] else self._stroke("▲", "^")
        words = clip(one_line(column.name), room - text_width(mark)) + mark
        start = x + room - text_width(words) if column.numeric and room == self._widths[index] else x
        canvas.put(start, 0, words, "key" if index in self.marks else "title")

    def _draw_cell(self, canvas: Canvas, value: Any, index: int, x: int, y: int, room: int, here: bool) -> None:
        assert self._result is not None
        column = self._result.columns[index]
        text = clip(_cell(value), room)
        if column.numeric and room == self._widths[index]:
            x += room - text_width(text)
        role = "muted" if value is None else "text"
        if column.name == "variant" and isinstance(value, str):
            role = named_variant_role(value) if here else badge(named_variant_role(value))
        canvas.put(x, y, text, role)

    def _settle(self, width: int, height: int) -> None:
        """Bring the cursor into view, by half a view where it has left it."""
        assert self._result is not None
        count = self._result.count
        if height > 0:
            if not self._top <= self._row < self._top + height:
                self._top = self._row - height // 2
            self._top = max(0, min(self._top, count - height))
        if self._column < self._left:
            self._left = self._column
        while self._left < self._column:
            shown = {index: room for index, _, room in self._columns(width)}
            if shown.get(self._column) == self._widths[self._column]:
                break
            self._left += 1
        self._say_where()

    def _say_where(self) -> None:
        assert self._result is not None
        count = self._result.count
        where = f"{min(self._row + 1, count):,} of {count:,}"
        self.set_title("result", [Reading("row", where, width=2 * len(f"{count:,}") + 4)])

    # Moving

    def action_move(self, way: int) -> None:
        if self._result is not None and self._result.count:
            self._row = max(0, min(self._row + way, self._result.count - 1))
            self.rebuild()

    def action_page(self, way: int) -> None:
        self.action_move(way * max(1, self.inner_size()[1] - 2))

    def action_across(self, way: int) -> None:
        if self._widths:
            self._column = max(0, min(self._column + way, len(self._widths) - 1))
            self.rebuild()

    def action_mark(self) -> None:
        """Mark the column: the first one is x, the second y; a third takes the place of y."""
        if not self._widths:
            return
        if self._column in self.marks:
            self.marks.remove(self._column)
        else:
            self.marks = [*self.marks[:1], self._column]
        self.rebuild()
        self.post_message(self.Marked())

    def action_sort(self) -> None:
        """Up, down, and as it came."""
        if not self._widths:
            return
        column = self._column
        if self.order == (column, True):
            self.post_message(self.SortAsked(None, False))
        else:
            self.post_message(self.SortAsked(column, self.order == (column, False)))

    def action_look(self) -> None:
        row = self._row_at(self._row) if self._result is not None and self._result.count else None
        if row is not None and self._result is not None:
            self.post_message(self.LookedAt(self._result.columns[self._column].name, row[self._column]))

    def on_click(self, event: events.Click) -> None:
        """On a name: sort; on a cell: go there."""
        x, y = event.x - 2, event.y - 1
        hit = next((i for i, at, room in self._columns(self.inner_size()[0]) if at <= x < at + room + _GAP), None)
        if self._result is None or hit is None or not 0 <= y < self.inner_size()[1]:
            return
        event.stop()
        self._column = hit
        if y == 0:
            self.action_sort()
        elif self._top + y - 1 < self._result.count:
            self._row = self._top + y - 1
        self.rebuild()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_move(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_move(3)


def _cell(value: Any) -> str:
    """A value on one line, harmless."""
    if value is None:
        return NULL
    return short(value[:_CHARACTERS] if isinstance(value, str) else value)
