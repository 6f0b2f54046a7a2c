"""llama.cpp gave up: what it said, and the way on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

if TYPE_CHECKING:
    from gemtop.tui.app import GemtopApp


class CrashScreen(ModalScreen[None]):
    """Shown when ggml called abort: its state is lost, everything else is here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,r", "restart", "Start anew"),
        Binding("escape", "dismiss", "Look around"),
        Binding("q", "leave", "Quit"),
    ]

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("llama.cpp gave up", classes="title")
            yield Static(self._words, id="crash-words", markup=False)
            yield Static(
                "What was measured is kept, and the session is recorded as crashed. llama.cpp cannot go on in this "
                "process: r starts gemtop anew, here, with the same model, settings and conversation.",
                markup=False,
            )
            with Horizontal(id="buttons"):
                yield Button("Start anew (r)", id="restart", variant="primary", compact=True)
                yield Button("Look around (Esc)", id="look", compact=True)
                yield Button("Quit (q)", id="leave", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "restart":
                self.action_restart()
            case "leave":
                self.action_leave()
            case _:
                self.dismiss()

    def action_restart(self) -> None:
        cast("GemtopApp", self.app).restart()

    def action_leave(self) -> None:
        cast("GemtopApp", self.app).action_leave()
