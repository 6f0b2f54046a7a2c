"""The grid that samples are taken on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gemtop.telemetry.sampler import Schedule


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


def test_a_schedule_may_begin_between_two_ticks_and_has_missed_nothing() -> None:
    schedule = Schedule(0, 200)
    schedule.begin(1001)
    assert (schedule.due_ns, schedule.missed) == (1200, 0)


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
