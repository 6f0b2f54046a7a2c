"""llama.cpp gave up, or a model could not be loaded for want of an RPC server: what it said, and the ways on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from gemtop.domain.text import one_line
from gemtop.engine import rpc

if TYPE_CHECKING:
    from gemtop.tui.app import GemtopApp


class CrashScreen(ModalScreen[None]):
    """Shown when ggml called abort: its state is lost, everything else is here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,r", "again", "Again"),
        Binding("w", "without", "Without the RPC servers that are lost"),
        Binding("escape", "dismiss", "Look around"),
        Binding("q", "leave", "Quit"),
    ]
    TITLE = "llama.cpp gave up"
    EXPLANATION = (
        "What was measured is kept, and the session is recorded as crashed. llama.cpp cannot go on in this process: "
        "r starts gemtop anew, here, with the same model, settings and conversation."
    )
    AGAIN = "Start anew (r)"

    def __init__(self, words: str, rpc_servers: tuple[str, ...] = ()) -> None:
        """What llama.cpp said, and the RPC servers in use, of which those that are lost can be left out."""
        super().__init__()
        self._words = words
        self._rpc_servers = rpc_servers
        self._lost: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self.TITLE, classes="title")
            yield Static(self._words, id="crash-words", markup=False)
            yield Static(self.EXPLANATION, markup=False)
            yield Static("", id="lost", markup=False)
            with Horizontal(id="buttons"):
                yield Button(self.AGAIN, id="again", variant="primary", compact=True)
                yield Button("Without it (w)", id="without", compact=True)
                yield Button("Look around (Esc)", id="look", compact=True)
                yield Button("Quit (q)", id="leave", compact=True)

    def on_mount(self) -> None:
        self.query_one("#lost").display = self.query_one("#without").display = False
        if self._rpc_servers:
            self.run_worker(self._look, thread=True, name="lost", exit_on_error=False)

    def _look(self) -> None:
        """Find out which servers do not answer; a machine that is gone takes seconds to be missed."""
        lost = rpc.lost(self._rpc_servers)
        if lost:
            self.app.call_from_thread(self._offer, lost)

    def _offer(self, lost: tuple[str, ...]) -> None:
        self._lost = lost
        words = self.query_one("#lost", Static)
        words.update(f"No RPC server answers at {one_line(', '.join(lost))}: w goes on without.")
        words.display = self.query_one("#without").display = True

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "again":
                self.action_again()
            case "without":
                self.action_without()
            case "leave":
                self.action_leave()
            case _:
                self.dismiss()

    def action_again(self) -> None:
        cast("GemtopApp", self.app).restart()

    def action_without(self) -> None:
        if self._lost:
            cast("GemtopApp", self.app).restart(without=self._lost)

    def action_leave(self) -> None:
        cast("GemtopApp", self.app).action_leave()


class LostServersScreen(CrashScreen):
    """Shown when a model cannot be loaded because an RPC server does not answer: this process is sound."""

    TITLE = "the model could not be loaded"
    EXPLANATION = "r tries again, once the server is there."
    AGAIN = "Try again (r)"

    def action_again(self) -> None:
        self._open(())

    def action_without(self) -> None:
        if self._lost:
            self._open(self._lost)

    def _open(self, lost: tuple[str, ...]) -> None:
        self.dismiss()
        cast("GemtopApp", self.app).open_again(lost)
