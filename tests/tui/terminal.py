"""A program on a real pseudo-terminal with pyte as the screen."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
import unicodedata
from pathlib import Path
from typing import Any

import pyte

from .program import LIMIT_S, AnsweringScreen

# pyte prints the keyboard protocol's sequences as text.
_KEYBOARD = re.compile(rb"\x1b\[[<>=?][0-9;]*u")

Cell = tuple[str, str, str, bool]
"""(character, foreground, background, bold); the foreground of a blank is empty."""


class Terminal:
    """Runs a script of this folder and shows what it sends."""

    def __init__(self, script: str, folder: Path, columns: int = 120, rows: int = 40, **environment: str) -> None:
        self.folder = folder
        self.screen = AnsweringScreen(columns, rows, self._answer)
        self.stream = pyte.ByteStream(self.screen)
        self.bytes_seen = 0
        self.raw = b""
        self.dumps = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", COLUMNS="", LINES="")
            for name in ("COLUMNS", "LINES", "NO_COLOR"):
                os.environ.pop(name, None)
            os.environ.update(environment)
            # The size has to be there before the program asks for it.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            here = Path(__file__).parent
            os.execv(sys.executable, [sys.executable, str(here / script), str(folder)])

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self.pid, 0)

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size and wait until the program has settled in it."""
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)
        deadline = time.monotonic() + LIMIT_S
        before: dict[str, Any] = {}
        while True:
            self.press("n")
            dump = self.last_dump()
            if dump["size"] == [columns, rows] and dump == before:
                return
            before = dump
            assert time.monotonic() < deadline, f"still {dump['size']}"

    def _answer(self, data: bytes) -> None:
        os.write(self.fd, data)

    def read(self, wait_s: float = 0.05) -> bool:
        ready, _, _ = select.select([self.fd], [], [], wait_s)
        if not ready:
            return False
        sent = os.read(self.fd, 65536)
        self.bytes_seen += len(sent)
        self.raw += sent
        self.stream.feed(_KEYBOARD.sub(b"", sent))
        return True

    def press(self, key: str, quiet_s: float = 0.03) -> int:
        """Press a key, wait for the program's next dump and for quiet; the bytes that took."""
        before = self.bytes_seen
        os.write(self.fd, key.encode())
        self.next_dump(quiet_s)
        return self.bytes_seen - before

    def next_dump(self, quiet_s: float = 0.15) -> dict[str, Any]:
        """What the program says its screen holds, once all it sent before has arrived."""
        self.dumps += 1
        path = self.folder / f"{self.dumps}.json"
        deadline = time.monotonic() + LIMIT_S
        while not path.exists():
            assert time.monotonic() < deadline, f"no dump; the screen reads\n{self.text}"
            self.read()
        while self.read(quiet_s):
            pass
        return self.last_dump()

    def last_dump(self) -> dict[str, Any]:
        """The dump of the last key."""
        dump: dict[str, Any] = json.loads((self.folder / f"{self.dumps}.json").read_text())
        return dump

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def cells(self) -> list[list[Cell]]:
        """The emulator's screen."""
        lines = []
        for y in range(self.screen.lines):
            line = self.screen.buffer[y]
            lines.append([_cell(c.data, c.fg, c.bg, c.bold) for c in (line[x] for x in range(self.screen.columns))])
        return lines


def _cell(char: str, colour: str, ground: str, bold: bool) -> Cell:
    if char == " ":
        return (char, "", ground, False)
    return (unicodedata.normalize("NFC", char), colour, ground, bold)


def expected_cells(dump: dict[str, Any]) -> list[list[Cell]]:
    """A dump of cell_program.py as an emulator would hold it."""
    lines = []
    for strips in dump["lines"]:
        line: list[Cell] = []
        for text, colour, ground, bold in strips:
            for char in text:
                if unicodedata.combining(char):
                    last = line[-1]
                    line[-1] = (unicodedata.normalize("NFC", last[0] + char), *last[1:])
                    continue
                line.append(_cell(char, colour, ground, bold))
                if unicodedata.east_asian_width(char) in "WF":
                    line.append(("", colour, ground, bold))
        lines.append(line)
    return lines


def assert_shown(terminal: Terminal) -> None:
    """The emulator shows what the program's last dump says."""
    deadline = time.monotonic() + LIMIT_S / 6
    expected = expected_cells(terminal.last_dump())
    # The dump may be there before the last of the screen.
    while (shown := terminal.cells()) != expected and time.monotonic() < deadline:
        terminal.read()
    assert [len(line) for line in shown] == [len(line) for line in expected]
    wrong = [
        (y, x, is_there, should)
        for y, (line, wanted) in enumerate(zip(shown, expected, strict=True))
        for x, (is_there, should) in enumerate(zip(line, wanted, strict=True))
        if is_there != should
    ]
    assert not wrong, f"{len(wrong)} cells differ, the first {wrong[:5]}\n{terminal.text}"
