"""This machine and this process: the only module that imports psutil, and it does so when a probe starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemtop.domain.telemetry import HostSample
from gemtop.telemetry.probes import failed, unread_host

MIN_WINDOW_NS = 40_000_000
"""Shortest span that a CPU percentage is taken over.

The kernel counts in ticks of 10 ms: over a few milliseconds a percentage would be 0 or nonsense.
"""
_NO_WINDOW = "needs an earlier sample to compare with"


def _psutil() -> Any:
    import psutil  # type: ignore[import-untyped]

    return psutil


class PsutilProbe:
    """CPU load and memory of this machine and of this process.

    `process_cpu_ns` is the CPU time that all threads of this process have taken, in nanoseconds. The
    default is the kernel's own clock for it: psutil would give the same, rounded to ticks of 10 ms.
    """

    def __init__(
        self,
        load: Callable[[], Any] = _psutil,
        process_cpu_ns: Callable[[], int] = time.process_time_ns,
    ) -> None:
        self._load = load
        self._process_cpu_ns = process_cpu_ns
        self._psutil: Any = None
        self._process: Any = None
        self._unloaded = "the probe has not been started"
        self._process_cpu = _Share()
        self._machine_cpu = _Share()

    def start(self) -> None:
        """Load psutil. Never raises: without it every field of a sample has the reason."""
        try:
            self._psutil = self._load()
            self._process = self._psutil.Process()
        except Exception as error:
            self._psutil = None
            self._unloaded = f"psutil cannot be used: {error}"

    def read(self, t_ns: int) -> HostSample:
        """One sample stamped `t_ns`: monotonic_ns at the call.

        A CPU percentage is that of the last span of `MIN_WINDOW_NS` or longer that ended at a sample: at
        this one, unless the sample before it is closer than that.
        """
        if self._psutil is None:
            return unread_host(t_ns, self._unloaded)
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        # The two that depend on the moment come first.
        for name, read in (
            ("process_cpu_pct", self._read_process_cpu),
            ("host_cpu_pct", self._read_machine_cpu),
            ("process_rss_bytes", lambda _: self._process.memory_info().rss),
        ):
            try:
                values[name] = read(t_ns)
            except Exception as error:
                reasons[name] = failed(error)
            else:
                if values[name] is None:
                    reasons[name] = _NO_WINDOW
        self._read_memory(values, reasons)
        return HostSample(t_ns=t_ns, reasons=reasons, **values)

    def stop(self) -> None:
        """Forget the process; a later `start` begins anew."""
        self._psutil = self._process = None
        self._process_cpu = _Share()
        self._machine_cpu = _Share()
        self._unloaded = "the probe has been stopped"

    def _read_process_cpu(self, t_ns: int) -> float | None:
        return self._process_cpu.update(t_ns, self._process_cpu_ns(), t_ns)

    def _read_machine_cpu(self, t_ns: int) -> float | None:
        total_s, idle_s = _total_and_idle_s(self._psutil.cpu_times())
        share = self._machine_cpu.update(t_ns, total_s - idle_s, total_s)
        # Idle time is known to step back on some kernels, hence the bounds.
        return None if share is None else min(max(share, 0.0), 100.0)

    def _read_memory(self, values: dict[str, Any], reasons: dict[str, str]) -> None:
        try:
            memory = self._psutil.virtual_memory()
        except Exception as error:
            reasons["ram_used_bytes"] = reasons["ram_total_bytes"] = failed(error)
            return
        values["ram_total_bytes"] = memory.total
        # psutil's own `used` has changed its meaning between versions; this is what `free` calls used.
        values["ram_used_bytes"] = memory.total - memory.available


class _Share:
    """How much of one growing quantity another growing quantity makes up, from window to window."""

    def __init__(self) -> None:
        self._before: tuple[int, float, float] | None = None
        self._pct: float | None = None

    def update(self, t_ns: int, part: float, whole: float) -> float | None:
        """Percentage of the last window that was long enough; None before there was one."""
        if self._before is not None:
            before_ns, part_before, whole_before = self._before
            if t_ns - before_ns < MIN_WINDOW_NS or whole <= whole_before:
                return self._pct
            self._pct = 100.0 * (part - part_before) / (whole - whole_before)
        self._before = (t_ns, part, whole)
        return self._pct


def _total_and_idle_s(times: Any) -> tuple[float, float]:
    """All the time that the CPUs have counted and the part of it spent waiting, in seconds.

    Guest time is left out: the kernel counts it in user and nice already.
    """
    counted = {name: getattr(times, name) for name in times._fields if not name.startswith("guest")}
    return sum(counted.values()), counted["idle"] + counted.get("iowait", 0.0)


def total_ram_bytes() -> int:
    """Memory of this machine, whatever a container may be limited to."""
    return int(_psutil().virtual_memory().total)


def cpu_model_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The processor's name as the kernel gives it, or None (many ARM kernels give none)."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    entries = (line.partition(":") for line in text.splitlines())
    names = {key.strip().lower(): value.strip() for key, _, value in entries if value.strip()}
    return names.get("model name") or names.get("cpu model")
