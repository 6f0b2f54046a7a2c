"""What the program's processes hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Reading:
    """Of the program and the processes it has started."""

    at_s: float
    """Since the beginning."""
    pss_mb: float
    """Proportional set size: what of memory is theirs."""
    anonymous_mb: float
    """Of it, what is no file's: the weights, which are mapped, are not in it."""
    threads: int
    handles: int
    processes: int


def take(program: psutil.Process, at_s: float) -> Reading:
    """Read /proc. Raises psutil.Error and OSError where the program has ended."""
    pss = anonymous = threads = handles = count = 0
    for process in (program, *program.children(recursive=True)):
        rollup = dict(
            line.split(":") for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
        )
        pss += int(rollup["Pss"].split()[0])
        anonymous += int(rollup["Pss_Anon"].split()[0])
        threads += process.num_threads()
        handles += process.num_fds()
        count += 1
    return Reading(at_s, pss / 1024, anonymous / 1024, threads, handles, count)
