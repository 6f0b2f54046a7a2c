"""gemtop pull: a model from the Hugging Face hub into the cache that other programs share."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gemtop.domain.errors import EXIT_INTERRUPTED, EXIT_OK
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.engine.hub_incoming import Arrival

_RATE_WINDOW_S = 5.0
_SHORTEST_BAR, _LONGEST_BAR = 8, 30
_REDRAW_S = 0.2
_COLUMNS = 80
"""Of a terminal that does not say how wide it is."""


def add_parser(commands: Any) -> None:
    """Add `pull` to the program's commands, an argparse subparsers action."""
    parser = commands.add_parser(
        "pull",
        help="fetch a model from the Hugging Face hub",
        description="Fetch a GGUF model from the Hugging Face hub into its cache, where other programs find it too, "
        "and print its path. A download that was cut goes on where it stopped; what arrived is checked against the "
        "SHA-256 that the hub states. HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_CACHE are respected.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model",
        metavar="hf:OWNER/NAME[:QUANT|:FILE.gguf]",
        help="the repository, and which of its models: a quantization (default: Q4_K_M, then Q8_0, then the first), or "
        "a file by its name",
    )
    parser.add_argument("--revision", metavar="REV", help="a branch, a tag or a commit (default: main)")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    from gemtop.engine.hub_names import parse_spec

    spec = parse_spec(args.model, args.revision)
    from gemtop.cli.progress import Progress
    from gemtop.engine.hub import Hub

    progress = Progress()

    def say(text: str) -> None:
        progress.clear()
        sys.stderr.write(f"gemtop: {one_line(text)}\n")
        sys.stderr.flush()

    try:
        pulled = Hub().pull(spec, Meter(progress.show, bar=not progress.in_lines), say)
    except KeyboardInterrupt:
        say("interrupted; what has arrived is kept, and the same command goes on from it")
        return EXIT_INTERRUPTED
    finally:
        progress.clear()
    for file in pulled:
        words = "was already there" if file.was_there else "is there and has the SHA-256 that the hub states"
        say(f"{file.path.name} ({size_words(file.size_bytes)}) {words}")
        sys.stdout.write(f"{file.path}\n")
    return EXIT_OK


class Meter:
    """Turns arrivals into a line of progress, a few times a second."""

    def __init__(
        self, show: Callable[[str], None], clock: Callable[[], float] = time.monotonic, *, bar: bool = True
    ) -> None:
        self._show = show
        self._bar = bar
        self._clock = clock
        self._key = ""
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, arrival: Arrival) -> None:
        now = self._clock()
        key = f"{arrival.phase} {arrival.name}"
        if key != self._key:
            self._key = key
            self._seen.clear()
        elif now - self._seen[-1][0] < _REDRAW_S and arrival.done_bytes < arrival.total_bytes:
            return
        if self._seen and arrival.done_bytes < self._seen[-1][1]:  # begun anew
            self._seen.clear()
        self._seen.append((now, arrival.done_bytes))
        while now - self._seen[0][0] > _RATE_WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        self._show(progress_line(arrival, self._rate(), _columns(), bar=self._bar))

    def _rate(self) -> float | None:
        """Bytes a second over the last seconds; None before there are two readings."""
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else None


def progress_line(arrival: Arrival, rate: float | None, columns: int, *, bar: bool = True) -> str:
    """One line: name, bar, bytes, rate in bytes a second, time left. With a bar it has at most `columns` cells."""
    fraction = arrival.done_bytes / arrival.total_bytes
    total = size_words(arrival.total_bytes)
    tail = f" {fraction:4.0%}  {_in_unit_of(arrival.done_bytes, arrival.total_bytes)} of {total}"
    if rate:
        tail += f"  {size_words(rate)}/s  {time_words((arrival.total_bytes - arrival.done_bytes) / rate)} left"
    head = f"{arrival.phase} {one_line(arrival.name.rpartition('/')[2])} "
    if not bar:
        return f"{head.rstrip()}{tail}"
    room = columns - 1 - len(tail)
    width = min(max(room - len(head), _SHORTEST_BAR), _LONGEST_BAR)
    full = round(fraction * width)
    if len(head) + width > room:
        head = head[: max(room - width - 2, 0)] + "… "
    line = f"{head}{'█' * full}{'░' * (width - full)}{tail}"
    return line[: columns - 1]


_UNITS = ((1e9, "GB", 2), (1e6, "MB", 1), (1e3, "kB", 0))


def size_words(n_bytes: float) -> str:
    """A size in decimal units, as the hub gives them: 17.23 GB."""
    for unit, name, digits in _UNITS:
        if n_bytes >= unit:
            return f"{n_bytes / unit:.{digits}f} {name}"
    return f"{n_bytes:.0f} B"


def _in_unit_of(n_bytes: float, other: float) -> str:
    """The number alone, in the unit that the other size has."""
    unit, digits = next(((unit, digits) for unit, _, digits in _UNITS if other >= unit), (1, 0))
    return f"{n_bytes / unit:.{digits}f}"


def time_words(seconds: float) -> str:
    """How long: 45 s, 3:20 min, 1:05 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def _columns() -> int:
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns or _COLUMNS
