"""What can be chosen in a query: a line for each of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.history.queries import Parameter, Value


class ParameterForm(VerticalScroll, can_focus=False):
    """Title and fields. What was typed for a name is there again when the name is."""

    DEFAULT_CSS = """
    ParameterForm {
        height: auto; max-height: 40%; padding: 0 2; scrollbar-size: 1 1;
        #about { height: auto; max-height: 2; color: $text-muted; }
        .row { height: 1; }
        .row .name { width: auto; min-width: 8; padding-right: 1; }
        .row Input { width: 28; height: 1; border: none; background: $boost; }
        .row Input:focus { background: $panel; }
        .row Input.-invalid { color: $error; }
        .row .note { width: 1fr; padding-left: 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    class Submitted(Message):
        """Enter was pressed in a field."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._parameters: tuple[Parameter, ...] = ()
        self._declared: frozenset[str] = frozenset()
        self._typed: dict[str, str] = {}
        self._about = ""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self._parameters

    def compose(self) -> ComposeResult:
        yield Static("", id="about", markup=False)

    async def show_form(self, about: str, parameters: Sequence[Parameter], declared: frozenset[str]) -> None:
        """Fields for these; `declared` are the names whose type is known, others take what they read as."""
        if about != self._about:
            self._about = about
            self._show_about()
        self.query_one("#about").display = bool(about)
        self.display = bool(about or parameters)
        self._declared = declared
        if tuple(parameters) == self._parameters:
            return
        self._parameters = tuple(parameters)
        await self.query(".row").remove()
        width = max((len(p.name) for p in parameters), default=0)
        for p in parameters:
            default = "null" if p.default is None else str(p.default).lower() if p.type == "boolean" else str(p.default)
            note = f"{p.type}: {p.description}" if p.name in declared else "a number, true or false, null, or text"
            row = Horizontal(
                Static(Content(p.name.ljust(width)), classes="name"),
                Input(self._typed.get(p.name, default), name=p.name, compact=True, select_on_focus=False),
                Static(Content(one_line(note)), classes="note"),
                classes="row",
            )
            await self.mount(row)

    def _show_about(self) -> None:
        """With an ellipsis where the lines it may take do not hold it."""
        about, words = self.query_one("#about", Static), one_line(self._about)
        width, most = self.scrollable_content_region.width, about.styles.max_height
        if width and most is not None and most.value > 1:
            words = "\n".join(wrap(words, width, max_lines=int(most.value), placeholder=" …"))
        about.update(Content(words))

    def on_resize(self) -> None:
        self._show_about()

    def forget(self) -> None:
        """Another query: its defaults are shown."""
        self._typed = {}
        self._parameters = ()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        name = event.input.name or ""
        self._typed[name] = event.value
        try:
            self._value(name, event.value)
        except BadInputError:
            event.input.add_class("-invalid")
        else:
            event.input.remove_class("-invalid")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Submitted())

    def _value(self, name: str, text: str) -> Value:
        parameter = next((p for p in self._parameters if p.name == name), None)
        if parameter is not None and name in self._declared:
            return parameter.parse(text.strip() if parameter.type != "text" else text)
        low = text.strip().lower()
        if low in ("null", "true", "false"):
            return {"null": None, "true": True, "false": False}[low]
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
        return text

    def values(self) -> Mapping[str, Value]:
        """The values to bind. Raises BadInputError; the field that is wrong has the keys then."""
        found: dict[str, Value] = {}
        for field in self.query(Input):
            try:
                found[field.name or ""] = self._value(field.name or "", field.value)
            except BadInputError:
                field.focus()
                raise
        return found
