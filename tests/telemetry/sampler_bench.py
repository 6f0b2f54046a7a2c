"""A sampler on a clock that moves only when told, whose threads' waits end when a test says so."""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample, Sample, TelemetryStatus
from gemtop.telemetry.sampler import (
    GPU_THREAD_NAME,
    SLOW_GPU_THREAD_NAME,
    SLOW_THREAD_NAME,
    THREAD_NAME,
    Sampler,
)

MS = 1_000_000
PERIOD = 200 * MS
SLOW_PERIOD = 2000 * MS
DEADLINE_S = 30.0
"""Only ends a test that is stuck."""
CARDS = tuple(DeviceInfo(i, f"card {i}", None, None, None, None) for i in "01")

Kind = TypeVar("Kind")


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


class FakeGpu:
    def __init__(self) -> None:
        self.status = TelemetryStatus(CARDS, "570", None)
        self.spent_ns = 0
        self.hold: Callable[[], object] = lambda: None
        self.before_start: Callable[[], object] = lambda: None
        self.before_read: Callable[[], object] = lambda: None
        self.before_refresh: Callable[[], object] = lambda: None
        self.refreshed_on: list[str] = []
        self.stopped_on: list[str] = []

    def start(self) -> TelemetryStatus:
        self.hold()
        self.before_start()
        return self.status

    def read(self, t_ns: int) -> list[DeviceSample]:
        self.before_read()
        return [DeviceSample(t_ns, card.index, power_w=100.0) for card in self.status.devices]

    def refresh(self) -> None:
        self.refreshed_on.append(threading.current_thread().name)
        self.before_refresh()

    def stop(self) -> None:
        self.stopped_on.append(threading.current_thread().name)


class FakeHost:
    def __init__(self) -> None:
        self.before_read: Callable[[], object] = lambda: None
        self.refreshed_on: list[str] = []
        self.stopped_on: list[str] = []

    def start(self) -> None:
        pass

    def read(self, t_ns: int) -> HostSample:
        self.before_read()
        return HostSample(t_ns, host_cpu_pct=1.0)

    def refresh(self) -> None:
        self.refreshed_on.append(threading.current_thread().name)

    def stop(self) -> None:
        self.stopped_on.append(threading.current_thread().name)


class Bench:
    """A sampler whose waits end when the test says so, one thread after the other."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.gpu = FakeGpu()
        self.host = FakeHost()
        self.samples: list[Sample] = []
        self.statuses: list[TelemetryStatus] = []
        self.emit: Callable[[Sample], object] = self.samples.append
        self.waits: dict[str, queue.Queue[float]] = collections.defaultdict(queue.Queue)
        self.orders: dict[str, queue.Queue[None]] = collections.defaultdict(queue.Queue)
        for name in (THREAD_NAME, GPU_THREAD_NAME, SLOW_THREAD_NAME, SLOW_GPU_THREAD_NAME):
            assert self.waits[name].empty() and self.orders[name].empty()
        self.host_waits = threading.Event()
        # The host's first sample is out before the driver is asked, so that both have the same time.
        self.gpu.hold = lambda: self.host_waits.wait(DEADLINE_S)
        self.terminal_bytes = 0
        self.sampler = Sampler(
            self.gpu,
            self.host,
            emit=lambda sample: (self.emit(sample), None)[1],
            on_status=self.statuses.append,
            period_s=PERIOD / 1e9,
            clock=self.clock,
            wait=self._wait,
            slow_period_s=SLOW_PERIOD / 1e9,
            terminal_bytes=lambda: self.terminal_bytes,
        )

    def _wait(self, event: threading.Event, timeout_s: float) -> bool:
        if event.is_set():
            return True
        name = threading.current_thread().name
        self.waits[name].put(timeout_s)
        if name == THREAD_NAME:
            self.host_waits.set()
        while not self.sampler._stopping.is_set():
            try:
                self.orders[name].get(timeout=0.01)
                break
            except queue.Empty:
                continue
        return event.is_set()

    def start(self) -> float:
        """Until the fast threads wait; for how long the one of the GPUs means to, in seconds."""
        self.sampler.start()
        self.wait_begun(THREAD_NAME)
        return self.wait_begun(GPU_THREAD_NAME)

    def wait_begun(self, name: str) -> float:
        """Until that thread waits again; for how long it means to, in seconds."""
        return self.waits[name].get(timeout=DEADLINE_S)

    def wake(self, name: str) -> float:
        """End one thread's wait and see it through to the next one."""
        self.orders[name].put(None)
        return self.wait_begun(name)

    def wake_after(self, ns: int) -> float:
        """End the wait of both fast threads after `ns` of the clock; how long that of the GPUs waits next."""
        self.clock.now_ns += ns
        self.wake(THREAD_NAME)
        return self.wake(GPU_THREAD_NAME)

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [sample for sample in self.samples if isinstance(sample, kind)]

    def host_times(self) -> list[int]:
        return [s.t_ns for s in self.of(HostSample)]

    def power_times(self, device: str = "0") -> list[int]:
        return [s.t_ns for s in self.of(DeviceSample) if s.device == device]
