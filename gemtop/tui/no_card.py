"""Where no card can be shown: why, and what one can do."""

from __future__ import annotations

import textwrap

from gemtop.domain.telemetry import TelemetryStatus
from gemtop.tui.devices import UNKNOWN
from gemtop.tui.widgets.values import Value

_HINTS = (
    ("libnvidia-ml", "install NVIDIA's driver; in a container start it with --gpus all"),
    ("kernel module is not loaded", "load it with: sudo modprobe nvidia"),
    ("/dev/nvidia", "join the group that owns those files, often video; in a container use --gpus all"),
    ("nvidia-ml-py", "install it with: pip install nvidia-ml-py"),
    ("finds no NVIDIA card", "in a container start it with --gpus all"),
)
"""Words of a reason why there is no GPU, and what one can do."""


def no_gpu_rows(status: TelemetryStatus | None, width: int) -> list[list[Value]]:
    """Why there is no card to show, and what would help."""
    if status is None:
        return [[Value("GPU", UNKNOWN)], [Value("", "(the driver is being asked)", "muted", left=True)]]
    rows = [[Value("GPU", UNKNOWN)], [Value("", f"({status.gpu_reason or 'none found'})", "muted", left=True)]]
    return rows + _hint_rows(status.gpu_reason or "", width)


def no_gpu_lines(status: TelemetryStatus, width: int) -> list[list[Value]]:
    """The same in one row, or more where the width is short."""
    reason = status.gpu_reason or "none found"
    hint = how_to_allow(reason)
    whole = f"{UNKNOWN} ({reason}{'; ' + hint if hint else ''})"
    room = max(10, width - len("GPU "))
    if len(whole) <= room or not hint:
        return [[Value("GPU", whole, "warn", left=True)]]
    return [
        [Value("GPU", f"{UNKNOWN} ({reason})", "warn", left=True)],
        *_hint_rows(reason, room),
    ]


def _hint_rows(reason: str, width: int) -> list[list[Value]]:
    lines = textwrap.wrap(how_to_allow(reason), max(10, width), break_on_hyphens=False)
    return [[Value("", line, "muted", left=True)] for line in lines]


def how_to_allow(reason: str) -> str:
    """What one can do about a reason why there is no GPU; empty where nothing is known."""
    return next((hint for words, hint in _HINTS if words in reason), "")
