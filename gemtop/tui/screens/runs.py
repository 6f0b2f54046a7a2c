"""The runs of this session, and all there is to know of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.screen import ModalScreen

from gemtop.charts.grid import Canvas, CellRow, Cells
from gemtop.domain.text import printable
from gemtop.keymap import hint
from gemtop.tui.run_list import RunLine, details, run_lines, table_rows, tsv
from gemtop.tui.widgets.cells import clip
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.rows_view import RowsView
from gemtop.tui.widgets.run_table import RunTable
from gemtop.tui.widgets.styled import styled_rows
from gemtop.view import SessionView

_LOOK_S = 0.5
_LABEL = 22
_EMPTY = "no run yet; each will be a line here, with its verdict"
_KEYS = (
    hint("", "Details", fixed="Enter", run="details"),
    hint("", "Copy as TSV", fixed="y", run="copy"),
    hint("", "Back", fixed="Esc", run="back", stays=True),
)


class RunsScreen(ModalScreen[None]):
    """A table and the details of the run with the cursor; where both do not fit, Enter and Esc go to and fro."""

    DEFAULT_CSS = """
    RunsScreen { align: center middle; background: $background 60%; }
    RunsScreen #sheet {
        width: 94%; max-width: 190; height: 90%; border: round $primary; background: $surface; padding: 0 1;
    }
    RunsScreen #both { height: 1fr; layout: vertical; }
    RunsScreen RunTable { height: 2fr; }
    RunsScreen #details { height: 3fr; }
    RunsScreen KeyLine { background: $surface; }
    RunsScreen.-wide #both { layout: horizontal; }
    RunsScreen.-wide RunTable { height: 1fr; width: 5fr; }
    RunsScreen.-wide #details { height: 1fr; width: 3fr; }
    RunsScreen.-narrow #sheet, RunsScreen.-low #sheet, RunsScreen.-flat #sheet, RunsScreen.-tiny #sheet {
        width: 100%; height: 100%;
    }
    RunsScreen.-low #details, RunsScreen.-flat #details, RunsScreen.-tiny #details { display: none; }
    RunsScreen.looking #details { display: block; }
    RunsScreen.-low.looking RunTable, RunsScreen.-flat.looking RunTable, RunsScreen.-tiny.looking RunTable {
        display: none;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "back", show=False),
        Binding("enter", "details", show=False),
        Binding("y", "copy", show=False),
    ]

    def __init__(self, look: Callable[[], SessionView], number: int | None = None) -> None:
        """`look` gives the session as it is; `number` is the run to begin with, else it is the newest."""
        super().__init__()
        self._look = look
        self._number = number
        self._lines: dict[int, RunLine] = {}
        self._detailed: RunLine | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet"):
            with Container(id="both"):
                yield RunTable(_EMPTY, id="runs-of-session")
                yield RowsView(framed=True, title="details", id="details")
            yield KeyLine(_KEYS)

    def on_mount(self) -> None:
        self._table.focus()
        self._show()
        if self._number is not None:
            self._table.go_to(self._number)
            self._show_details()
            self.call_after_refresh(self.action_details)
        self.set_interval(_LOOK_S, self._show)

    @property
    def _table(self) -> RunTable:
        return self.query_one(RunTable)

    @property
    def _line(self) -> RunLine | None:
        """The run with the cursor."""
        return self._lines.get(self._table.number or 0)

    def _show(self) -> None:
        lines = run_lines(self._look())
        self._lines = {line.run.number: line for line in lines}
        self._table.show_rows(table_rows(lines))
        self._show_details()

    def _show_details(self) -> None:
        line, before = self._line, self._detailed
        if line == before:
            return
        self._detailed = line
        another = line is None or before is None or line.run.number != before.run.number
        self.query_one("#details", RowsView).show_rows(lambda width: detail_rows(line, width), from_top=another)

    def on_side_list_moved(self) -> None:
        self._show_details()

    def on_side_list_chosen(self) -> None:
        self._show_details()
        self.action_details()

    def action_details(self) -> None:
        """To the details of the run with the cursor."""
        if self._line is not None:
            self.add_class("looking")
            self.query_one("#details").focus()

    def action_back(self) -> None:
        """From the details to the table, and from there away."""
        if self.has_class("looking"):
            self.remove_class("looking")
            self._table.focus()
        else:
            self.dismiss()

    def action_copy(self) -> None:
        """All runs, or in the details the one that is shown, into the clipboard of the terminal (OSC 52)."""
        line = self._line
        if line is None:
            self.notify("there is no run to copy yet", severity="warning")
            return
        looking = self.has_class("looking")
        lines = list(self._lines.values())
        self.app.copy_to_clipboard(printable(tsv([line] if looking else lines)))
        what = f"run {line.run.number}" if looking else f"{len(lines)} runs"
        self.notify(f"{what} copied with tabs between columns, if your terminal allows it", timeout=4)


def detail_rows(line: RunLine | None, width: int) -> list[CellRow]:
    """The details in two columns, wrapped."""
    if line is None:
        return []
    label_cells = min(_LABEL, width // 3)
    rows: list[CellRow] = []
    for label, value, role in details(line):
        if not value:
            rows += [_row("", "", width)] * bool(rows) + [_row(label, "title", width)]
            continue
        indent = label_cells + 1 if label or len(value) < width - label_cells else 0
        for number, words in enumerate(styled_rows([(value, role)], max(1, width - indent))):
            canvas = Canvas(width, 1)
            canvas.put(0, 0, clip("" if number else label, label_cells), "muted")
            canvas.paste(indent, 0, Cells(len(words.glyphs), 1, (words,)))
            rows.append(canvas.freeze().rows[0])
    return rows


def _row(text: str, role: str, width: int) -> CellRow:
    canvas = Canvas(width, 1)
    canvas.put(0, 0, clip(text, width), role)
    return canvas.freeze().rows[0]
