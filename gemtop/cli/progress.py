"""How far something is, for people who watch, who listen, and who read a log afterwards."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from gemtop.domain.text import printable
from gemtop.terminal import reads_line_by_line

_HEARD_FIRST_S, _HEARD_EVERY_S = 3.0, 30.0
_LOGGED_EVERY_S = 60.0


class Progress:
    """One line on stderr that is written over where stderr is a terminal.

    Where the terminal is read aloud (see gemtop.terminal), and where stderr is a file or a pipe, whole lines now and
    then in its place: what is done within three seconds, or within a minute, needs none.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, late: bool = False) -> None:
        """`late`: what is to be told has gone on for a while already."""
        terminal = sys.stderr.isatty()
        self.in_lines = not terminal or reads_line_by_line()
        """Whole lines, which should have no bars in them."""
        self._clock = clock
        self._every_s = _HEARD_EVERY_S if terminal else _LOGGED_EVERY_S
        first_s = _HEARD_FIRST_S if terminal else _LOGGED_EVERY_S
        self._due_s = clock() + (0.0 if late else first_s)
        self._shown = ""

    def show(self, text: str) -> None:
        """Tell this in place of what was told before."""
        if self.in_lines:
            if self._clock() >= self._due_s:
                self._due_s = self._clock() + self._every_s
                sys.stderr.write(f"gemtop: {printable(text)}\n")
                sys.stderr.flush()
        elif text != self._shown:
            sys.stderr.write(f"\r\x1b[K{printable(text)}")
            sys.stderr.flush()
            self._shown = text

    def clear(self) -> None:
        """Make room for other words; whole lines stay."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = ""
