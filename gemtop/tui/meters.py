"""What a card gives of what it has, as bars: seen from further away than figures."""

from __future__ import annotations

from gemtop.domain.telemetry import DeviceInfo, DeviceSample
from gemtop.tui.widgets.values import Value

_FIGURE_CELLS = len(" 100 %")
_MOST_CELLS = 60
"""A longer bar tells no more."""


def meters(info: DeviceInfo, sample: DeviceSample, cells: int) -> list[Value]:
    """A bar for each thing of which both what is and what can be are known, over so many cells with its label."""
    used, total, watts = sample.vram_used_bytes, info.memory_total_bytes, sample.power_average_w or sample.power_w
    known = (
        ("util", sample.gpu_util_pct, 100.0, "load"),
        ("mem ctrl", sample.mem_util_pct, 100.0, "load"),
        ("VRAM", used, total, "memory"),
        ("power", watts, info.power_limit_w, "power"),
    )
    label_cells = max(len(label) for label, *_ in known) + 1
    room = min(_MOST_CELLS, cells - label_cells - _FIGURE_CELLS)
    return [
        Value(label, f"{_bar(value / most, room)} {100 * value / most:3.0f} %", role, left=True)
        for label, value, most, role in known
        if value is not None and most
    ]


def _bar(share: float, cells: int) -> str:
    full = round(max(0.0, min(share, 1.0)) * cells)
    return "█" * full + "░" * (cells - full)
