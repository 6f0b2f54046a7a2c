"""The SQL screen: queries and sessions on the left, editor and result on the right, the live session in the header."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static, TextArea

from gemtop.charts.xy import xy_spec
from gemtop.domain import sql_text
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line, printable
from gemtop.history.workbench import Workbench
from gemtop.tui.bindings import bindings
from gemtop.tui.completing import complete
from gemtop.tui.hints import SQL_EDITOR_KEYS, SQL_KEYS, SQL_LIST_KEYS
from gemtop.tui.recorded import read_pair
from gemtop.tui.screens.history_dialogs import NoteScreen, SaveQueryScreen, SaveScreen, SaveTo, ValueScreen, WriteScreen
from gemtop.tui.screens.jobs import JobScreen
from gemtop.tui.sql_present import axis_kind, columns_of_plot, error_lines, session_sql, sql_header
from gemtop.tui.terminal_app import draw_frames
from gemtop.tui.widgets.completion_list import CompletionList
from gemtop.tui.widgets.header import HeaderLine
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.parameter_form import ParameterForm
from gemtop.tui.widgets.result_table import ResultTable
from gemtop.tui.widgets.side_list import Item, SideList
from gemtop.tui.widgets.sql_editor import SqlEditor
from gemtop.tui.widgets.xy_chart import XYChart

if TYPE_CHECKING:
    from gemtop.comparison.pairs import Pair
    from gemtop.config import Paths
    from gemtop.history.queries import NamedQuery
    from gemtop.history.results import Points, StoredResult
    from gemtop.history.workbench import SessionLine, View
    from gemtop.tui.app import GemtopApp

_SLIM = 72
"""Below so many columns the lists and the editor take turns."""
_MOST_COPIED = 1000
"""Rows: a terminal takes some 75 KB at once."""
_OWN = "what you wrote"


class HistoryScreen(JobScreen):
    """Keeps its text and its result while it is left."""

    DEFAULT_CSS = """
    HistoryScreen {
        layers: base popup;
        #panes { height: 1fr; }
        #side { width: 30; }
        #main { width: 1fr; }
        #sql { height: 30%; min-height: 4; }
        #said { height: 1; max-height: 9; padding: 0 2; text-wrap: nowrap; text-overflow: ellipsis; }
        #said.-bad { color: $error; }
        #said.-busy { color: $warning; }
        #said.-bad, #said.-busy { height: auto; text-wrap: wrap; text-overflow: fold; }
        #plot { display: none; }
        &.-plot #plot { display: block; }
        &.-plot #table { display: none; }
        &.-wide #side { width: 44; }
        &.-narrow #side { width: 26; }
        &.-slim #side { display: none; width: 1fr; }
        &.-slim.-lists #side { display: block; }
        &.-slim.-lists #main { display: none; }
        &.-writing HeaderLine { background: $error 50%; }
        &.-writing #sql { border: solid $error; }
        &.-narrow #about { max-height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings(
        "history",
        *(
            "run",
            "save",
            "write",
            "lists",
            "rows",
            "editor",
            "fleet",
            "back",
            "leave",
            "plot",
            "annotate",
            "outputs",
            "copy",
        ),
    )

    MODE = "history"
    key_scopes = ("history", "list", "app", "program")

    def __init__(self, paths: Paths) -> None:
        super().__init__(Workbench(paths))
        self._queries: tuple[NamedQuery, ...] = ()
        self._query: NamedQuery | None = None
        """The named query that was taken into the editor last."""
        self._own_text = ""
        """What the user had in the editor before a query or a session was taken into it."""
        self._shown_sql = ""
        """What was put into the editor last."""
        self._views: tuple[View, ...] = ()
        self._held_run: str | None = None
        """The first of two runs whose outputs are to be held side by side."""

    @property
    def _app(self) -> GemtopApp:
        return cast("GemtopApp", self.app)

    @property
    def writing(self) -> bool:
        """Statements may change the history."""
        return self.has_class("-writing")

    # The parts

    @property
    def editor(self) -> SqlEditor:
        return self.query_one("#sql", SqlEditor)

    @property
    def table(self) -> ResultTable:
        return self.query_one("#table", ResultTable)

    @property
    def _form(self) -> ParameterForm:
        return self.query_one("#form", ParameterForm)

    def compose(self) -> ComposeResult:
        yield from self.compose_top()
        with Horizontal(id="panes"):
            with Vertical(id="side"):
                yield SideList("queries", id="queries")
                yield SideList("sessions", "looking ...", id="sessions")
            with Container(id="main"):
                yield ParameterForm(id="form")
                yield SqlEditor(id="sql")
                yield Static("", id="said", markup=False)
                yield ResultTable(id="table")
                yield XYChart(id="plot")
        yield CompletionList(id="completion")
        yield KeyLine(SQL_KEYS, id="keys")

    def on_mount(self) -> None:
        self._form.display = False
        self._show_lists(True)
        self.query_one("#queries").focus()
        draw_frames(self, self._show_header)
        self._read_queries()
        self.say("Enter on a query or a session runs it; F5 runs what is in the editor")

    def on_screen_resume(self) -> None:
        self._show_header(at_once=True)
        if not self.busy:
            self._look()

    def on_resize(self) -> None:
        self.set_class(self.size.width < _SLIM, "-slim")
        self._show_lists(isinstance(self.focused, SideList))

    def _show_lists(self, shown: bool) -> None:
        """Where there is no room for both: the lists, or the editor and the rows."""
        self.set_class(shown and self.size.width < _SLIM, "-lists")

    def on_unmount(self) -> None:
        self.bench.close()

    def _show_header(self, at_once: bool = False) -> None:
        if not at_once and self.app.screen is not self:
            return
        session = self._app.session
        view = session.view() if session is not None else None
        self.query_one("#header", HeaderLine).show_text(sql_header(view, self.writing, self.bench.fleet))
        self.show_marks()

    def say(self, words: str, kind: str = "") -> None:
        said = self.query_one("#said", Static)
        said.set_class(kind == "bad", "-bad")
        said.set_class(kind == "busy", "-busy")
        lines = error_lines(words, said.content_size.width) if kind == "bad" else [words]
        said.update(Content(printable("\n".join(lines))))

    # The lists

    def _read_queries(self) -> None:
        from gemtop.history.queries import library

        self._queries = library().queries
        items = [Item(q.name, q.name, "own" if q.yours else "") for q in self._queries]
        if self._own_text.strip():
            items.insert(0, Item(_OWN, _OWN, "back"))
        self.query_one("#queries", SideList).show_items(items)

    def _look(self) -> None:
        """Read names for completion and the list of sessions."""

        def look() -> tuple[tuple[View, ...], tuple[SessionLine, ...]]:
            return self.bench.views(self.wait), self.bench.sessions(self.wait)

        def show(found: tuple[tuple[View, ...], tuple[SessionLine, ...]]) -> None:
            self._views, sessions = found
            items = [
                Item(s.session_id, s.started, f"{s.runs} {'run' if s.runs == 1 else 'runs'}  {s.models}".rstrip())
                for s in sessions
            ]
            self.query_one("#sessions", SideList).show_items(items, "no session yet")

        self.begin("reading the history", look, show)

    def on_side_list_moved(self, message: SideList.Moved) -> None:
        """Say what the query with the cursor shows."""
        query = next((q for q in self._queries if q.name == message.key), None)
        if query is not None and message.owner.id == "queries" and not self.busy:
            self.say(f"{query.title}. {query.sentence}")

    def action_annotate(self) -> None:
        """Note and tags of the session with the cursor."""
        from gemtop.history import annotating

        if self.bench.fleet is not None:
            self.say("notes and tags are written on the machine of the session, and go to the fleet with gemtop sync")
            return
        sessions, paths = self.query_one("#sessions", SideList), self._app.paths
        if self.focused is not sessions or sessions.at is None:
            self.say("e writes a note and tags of a session: go to one in the list of sessions (F2, Tab)")
            return

        def ask(found: annotating.Annotation) -> None:
            def keep(answer: Any) -> None:
                if answer is not None:
                    wanted = annotating.Annotation(found.session_id, *answer)
                    work = partial(annotating.write, paths, wanted, self.wait)
                    self.begin("writing the note", work, lambda _: self.say("note and tags are kept"))

            self.app.push_screen(NoteScreen(words=found.note, tags=" ".join(found.tags)), keep)

        self.begin("reading the session", partial(annotating.read, paths, sessions.at, self.wait), ask)

    async def on_side_list_chosen(self, message: SideList.Chosen) -> None:
        if self.busy:
            self.notify(f"{self._job} goes on; Esc stops it", severity="warning", markup=False)
            return
        if message.owner.id == "sessions":
            await self._take(session_sql(message.key), None)
        elif message.key == _OWN:
            await self._take(self._own_text, None)
            self.editor.focus()
            return
        else:
            query = next(q for q in self._queries if q.name == message.key)
            await self._take(sql_text.without_header(query.sql), query)
        self._show_lists(False)
        self.action_run()

    async def _take(self, sql: str, query: NamedQuery | None) -> None:
        """Put SQL into the editor; what the user has written there is kept in the list."""
        text = self.editor.text
        if text.strip() and text != self._shown_sql:
            self._own_text = text
            self._read_queries()
        if query is not self._query:
            self._form.forget()
        self._query, self._shown_sql = query, sql
        self.editor.show_sql(sql)
        await self._show_form()

    def action_choose(self) -> None:
        if isinstance(self.focused, SideList):
            self.focused.action_choose()

    # The editor

    def action_complete(self) -> None:
        self.editor.action_complete()

    async def on_text_area_changed(self, event: TextArea.Changed) -> None:
        await self._show_form()

    async def _show_form(self) -> None:
        """Fields for the parameters that the text names; the query's own words while it is still that query."""
        from gemtop.history.queries import Parameter

        query, text = self._query, self.editor.text
        declared = {p.name: p for p in query.parameters} if query is not None else {}
        fields = [declared.get(name, Parameter(name, "text", None, "")) for name in sql_text.parameters(text)]
        about = f"{query.title}. {query.sentence}" if query is not None and text == self._shown_sql else ""
        await self._form.show_form(about, fields, frozenset(declared))

    def on_sql_editor_completion_asked(self, message: SqlEditor.CompletionAsked) -> None:
        editor, words = self.editor, self.query_one("#completion", CompletionList)
        found = complete(editor.text, editor.offset_of_cursor, self._views, asked=message.asked)
        if not found.candidates or not editor.has_focus:
            words.close()
        else:
            x, y = editor.cursor_screen_offset
            x -= editor.offset_of_cursor - found.start
            words.open_at(found, x, y, self.size.width, self.size.height)
        editor.list_open = words.is_open

    def on_sql_editor_list_key(self, message: SqlEditor.ListKey) -> None:
        editor, words = self.editor, self.query_one("#completion", CompletionList)
        if not words.is_open:
            return
        if message.what in ("up", "down"):
            words.move(1 if message.what == "down" else -1)
            return
        if message.what == "accept":
            editor.put(words.completion.start, words.chosen.text)
        words.close()
        editor.list_open = False

    def on_parameter_form_submitted(self) -> None:
        self.action_run()

    # Running

    def action_run(self) -> None:
        """Run what is in the editor, or what is selected in it."""
        sql = self.editor.selected_text.strip() or self.editor.text
        if not sql.strip():
            self.say("there is no SQL to run; Enter on a query takes one into the editor", "bad")
            return
        try:
            values = self._form.values()
        except BadInputError as error:
            self.say(str(error), "bad")
            return
        named = {name: values[name] for name in sql_text.parameters(sql) if name in values}
        writing = self.writing
        work = partial(self.bench.run, sql, named, writing=writing, on_wait=self.wait)
        if self.begin("the query", work, partial(self._show_result, writing)):
            self.say("writing ..." if writing else "running ... Esc stops it", "busy")

    def _show_result(self, writing: bool, result: StoredResult) -> None:
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

    # Saving

    def action_save(self) -> None:
        if self.app.screen is not self:
            return
        if self.table.result is None:
            self._save_query()
            return
        name = self._query.name if self._query is not None else "result"
        self.app.push_screen(SaveScreen(file=f"{name}.csv"), self._save)

    def _save(self, answer: Any) -> None:
        result = self.table.result
        if answer == "query":
            self._save_query()
        elif isinstance(answer, SaveTo) and result is not None:

            def show(size: int) -> None:
                self.say(f"{result.count:,} rows in {one_line(str(answer.path))}, {size:,} bytes")

            if self.begin("saving", partial(result.save, answer.path, answer.kind), show):
                self.say("saving ... Esc stops it", "busy")

    def _save_query(self) -> None:
        sql = self.editor.text
        if not sql.strip():
            self.say("there is neither a result nor SQL to save", "bad")
            return
        declared = self._query.parameters if self._query is not None else ()

        def saved(path: Any) -> None:
            if path is not None:
                self._shown_sql = sql
                self._read_queries()
                self.say(f"saved: gemtop query {path.stem}   ({one_line(str(path))})")

        self.app.push_screen(SaveQueryScreen(sql, declared), saved)

    # Writing

    def action_write(self) -> None:
        if self.app.screen is not self:
            return
        if self.writing:
            self._allow(False)
        elif self.bench.fleet is not None:
            self.say("the fleet is read here, not written; F6 goes back to this machine's history", "bad")
        else:
            self.app.push_screen(WriteScreen(), self._allow)

    def _allow(self, yes: bool | None) -> None:
        self.set_class(bool(yes), "-writing")
        self._show_header(at_once=True)
        self.say(
            "statements change the history from now on; Ctrl-W makes it read-only again" if yes else "read-only",
            "bad" if yes else "",
        )

    # The fleet

    def action_fleet(self) -> None:
        """From this machine's history to the fleet, and back."""
        from gemtop.history import lake

        if self.app.screen is not self:
            return
        if self.busy:
            self.say(f"{self._job} goes on; Esc stops it", "busy")
            return
        try:
            other = None if self.bench.fleet is not None else lake.configured()
        except BadInputError as error:
            self.say(str(error), "bad")
            return
        if self.writing:
            self._allow(False)
        self.bench.fleet = other
        self._show_header(at_once=True)
        self._look()
        self.say("queries ask this machine's history" if other is None else f"queries ask the fleet {other.shown}")

    # Going

    def action_lists(self) -> None:
        """To the lists, and back to the editor."""
        if self.app.screen is not self:
            return
        if isinstance(self.focused, SideList):
            self.action_editor()
        else:
            self._show_lists(True)
            self.query_one("#queries").focus()

    def action_rows(self) -> None:
        """To the table, or the plot in its place."""
        if self.app.screen is self:
            self._show_lists(False)
            self.query_one("#plot" if self.has_class("-plot") else "#table").focus()

    def action_editor(self) -> None:
        if self.app.screen is self:
            self._show_lists(False)
            self.editor.focus()

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

    def action_back(self) -> None:
        """Esc: close what is open, stop what runs, else go back to the live screen."""
        if self.stop():
            return
        if self.has_class("-plot"):
            self.action_plot()
        else:
            self.action_leave()

    def action_leave(self) -> None:
        if self.writing:
            self._allow(False)
        self._app.action_show("live")

    def on_descendant_focus(self) -> None:
        self.show_keys()

    def on_descendant_blur(self) -> None:
        self.show_keys()

    def show_keys(self) -> None:
        focused = self.focused
        typing = isinstance(focused, (SqlEditor, Input))
        lists = isinstance(focused, SideList)
        hints = SQL_EDITOR_KEYS if typing else SQL_LIST_KEYS if lists else SQL_KEYS
        if self.busy:
            hints = tuple(h._replace(text="Stop") if "history.back" in h.actions else h for h in hints)
        self.query_one("#keys", KeyLine).show_hints(hints)
