"""The application of a replay: one recorded session, its clock, and nothing that runs or is recorded."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from gemtop.domain.errors import EXIT_FAILURE, EXIT_OK
from gemtop.domain.playback import Playback
from gemtop.keymap import Keys
from gemtop.tui.base_app import BaseApp
from gemtop.tui.bindings import bindings
from gemtop.tui.comeback import Comeback
from gemtop.tui.screens.replay import ReplayScreen

if TYPE_CHECKING:
    from gemtop.replay import Replay


class ReplayApp(BaseApp):
    """The live screen over a Replay."""

    CSS_PATH = "gemtop.tcss"
    CSS = ".-tiny TimeBar { display: none; }"
    TITLE = "gemtop replay"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = bindings("program")

    def __init__(
        self,
        replay: Replay,
        *,
        position_ns: int = 0,
        speed: float = 1.0,
        keys: Keys | None = None,
        thrift: bool = False,
    ) -> None:
        super().__init__(keys, thrift=thrift)
        self.playback = Playback(replay.duration_ns, time.monotonic_ns(), position_ns=position_ns, speed=speed)
        self.spans = replay.run_spans
        self._replay_screen = ReplayScreen(replay)

    def run_and_report(self) -> int:
        """Run until the user leaves; the exit code."""
        code = self.run_screen()
        self.tell(self.failure)
        return EXIT_FAILURE if code is None else code

    def get_default_screen(self) -> ReplayScreen:
        return self._replay_screen

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.exit, 128 + number)
        loop.add_signal_handler(signal.SIGINT, self.exit, EXIT_OK)
        Comeback(self._driver).install()
        gc.enable()

    def action_leave_or_copy(self) -> None:
        self.exit(EXIT_OK)

    def action_leave(self) -> None:
        self.exit(EXIT_OK)
