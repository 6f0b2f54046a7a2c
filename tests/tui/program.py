"""gemtop itself on a real pseudo-terminal, with pyte as the screen."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence

import psutil
import pyte

_KEYBOARD = re.compile(rb"\x1b\[[<>=?][0-9;]*u")
LIMIT_S = 90.0


class AnsweringScreen(pyte.Screen):
    """A screen that answers status reports, as terminals do."""

    def __init__(self, columns: int, rows: int, answer: Callable[[bytes], None]) -> None:
        super().__init__(columns, rows)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data.encode())


def gemtop_after(code: str) -> Sequence[str]:
    """A `program` that runs this Python and then gemtop, in one process."""
    return (sys.executable, "-c", f"{code}\nimport runpy\nrunpy.run_module('gemtop', run_name='__main__')")


class GemtopTerminal:
    """Starts `gemtop ARGUMENTS` as a user's shell would, and lets a test type and look."""

    def __init__(
        self,
        arguments: Sequence[str],
        columns: int = 120,
        rows: int = 40,
        program: Sequence[str] = (sys.executable, "-m", "gemtop"),
        **environment: str,
    ) -> None:
        self.screen = AnsweringScreen(columns, rows, self._answer)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.exit_code: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            given = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
            for name in ("COLUMNS", "LINES", "NO_COLOR"):
                given.pop(name, None)
            given.update(environment)
            # The size has to be there before the program asks for it.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            # Not execv: readline, once loaded, has put COLUMNS into the environment behind Python's back.
            os.execvpe(program[0], [*program, *arguments], given)

    def __enter__(self) -> GemtopTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.exit_code is None:
            for process in [*self.children(), psutil.Process(self.pid)]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            os.waitpid(self.pid, 0)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the terminal, as when its window is closed."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def redrawn(self) -> pyte.Screen:
        """Have the whole screen sent again (Ctrl-L); what a new terminal makes of that."""
        other = pyte.Screen(self.screen.columns, self.screen.lines)
        stream = pyte.ByteStream(other)
        stream.feed(("\x1b[?7l" + "\r\n".join(["☒" * other.columns] * other.lines)).encode())
        other.cursor = copy.copy(self.screen.cursor)  # the pen of what is on its way
        sent = len(self.raw)
        self.type("\x0c")

        def is_drawn() -> bool:
            nonlocal sent
            stream.feed(self.raw[sent:])
            sent = len(self.raw)
            return "☒" not in "".join(other.display)

        self.wait_until(is_drawn, "the whole screen anew")
        return other

    def children(self) -> list[psutil.Process]:
        """The processes below the one the user started."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    @property
    def program(self) -> psutil.Process:
        """The process that is the screen: the only child of its thin parent."""
        (child,) = psutil.Process(self.pid).children()
        return child

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    @property
    def afterwards(self) -> str:
        """What was written when the screen had been given back."""
        return re.sub(r"\x1b\[[?<>0-9;]*[a-zA-Z]", "", self.raw.rpartition(b"\x1b[?1049l")[2].decode())

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        self.type_bytes(keys.encode())

    def type_bytes(self, sent: bytes) -> None:
        """What a terminal of any encoding may send."""
        os.write(self.fd, sent)

    def _answer(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.fd, data)

    def read(self, wait_s: float = 0.05) -> bool:
        """Take in what the program sends; False where it sent nothing, or its end of the line is closed."""
        ready, _, _ = select.select([self.fd], [], [], wait_s)
        if not ready:
            return False
        try:
            sent = os.read(self.fd, 65536)
        except OSError:
            return False
        self.feed(sent)
        return bool(sent)

    def feed(self, sent: bytes) -> None:
        """Show what the program has sent."""
        self.raw += sent
        self._stream.feed(_KEYBOARD.sub(b"", sent))

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {LIMIT_S} s: {what}; the screen reads\n{self.text}"
            assert self.poll() is None or condition(), f"it ended before {what}; the screen reads\n{self.text}"
            self.read()

    def wait_for_text(self, *texts: str) -> None:
        self.wait_until(lambda: all(text in self.text for text in texts), f"the screen shows {texts}")

    def poll(self) -> int | None:
        """The exit code, once it has ended (negative for a signal)."""
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code

    def wait(self) -> int:
        """Read until it has ended; the exit code."""
        deadline = time.monotonic() + LIMIT_S
        while self.poll() is None:
            assert time.monotonic() < deadline, f"it does not end; the screen reads\n{self.text}"
            self.read()
        while self.read(0.2):
            pass
        assert self.exit_code is not None
        return self.exit_code

    def is_restored(self) -> bool:
        """The terminal is as before: no alternate screen, cursor shown, no mouse reports, echo and lines on."""
        modes = {b"?1049": False, b"?25": True, b"?1000": False, b"?1003": False, b"?1006": False, b"?2004": False}
        last = dict(modes)
        for match in re.finditer(rb"\x1b\[(\?\d+)([hl])", self.raw):
            if match.group(1) in last:
                last[match.group(1)] = match.group(2) == b"h"
        local_flags = termios.tcgetattr(self.fd)[3]
        return last == modes and bool(local_flags & termios.ECHO) and bool(local_flags & termios.ICANON)

    def hands_on_keys(self) -> bool:
        """The terminal gives each key to the program at once, and as it is: Enter is no line feed."""
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def kill_program(self, number: int = signal.SIGKILL) -> None:
        self.program.send_signal(number)
