"""Which part of the monitor's screen gets how many rows."""

from __future__ import annotations

from dataclasses import dataclass

_FRAME = 2
_BARS = 2
"""Header and keys."""
_LEAST_CHART = 5
"""Rows of a chart, with its frame and its axis."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of each part, frames included; 0 is not shown. The charts have what is left."""

    size: tuple[int, int]
    compact: bool
    """One row for each card instead of a block."""
    devices: int
    charts: int
    """How many, side by side."""
    processes: int
    machine: int


def arrange(
    width: int,
    height: int,
    cards: int,
    card_rows: int,
    process_rows: int,
    machine_rows: int,
    charts: int = 3,
    compact_rows: int = 0,
) -> Layout:
    """The layout for a size of the terminal, this many rows to show, and at most so many charts.

    `compact_rows` is how many there are where each card has a row; at least one each, and the headings.

    What tells most has its rows first: cards, the machine, charts, processes. Cards get a row each where their
    blocks would leave no room for charts, which then are as low as can be.
    """
    left = height - _BARS
    machine = machine_rows + _FRAME if height >= 16 and machine_rows else 0
    left -= machine
    chart_rows = 8 if height >= 36 else 7 if height >= 22 else 0  # on fewer rows, what the cards leave
    least_processes = min(process_rows, 3) + _FRAME if height >= 36 and process_rows else 0
    wanted = card_rows + _FRAME
    compact = cards > 1 and wanted > left - chart_rows - least_processes
    if compact:
        wanted = max(cards + 1, compact_rows) + _FRAME
        chart_rows = min(chart_rows, max(_LEAST_CHART, left - least_processes - wanted))
    devices = max(3, min(wanted, left - chart_rows - least_processes))
    left -= devices
    processes = 0
    if least_processes:
        most = max(least_processes, (left - chart_rows) // 2)
        processes = min(process_rows + _FRAME, most)
        left -= processes
    beside = 0 if left < _LEAST_CHART else 3 if width >= 100 else 2
    return Layout((width, height), compact, devices, min(charts, beside), processes, machine)
