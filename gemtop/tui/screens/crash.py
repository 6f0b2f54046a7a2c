"""llama.cpp gave up: what it said, and the way on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.tui.app import GemtopApp


class CrashScreen(ModalScreen[None]):
    """Shown when ggml called abort: its state is lost, everything else is here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,r", "restart", "Start anew"),
        Binding("w", "restart_alone", "Start anew without the RPC servers"),
        Binding("escape", "dismiss", "Look around"),
        Binding("q", "leave", "Quit"),
    ]

    def __init__(self, words: str, rpc_servers: tuple[str, ...] = ()) -> None:
        """What llama.cpp said, and the RPC servers in use, which may be what was lost."""
        super().__init__()
        self._words = words
        self._rpc_servers = rpc_servers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("llama.cpp gave up", classes="title")
            yield Static(self._words, id="crash-words", markup=False)
            yield Static(
                "What was measured is kept, and the session is recorded as crashed. llama.cpp cannot go on in this "
                "process: r starts gemtop anew, here, with the same model, settings and conversation.",
                markup=False,
            )
            if self._rpc_servers:
                servers = one_line(", ".join(self._rpc_servers))
                yield Static(
                    f"If an RPC server was lost, w starts without {servers}, on this machine's devices alone.",
                    markup=False,
                )
            with Horizontal(id="buttons"):
                yield Button("Start anew (r)", id="restart", variant="primary", compact=True)
                if self._rpc_servers:
                    yield Button("Without RPC (w)", id="alone", compact=True)
                yield Button("Look around (Esc)", id="look", compact=True)
                yield Button("Quit (q)", id="leave", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "restart":
                self.action_restart()
            case "alone":
                self.action_restart_alone()
            case "leave":
                self.action_leave()
            case _:
                self.dismiss()

    def action_restart(self) -> None:
        cast("GemtopApp", self.app).restart()

    def action_restart_alone(self) -> None:
        if self._rpc_servers:
            cast("GemtopApp", self.app).restart(alone=True)

    def action_leave(self) -> None:
        cast("GemtopApp", self.app).action_leave()
