"""One line of llama.cpp's log. By itself, since the planner's child process needs no other event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class LogLine:
    t_ns: int
    level: Literal["debug", "info", "warn", "error"]
    text: str
