"""What gemtop itself takes: CPU time by thread, time inside NVML, bytes to the terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemtop.domain.telemetry import CostSample
from gemtop.telemetry.probes import failed

ENGINE_THREADS = "gemtop-engine"
"""What the kernel's names of the engine's threads begin with; llama.cpp's workers inherit it."""
_NO_TERMINAL = "no terminal is drawn on"


@dataclass(slots=True)
class _Thread:
    name: str
    cpu_ns: int
    settled: bool = False
    """The name was the same at two readings: a new thread has that of its maker until it takes its own."""


def _cpu_clock_ns(tid: int) -> int:
    """CPU time of a thread of this process, in ns; raises OSError where it has ended.

    The clock id is the kernel's: the complement of the thread's id, and that it is of one thread (4) and
    counts what the scheduler does (2).
    """
    return time.clock_gettime_ns((~tid << 3) | 6)


class ThreadTimes:
    """CPU time that the engine's threads have taken, by the names that the kernel has of them.

    `tasks` is the folder of this process's threads; `cpu_ns` gives the CPU time of one.
    """

    def __init__(
        self, tasks: Path = Path("/proc/self/task"), cpu_ns: Callable[[int], int] | None = _cpu_clock_ns
    ) -> None:
        self._tasks = tasks
        self._clock = cpu_ns
        self._threads: dict[int, _Thread] = {}
        self._engine_ns = 0

    def engine_ns(self) -> int:
        """Nanoseconds of the engine's threads, as far as they were seen; what ended between two readings is not in it.

        Raises OSError where the kernel does not show the threads.
        """
        seen: dict[int, _Thread] = {}
        for folder in self._tasks.iterdir():
            tid = int(folder.name)
            try:
                cpu_ns = self._cpu_ns(tid)
                thread = self._updated(tid, cpu_ns)
            except OSError:
                continue  # it has ended meanwhile
            seen[tid] = thread
        self._threads = seen
        return self._engine_ns

    def _updated(self, tid: int, cpu_ns: int) -> _Thread:
        thread = self._threads.get(tid)
        if thread is None or cpu_ns < thread.cpu_ns:  # new, or another one with an id that came free
            thread = _Thread(self._name(tid), 0)
        elif not thread.settled:
            name = self._name(tid)
            thread.settled = name == thread.name
            thread.name = name
        if thread.name.startswith(ENGINE_THREADS):
            self._engine_ns += cpu_ns - thread.cpu_ns
        thread.cpu_ns = cpu_ns
        return thread

    def _name(self, tid: int) -> str:
        return (self._tasks / str(tid) / "comm").read_text(encoding="utf-8", errors="replace").strip()

    def _cpu_ns(self, tid: int) -> int:
        if self._clock is not None:
            try:
                return self._clock(tid)
            except OSError:
                pass
        # A kernel without these clocks, or a thread that has ended: then there is no file either.
        text = (self._tasks / str(tid) / "stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])  # utime and stime
        return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class CostMeter:
    """Samples of gemtop's own cost from window to window. Use it from one thread.

    `nvml_ns`, `terminal_bytes` and `late` are running totals; without `terminal_bytes` no terminal is drawn on.
    """

    def __init__(
        self,
        nvml_ns: Callable[[], int],
        late: Callable[[], int],
        terminal_bytes: Callable[[], int] | None = None,
        threads: ThreadTimes | None = None,
        process_cpu_ns: Callable[[], int] = time.process_time_ns,
    ) -> None:
        self._late = late
        self._threads = threads or ThreadTimes()
        self._totals: dict[str, Callable[[], int]] = {
            "process": process_cpu_ns,
            "engine": self._threads.engine_ns,
            "nvml": nvml_ns,
        }
        if terminal_bytes is not None:
            self._totals["terminal"] = terminal_bytes
        self._before_ns = 0
        self._before: dict[str, int] = {}

    def start(self, t_ns: int) -> None:
        """Begin the first window. Never raises."""
        self._before_ns = t_ns
        self._before = self._read()[0]

    def read(self, t_ns: int) -> CostSample:
        """What was taken since `start` or the `read` before. Never raises."""
        now, reasons_now = self._read()
        before, self._before = self._before, now
        span_ns, self._before_ns = t_ns - self._before_ns, t_ns
        spent = {name: max(0, now[name] - before[name]) for name in now if name in before}
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}

        def put(field: str, needs: tuple[str, ...], value: Callable[[], float]) -> None:
            missing = next((name for name in needs if name not in spent), None)
            if missing is not None:
                reasons[field] = reasons_now.get(missing, "needs an earlier sample to compare with")
            elif span_ns <= 0:
                reasons[field] = "no time has passed since the sample before"
            else:
                values[field] = value()

        put("engine_cpu_pct", ("engine",), lambda: 100.0 * spent["engine"] / span_ns)
        # Threads that ended since the sample before are in the process's time alone.
        put(
            "observer_cpu_pct",
            ("process", "engine"),
            lambda: 100.0 * max(0, spent["process"] - spent["engine"]) / span_ns,
        )
        put("nvml_pct", ("nvml",), lambda: min(100.0, 100.0 * spent["nvml"] / span_ns))
        put("terminal_bytes_per_s", ("terminal",), lambda: spent["terminal"] * 1e9 / span_ns)
        return CostSample(t_ns=t_ns, samples_late=self._late(), reasons=reasons, **values)

    def _read(self) -> tuple[dict[str, int], dict[str, str]]:
        values: dict[str, int] = {}
        reasons = {} if "terminal" in self._totals else {"terminal": _NO_TERMINAL}
        for name, total in self._totals.items():
            try:
                values[name] = total()
            except Exception as error:
                reasons[name] = failed(error)
        return values, reasons
