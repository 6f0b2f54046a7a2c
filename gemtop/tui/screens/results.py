"""A screen with the result of a query, as a table or a plot, and what is done with it there."""

from __future__ import annotations

from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from gemtop.charts.xy import xy_spec
from gemtop.domain.text import one_line, printable
from gemtop.history.workbench import Workbench
from gemtop.tui.bindings import bindings
from gemtop.tui.recorded import read_pair
from gemtop.tui.screens.history_dialogs import ValueScreen
from gemtop.tui.screens.jobs import JobScreen
from gemtop.tui.sql_present import axis_kind, columns_of_plot, error_lines
from gemtop.tui.widgets.result_table import ResultTable
from gemtop.tui.widgets.xy_chart import XYChart

if TYPE_CHECKING:
    from gemtop.comparison.pairs import Pair
    from gemtop.history.results import Points, StoredResult

_MOST_COPIED = 1000
"""Rows: a terminal takes some 75 KB at once."""


class ResultScreen(JobScreen):
    """Sorts, plots and copies the rows of the last query, and holds the outputs of two of them side by side."""

    DEFAULT_CSS = """
    ResultScreen {
        #said { height: 1; max-height: 9; padding: 0 2; text-wrap: nowrap; text-overflow: ellipsis; }
        &.-narrow.-tall #said, &.-narrow.-high #said { height: 2; text-wrap: wrap; text-overflow: fold; }
        #said.-bad { color: $error; }
        #said.-busy { color: $warning; }
        #said.-bad, #said.-busy { height: auto; text-wrap: wrap; text-overflow: fold; }
        &.-narrow.-tall #said.-bad, &.-narrow.-tall #said.-busy { height: auto; min-height: 2; }
        &.-narrow.-high #said.-bad, &.-narrow.-high #said.-busy { height: auto; min-height: 2; }
        #plot { display: none; }
        &.-plot #plot { display: block; }
        &.-plot #table { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("history", "plot", "outputs", "copy")

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self._held_run: str | None = None
        """The first of two runs whose outputs are to be held side by side."""

    def compose_result(self) -> ComposeResult:
        """What was said of the last query, and its rows."""
        yield Static("", id="said", markup=False)
        yield ResultTable(id="table")
        yield XYChart(id="plot")

    @property
    def table(self) -> ResultTable:
        return self.query_one("#table", ResultTable)

    def say(self, words: str, kind: str = "") -> None:
        said = self.query_one("#said", Static)
        said.set_class(kind == "bad", "-bad")
        said.set_class(kind == "busy", "-busy")
        width = said.content_size.width
        if kind == "bad":
            words = "\n".join(error_lines(words, width))
        elif not kind and width:
            lines = wrap(words, width, max_lines=2 if self._has_two_lines else 1, placeholder=" …")
            words = "\n".join(lines)
        said.update(Content(printable(words)))

    @property
    def _has_two_lines(self) -> bool:
        """For what is said: a narrow screen cuts most of it off."""
        return "-narrow" in self.classes and bool({"-tall", "-high"} & set(self.classes))

    # The table

    def show_result(self, writing: bool, result: StoredResult) -> None:
        """In place of the one before; `writing` says that the statement may have changed the history."""
        before = self.table.result
        self.remove_class("-plot")
        self.table.show_result(result)
        if before is not None:
            self.run_worker(before.drop, thread=True, name="drop", exit_on_error=False)
        rows = f"{result.count:,} {'row' if result.count == 1 else 'rows'}"
        self.say(f"{rows} in {result.seconds:.2f} s" + (", written" if writing else ""))

    def on_result_table_sort_asked(self, message: ResultTable.SortAsked) -> None:
        result = self.table.result
        if result is None:
            return
        order = None if message.column is None else (message.column, message.descending)

        def show(_: None) -> None:
            if self.table.result is result:
                self.table.show_order(order)

        self.begin("sorting", partial(result.sort, message.column, message.descending), show)

    def on_result_table_looked_at(self, message: ResultTable.LookedAt) -> None:
        self.app.push_screen(ValueScreen(message.name, message.value, self.app.copy_to_clipboard))

    def on_result_table_marked(self) -> None:
        names = [self.table.result.columns[i].name for i in self.table.marks] if self.table.result else []
        words = {0: "no column is marked", 1: "x is {}; Space on another column makes it y"}
        self.say(words.get(len(names), "x is {}, y is {}; p plots them").format(*map(one_line, names)))

    def action_mark(self) -> None:
        self.table.action_mark()

    def action_sort(self) -> None:
        self.table.action_sort()

    # Outputs

    def action_outputs(self) -> None:
        """Hold the run of this row; that of the second row is shown beside it."""
        run_id, held = self.table.at_cursor("run_id"), self._held_run
        if not isinstance(run_id, str):
            self.say("d holds two runs side by side: go to a row with a run_id, such as those of a session", "bad")
        elif held is None or held == run_id:
            self._held_run = None if held else run_id
            words = "no run is held" if held else f"{run_id} is held; d on another run of the same prompt"
            self.say(one_line(words))
        else:
            self._held_run = None
            self.begin("reading the outputs", partial(read_pair, self.bench, held, run_id, self.wait), self._show_pair)

    def _show_pair(self, pair: Pair) -> None:
        from gemtop.tui.screens.outputs import OnePair, OutputsScreen

        self.app.push_screen(OutputsScreen(OnePair(pair)))

    # The plot

    def action_plot(self) -> None:
        """The marked columns as a plot in place of the table, and back."""
        if self.has_class("-plot"):
            self.remove_class("-plot")
            self.table.focus()
            return
        result, table = self.table.result, self.table
        marks = columns_of_plot(result.columns, table.marks, table.column) if result is not None else None
        if result is None or marks is None:
            self.say("Space marks two columns of the table: the first is x, the second, a number, is y", "bad")
            return
        x, y = marks
        self.begin("reading the columns", partial(result.points, x, y), partial(self._show_plot, result, x, y))

    def _show_plot(self, result: StoredResult, x: int, y: int, points: Points) -> None:
        columns = result.columns
        kind, joined = axis_kind(columns[x]), points.rising
        spec = xy_spec(columns[x].name, columns[y].name, points.points, kind, points.names, joined=joined)
        note = f"  ({points.left_out:,} of {result.count:,} rows have no place in it)" if points.left_out else ""
        self.add_class("-plot")
        chart = self.query_one("#plot", XYChart)
        chart.show_spec(spec, note)
        chart.focus()

    # The clipboard

    def action_copy(self) -> None:
        """The rows into the clipboard of the terminal (OSC 52), over SSH as well."""
        result = self.table.result
        if result is None:
            self.notify("there are no rows to copy yet", severity="warning")
            return
        self.app.copy_to_clipboard(self.table.as_tsv(_MOST_COPIED))
        count = min(result.count, _MOST_COPIED)
        rest = f" of {result.count:,}; Ctrl-S saves them all" if count < result.count else ""
        self.notify(f"{count:,} rows{rest} copied with tabs, if your terminal allows it", timeout=4)
