"""The thread that reads the probes at a steady rate and hands every sample on as it is taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gemtop.domain.telemetry import Sample, TelemetryStatus
from gemtop.telemetry.probes import GpuProbe, HostProbe, failed, unread_device, unread_host

THREAD_NAME = "gemtop-sampler"
DEFAULT_PERIOD_S = 0.2


class Schedule:
    """Ticks at `start_ns + k * period_ns`. A tick that has passed is never made up for, only counted."""

    def __init__(self, start_ns: int, period_ns: int) -> None:
        self._start_ns = start_ns
        self._period_ns = period_ns
        self._next = 1
        self.missed = 0
        """Ticks that passed while something else was going on."""

    @property
    def due_ns(self) -> int:
        """When the next tick is due, on the clock of `start_ns`."""
        return self._start_ns + self._next * self._period_ns

    def serve(self) -> None:
        """The tick that was due has been acted upon."""
        self._next += 1

    def skip_passed(self, now_ns: int) -> None:
        """Give up the ticks that lie before `now_ns`."""
        first_ahead = -((self._start_ns - now_ns) // self._period_ns)
        if first_ahead > self._next:
            self.missed += first_ahead - self._next
            self._next = first_ahead


class Sampler:
    """Reads both probes every `period_s` on a thread of its own, from `start` to `stop`, once.

    `emit` gets each sample and `on_status` what the GPU probe found, both on that thread: they should be
    quick and may not block. `clock` gives nanoseconds on the clock that the rest of the session stamps
    with; `wait(event, timeout_s)` returns when the event is set or the time is over.

    An exception in a probe becomes the reason in a sample; one in `emit` or `on_status` is kept in `failure`.
    """

    def __init__(
        self,
        gpu: GpuProbe,
        host: HostProbe,
        emit: Callable[[Sample], None],
        on_status: Callable[[TelemetryStatus], None] | None = None,
        period_s: float = DEFAULT_PERIOD_S,
        clock: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        if period_s <= 0:
            raise ValueError("the sampling period must be positive")
        self._gpu = gpu
        self._host = host
        self._emit = emit
        self._on_status = on_status
        self._period_ns = round(period_s * 1e9)
        self._clock = clock
        self._wait = wait
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._sampled = threading.Condition()
        self._complete_ns: int | None = None
        self._ended = False
        self._schedule: Schedule | None = None
        # A daemon, so that a call that hangs inside the driver cannot keep the program from leaving.
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self.status: TelemetryStatus | None = None
        """What the GPU probe found; None until it has answered."""
        self.failure: str | None = None
        """The first exception that `emit`, `on_status` or a probe's `stop` raised."""

    @property
    def late(self) -> int:
        """Ticks skipped since the start because reading took too long or the thread was not run."""
        return self._schedule.missed if self._schedule else 0

    def start(self) -> None:
        """Start the thread and return at once; the drivers are loaded there."""
        self._thread.start()

    def poke(self) -> None:
        """Ask for a sample now, beside the regular ones. Does not wait; any thread may call it.

        The sample is stamped after the call. Pokes that come before it is taken share it.
        """
        self._wake.set()

    def wait_past(self, t_ns: int, timeout_s: float) -> bool:
        """Wait until all samples of a round that began at `t_ns` or later were emitted.

        False if that takes longer than `timeout_s`, or the sampler ended before.
        """
        with self._sampled:
            self._sampled.wait_for(lambda: self._ended or self._is_past(t_ns), timeout_s)
            return self._is_past(t_ns)

    def stop(self, timeout_s: float = 1.0) -> bool:
        """End the thread and wait for it; nothing is emitted afterwards. May be called again.

        False where it is still held up inside a driver after `timeout_s`; the program may leave all the same.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _is_past(self, t_ns: int) -> bool:
        return self._complete_ns is not None and self._complete_ns >= t_ns

    def _run(self) -> None:
        try:
            self._guarded(self._host.start)
            # The CPU percentages count from here, while the driver may need seconds to answer.
            self._sample_host(self._clock())
            self._find_devices()
            self._sample_until_stopped()
        finally:
            self._guarded(self._gpu.stop)
            self._guarded(self._host.stop)
            with self._sampled:
                self._ended = True
                self._sampled.notify_all()

    def _sample_until_stopped(self) -> None:
        self._schedule = schedule = Schedule(self._clock(), self._period_ns)
        while True:
            # Cleared before the sample is stamped: a poke that came until here is served by it.
            self._wake.clear()
            if self._stopping.is_set():
                return
            self._sample()
            now_ns = self._clock()
            schedule.skip_passed(now_ns)
            woken = self._wait(self._wake, max(schedule.due_ns - now_ns, 0) / 1e9)
            if not woken or self._clock() >= schedule.due_ns:
                schedule.serve()

    def _find_devices(self) -> None:
        if self._stopping.is_set():
            return
        try:
            status = self._gpu.start()
        except Exception as error:
            status = TelemetryStatus((), None, failed(error))
        self.status = status
        on_status = self._on_status
        if on_status is not None and not self._stopping.is_set():
            self._guarded(lambda: on_status(status))

    def _sample(self) -> None:
        began_ns = self._clock()
        # The host comes first: it takes a fraction of a millisecond, a driver may take many.
        self._sample_host(began_ns)
        if self.status is not None and self.status.devices:
            self._sample_devices(self._clock(), self.status)
        if self._stopping.is_set():
            return
        with self._sampled:
            self._complete_ns = began_ns
            self._sampled.notify_all()

    def _sample_host(self, t_ns: int) -> None:
        try:
            sample = self._host.read(t_ns)
        except Exception as error:
            sample = unread_host(t_ns, failed(error))
        self._hand_on(sample)

    def _sample_devices(self, t_ns: int, status: TelemetryStatus) -> None:
        try:
            samples = tuple(self._gpu.read(t_ns))
        except Exception as error:
            samples = tuple(unread_device(t_ns, d.index, failed(error)) for d in status.devices)
        for sample in samples:
            self._hand_on(sample)

    def _hand_on(self, sample: Sample) -> None:
        # A driver that answers after `stop` gave up waiting speaks to a session that is closed.
        if not self._stopping.is_set():
            self._guarded(lambda: self._emit(sample))

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            self.failure = self.failure or f"{type(error).__name__}: {error}"
