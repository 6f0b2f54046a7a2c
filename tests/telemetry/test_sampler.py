"""The sampler's real thread with probes that a test drives, on a clock that moves only when told."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample, TelemetryStatus
from gemtop.telemetry.probes import DEVICE_FIELDS, HOST_FIELDS
from gemtop.telemetry.sampler import THREAD_NAME, Sampler, Schedule
from tests import nvml_stub

from .conftest import run_python

MS = 1_000_000
PERIOD = 200 * MS
DEADLINE_S = 30.0
"""Only ends a test that is stuck."""
CARDS = tuple(DeviceInfo(i, f"card {i}", None, None, None, None) for i in "01")


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


class FakeGpu:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.status = TelemetryStatus(CARDS, "570", None)
        self.before_start: Callable[[], object] = lambda: None
        self.before_read: Callable[[], object] = lambda: None
        self.stopped_on: list[str] = []

    def start(self) -> TelemetryStatus:
        self.before_start()
        return self.status

    def read(self, t_ns: int) -> list[DeviceSample]:
        self.before_read()
        return [DeviceSample(t_ns, card.index, power_w=100.0) for card in self.status.devices]

    def stop(self) -> None:
        self.stopped_on.append(threading.current_thread().name)


class FakeHost:
    def __init__(self) -> None:
        self.before_read: Callable[[], object] = lambda: None

    def start(self) -> None:
        pass

    def read(self, t_ns: int) -> HostSample:
        self.before_read()
        return HostSample(t_ns, host_cpu_pct=1.0)

    def stop(self) -> None:
        pass


class Bench:
    """A sampler whose waits end when the test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.gpu = FakeGpu(self.clock)
        self.host = FakeHost()
        self.samples: list[DeviceSample | HostSample] = []
        self.statuses: list[TelemetryStatus] = []
        self.emit: Callable[[DeviceSample | HostSample], object] = self.samples.append
        self.waits: queue.Queue[float] = queue.Queue()
        self.orders: queue.Queue[int] = queue.Queue()
        self.sampler = Sampler(
            self.gpu,
            self.host,
            emit=lambda sample: (self.emit(sample), None)[1],
            on_status=self.statuses.append,
            period_s=PERIOD / 1e9,
            clock=self.clock,
            wait=self._wait,
        )

    def _wait(self, event: threading.Event, timeout_s: float) -> bool:
        if event.is_set():
            return True
        self.waits.put(timeout_s)
        self.clock.now_ns += self.orders.get(timeout=DEADLINE_S)
        return event.is_set()

    def start(self) -> float:
        self.sampler.start()
        return self.wait_begun()

    def wait_begun(self) -> float:
        """Until the thread waits again; for how long it means to, in seconds."""
        return self.waits.get(timeout=DEADLINE_S)

    def wake_after(self, ns: int) -> float:
        """End the thread's wait after `ns` of the clock and see it through to the next one."""
        self.orders.put(ns)
        return self.wait_begun()

    def stop(self) -> bool:
        self.orders.put(0)
        return self.sampler.stop(DEADLINE_S)

    def host_times(self) -> list[int]:
        return [s.t_ns for s in self.samples if isinstance(s, HostSample)]

    def power_times(self, device: str = "0") -> list[int]:
        return [s.t_ns for s in self.samples if isinstance(s, DeviceSample) and s.device == device]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.stop()
    assert not [t for t in threading.enumerate() if t.name == THREAD_NAME]


def raising(error: Exception) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise error

    return fail


# --- the schedule alone


def test_ticks_lie_on_multiples_of_the_period() -> None:
    schedule = Schedule(1000, 200)
    due = []
    for _ in range(5):
        due.append(schedule.due_ns)
        schedule.serve()
    assert due == [1200, 1400, 1600, 1800, 2000]
    assert schedule.missed == 0


def test_passed_ticks_are_skipped_and_counted_but_one_due_right_now_is_not() -> None:
    schedule = Schedule(0, 200)
    schedule.skip_passed(200)
    assert (schedule.due_ns, schedule.missed) == (200, 0)
    schedule.skip_passed(601)
    assert (schedule.due_ns, schedule.missed) == (800, 3)


@given(st.lists(st.integers(0, 2000), max_size=50))
def test_every_tick_is_either_served_or_missed(durations: list[int]) -> None:
    schedule = Schedule(0, 200)
    now = served = 0
    for duration in durations:
        now += duration
        schedule.skip_passed(now)
        assert schedule.due_ns >= now
        now = schedule.due_ns
        schedule.serve()
        served += 1
    assert served + schedule.missed == now // 200


# --- the thread


def test_samples_lie_on_the_grid_whatever_reading_costs(bench: Bench) -> None:
    def cost() -> None:
        bench.clock.now_ns += 3 * MS

    bench.gpu.before_read = cost
    timeout_s = bench.start()
    for _ in range(4):
        assert timeout_s == pytest.approx(0.197)
        timeout_s = bench.wake_after(197 * MS)
    assert bench.power_times("0") == bench.power_times("1") == [k * PERIOD for k in range(5)]
    # One host sample more: the first is taken before the driver is asked.
    assert bench.host_times() == [0, *(k * PERIOD for k in range(5))]
    assert bench.sampler.late == 0


def test_ticks_missed_in_a_slow_reading_are_skipped_and_counted(bench: Bench) -> None:
    delays = iter([0, 0, 500 * MS, 0, 0])

    def sometimes_slow() -> None:
        bench.clock.now_ns += next(delays)

    bench.gpu.before_read = sometimes_slow
    bench.start()
    bench.wake_after(PERIOD)
    assert bench.wake_after(PERIOD) == pytest.approx(0.1)
    assert bench.sampler.late == 2
    bench.wake_after(100 * MS)
    assert bench.power_times() == [0, PERIOD, 2 * PERIOD, 5 * PERIOD]
    assert bench.sampler.late == 2


def test_a_wait_that_ends_a_little_early_or_late_moves_no_later_tick(bench: Bench) -> None:
    bench.start()
    assert bench.wake_after(PERIOD - 10) == pytest.approx(0.2, abs=1e-6)
    assert bench.wake_after(PERIOD + 10 + 7 * MS) == pytest.approx(0.193)
    bench.wake_after(193 * MS)
    assert bench.power_times() == [0, PERIOD - 10, 2 * PERIOD + 7 * MS, 3 * PERIOD]
    assert bench.sampler.late == 0


def test_poke_takes_a_sample_at_once_and_leaves_the_grid_alone(bench: Bench) -> None:
    bench.start()
    for _ in range(3):
        bench.sampler.poke()
    assert bench.wake_after(50 * MS) == pytest.approx(0.15)
    bench.wake_after(150 * MS)
    assert bench.power_times() == [0, 50 * MS, PERIOD]
    assert bench.sampler.late == 0


def test_a_poke_that_meets_a_tick_serves_both(bench: Bench) -> None:
    bench.start()
    bench.sampler.poke()
    assert bench.wake_after(PERIOD + MS) == pytest.approx(0.199)
    assert bench.power_times() == [0, PERIOD + MS]
    assert bench.sampler.late == 0


def test_a_poke_while_a_sample_is_taken_gets_another_that_began_later(bench: Bench) -> None:
    poked_at: list[int] = []

    def poke_once() -> None:
        bench.clock.now_ns += MS
        if not poked_at:
            poked_at.append(bench.clock.now_ns)
            bench.sampler.poke()

    bench.gpu.before_read = poke_once
    bench.start()
    assert bench.power_times() == [0, MS]
    assert bench.power_times()[1] >= poked_at[0]


def test_wait_past_returns_when_the_whole_round_is_out(bench: Bench) -> None:
    bench.start()
    assert bench.sampler.wait_past(0, DEADLINE_S)
    assert not bench.sampler.wait_past(1, 0)
    bench.sampler.poke()
    bench.orders.put(10 * MS)
    assert bench.sampler.wait_past(10 * MS, DEADLINE_S)
    assert bench.power_times("1") == [0, 10 * MS]
    bench.wait_begun()
    bench.stop()
    assert not bench.sampler.wait_past(11 * MS, DEADLINE_S)


def test_start_returns_while_the_driver_is_still_being_loaded(bench: Bench) -> None:
    loaded = threading.Event()
    bench.gpu.before_start = lambda: loaded.wait(DEADLINE_S)
    bench.sampler.start()
    assert bench.sampler.status is None
    assert bench.sampler.late == 0
    loaded.set()
    bench.wait_begun()
    assert bench.sampler.status == bench.gpu.status
    assert bench.statuses == [bench.gpu.status]


def test_without_devices_only_the_host_is_read(bench: Bench) -> None:
    bench.gpu.status = TelemetryStatus((), None, "no driver")
    bench.gpu.before_read = raising(AssertionError("asked for devices that are not there"))
    bench.start()
    bench.wake_after(PERIOD)
    assert bench.host_times() == [0, 0, PERIOD]
    assert bench.power_times() == []


# --- what goes wrong


def test_an_exception_while_the_devices_are_found_becomes_the_reason(bench: Bench) -> None:
    bench.gpu.before_start = raising(RuntimeError("boom"))
    bench.start()
    assert bench.statuses == [TelemetryStatus((), None, "cannot be read: RuntimeError: boom")]
    bench.wake_after(PERIOD)
    assert bench.host_times()[-1] == PERIOD


def test_an_exception_in_a_reading_becomes_the_reason_of_that_sample_only(bench: Bench) -> None:
    bench.gpu.before_read = raising(RuntimeError("boom"))
    bench.host.before_read = raising(OSError("gone"))
    bench.start()
    bench.gpu.before_read = bench.host.before_read = lambda: None
    bench.wake_after(PERIOD)
    first = [s for s in bench.samples if s.t_ns == 0]
    second = [s for s in bench.samples if s.t_ns == PERIOD]
    assert [type(s) for s in first] == [HostSample, HostSample, DeviceSample, DeviceSample]
    for sample in first[:2]:
        assert sample.reasons == dict.fromkeys(HOST_FIELDS, "cannot be read: OSError: gone")
    for sample in first[2:]:
        assert sample.reasons == dict.fromkeys(DEVICE_FIELDS, "cannot be read: RuntimeError: boom")
    assert [s.reasons for s in second] == [{}, {}, {}]
    assert bench.sampler.failure is None


def test_an_exception_in_the_listener_is_kept_and_the_sampling_goes_on(bench: Bench) -> None:
    bench.emit = raising(KeyError("full"))
    bench.start()
    bench.emit = bench.samples.append
    bench.wake_after(PERIOD)
    assert bench.power_times() == [PERIOD]
    assert bench.sampler.failure == "KeyError: 'full'"


# --- the end


def test_stop_ends_the_thread_and_releases_the_driver_there(bench: Bench) -> None:
    bench.start()
    taken = len(bench.samples)
    assert bench.stop()
    assert bench.gpu.stopped_on == [THREAD_NAME]
    assert len(bench.samples) == taken
    assert bench.sampler.stop()
    assert bench.gpu.stopped_on == [THREAD_NAME]


def test_stop_does_not_wait_for_a_call_that_hangs_and_nothing_comes_after_it(bench: Bench) -> None:
    reading, answer = threading.Event(), threading.Event()
    bench.start()

    def hang() -> None:
        reading.set()
        answer.wait(DEADLINE_S)

    bench.gpu.before_read = hang
    bench.orders.put(PERIOD)
    assert reading.wait(DEADLINE_S)
    assert not bench.sampler.stop(0.01)
    taken = len(bench.samples)
    answer.set()
    assert bench.sampler.stop(DEADLINE_S)
    assert len(bench.samples) == taken


def test_stop_before_the_driver_answers_leaves_without_asking_it_more(bench: Bench) -> None:
    loading, loaded = threading.Event(), threading.Event()

    def load() -> None:
        loading.set()
        loaded.wait(DEADLINE_S)

    bench.gpu.before_start = load
    bench.gpu.before_read = raising(AssertionError("read after stop"))
    bench.sampler.start()
    assert loading.wait(DEADLINE_S)
    assert not bench.sampler.stop(0.01)
    loaded.set()
    assert bench.sampler.stop(DEADLINE_S)
    assert bench.statuses == []
    assert bench.gpu.stopped_on == [THREAD_NAME]


def test_stop_without_start_is_quiet(bench: Bench) -> None:
    assert bench.sampler.stop()


def test_a_period_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Sampler(FakeGpu(Clock()), FakeHost(), emit=print, period_s=0)


def test_the_real_event_wakes_the_thread_for_pokes_and_for_the_end() -> None:
    clock = Clock()
    sampler = Sampler(FakeGpu(clock), FakeHost(), emit=lambda _: None, period_s=3600.0, clock=clock)
    sampler.start()
    assert sampler.wait_past(0, DEADLINE_S)
    clock.now_ns = 5
    sampler.poke()
    assert sampler.wait_past(5, DEADLINE_S)
    assert sampler.stop(DEADLINE_S)


def test_a_driver_that_hangs_does_not_keep_the_program_from_leaving(stub_dir: Path) -> None:
    code = (
        "import time;"
        "from gemtop.telemetry.nvml import NvmlProbe;"
        "from gemtop.telemetry.host import PsutilProbe;"
        "from gemtop.telemetry.sampler import Sampler;"
        "import threading; found = threading.Event();"
        "s = Sampler(NvmlProbe(), PsutilProbe(), lambda _: None, lambda _: found.set());"
        "s.start(); found.wait(30); print(s.wait_past(0, 0.2), s.stop(0.2))"
    )
    env = nvml_stub.environment(stub_dir, "hang=power hang_s=600")
    assert run_python("-c", code, env=env) == "False False\n"
