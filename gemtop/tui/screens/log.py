"""The log: what llama.cpp says, and what gemtop has to add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from gemtop.tui.bindings import bindings
from gemtop.tui.hints import LOG_KEYS
from gemtop.tui.screens.base import ModeScreen
from gemtop.tui.terminal_app import draw_frames
from gemtop.tui.widgets.header import HeaderLine
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.stream import StreamView

if TYPE_CHECKING:
    from gemtop.domain.events import LogLine
    from gemtop.tui.app import GemtopApp

_KEEP_LINES = 20_000
_ROLES = {"warn": "warn", "error": "bad"}
_LOUD = frozenset(_ROLES)


class LogScreen(ModeScreen):
    """Every line since the start, or those that hold a text, or warnings and errors alone."""

    DEFAULT_CSS = """
    LogScreen #find { display: none; height: 1; border: none; padding: 0 1; background: $boost; }
    LogScreen.-finding #find { display: block; }
    """
    MODE = "log"
    key_scopes = ("log", "text", "app", "program")
    BINDINGS: ClassVar[list[BindingType]] = bindings("log")

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[LogLine] = []
        self._count = 0
        self._loud = False
        """Warnings and errors alone."""
        self._wanted = ""

    @property
    def _view(self) -> StreamView:
        return self.query_one("#lines", StreamView)

    def compose(self) -> ComposeResult:
        yield from self.compose_top()
        yield StreamView(
            title="llama.cpp",
            framed=True,
            id="lines",
            placeholder="llama.cpp's messages appear here as it loads and runs",
        )
        yield Input(placeholder="lines that hold this text; Enter keeps it, Esc shows all", id="find", compact=True)
        yield KeyLine(LOG_KEYS, id="keys")

    def on_mount(self) -> None:
        self._view.focus()
        draw_frames(self, self.look)
        self.look()

    def on_screen_resume(self) -> None:
        self.look()

    # What is shown

    def look(self) -> None:
        """Show what has come since."""
        session = cast("GemtopApp", self.app).session
        if session is None or not self.is_current:
            return
        from gemtop.tui.present import header_text

        self.query_one("#header", HeaderLine).show_text(header_text(session.view(0)))
        self.show_marks()
        self._count, new = session.log_since(self._count)
        self._lines += new
        del self._lines[:-_KEEP_LINES]
        self._add([line for line in new if self._is_wanted(line)])

    def _is_wanted(self, line: LogLine) -> bool:
        return (not self._loud or line.level in _LOUD) and self._wanted.lower() in line.text.lower()

    @property
    def _shown(self) -> list[LogLine]:
        return [line for line in self._lines if self._is_wanted(line)]

    def _add(self, lines: Sequence[LogLine]) -> None:
        if lines:
            self._view.add_lines((line.text, _ROLES.get(line.level, "muted")) for line in lines)

    def _show_all(self) -> None:
        """Anew, after another choice of lines."""
        shown, view = self._shown, self._view
        words = [f"{len(shown):,} of {len(self._lines):,} lines"] if len(shown) < len(self._lines) else []
        words += ["warnings and errors"] if self._loud else []
        words += [f'with "{self._wanted}"'] if self._wanted else []
        view.set_title("llama.cpp" + (": " + ", ".join(words) if words else ""))
        view.clear()
        self._add(shown)

    # What the user does

    def action_find(self) -> None:
        self.add_class("-finding")
        self.query_one("#find").focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted = event.value
        self._show_all()

    def on_input_submitted(self) -> None:
        self._view.focus()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and (self.has_class("-finding") or self._loud):
            event.stop()
            event.prevent_default()
            self._loud = False
            self.query_one("#find", Input).value = ""
            self._wanted = ""
            self.remove_class("-finding")
            self._view.focus()
            self._show_all()

    def action_level(self) -> None:
        self._loud = not self._loud
        self._show_all()

    def action_copy(self) -> None:
        shown = self._shown
        if not shown:
            self.notify("there is no line to copy", severity="warning")
            return
        self.app.copy_to_clipboard("".join(f"{line.text}\n" for line in shown))
        self.notify(f"{len(shown):,} lines copied, if your terminal allows it", timeout=4)

    async def action_back(self) -> None:
        await self.action_to_live()
