"""This machine and this process: the only module that imports psutil, and it does so when a probe starts."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemtop.domain.telemetry import HostSample
from gemtop.telemetry.kernel_file import KernelFile
from gemtop.telemetry.probes import failed, unread_host
from gemtop.telemetry.rapl import Rapl, RaplError

MIN_WINDOW_NS = 40_000_000
"""Shortest span that a CPU percentage is taken over.

The kernel counts in ticks of 10 ms: over a few milliseconds a percentage would be 0 or nonsense.
"""
FIRST_WINDOW_NS = 250_000_000
"""How long after `start` the first `refresh` is, so that its loads are of more than a few ticks."""
SHORT_WINDOW_NS = 50_000_000
"""The same for who cannot wait: each tick is a fifth of it."""
SLOW_FIELDS = ("cpu_temperature_c", "cpu_by_core_pct")
_NO_WINDOW = "needs an earlier sample to compare with"
_NO_SENSOR = "this machine shows no processor temperature"
_NO_SWAP_COUNTERS = "the kernel does not count it"
_PROCESSOR_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal")
"""Drivers of sensors in the processor."""
_BOARD_CHIPS = ("acpitz",)
"""Near it: better than nothing."""
_SWAP_EVERY_NS = 400_000_000
"""The kernel adds its counters up over all CPUs for each reading: at ten a second that would be seen."""
_WHOLE = 65_536
_SWAPPED = re.compile(rb"^(pswpin|pswpout) (\d+)$", re.MULTILINE)
_MEMINFO = re.compile(rb"MemTotal:\s+(\d+) kB\nMemFree:.*\nMemAvailable:\s+(\d+) kB\n")
_HEAD = 256
"""Bytes that hold the first three lines of meminfo, the first one of stat, all of statm."""
_GUEST = 8
"""Where the guest times begin in a line of /proc/stat; _IDLE and _IOWAIT are places in it as well."""
_IDLE, _IOWAIT = 3, 4
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_OFFSET, _TRUE = "Tctl", "Tdie"
"""What AMD's fans are ruled by may lie up to 27 °C above the true temperature; some chips show both."""


def _psutil() -> Any:
    import psutil  # type: ignore[import-untyped]

    return psutil


@dataclass(frozen=True, slots=True)
class _Slow:
    """What was read some time ago. Replaced as a whole, never changed: another thread looks at it."""

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SLOW_FIELDS, "not read yet"))


class PsutilProbe:
    """Load, memory, energy and temperature of this machine and of this process.

    `process_cpu_ns` is the CPU time that all threads of this process have taken, in nanoseconds. The
    default is the kernel's own clock for it: psutil would give the same, rounded to ticks of 10 ms.
    `proc` is where the kernel shows its counters; `clock` is what samples are stamped with.
    """

    def __init__(
        self,
        load: Callable[[], Any] = _psutil,
        process_cpu_ns: Callable[[], int] = time.process_time_ns,
        *,
        rapl: Rapl | None = None,
        proc: Path = Path("/proc"),
        first_window_ns: int = FIRST_WINDOW_NS,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._load = load
        self._process_cpu_ns = process_cpu_ns
        self._rapl = rapl or Rapl()
        self._proc = proc
        self._vmstat = str(proc / "vmstat")
        self._stat, self._meminfo, self._statm = (
            KernelFile(proc / name, _HEAD) for name in ("stat", "meminfo", "self/statm")
        )
        self._first_window_ns = first_window_ns
        self._clock = clock
        self._sleep = sleep
        self._psutil: Any = None
        self._process: Any = None
        self._unloaded = "the probe has not been started"
        self._begin()

    def _begin(self) -> None:
        self._process_cpu = _Share()
        self._machine_cpu = _Share()
        self._package_power = _Share(scale=1e9)
        self._cores = _Cores()
        self._slow = _Slow()
        self._swap, self._swap_ns = _Slow(), -_SWAP_EVERY_NS
        self._started_ns = 0

    def start(self) -> None:
        """Load psutil; the windows of the percentages begin here. Never raises: without it fields have the reason."""
        try:
            self._psutil = self._load()
            self._process = self._psutil.Process()
        except Exception as error:
            self._psutil = None
            self._unloaded = f"psutil cannot be used: {error}"
            return
        self._rapl.start()
        self._started_ns = self._clock()
        self.read(self._started_ns)
        with contextlib.suppress(Exception):  # `refresh` will tell
            self._cores.update(self._psutil.cpu_times(percpu=True))

    def read(self, t_ns: int) -> HostSample:
        """One sample stamped `t_ns`: monotonic_ns at the call. What is slow to read is as of the last `refresh`.

        A CPU percentage, and power, is that of the last span of `MIN_WINDOW_NS` or longer that ended at a
        sample: at this one, unless the sample before it is closer than that.
        """
        if self._psutil is None:
            return unread_host(t_ns, self._unloaded)
        slow = self._slow
        values: dict[str, Any] = dict(slow.values)
        reasons: dict[str, str] = dict(slow.reasons)
        # The three that depend on the moment come first.
        self._read_energy(t_ns, values, reasons)
        for name, read in (
            ("process_cpu_pct", self._read_process_cpu),
            ("host_cpu_pct", self._read_machine_cpu),
            ("process_rss_bytes", self._read_process_rss),
        ):
            try:
                values[name] = read(t_ns)
            except Exception as error:
                reasons[name] = failed(error)
            else:
                if values[name] is None:
                    reasons[name] = _NO_WINDOW
        self._read_memory(values, reasons)
        self._read_swap(t_ns, values, reasons)
        return HostSample(t_ns=t_ns, reasons=reasons, **values)

    def refresh(self) -> None:
        """Read what is slow. The first one after `start` waits until its first window has passed."""
        if self._psutil is None:
            return
        left_ns = self._started_ns + self._first_window_ns - self._clock()
        if left_ns > 0:
            self._sleep(left_ns / 1e9)
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        for name, read, why in (
            ("cpu_temperature_c", self._read_temperature, _NO_SENSOR),
            ("cpu_by_core_pct", self._read_cores, _NO_WINDOW),
        ):
            try:
                values[name] = read()
            except Exception as error:
                reasons[name] = failed(error)
            else:
                if values[name] is None:
                    reasons[name] = why
        self._slow = _Slow(values, reasons)

    def stop(self) -> None:
        """Forget the process; a later `start` begins anew."""
        self._psutil = self._process = None
        for file in (self._stat, self._meminfo, self._statm):
            file.close()
        self._rapl.stop()
        self._begin()
        self._unloaded = "the probe has been stopped"

    def _read_process_cpu(self, t_ns: int) -> float | None:
        return self._process_cpu.update(t_ns, self._process_cpu_ns(), t_ns)

    def _read_machine_cpu(self, t_ns: int) -> float | None:
        # psutil's own reading, of the same line, takes four times as long.
        total_s, idle_s = self._machine_times_s() or _total_and_idle_s(self._psutil.cpu_times())
        share = self._machine_cpu.update(t_ns, total_s - idle_s, total_s)
        # Idle time is known to step back on some kernels, hence the bounds.
        return None if share is None else min(max(share, 0.0), 100.0)

    def _machine_times_s(self) -> tuple[float, float] | None:
        """All the CPU time that the kernel has counted and the part of it spent waiting; None without its file."""
        try:
            name, *ticks = self._stat.read().partition(b"\n")[0].split()
            counted = [int(text) / _TICKS_PER_S for text in ticks[:_GUEST]]
        except (OSError, ValueError):
            return None
        if name != b"cpu" or len(counted) <= _IOWAIT:
            return None
        return sum(counted), counted[_IDLE] + counted[_IOWAIT]

    def _read_process_rss(self, _: int) -> int:
        try:
            return int(self._statm.read().split()[1]) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            return int(self._process.memory_info().rss)

    def _read_energy(self, t_ns: int, values: dict[str, Any], reasons: dict[str, str]) -> None:
        try:
            joules = self._rapl.read()
        except RaplError as error:
            reasons["package_energy_j"] = reasons["package_power_w"] = str(error)
            return
        values["package_energy_j"] = joules
        values["package_power_w"] = watts = self._package_power.update(t_ns, joules, t_ns)
        if watts is None:
            reasons["package_power_w"] = _NO_WINDOW

    def _read_memory(self, values: dict[str, Any], reasons: dict[str, str]) -> None:
        try:
            total, available = self._total_and_available_bytes()
        except Exception as error:
            reasons["ram_used_bytes"] = reasons["ram_total_bytes"] = failed(error)
            return
        values["ram_total_bytes"] = total
        # psutil's own `used` has changed its meaning between versions; this is what `free` calls used.
        values["ram_used_bytes"] = total - available

    def _total_and_available_bytes(self) -> tuple[int, int]:
        # The first lines of the file that psutil reads whole, at several times the cost of all else here.
        try:
            found = _MEMINFO.match(self._meminfo.read())
        except OSError:
            found = None
        if found is not None:
            total, available = (int(kibibytes) * 1024 for kibibytes in found.groups())
            if available <= total:  # some containers show a total of their own
                return total, available
        memory = self._psutil.virtual_memory()
        return memory.total, memory.available

    def _read_temperature(self) -> float | None:
        chips = self._psutil.sensors_temperatures()
        for names in (_PROCESSOR_CHIPS, _BOARD_CHIPS):
            readings = [r for name in names for r in chips.get(name, ()) if r.current is not None]
            if any(reading.label == _TRUE for reading in readings):
                readings = [reading for reading in readings if reading.label != _OFFSET]
            if readings:
                return float(max(reading.current for reading in readings))
        return None

    def _read_cores(self) -> tuple[float, ...] | None:
        return self._cores.update(self._psutil.cpu_times(percpu=True))

    def _read_swap(self, t_ns: int, values: dict[str, Any], reasons: dict[str, str]) -> None:
        if t_ns - self._swap_ns >= _SWAP_EVERY_NS:
            self._swap_ns, self._swap = t_ns, self._swapped()
        values.update(self._swap.values)
        reasons.update(self._swap.reasons)

    def _swapped(self) -> _Slow:
        # psutil reads the same file, and where it has no counters gives 0.
        try:
            with open(self._vmstat, "rb", buffering=0) as file:  # noqa: PTH123 (a Path takes as long as the file)
                counters = dict(_SWAPPED.findall(file.read(_WHOLE)))
        except OSError as error:
            return _Slow({}, dict.fromkeys(("swap_in_bytes", "swap_out_bytes"), failed(error)))
        found = {
            name: counters.get(key) for name, key in (("swap_in_bytes", b"pswpin"), ("swap_out_bytes", b"pswpout"))
        }
        return _Slow(
            {name: int(pages) * _PAGE_BYTES for name, pages in found.items() if pages is not None},
            {name: _NO_SWAP_COUNTERS for name, pages in found.items() if pages is None},
        )


class _Share:
    """How much of one growing quantity another growing quantity makes up, from window to window."""

    def __init__(self, scale: float = 100.0) -> None:
        self._scale = scale
        self._before: tuple[int, float, float] | None = None
        self._share: float | None = None

    def update(self, t_ns: int, part: float, whole: float) -> float | None:
        """The part of the last window that was long enough, `scale` being all; None before there was one."""
        if self._before is not None:
            before_ns, part_before, whole_before = self._before
            if t_ns - before_ns < MIN_WINDOW_NS or whole <= whole_before:
                return self._share
            self._share = self._scale * (part - part_before) / (whole - whole_before)
        self._before = (t_ns, part, whole)
        return self._share


class _Cores:
    """Load of each logical CPU, from reading to reading."""

    def __init__(self) -> None:
        self._before: list[tuple[float, float]] = []
        self._pct: tuple[float, ...] | None = None

    def update(self, times: Any) -> tuple[float, ...] | None:
        """Percentages since the reading before; None at the first, and where CPUs came or went."""
        now = [_total_and_idle_s(core) for core in times]
        before = self._before
        if len(before) != len(now):
            self._before, self._pct = now, None
            return None
        spans = [(total - total_0, idle - idle_0) for (total, idle), (total_0, idle_0) in zip(now, before, strict=True)]
        if any(total <= 0 for total, _ in spans):
            return self._pct  # too close to the one before
        self._before = now
        self._pct = tuple(min(max(100.0 * (total - idle) / total, 0.0), 100.0) for total, idle in spans)
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
