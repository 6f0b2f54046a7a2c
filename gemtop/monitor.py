"""Watching without a model: a sampler's readings, kept for the screen and, if asked for, for the history."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gemtop.domain.telemetry import CostSample, DeviceSample, HostSample, Sample, TelemetryStatus
from gemtop.readings import Readings, Recorder
from gemtop.telemetry.probes import GpuProbe, HostProbe

if TYPE_CHECKING:  # a single reading has a third of a second, and writes no records
    from gemtop.domain.records import Record, SessionBegin

STALE_PERIODS = 3
"""Readings that are this many periods old are no readings of now any more."""
_LEAST_STALE_NS = 1_000_000_000


class Sampler(Protocol):
    """What a monitor needs of the telemetry."""

    def start(self) -> None: ...

    def stop(self) -> bool: ...


MakeSampler = Callable[[Callable[[Sample], None], Callable[[TelemetryStatus], None]], Sampler]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The latest reading of everything."""

    status: TelemetryStatus
    devices: tuple[DeviceSample, ...]
    """In the order of `status.devices`; a device that has not been read yet has none."""
    host: HostSample | None
    cost: CostSample | None = None


@dataclass(frozen=True, slots=True)
class MonitorView:
    """Everything a screen shows, taken at one moment."""

    t_ns: int
    status: TelemetryStatus | None
    """None until the driver has answered."""
    latest: Snapshot | None
    """None until everything was read once."""
    device_samples: tuple[DeviceSample, ...]
    host_samples: tuple[HostSample, ...]
    recording: bool
    problem: str | None
    """What keeps the history from being written."""
    notes: tuple[str, ...]
    """What the user should know of the history, a line each."""
    stale_s: float | None
    """For how long nothing has been read, where that is longer than it should be."""


class Monitor:
    """A sampler and what it has read. Construct, `start`, look at `view` or `latest`, `close`.

    `on_round` is called on the sampler's thread when everything has been read once more; it must return at once.
    """

    def __init__(
        self,
        begin: SessionBegin,
        make_sampler: MakeSampler,
        recorder: Recorder | None,
        period_s: float,
        on_round: Callable[[], None],
    ) -> None:
        self.begin = begin
        self.period_s = period_s
        self.readings = Readings()
        self._recorder = recorder
        self._on_round = on_round
        self._last_device: str | None = None
        self._host_ns = self._devices_ns = begin.started_ns
        self._told_ns = (begin.started_ns, begin.started_ns)
        """When machine and cards were read that the last round told of."""
        self._sampler = make_sampler(self._on_sample, self._on_status)

    @property
    def recording(self) -> bool:
        """What is read goes into the history, or would if it could be written."""
        return self._recorder is not None

    @property
    def problem(self) -> str | None:
        """What keeps the history from being written, in one line; None while all is well."""
        return self._recorder.problem if self._recorder else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the history, a line each: that a damaged one was set aside."""
        return self._recorder.notes if self._recorder else ()

    def start(self) -> None:
        """Start reading."""
        self._sampler.start()

    def close(self, reason: str | None = None) -> None:
        """Stop reading and write everything down. `reason` is what ended it, None for the ordinary way."""
        self._sampler.stop()
        if self._recorder is not None:
            from gemtop.domain.records import SessionEnd

            self._recorder.close(SessionEnd(time.monotonic_ns(), reason))

    # What a front end may see

    def latest(self) -> Snapshot | None:
        """The latest reading of everything; None before there was one."""
        status = self.readings.status
        if status is None:
            return None
        held = {sample.device: sample for sample in self.readings.last_of_devices()}
        devices = tuple(held[info.index] for info in status.devices if info.index in held)
        return Snapshot(status, devices, self.readings.last_of_host(), self.readings.cost)

    def fresh(self) -> Snapshot | None:
        """The latest reading without what is too old to be of now."""
        found = self.latest()
        if found is None:
            return None
        since_ns = time.monotonic_ns() - self._fresh_ns
        devices = tuple(sample for sample in found.devices if sample.t_ns >= since_ns)
        host = found.host if found.host is not None and found.host.t_ns >= since_ns else None
        return Snapshot(found.status, devices, host, found.cost)

    def view(self, span_s: float) -> MonitorView:
        """Everything there is to show now, with the samples of the last `span_s` seconds."""
        now_ns = time.monotonic_ns()
        since_ns = now_ns - round(span_s * 1e9)
        return MonitorView(
            t_ns=now_ns,
            status=self.readings.status,
            latest=self.latest(),
            device_samples=tuple(self.readings.devices_since(since_ns)),
            host_samples=tuple(self.readings.hosts_since(since_ns)),
            recording=self.recording,
            problem=self.problem,
            notes=self.notes,
            stale_s=self.stale_s(now_ns),
        )

    def stale_s(self, now_ns: int) -> float | None:
        """Seconds since the last reading of the cards, or of the machine without any, where more passed than should."""
        age_ns = now_ns - (self._host_ns if self._last_device is None else self._devices_ns)
        return age_ns / 1e9 if age_ns > self._fresh_ns else None

    @property
    def _fresh_ns(self) -> int:
        return max(round(STALE_PERIODS * self.period_s * 1e9), _LEAST_STALE_NS)

    # The sampler's thread

    def _on_status(self, status: TelemetryStatus) -> None:
        self.readings.status = status
        self._last_device = status.devices[-1].index if status.devices else None
        if self._recorder is not None:
            from gemtop.domain.records import device_rows

            for row in device_rows(status):
                self._recorder.put(row)

    def _on_sample(self, sample: Sample) -> None:
        self.readings.add(sample)
        self._put(sample)
        if isinstance(sample, HostSample):
            self._host_ns = sample.t_ns
        elif isinstance(sample, DeviceSample) and sample.device == self._last_device:
            self._devices_ns = sample.t_ns
        else:
            return
        if self.readings.status is not None and self._ends_round():
            self._told_ns = (self._host_ns, self._devices_ns)
            self._on_round()

    def _ends_round(self) -> bool:
        """Whether the machine and every card were read since the last round; cards that hang are not waited for."""
        if self._last_device is None:
            self._devices_ns = self._host_ns
        hangs = self._host_ns - self._devices_ns > self._fresh_ns
        host_ns, devices_ns = self._told_ns
        return self._host_ns > host_ns and (hangs or self._devices_ns > devices_ns)

    def _put(self, record: Record) -> None:
        if self._recorder is not None:
            self._recorder.put(record)


def read_once(gpu: GpuProbe, host: HostProbe) -> Snapshot:
    """Everything once, without a thread. What the machine's load is taken over passes while the driver is asked."""
    host.start()
    host.read(time.monotonic_ns())
    status = gpu.start()
    try:
        gpu.refresh()
        devices = tuple(gpu.read(time.monotonic_ns())) if status.devices else ()
    finally:
        gpu.stop()
    host.refresh()
    found = Snapshot(status, devices, host.read(time.monotonic_ns()))
    host.stop()
    return found
