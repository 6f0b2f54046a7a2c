"""Coming back from Ctrl-Z, once: the shell and the parent may both say so, and Textual would come back twice."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.driver import Driver


class Comeback:
    """Takes the place of Textual's own handler of SIGCONT."""

    def __init__(self, driver: Driver | None) -> None:
        self._driver: Any = driver  # what is used of it is no part of Textual's API
        self._coming_back = False

    def install(self) -> None:
        """From here on; does nothing for a driver that cannot be suspended. Main thread only."""
        if hasattr(self._driver, "_sigcont_application"):
            signal.signal(signal.SIGCONT, self._continued)

    def _continued(self, number: int, frame: object) -> None:
        if self._coming_back or not getattr(self._driver, "_must_signal_resume", False):
            return
        self._coming_back = True  # a handler may be interrupted by itself
        try:
            self._driver._sigcont_application(number, frame)
        finally:
            self._coming_back = False
