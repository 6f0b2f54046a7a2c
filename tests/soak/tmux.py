"""A tmux server of its own, with the program in its one pane."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]

LIMIT_S = 240.0
"""For what is waited for: a model may be loaded and a comparison stopped in it."""
_POLL_S = 0.1


class Tmux:
    """Starts a command at 120x40; `kill` ends it all."""

    def __init__(self, socket: Path, command: Sequence[str], here: Path, environment: Mapping[str, str]) -> None:
        self._socket = socket
        variables = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
        self._ask("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", "-c", str(here), *variables, "sh")
        self._ask("set-option", "-g", "escape-time", "0")
        self.write(shlex.join(command) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it as a line that drops does, and wait until what ran in it has written down all it has."""
        programs = psutil.Process(self.pid).children(recursive=True)
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], capture_output=True, check=False)
        psutil.wait_procs(programs, timeout=LIMIT_S)

    def _ask(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *arguments], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    @property
    def pid(self) -> int:
        """The shell in the pane."""
        return int(self._ask("display-message", "-p", "#{pane_pid}"))

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: Enter, Escape, Tab, Up, F5, C-p, M-1, x."""
        for key in keys:
            self._ask("send-keys", key)
            time.sleep(1.0 if key == "Escape" else 0.1)  # what comes soon after ESC makes another key of it

    def write(self, text: str) -> None:
        self._ask("send-keys", "-l", text)

    def paste(self, text: str) -> None:
        """As with the mouse: between the marks of a paste."""
        file = self._socket.with_name("pasted.txt")
        file.write_text(text, encoding="utf-8")
        self._ask("load-buffer", str(file))
        self._ask("paste-buffer", "-p")

    def resize(self, columns: int, rows: int) -> None:
        self._ask("resize-window", "-x", str(columns), "-y", str(rows))

    @property
    def text(self) -> str:
        return self._ask("capture-pane", "-p")

    def wait(self, condition: Callable[[str], bool], limit_s: float = LIMIT_S) -> bool:
        """Whether the screen comes to be so."""
        deadline = time.monotonic() + limit_s
        while not condition(self.text):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True
