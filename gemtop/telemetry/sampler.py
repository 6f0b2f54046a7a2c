"""The threads that read the probes at a steady rate and hand every sample on as it is taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gemtop.domain.telemetry import Sample, TelemetryStatus
from gemtop.telemetry.cost import CostMeter
from gemtop.telemetry.probes import GpuProbe, HostProbe, failed, unread_device, unread_host
from gemtop.threads import name_thread

THREAD_NAME = "gemtop-sampler"
"""Reads this machine at each tick. The names of the others begin with it."""
GPU_THREAD_NAME = f"{THREAD_NAME}-gpu"
SLOW_THREAD_NAME = f"{THREAD_NAME}-slow"
SLOW_GPU_THREAD_NAME = f"{THREAD_NAME}-slow-gpu"
DEFAULT_PERIOD_S = 0.2
DEFAULT_SLOW_PERIOD_S = 2.0
_LOOK_AGAIN_S = 30.0
"""How often a driver without a card is asked again: it may be loaded, and a card connected, later on."""
_FIRST_SLOW_S = 0.25
"""When this machine is read slowly for the first time: loads need a span to be taken over."""


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

    def begin(self, now_ns: int) -> None:
        """The first tick is the next one after `now_ns`; those before were never meant."""
        self.skip_passed(now_ns)
        self.missed = 0

    def serve(self) -> None:
        """The tick that was due has been acted upon."""
        self._next += 1

    def skip_passed(self, now_ns: int) -> None:
        """Give up the ticks that lie before `now_ns`."""
        first_ahead = -((self._start_ns - now_ns) // self._period_ns)
        if first_ahead > self._next:
            self.missed += first_ahead - self._next
            self._next = first_ahead


class _Rounds:
    """One source that is read over and over, on a thread of its own."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        # A daemon, so that a call that hangs inside the driver cannot keep the program from leaving.
        self.thread = threading.Thread(target=run, name=name, daemon=True)
        self.wake = threading.Event()
        self.schedule: Schedule | None = None
        self.complete_ns: int | None = None
        """When the last round began whose samples are all out."""

    @property
    def started(self) -> bool:
        return self.thread.ident is not None

    @property
    def late(self) -> int:
        return self.schedule.missed if self.schedule else 0


class Sampler:
    """Reads both probes every `period_s`, from `start` to `stop`, once.

    This machine and the GPUs are read on a thread each, so that a driver that hangs holds up its own samples
    only. What is slow to read has two more threads, every `slow_period_s`; with it comes what gemtop itself
    takes. `terminal_bytes` is how many bytes were sent to the terminal so far, where one is drawn on.

    `emit` gets each sample and `on_status` what the GPU probe found, and again where that has changed, on those
    threads, one call at a time: they should be quick and may not block. `clock` gives nanoseconds on the clock that
    the rest of the session stamps with; `wait(event, timeout_s)` returns when the event is set or the time is over.

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
        *,
        slow_period_s: float = DEFAULT_SLOW_PERIOD_S,
        terminal_bytes: Callable[[], int] | None = None,
    ) -> None:
        if period_s <= 0 or slow_period_s <= 0:
            raise ValueError("the sampling period must be positive")
        self._gpu = gpu
        self._host = host
        self._emit = emit
        self._on_status = on_status
        self._period_ns = round(period_s * 1e9)
        self._slow_period_ns = round(slow_period_s * 1e9)
        self._clock = clock
        self._wait = wait
        self._stopping = threading.Event()
        self._emitting = threading.Lock()
        self._sampled = threading.Condition()
        self._ended = False
        self._origin_ns = 0
        self._host_rounds = _Rounds(THREAD_NAME, self._run_host)
        self._gpu_rounds = _Rounds(GPU_THREAD_NAME, self._run_gpu)
        self._slow_rounds = _Rounds(SLOW_THREAD_NAME, self._run_slow)
        self._slow_gpu_rounds = _Rounds(SLOW_GPU_THREAD_NAME, self._run_slow_gpu)
        self._all_rounds = (self._host_rounds, self._gpu_rounds, self._slow_rounds, self._slow_gpu_rounds)
        self._awaited: tuple[_Rounds, ...] = (self._host_rounds, self._gpu_rounds)
        self._cost = CostMeter(lambda: self._gpu.spent_ns, lambda: self.late, terminal_bytes)
        self.status: TelemetryStatus | None = None
        """What the GPU probe has found lately; None until it has answered."""
        self.failure: str | None = None
        """The first exception that `emit`, `on_status`, or a probe's `start`, `refresh` or `stop` raised."""

    @property
    def late(self) -> int:
        """Ticks skipped since the start because reading took too long or a thread was not run.

        Those of this machine and of the GPUs, added up.
        """
        return self._host_rounds.late + self._gpu_rounds.late

    def start(self) -> None:
        """Start the threads and return at once; the drivers are loaded there."""
        self._origin_ns = self._clock()
        self._host_rounds.thread.start()
        self._gpu_rounds.thread.start()

    def poke(self) -> None:
        """Ask for a sample now, beside the regular ones. Does not wait; any thread may call it.

        The samples are stamped after the call. Pokes that come before they are taken share them.
        """
        self._host_rounds.wake.set()
        self._gpu_rounds.wake.set()

    def wait_past(self, t_ns: int, timeout_s: float) -> bool:
        """Wait until all samples of rounds that began at `t_ns` or later were emitted, of every source.

        False if that takes longer than `timeout_s`, or the sampler ended before.
        """
        with self._sampled:
            self._sampled.wait_for(lambda: self._ended or self._is_past(t_ns), timeout_s)
            return self._is_past(t_ns)

    def stop(self, timeout_s: float = 1.0) -> bool:
        """End the threads and wait for them; nothing is emitted afterwards. May be called again.

        False where one is still held up inside a driver after `timeout_s`; the program may leave all the same.
        """
        self._stopping.set()
        for rounds in self._all_rounds:
            rounds.wake.set()
        deadline_s = time.monotonic() + timeout_s
        # These two end after the slow ones that they have started.
        for rounds in self._awaited_at_the_end():
            rounds.thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(rounds.thread.is_alive() for rounds in self._awaited_at_the_end())

    def _awaited_at_the_end(self) -> tuple[_Rounds, ...]:
        return tuple(rounds for rounds in (self._host_rounds, self._gpu_rounds) if rounds.started)

    def _is_past(self, t_ns: int) -> bool:
        return all(rounds.complete_ns is not None and rounds.complete_ns >= t_ns for rounds in self._awaited)

    # --- the threads

    def _run_host(self) -> None:
        name_thread(THREAD_NAME)
        try:
            self._guarded(self._host.start)
            self._slow_rounds.thread.start()
            self._repeat(self._host_rounds, self._period_ns, self._sample_host)
        finally:
            self._end(self._slow_rounds, self._host.stop)
            with self._sampled:
                self._ended = True
                self._sampled.notify_all()

    def _run_gpu(self) -> None:
        name_thread("gemtop-gpu")
        try:
            status = self._find_devices()
            while status is not None and not status.devices:
                self._await(self._host_rounds)
                self._wait(self._stopping, _LOOK_AGAIN_S)
                status = self._find_devices()
            if status is None:
                return
            self._await(self._host_rounds, self._gpu_rounds)
            self._slow_gpu_rounds.thread.start()
            self._repeat(self._gpu_rounds, self._period_ns, lambda t_ns: self._sample_devices(t_ns, status))
        finally:
            self._end(self._slow_gpu_rounds, self._gpu.stop)

    def _run_slow(self) -> None:
        name_thread("gemtop-slow")
        self._cost.start(self._clock())
        self._wait(self._slow_rounds.wake, min(_FIRST_SLOW_S, self._slow_period_ns / 1e9))
        if self._stopping.is_set():
            return
        self._guarded(self._host.refresh)
        self._repeat(self._slow_rounds, self._slow_period_ns, self._sample_cost, at_once=False)

    def _run_slow_gpu(self) -> None:
        name_thread("gemtop-slow-gpu")
        self._repeat(self._slow_gpu_rounds, self._slow_period_ns, lambda _: self._refresh_devices())

    def _end(self, slow: _Rounds, stop: Callable[[], None]) -> None:
        """Release a probe when nobody uses it any more."""
        if slow.started:
            slow.thread.join()
        self._guarded(stop)

    def _repeat(self, rounds: _Rounds, period_ns: int, action: Callable[[int], None], *, at_once: bool = True) -> None:
        """Do it now, at every tick, and whenever somebody wakes the thread, until the end."""
        rounds.schedule = schedule = Schedule(self._origin_ns, period_ns)
        schedule.begin(self._clock())
        while True:
            # Cleared before the sample is stamped: a poke that came until here is served by it.
            rounds.wake.clear()
            if self._stopping.is_set():
                return
            began_ns = self._clock()
            if at_once:
                action(began_ns)
                if self._stopping.is_set():
                    return
                with self._sampled:
                    rounds.complete_ns = began_ns
                    self._sampled.notify_all()
            at_once = True
            now_ns = self._clock()
            schedule.skip_passed(now_ns)
            woken = self._wait(rounds.wake, max(schedule.due_ns - now_ns, 0) / 1e9)
            if not woken or self._clock() >= schedule.due_ns:
                schedule.serve()

    def _await(self, *sources: _Rounds) -> None:
        """From now on `wait_past` waits for these."""
        with self._sampled:
            self._awaited = sources
            self._sampled.notify_all()

    # --- what they read

    def _find_devices(self) -> TelemetryStatus | None:
        if self._stopping.is_set():
            return None
        try:
            status = self._gpu.start()
        except Exception as error:
            status = TelemetryStatus((), None, failed(error))
        self._tell(status)
        return status

    def _tell(self, status: TelemetryStatus) -> None:
        """Hand on what the GPU probe found, where it is not what it found before."""
        if status == self.status:
            return
        self.status = status
        on_status = self._on_status
        if on_status is not None:
            with self._emitting:
                if not self._stopping.is_set():
                    self._guarded(lambda: on_status(status))

    def _refresh_devices(self) -> None:
        self._guarded(self._gpu.refresh)
        found = self._gpu.status
        if found is not None:
            self._tell(found)

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

    def _sample_cost(self, t_ns: int) -> None:
        self._guarded(self._host.refresh)
        self._hand_on(self._cost.read(t_ns))

    def _hand_on(self, sample: Sample) -> None:
        # A driver that answers after `stop` gave up waiting speaks to a session that is closed.
        with self._emitting:
            if not self._stopping.is_set():
                self._guarded(lambda: self._emit(sample))

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            self.failure = self.failure or f"{type(error).__name__}: {error}"
