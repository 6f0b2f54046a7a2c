"""llama.cpp's log: passed on line by line, and read for the facts it alone knows."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, cast

from gemtop.domain.log_line import LogLine
from gemtop.domain.text import one_line
from gemtop.engine.binding import llama

Level = Literal["debug", "info", "warn", "error"]
_LEVELS: dict[int, Level] = {1: "debug", 2: "info", 3: "warn", 4: "error"}
_CONTINUED = 5
_NOISE = b"llama_graph_n_input_tensors"
"""Thousands of debug lines a context, one for each use of an input, that would push out what is asked for below."""

BufferKind = Literal["model", "KV", "compute", "output"]
_BUFFER = re.compile(r"(\S+)\s+(model|KV|compute|output) buffer size =\s*([\d.]+) MiB")
_FLASH = re.compile(r"[Ff]lash.?[Aa]ttention.*(enabled|disabled)|flash_attn\s*=\s*(enabled|disabled)")

_callbacks: list[Any] = []
"""The callback in force: llama.cpp keeps only the pointer, so this must outlive every call."""


class EngineLog:
    """Receives llama.cpp's log of this process, from whichever thread writes it."""

    def __init__(self, emit: Callable[[LogLine], None]) -> None:
        self._emit = emit
        self._partial: list[str] = []
        self._level: Level = "info"
        self._captured: deque[LogLine] = deque(maxlen=4000)

    def install(self) -> None:
        """Make this the log of llama.cpp and ggml, in place of printing to the terminal."""
        callback = llama.llama_log_callback(self._receive)
        _callbacks[:] = [callback]
        llama.llama_log_set(callback, None)

    def _receive(self, level: int, data: bytes, _user_data: Any) -> None:
        if data.startswith(_NOISE):
            return
        if level != _CONTINUED:
            self._level = _LEVELS.get(level, "info")
        self._partial.append(data.decode("utf-8", "replace"))
        if not self._partial[-1].endswith("\n"):
            return
        lines = "".join(self._partial).splitlines()
        self._partial.clear()
        for line in lines:
            if line.strip(" ."):
                entry = LogLine(time.monotonic_ns(), self._level, one_line(line))
                self._captured.append(entry)
                if self._level != "debug":
                    self._emit(entry)

    def start_capture(self) -> None:
        """Forget what was logged; the questions below are about what comes from now on."""
        self._captured.clear()

    def captured(self) -> tuple[LogLine, ...]:
        """What was logged since start_capture, debug lines included."""
        return tuple(self._captured)

    def last_error(self) -> str:
        """llama.cpp's own words for what went wrong, in one line."""
        errors = [line.text for line in self._captured if line.level == "error"]
        for text in errors:
            if "failed to load model" not in text:
                return text
        return errors[-1] if errors else "it gives no reason"

    def buffers(self) -> dict[tuple[str, BufferKind], int]:
        """Bytes by buffer type and what the buffer is for, as llama.cpp reported them (to 0.01 MiB)."""
        found: dict[tuple[str, BufferKind], int] = {}
        for match in (_BUFFER.search(line.text) for line in self._captured):
            if match:
                key = (match.group(1), cast("BufferKind", match.group(2)))
                found[key] = found.get(key, 0) + round(float(match.group(3)) * (1 << 20))
        return found

    def flash_attention(self, asked: str) -> str:
        """on or off as llama.cpp decided, or what was asked for where it does not say."""
        for line in reversed(self._captured):
            match = _FLASH.search(line.text)
            if match and asked == "auto":
                return "on" if "enabled" in match.group() else "off"
        return asked
