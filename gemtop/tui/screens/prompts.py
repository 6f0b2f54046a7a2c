"""Prompts to choose from, and saving one under a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.keymap import hint
from gemtop.prompts import saved
from gemtop.tui.prompt_list import Entry, Listed, listed, matching
from gemtop.tui.screens.history_dialogs import Form
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.side_list import Item, SideList
from gemtop.tui.widgets.stream import StreamView

_KEYS = (
    hint("", "Take", fixed="Enter", run="take"),
    hint("", "Find", fixed="/", run="find"),
    hint("", "Save", fixed="Ctrl-S", run="save"),
    hint("", "Delete", fixed="d", run="delete"),
    hint("", "Back", fixed="Esc", run="dismiss", stays=True),
)
_FIND = "/ comes here: words of the name, the set or the text"
_NOTHING_SAVED = "nothing is saved yet: Ctrl-S, here or in the prompt line, saves a prompt under a name"


class PromptList(SideList):
    """A click goes to a line, another one on it takes the prompt."""

    def on_click(self, event: events.Click) -> None:
        event.prevent_default()  # else the base class takes it too
        at = self._top + event.y - 1
        if 1 <= event.y <= self.inner_size()[1] and at < len(self._items):
            event.stop()
            if at == self._at:
                self.action_choose()
            else:
                self.action_move(at - self._at)


class PromptsScreen(ModalScreen[str | None]):
    """A list with a preview; the answer is the prompt that was taken."""

    DEFAULT_CSS = """
    PromptsScreen { align: center middle; background: $background 60%; }
    PromptsScreen #picker {
        width: 92%; max-width: 160; height: 86%; max-height: 50;
        border: round $primary; background: $surface; padding: 0 1;
    }
    PromptsScreen #finder { height: 1; }
    PromptsScreen #finder Label { width: 6; text-style: bold; }
    PromptsScreen #find { height: 1; border: none; width: 1fr; background: $boost; }
    PromptsScreen #find:focus { background: $panel; }
    PromptsScreen #both { height: 1fr; layout: horizontal; }
    PromptsScreen #list { width: 2fr; }
    PromptsScreen #preview { width: 3fr; }
    PromptsScreen #note { height: auto; max-height: 3; color: $text-muted; }
    PromptsScreen KeyLine { background: $surface; }
    PromptsScreen.-narrow #picker, PromptsScreen.-tiny #picker { width: 100%; height: 100%; }
    PromptsScreen.-narrow #both { layout: vertical; }
    PromptsScreen.-narrow #list, PromptsScreen.-narrow #preview { width: 1fr; height: 1fr; }
    PromptsScreen.-flat #preview { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", show=False),
        Binding("slash", "find", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("ctrl+s", "save", show=False),
        Binding("d,delete", "delete", show=False),
    ]

    def __init__(self, earlier: Sequence[str] = ()) -> None:
        """`earlier` are the prompts that were run before, the newest last."""
        super().__init__()
        self._earlier = tuple(earlier)
        self._listed = Listed(())
        self._by_key: dict[str, Entry] = {}
        self._previewed: Entry | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="picker"):
            with Horizontal(id="finder"):
                yield Label("find")
                yield Input(placeholder=_FIND, id="find", compact=True, select_on_focus=False)
            with Container(id="both"):
                yield PromptList("", "reading the sets ...", id="list")
                yield StreamView(framed=True, id="preview")
            yield Static("", id="note", markup=False)
            yield KeyLine(_KEYS)

    def on_mount(self) -> None:
        self._list.focus()
        self._read()

    @property
    def _list(self) -> PromptList:
        return self.query_one(PromptList)

    @property
    def _entry(self) -> Entry | None:
        """The prompt with the cursor."""
        return self._by_key.get(self._list.at or "")

    def _read(self) -> None:
        def read() -> None:
            found = listed(self._earlier)
            self.app.call_from_thread(self._show, found)

        self.run_worker(read, thread=True, name="sets", exit_on_error=False)

    def _show(self, found: Listed) -> None:
        if not self.is_attached:
            return
        self._listed = found
        nothing = not any(entry.is_saved for entry in found.entries)
        self._say("; ".join(found.problems) or (_NOTHING_SAVED if nothing else ""), bad=bool(found.problems))
        self._filter()

    def _say(self, words: str, *, bad: bool = False) -> None:
        note = self.query_one("#note", Static)
        note.update(Content.styled(one_line(words), "$text-error" if bad else ""))
        note.display = bool(words)

    def _filter(self) -> None:
        typed = self.query_one("#find", Input).value
        entries = matching(self._listed.entries, typed)
        self._by_key = {entry.key: entry for entry in entries}
        many = "prompt" if len(entries) == 1 else "prompts"
        self._list.set_title(f"{len(entries)} {many}")
        items = [Item(entry.key, one_line(entry.name), entry.group) for entry in entries]
        self._list.show_items(items, placeholder="none holds this")
        self._preview()

    def _preview(self) -> None:
        entry, view = self._entry, self.query_one("#preview", StreamView)
        if entry == self._previewed:
            return
        self._previewed = entry
        view.clear()
        view.set_title("" if entry is None or entry.name in entry.text else entry.name)
        view.append(entry.text if entry else " ")
        view.action_top()

    # What the user does

    def on_input_changed(self) -> None:
        self._filter()

    def on_input_submitted(self) -> None:
        self.action_take()

    def on_side_list_moved(self) -> None:
        self._preview()

    def on_side_list_chosen(self) -> None:
        self.action_take()

    def action_move(self, way: int) -> None:
        self._list.action_move(way)

    def action_page(self, way: int) -> None:
        self._list.action_page(way)

    def action_find(self) -> None:
        self.query_one("#find", Input).focus()

    def action_take(self) -> None:
        entry = self._entry
        if entry is not None:
            self.dismiss(entry.text)

    def action_save(self) -> None:
        entry = self._entry
        if entry is not None:
            self.app.push_screen(
                SavePromptScreen(entry.text, "" if entry.is_saved else entry.name), lambda _: self._read()
            )

    def action_delete(self) -> None:
        """Ask, and take a saved prompt away."""
        entry = self._entry
        if entry is None or isinstance(self.focused, Input):
            return
        if not entry.is_saved:
            self._say("only saved prompts are deleted here; others are in files of their own, or ship with gemtop")
            return

        def answered(sure: bool | None) -> None:
            if sure:
                try:
                    saved.delete(entry.name)
                except BadInputError as error:
                    self._say(str(error), bad=True)
                    return
                self._read()

        self.app.push_screen(DeleteScreen(entry.name), answered)


class DeleteScreen(ModalScreen[bool]):
    """Whether a saved prompt is to go."""

    DEFAULT_CSS = """
    DeleteScreen { align: center middle; background: $background 60%; }
    DeleteScreen .dialog { border: round $error; }
    DeleteScreen KeyLine { background: $surface; dock: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y,d", "dismiss(True)", show=False),
        Binding("escape,n,q", "dismiss(False)", show=False),
    ]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._prompt_name = name

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(f"delete the saved prompt {one_line(self._prompt_name)}?", classes="title", markup=False)
            yield Static(f"It is taken out of {one_line(str(saved.saved_file()))}.", classes="note", markup=False)
            yield KeyLine(
                (
                    hint("", "Delete", fixed="Enter", run="dismiss(True)"),
                    hint("", "Keep", fixed="Esc", run="dismiss(False)"),
                )
            )


class SavePromptScreen(Form):
    """The name to save a prompt under."""

    DEFAULT_CSS = "SavePromptScreen { align: center middle; background: $background 60%; }"
    TITLE_WORDS = "save the prompt"
    FIELDS = (("name", "name"),)
    NOTE = "p lists it, and gemtop compare --prompts saved asks it; Enter saves, Esc leaves"

    def __init__(self, text: str, name: str = "") -> None:
        super().__init__(name=saved.name_for(name or text))
        self._text = text

    def on_input_submitted(self) -> None:
        name = self.field("name")
        replacing = self._asked == (name,)
        try:
            file = saved.save(name, self._text, replacing=replacing)
        except saved.NameTakenError:
            self._asked = (name,)
            self.say("a prompt of that name is saved already; Enter again replaces it and what is kept with it")
        except BadInputError as error:
            self.say(str(error))
        else:
            self.notify(f"saved as {saved.checked_name(name)} in {one_line(str(file))}", timeout=4, markup=False)
            self.dismiss(file)
