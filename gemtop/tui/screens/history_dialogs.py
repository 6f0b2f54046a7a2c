"""Dialogs of the SQL screen: saving, the warning before writing, and a value as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.tui.widgets.stream import StreamView

if TYPE_CHECKING:
    from gemtop.history.queries import Parameter

SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".json": "json"}


@dataclass(frozen=True, slots=True)
class SaveTo:
    """A file for the result."""

    path: Path
    kind: str


class Form(ModalScreen[Any]):
    """A few fields; Enter goes on, Esc leaves. A second Enter replaces what is there."""

    DEFAULT_CSS = """
    Form { align: center middle; background: $background 60%; }
    .sql-dialog Input { width: 1fr; }
    .sql-dialog .row Label { width: 11; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Leave"),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]
    TITLE_WORDS = ""
    FIELDS: tuple[tuple[str, str], ...] = ()
    NOTE = ""

    def __init__(self, **values: str) -> None:
        super().__init__()
        self._values = values
        self._asked: tuple[str, ...] | None = None
        """What was in the fields when it was asked whether to replace a file."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog sql-dialog"):
            yield Static(self.TITLE_WORDS, classes="title")
            for name, label in self.FIELDS:
                with Horizontal(classes="row"):
                    yield Label(label)
                    yield Input(self._values.get(name, ""), id=name, compact=True, select_on_focus=False)
            yield Static(self.NOTE, id="note", classes="note", markup=False)

    def field(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def say(self, words: str) -> None:
        note = self.query_one("#note", Static)
        note.update(Content(one_line(words)))
        note.add_class("-bad")

    def may_replace(self, path: Path) -> bool:
        """Whether Enter was pressed again on what would replace a file; the first time it is asked."""
        values = tuple(field.value for field in self.query(Input))
        if self._asked == values:
            return True
        self._asked = values
        self.say(f"{path} exists; Enter again replaces it, Esc leaves it")
        return False


class SaveScreen(Form):
    """Where to save the result; the end of the name says in which format."""

    TITLE_WORDS = "save the result"
    FIELDS = (("file", "file"),)
    NOTE = ".csv, .parquet or .json; Enter saves all rows, Esc leaves. Ctrl-S: save the SQL as a query"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+s", "as_query", "As a query", priority=True)]

    def action_as_query(self) -> None:
        self.dismiss("query")

    def on_input_submitted(self) -> None:
        name = self.field("file")
        path = Path(name).expanduser()
        kind = SUFFIXES.get(path.suffix.lower())
        if not name or kind is None:
            self.say("the name has to end in .csv, .parquet or .json")
        elif not path.absolute().parent.is_dir():
            self.say(f"there is no folder {path.absolute().parent}")
        elif path.is_dir():
            self.say(f"{path} is a folder")
        elif not path.exists() or self.may_replace(path):
            self.dismiss(SaveTo(path.absolute(), kind))


class NoteScreen(Form):
    """Note and tags of a session; the answer is the two, the tags apart."""

    TITLE_WORDS = "note and tags of a session"
    FIELDS = (("words", "note"), ("tags", "tags"))
    NOTE = "blanks separate tags; gemtop sessions --tag TAG lists its sessions. Enter keeps both, Esc leaves"

    def on_input_submitted(self) -> None:
        from gemtop.history.manage import checked_tags

        tags = tuple(self.field("tags").split())
        try:
            checked_tags(tags)
        except BadInputError as error:
            self.say(str(error))
            return
        self.dismiss((self.field("words"), tags))


class SaveQueryScreen(Form):
    """Name, title and sentence of a query of the user's own."""

    TITLE_WORDS = "save the SQL as a query"
    FIELDS = (("name", "name"), ("title", "title"), ("sentence", "sentence"))
    NOTE = "it will be in the list, and gemtop query NAME runs it; Enter saves, Esc leaves"

    def __init__(self, sql: str, declared: Sequence[Parameter], **values: str) -> None:
        super().__init__(**values)
        self._sql, self._declared = sql, declared

    def on_input_submitted(self) -> None:
        from gemtop.history import own_queries

        given = (self.field("name"), self.field("title"), self.field("sentence"))
        for name, value in zip(("name", "title", "sentence"), given, strict=True):
            if not value:  # Enter goes on to what is still to be filled in
                self.query_one(f"#{name}", Input).focus()
                self.say(f"a query has a {name}")
                return
        try:
            self.dismiss(own_queries.save(*given, self._sql, self._declared, replace=self._asked == given))
        except FileExistsError as exists:
            self.may_replace(Path(str(exists)))
        except BadInputError as error:
            self.say(str(error))


class WriteScreen(ModalScreen[bool]):
    """The warning before statements may change the history."""

    DEFAULT_CSS = """
    WriteScreen { align: center middle; background: $background 60%; }
    WriteScreen .dialog { border: round $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "dismiss(True)", "Allow"),
        Binding("escape,n,q", "dismiss(False)", "Leave"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("allow statements to change the history?", classes="title")
            yield Static(
                "What is run then can change and delete what was measured, for good; nothing asks again. Several "
                "statements run at once happen all or not at all. A copy of the file is a good beginning.\n"
                "It is off again with Ctrl-W, and when the SQL screen is left."
            )
            yield Static("Enter allows it, Esc keeps it read-only", classes="note")


class ValueScreen(ModalScreen[None]):
    """A value as a whole."""

    DEFAULT_CSS = """
    ValueScreen { align: center middle; background: $background 60%; }
    ValueScreen .dialog { height: 80%; width: 90%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss", "Close")]

    def __init__(self, name: str, value: Any, copy: Callable[[str], None]) -> None:
        super().__init__()
        self._name_of, self._value, self._copy = name, value, copy

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield StreamView(title=one_line(self._name_of), framed=False, id="value")
            yield Static("Esc closes, the arrows scroll", classes="note")

    def on_mount(self) -> None:
        from gemtop.history.formats import NULL, exact

        view = self.query_one("#value", StreamView)
        view.append(NULL if self._value is None else exact(self._value))
        view.action_top()
        view.focus()
