"""The SQL screen: queries and sessions on the left, editor and result on the right, the live session in the header."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.widgets import Input, TextArea

from gemtop.domain import sql_text
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.history.workbench import Workbench
from gemtop.tui.bindings import bindings
from gemtop.tui.completing import complete
from gemtop.tui.hints import SQL_EDITOR_KEYS, SQL_KEYS, SQL_LIST_KEYS
from gemtop.tui.screens.history_dialogs import NoteScreen, SaveQueryScreen, SaveScreen, SaveTo, WriteScreen
from gemtop.tui.screens.results import ResultScreen
from gemtop.tui.sql_present import session_sql, session_words, sql_header
from gemtop.tui.terminal_app import draw_frames
from gemtop.tui.widgets.completion_list import CompletionList
from gemtop.tui.widgets.header import HeaderLine
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.parameter_form import ParameterForm
from gemtop.tui.widgets.side_list import Item, SideList
from gemtop.tui.widgets.sql_editor import SqlEditor

if TYPE_CHECKING:
    from gemtop.config import Paths
    from gemtop.history.queries import NamedQuery
    from gemtop.history.workbench import SessionLine, View
    from gemtop.tui.app import GemtopApp

_SLIM = 72
"""Below so many columns the lists and the editor take turns."""
_OWN = "what you wrote"
_NO_SESSION = "no session yet: each sitting will be a line here, with what was run in it"


class HistoryScreen(ResultScreen):
    """Keeps its text and its result while it is left."""

    DEFAULT_CSS = """
    HistoryScreen {
        layers: base popup;
        #panes { height: 1fr; }
        #side { width: 30; }
        #main { width: 1fr; }
        #sql { height: 30%; min-height: 4; }
        &.-wide #side { width: 56; }
        &.-narrow #side { width: 26; }
        &.-slim #side { display: none; width: 1fr; }
        &.-slim.-lists #side { display: block; }
        &.-slim.-lists #main { display: none; }
        &.-writing HeaderLine { background: $error 50%; }
        &.-writing #sql { border: solid $error; }
        &.-narrow #about { max-height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        &.-narrow.-tall #about, &.-narrow.-high #about { max-height: 2; text-wrap: wrap; }
        &.-narrow .row Input { width: 14; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings(
        "history", "run", "save", "write", "lists", "rows", "editor", "fleet", "back", "leave", "annotate"
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
        self._sessions: dict[str, SessionLine] = {}

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
                yield from self.compose_result()
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

    # The lists

    def _read_queries(self) -> None:
        from gemtop.history.queries import library

        self._queries = library().queries
        items = [Item(q.name, q.name, f"own, {q.title}" if q.yours else q.title, not q.yours) for q in self._queries]
        if self._own_text.strip():
            items.insert(0, Item(_OWN, _OWN, "back"))
        self.query_one("#queries", SideList).show_items(items)

    def _look(self) -> None:
        """Read names for completion and the list of sessions."""

        def look() -> tuple[tuple[View, ...], tuple[SessionLine, ...]]:
            return self.bench.views(self.wait), self.bench.sessions(self.wait)

        def show(found: tuple[tuple[View, ...], tuple[SessionLine, ...]]) -> None:
            self._views, sessions = found
            self._sessions = {s.session_id: s for s in sessions}
            items = [Item(s.session_id, s.started, session_words(s)) for s in sessions]
            self.query_one("#sessions", SideList).show_items(items, _NO_SESSION)

        self.begin("reading the history", look, show)

    def on_side_list_moved(self, message: SideList.Moved) -> None:
        """Say what the query with the cursor shows, or what the session is."""
        query = next((q for q in self._queries if q.name == message.key), None)
        session = self._sessions.get(message.key)
        if self.busy:
            return
        if query is not None and message.owner.id == "queries":
            self.say(f"{query.title}. {query.sentence}")
        elif session is not None and message.owner.id == "sessions":
            self.say(f"{session.started}: {session_words(session)}")

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
        self._close_completion()

    def _close_completion(self) -> None:
        self.query_one("#completion", CompletionList).close()
        self.editor.list_open = False

    def on_parameter_form_submitted(self) -> None:
        self.action_run()

    # Running

    def action_run(self) -> None:
        """Run what is in the editor, or what is selected in it."""
        self._close_completion()
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
        if self.begin("the query", work, partial(self.show_result, writing)):
            self.say("writing ..." if writing else "running ... Esc stops it", "busy")

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
