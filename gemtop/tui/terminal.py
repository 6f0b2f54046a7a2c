"""Textual's driver of the terminal, with a writer that nobody waits for and a word when the line is gone."""

from __future__ import annotations

import os
import select
import stat
import threading
import time
from codecs import getincrementaldecoder
from typing import IO, TYPE_CHECKING, Any, Protocol

from textual.drivers import linux_driver
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Resize
from textual.geometry import Size

from gemtop.terminal import UTF8, charset
from gemtop.threads import name_thread
from gemtop.tui.pacing import QUERY, Pace
from gemtop.tui.paste import PasteParser
from gemtop.tui.pens import RESET

if TYPE_CHECKING:
    from collections.abc import Callable

_WRITTEN_BYTES = 512
"""One call to the kernel: how long it waits says how fast the terminal reads."""
_SIZE_S = 1.0
"""How often the size of the terminal is looked at."""
_STUCK_S = 1.0
"""A terminal that takes nothing for so long is not waited for at the end."""


_OF_THRIFT = {"\x1b[?1003h": "\x1b[?1002h", "\x1b[?1003l": "\x1b[?1003l\x1b[?1002l"}


class Drawn(Protocol):
    """What the driver tells its application."""

    pace: Pace
    thrift: bool

    def encoded(self, text: str) -> bytes:
        """Text as the terminal is to have it."""

    def terminal_taken(self) -> None:
        """The terminal is the program's from now on, and may show anything."""

    def line_moved(self) -> None:
        """There may be room on the line. Called on other threads."""

    def terminal_lost(self) -> None:
        """There is no terminal any more. Called on other threads."""


class Writer(threading.Thread):
    """Takes the place of Textual's thread that writes, whose queue blocks the application once it is full."""

    def __init__(self, file: IO[str], app: Drawn, lost: Callable[[], None]) -> None:
        super().__init__(daemon=True, name="gemtop-output")
        self._fd = file.fileno()
        self._app = app
        self._lose = lost
        self._pending: list[bytes] = []
        self._ready = threading.Condition()
        self._ending = self._gone = False
        self._progress = 0

    def write(self, text: str, *, asks: bool = False) -> None:
        """Have this written; returns at once. `asks` says that it ends with a question to the terminal."""
        data = self._app.encoded(text)
        with self._ready:
            if self._ending or self._gone:
                return
            self._app.pace.queued(len(data), asks=asks)
            self._pending.append(data)
            self._ready.notify()

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def run(self) -> None:
        name_thread(self.name)
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._pending or self._ending)
                data, self._pending = b"".join(self._pending), []
            if not data:
                return
            try:
                self._put(memoryview(data))
            except OSError:  # the terminal has gone
                self.discard()
                self._lose()
                return
            self._app.line_moved()

    def _put(self, data: memoryview) -> None:
        while data:
            begun_s = time.monotonic()
            try:
                count = os.write(self._fd, data[:_WRITTEN_BYTES])
            except BlockingIOError:  # whoever had the terminal before left it so
                select.select([], [self._fd], [])
                count = os.write(self._fd, data[:1])
            self._progress += count
            self._app.pace.wrote(count, time.monotonic() - begun_s)
            data = data[count:]

    def discard(self) -> None:
        """Write nothing more, whatever is asked."""
        with self._ready:
            self._gone = True
            self._pending = []

    def stop(self) -> None:
        """Have the rest written, as long as the terminal takes it, and end."""
        with self._ready:
            self._ending = True
            self._ready.notify()
        before = -1
        while self.is_alive() and before != self._progress:
            before = self._progress
            self.join(_STUCK_S)


class Terminal(LinuxDriver):
    """The terminal of one of the program's applications."""

    def __init__(self, app: Any, *, debug: bool = False, mouse: bool = True, size: Any = None) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._drawn: Drawn = app
        self._is_lost = False

    def send(self, text: str, *, asks: bool) -> None:
        """Write, and have the terminal say when it has come so far."""
        if isinstance(self._writer_thread, Writer):
            self._writer_thread.write(text + QUERY if asks else text, asks=asks)

    def write(self, data: str) -> None:
        """Write sequences that are no part of the picture."""
        if self._drawn.thrift:  # a mouse that only moves is not reported
            data = _OF_THRIFT.get(data, data)
        self.send(data, asks=False)

    def start_application_mode(self) -> None:
        self._drawn.pace.begin()
        linux_driver.WriterThread = self._make_writer  # type: ignore[attr-defined,assignment]
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self._drawn.terminal_taken()
        self.send("", asks=True)

    def _make_writer(self, file: IO[str]) -> Writer:
        return Writer(file, self._drawn, self._lost)

    def stop_application_mode(self) -> None:
        self.write(RESET)
        super().stop_application_mode()

    def disable_input(self) -> None:
        """Stop reading; what the terminal has yet to answer would be read by the shell."""
        if not self.exit_event.is_set() and not self._is_lost:
            patience = time.monotonic() + _STUCK_S
            while self._drawn.pace.awaits_answer and time.monotonic() < patience:
                time.sleep(0.005)
        super().disable_input()

    def run_input_thread(self) -> None:
        """Read keys, mouse and answers until the program ends or the terminal is gone."""
        parser = PasteParser(self._debug, answered=self._answered)
        own = charset()
        decode = getincrementaldecoder(UTF8 if own == "ascii" else own)("replace").decode
        waiting = select.poll()
        waiting.register(self.fileno, select.POLLIN)
        looked_s = time.monotonic()
        while not self.exit_event.is_set():
            if time.monotonic() - looked_s >= _SIZE_S:
                looked_s = time.monotonic()
                self._look_at_size()
            if waiting.poll(100):
                try:
                    data = os.read(self.fileno, 4096)
                except OSError:
                    data = b""
                if not data:
                    self._lost()
                    break
                for message in parser.feed(decode(data)):
                    self.process_message(message)
            for message in parser.tick():
                self.process_message(message)
        for message in parser.feed(""):
            self.process_message(message)

    def _look_at_size(self) -> None:
        """Tell the application of a size it has not been told of: not every SIGWINCH comes through."""
        size = Size(*self._get_terminal_size())
        if size != self._app.size and not self._in_band_window_resize:
            self.process_message(Resize(size, size))

    def _run_input_thread(self) -> None:
        name_thread("gemtop-input")
        try:
            self.run_input_thread()
        except Exception as error:
            self._app.call_later(self._app._handle_exception, error)

    def let_go(self) -> None:
        """Neither read nor write any more, and hold the terminal open at none of the three standard files."""
        self._is_lost = True
        if isinstance(self._writer_thread, Writer):
            self._writer_thread.discard()
        self.exit_event.set()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            if stat.S_ISCHR(os.fstat(fd).st_mode):  # files and pipes stay; a terminal that has gone says it is none
                os.dup2(nowhere, fd)
        os.close(nowhere)

    def _answered(self) -> None:
        self._drawn.pace.answered()
        self._drawn.line_moved()

    def _lost(self) -> None:
        """Called on the thread that writes or the one that reads, whichever finds out."""
        if not self._is_lost:
            self._is_lost = True
            self._drawn.terminal_lost()


def erases() -> bool:
    """Whether this terminal erases in the ground of its pen (terminfo's bce)."""
    try:
        import curses

        curses.setupterm(fd=1)
        return curses.tigetflag("bce") == 1
    except Exception:  # no such module, no entry for this terminal
        return False
