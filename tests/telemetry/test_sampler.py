"""The sampler's real threads with probes that a test drives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from gemtop.domain.telemetry import CostSample, DeviceSample, HostSample, Sample, TelemetryStatus
from gemtop.telemetry.probes import DEVICE_FIELDS, HOST_FIELDS
from gemtop.telemetry.sampler import (
    GPU_THREAD_NAME,
    SLOW_GPU_THREAD_NAME,
    SLOW_THREAD_NAME,
    THREAD_NAME,
    Sampler,
)

from .sampler_bench import CARDS, DEADLINE_S, MS, PERIOD, SLOW_PERIOD, Bench, Clock, FakeGpu, FakeHost


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.sampler.stop(DEADLINE_S)
    assert not [t for t in threading.enumerate() if t.name.startswith(THREAD_NAME)]


def raising(error: Exception) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise error

    return fail


# --- the fast threads


def test_samples_lie_on_the_grid_whatever_reading_costs(bench: Bench) -> None:
    def cost() -> None:
        bench.clock.now_ns += 3 * MS

    bench.gpu.before_read = cost
    timeout_s = bench.start()
    for _ in range(4):
        assert timeout_s == pytest.approx(0.197)
        timeout_s = bench.wake_after(197 * MS)
    assert bench.power_times("0") == bench.power_times("1") == [k * PERIOD for k in range(5)]
    assert bench.host_times() == [k * PERIOD for k in range(5)]
    assert bench.sampler.late == 0


def test_a_driver_that_takes_its_time_joins_the_grid_of_the_machine(bench: Bench) -> None:
    def load() -> None:
        bench.clock.now_ns += 3 * PERIOD + 50 * MS

    bench.gpu.before_start = load
    assert bench.start() == pytest.approx(0.15)
    bench.clock.now_ns += 150 * MS
    bench.wake(GPU_THREAD_NAME)
    assert bench.power_times() == [3 * PERIOD + 50 * MS, 4 * PERIOD]
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
    bench.clock.now_ns += 100 * MS
    bench.wake(GPU_THREAD_NAME)
    assert bench.power_times() == [0, PERIOD, 2 * PERIOD, 5 * PERIOD]
    assert bench.sampler.late == 2


def test_a_wait_that_ends_a_little_early_or_late_moves_no_later_tick(bench: Bench) -> None:
    bench.start()
    assert bench.wake_after(PERIOD - 10) == pytest.approx(0.2, abs=1e-6)
    assert bench.wake_after(PERIOD + 10 + 7 * MS) == pytest.approx(0.193)
    bench.wake_after(193 * MS)
    assert bench.power_times() == bench.host_times() == [0, PERIOD - 10, 2 * PERIOD + 7 * MS, 3 * PERIOD]
    assert bench.sampler.late == 0


def test_poke_takes_a_sample_at_once_and_leaves_the_grid_alone(bench: Bench) -> None:
    bench.start()
    for _ in range(3):
        bench.sampler.poke()
    assert bench.wake_after(50 * MS) == pytest.approx(0.15)
    bench.wake_after(150 * MS)
    assert bench.power_times() == bench.host_times() == [0, 50 * MS, PERIOD]
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


def test_wait_past_returns_when_the_round_of_every_source_is_out(bench: Bench) -> None:
    bench.start()
    assert bench.sampler.wait_past(0, DEADLINE_S)
    assert not bench.sampler.wait_past(1, 0)
    bench.sampler.poke()
    bench.clock.now_ns += 10 * MS
    bench.wake(THREAD_NAME)
    assert not bench.sampler.wait_past(10 * MS, 0)
    bench.orders[GPU_THREAD_NAME].put(None)
    assert bench.sampler.wait_past(10 * MS, DEADLINE_S)
    assert bench.power_times("1") == [0, 10 * MS]
    assert bench.sampler.stop(DEADLINE_S)
    assert not bench.sampler.wait_past(11 * MS, DEADLINE_S)


def test_start_returns_while_the_driver_is_still_being_loaded_and_the_machine_is_read(bench: Bench) -> None:
    loaded = threading.Event()
    bench.gpu.before_start = lambda: loaded.wait(DEADLINE_S)
    bench.sampler.start()
    bench.wait_begun(THREAD_NAME)
    bench.clock.now_ns += PERIOD
    bench.wake(THREAD_NAME)
    assert bench.host_times() == [0, PERIOD]
    assert bench.sampler.status is None
    assert bench.sampler.late == 0
    assert not bench.sampler.wait_past(0, 0)
    loaded.set()
    bench.wait_begun(GPU_THREAD_NAME)
    assert bench.sampler.status == bench.gpu.status
    assert bench.statuses == [bench.gpu.status]
    assert bench.sampler.wait_past(PERIOD, DEADLINE_S)


def test_without_devices_only_the_host_is_read_and_waited_for(bench: Bench) -> None:
    bench.gpu.status = TelemetryStatus((), None, "no driver")
    bench.gpu.before_read = bench.gpu.before_refresh = raising(AssertionError("asked for devices that are not there"))
    bench.sampler.start()
    bench.wait_begun(THREAD_NAME)
    assert bench.sampler.wait_past(0, DEADLINE_S)
    bench.clock.now_ns += PERIOD
    bench.wake(THREAD_NAME)
    assert bench.host_times() == [0, PERIOD]
    assert bench.power_times() == []
    assert bench.sampler.failure is None


def test_a_driver_without_cards_is_asked_again_and_told_of_when_it_has_some(bench: Bench) -> None:
    found, bench.gpu.status = bench.gpu.status, TelemetryStatus((), None, "no driver")
    assert bench.start() == 30.0
    assert bench.wake(GPU_THREAD_NAME) == 30.0
    # Told once, since nothing else was found.
    assert bench.statuses == [bench.gpu.status]
    assert bench.sampler.wait_past(0, DEADLINE_S)
    bench.gpu.status = found
    bench.wake(GPU_THREAD_NAME)
    assert bench.statuses[1:] == [found]
    assert bench.power_times() == [0]
    bench.clock.now_ns += PERIOD
    bench.wake(THREAD_NAME)
    assert not bench.sampler.wait_past(PERIOD, 0)
    bench.wake(GPU_THREAD_NAME)
    assert bench.sampler.wait_past(PERIOD, 0)


def test_what_a_slow_reading_finds_of_a_card_is_told_once(bench: Bench) -> None:
    known = bench.gpu.status
    bench.gpu.status = TelemetryStatus((CARDS[0],), "570", None)
    bench.start()
    bench.wait_begun(SLOW_GPU_THREAD_NAME)
    bench.wake(SLOW_GPU_THREAD_NAME)
    assert bench.statuses == [TelemetryStatus((CARDS[0],), "570", None)]
    bench.gpu.status = known
    for _ in range(2):
        bench.wake(SLOW_GPU_THREAD_NAME)
    assert bench.statuses[1:] == [known]
    assert bench.sampler.status == known


def test_while_a_call_of_the_driver_hangs_the_machine_is_read_on(bench: Bench) -> None:
    hanging, answer = threading.Event(), threading.Event()
    bench.start()

    def hang() -> None:
        hanging.set()
        answer.wait(DEADLINE_S)

    bench.gpu.before_read = hang
    bench.orders[GPU_THREAD_NAME].put(None)
    assert hanging.wait(DEADLINE_S)
    for _ in range(10):
        bench.clock.now_ns += PERIOD
        bench.wake(THREAD_NAME)
    assert bench.host_times() == [k * PERIOD for k in range(11)]
    assert not bench.sampler.wait_past(PERIOD, 0)
    answer.set()
    bench.wait_begun(GPU_THREAD_NAME)
    # The first tick was served, the tenth is due just now.
    assert bench.sampler.late == 8
    assert bench.sampler.wait_past(0, 0)


# --- the slow threads


def test_slow_readings_have_threads_and_a_period_of_their_own(bench: Bench) -> None:
    bench.start()
    # Of the GPUs at once; of the machine after a span that loads can be taken over.
    assert bench.wait_begun(SLOW_GPU_THREAD_NAME) == 2.0
    assert bench.gpu.refreshed_on == [SLOW_GPU_THREAD_NAME]
    assert bench.wait_begun(SLOW_THREAD_NAME) == 0.25
    assert bench.host.refreshed_on == []
    bench.clock.now_ns += 250 * MS
    assert bench.wake(SLOW_THREAD_NAME) == 1.75
    assert bench.host.refreshed_on == [SLOW_THREAD_NAME]
    bench.clock.now_ns += 1750 * MS
    assert bench.wake(SLOW_THREAD_NAME) == bench.wake(SLOW_GPU_THREAD_NAME) == 2.0
    assert bench.host.refreshed_on == [SLOW_THREAD_NAME] * 2
    assert bench.gpu.refreshed_on == [SLOW_GPU_THREAD_NAME] * 2


def test_what_gemtop_takes_comes_with_each_slow_period(bench: Bench) -> None:
    bench.start()
    bench.wait_begun(SLOW_THREAD_NAME)
    bench.wake(SLOW_THREAD_NAME)
    assert bench.of(CostSample) == []
    bench.clock.now_ns += SLOW_PERIOD
    bench.gpu.spent_ns = 30 * MS
    bench.terminal_bytes = 5000
    bench.wake(SLOW_THREAD_NAME)
    (cost,) = bench.of(CostSample)
    assert cost.t_ns == SLOW_PERIOD
    assert cost.nvml_pct == pytest.approx(1.5)
    assert cost.terminal_bytes_per_s == 2500.0
    assert cost.samples_late == bench.sampler.late
    assert cost.engine_cpu_pct == 0.0
    assert cost.observer_cpu_pct is not None
    assert cost.reasons == {}


def test_pokes_leave_the_slow_threads_alone(bench: Bench) -> None:
    bench.start()
    bench.wait_begun(SLOW_GPU_THREAD_NAME)
    bench.sampler.poke()
    bench.wake_after(MS)
    assert bench.gpu.refreshed_on == [SLOW_GPU_THREAD_NAME]


def test_a_slow_reading_that_hangs_holds_up_nothing_else(bench: Bench) -> None:
    hanging, answer = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        answer.wait(DEADLINE_S)

    bench.gpu.before_refresh = hang
    bench.start()
    assert hanging.wait(DEADLINE_S)
    bench.wait_begun(SLOW_THREAD_NAME)
    bench.wake(SLOW_THREAD_NAME)
    bench.clock.now_ns += SLOW_PERIOD
    bench.wake(SLOW_THREAD_NAME)
    bench.wake(THREAD_NAME)
    bench.wake(GPU_THREAD_NAME)
    assert bench.power_times() == bench.host_times() == [0, SLOW_PERIOD]
    assert len(bench.of(CostSample)) == 1
    # The driver is not released under a thread that is inside it.
    assert not bench.sampler.stop(0.01)
    assert bench.gpu.stopped_on == []
    answer.set()
    assert bench.sampler.stop(DEADLINE_S)
    assert bench.gpu.stopped_on == [GPU_THREAD_NAME]


# --- what goes wrong


def test_an_exception_while_the_devices_are_found_becomes_the_reason(bench: Bench) -> None:
    bench.gpu.before_start = raising(RuntimeError("boom"))
    bench.sampler.start()
    bench.wait_begun(THREAD_NAME)
    assert bench.sampler.wait_past(0, DEADLINE_S)
    assert bench.statuses == [TelemetryStatus((), None, "cannot be read: RuntimeError: boom")]
    bench.clock.now_ns += PERIOD
    bench.wake(THREAD_NAME)
    assert bench.host_times()[-1] == PERIOD


def test_an_exception_in_a_reading_becomes_the_reason_of_that_sample_only(bench: Bench) -> None:
    bench.gpu.before_read = raising(RuntimeError("boom"))
    bench.host.before_read = raising(OSError("gone"))
    bench.start()
    bench.gpu.before_read = bench.host.before_read = lambda: None
    bench.wake_after(PERIOD)
    first, second = bench.of(HostSample)
    assert first.reasons == dict.fromkeys(HOST_FIELDS, "cannot be read: OSError: gone")
    assert second.reasons == {}
    of_first_round = bench.of(DeviceSample)[:2]
    for sample in of_first_round:
        assert sample.reasons == dict.fromkeys(DEVICE_FIELDS, "cannot be read: RuntimeError: boom")
    assert [s.reasons for s in bench.of(DeviceSample)[2:]] == [{}, {}]
    assert bench.sampler.failure is None


def test_an_exception_in_a_slow_reading_is_kept_and_the_sampling_goes_on(bench: Bench) -> None:
    bench.gpu.before_refresh = raising(RuntimeError("boom"))
    bench.start()
    bench.wait_begun(SLOW_GPU_THREAD_NAME)
    bench.wake_after(PERIOD)
    assert bench.sampler.failure == "RuntimeError: boom"
    assert bench.power_times() == [0, PERIOD]


def test_an_exception_in_the_listener_is_kept_and_the_sampling_goes_on(bench: Bench) -> None:
    bench.emit = raising(KeyError("full"))
    bench.start()
    bench.emit = bench.samples.append
    bench.wake_after(PERIOD)
    assert bench.power_times() == [PERIOD]
    assert bench.sampler.failure == "KeyError: 'full'"


def test_the_listener_is_called_by_one_thread_at_a_time(bench: Bench) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(sample: Sample) -> None:
        bench.samples.append(sample)
        if isinstance(sample, DeviceSample) and not inside.is_set():
            inside.set()
            go_on.wait(DEADLINE_S)

    bench.emit = slow
    bench.sampler.start()
    bench.wait_begun(THREAD_NAME)
    assert inside.wait(DEADLINE_S)
    bench.orders[THREAD_NAME].put(None)
    assert len(bench.samples) == 2
    go_on.set()
    bench.wait_begun(THREAD_NAME)
    bench.wait_begun(GPU_THREAD_NAME)
    assert len(bench.samples) == 4


# --- the end


def test_stop_ends_the_threads_and_releases_the_driver_on_its_own(bench: Bench) -> None:
    bench.start()
    taken = len(bench.samples)
    assert bench.sampler.stop(DEADLINE_S)
    assert bench.gpu.stopped_on == [GPU_THREAD_NAME]
    assert bench.host.stopped_on == [THREAD_NAME]
    assert len(bench.samples) == taken
    assert bench.sampler.stop()
    assert bench.gpu.stopped_on == [GPU_THREAD_NAME]


def test_stop_does_not_wait_for_a_call_that_hangs_and_nothing_comes_after_it(bench: Bench) -> None:
    reading, answer = threading.Event(), threading.Event()
    bench.start()

    def hang() -> None:
        reading.set()
        answer.wait(DEADLINE_S)

    bench.gpu.before_read = hang
    bench.orders[GPU_THREAD_NAME].put(None)
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
    bench.gpu.before_read = bench.gpu.before_refresh = raising(AssertionError("read after stop"))
    bench.sampler.start()
    assert loading.wait(DEADLINE_S)
    assert not bench.sampler.stop(0.01)
    loaded.set()
    assert bench.sampler.stop(DEADLINE_S)
    assert bench.statuses == []
    assert bench.gpu.stopped_on == [GPU_THREAD_NAME]
    assert bench.sampler.failure is None


def test_stop_without_start_is_quiet(bench: Bench) -> None:
    assert bench.sampler.stop()


@pytest.mark.parametrize("periods", [{"period_s": 0}, {"slow_period_s": 0}])
def test_a_period_must_be_positive(periods: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Sampler(FakeGpu(), FakeHost(), emit=print, **periods)  # type: ignore[arg-type]


def test_the_real_event_wakes_the_threads_for_pokes_and_for_the_end() -> None:
    clock = Clock()
    sampler = Sampler(FakeGpu(), FakeHost(), emit=lambda _: None, period_s=3600.0, clock=clock, slow_period_s=3600.0)
    sampler.start()
    assert sampler.wait_past(0, DEADLINE_S)
    clock.now_ns = 5
    sampler.poke()
    assert sampler.wait_past(5, DEADLINE_S)
    assert sampler.stop(DEADLINE_S)
