"""Power of a device that does nothing."""

from __future__ import annotations

import pytest

from gemtop.domain.energy import Power
from gemtop.domain.idle import IdlePower

NS = 1_000_000_000


def feed(idle: IdlePower, start_s: float, end_s: float, watts: float, *, busy: bool = False, util: float = 0) -> None:
    for i in range(round((end_s - start_s) * 10)):
        idle.add("0", round((start_s + i / 10) * NS), watts, util, busy=busy)


def test_the_quietest_second_counts() -> None:
    idle = IdlePower()
    feed(idle, 0, 3, 40.0)
    feed(idle, 3, 6, 25.0)
    feed(idle, 6, 9, 30.0)
    assert idle.of(["0"]) == Power(pytest.approx(25.0), pytest.approx(0.0))


def test_less_than_a_second_says_nothing() -> None:
    idle = IdlePower()
    feed(idle, 0, 0.9, 40.0)
    assert idle.of(["0"]) is None


@pytest.mark.parametrize("how", ["busy", "util"])
def test_what_happens_in_a_run_and_in_the_second_after_it_does_not_count(how: str) -> None:
    """A card whose average of power still falls is not idle, and neither is one that somebody else uses."""
    idle = IdlePower()
    feed(idle, 0, 3, 10.0, busy=how == "busy", util=80 if how == "util" else 0)
    assert idle.of(["0"]) is None
    feed(idle, 3, 4.5, 10.0)
    assert idle.of(["0"]) is None, "one second to settle, and then one that is measured"
    feed(idle, 4.5, 6.5, 12.0)
    found = idle.of(["0"])
    assert found is not None and 10.0 < found.watts <= 12.0


def test_of_unknown_utilisation_nothing_is_idle() -> None:
    """A card that is cut into instances does not tell how busy it is."""
    idle = IdlePower()
    for i in range(50):
        idle.add("0", i * NS // 10, 350.0, None, busy=False)
    assert idle.of(["0"]) is None


def test_devices_are_added_up_and_one_that_is_not_known_leaves_none() -> None:
    idle = IdlePower()
    feed(idle, 0, 3, 40.0)
    assert idle.of(["0", "1"]) is None
    for i in range(30):
        idle.add("1", i * NS // 10, 10.0 + i % 2, 0.0, busy=False)
    found = idle.of(["0", "1"])
    assert found is not None
    assert found.watts == pytest.approx(50.5, abs=0.1) and found.error_w == pytest.approx(0.5)
    assert idle.of([]) is None
