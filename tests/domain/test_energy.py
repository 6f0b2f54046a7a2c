"""Energy of a window: against power curves that are known exactly, read as a card's sensors would show them."""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_right
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.energy import COUNTER_STEP_S, Energy, Meter, Power, Window, from_counter, from_power

NS = 1_000_000_000
MOST_W = 400.0


@dataclass
class Card:
    """A card whose power is constant in pieces: `watts[i]` from `times[i]` (seconds) on."""

    times: list[float]
    watts: list[float]

    def power(self, t_s: float) -> float:
        return self.watts[max(0, bisect_right(self.times, t_s) - 1)]

    def energy(self, start_s: float, end_s: float) -> float:
        """Exactly."""
        borders = [start_s, *(t for t in self.times if start_s < t < end_s), end_s]
        return math.fsum(self.power(a) * (b - a) for a, b in itertools.pairwise(borders))

    def counter(self, t_s: float, step_s: float) -> float:
        """Millijoules in whole, since time 0, as the driver last wrote them."""
        return math.floor(self.energy(0.0, math.floor(t_s / step_s) * step_s) * 1000) / 1000


def random_card(chance: random.Random, seconds: float) -> Card:
    times, watts = [0.0], [chance.uniform(20, 60)]
    while times[-1] < seconds:
        times.append(times[-1] + chance.choice((0.02, 0.3, 2.0)) * chance.uniform(0.5, 1.5))
        watts.append(chance.uniform(20, MOST_W))
    return Card(times, watts)


def sample_times(chance: random.Random, seconds: float, period_s: float, borders: tuple[float, ...]) -> list[float]:
    """A grid that is late now and then, and a reading soon after each border: the sampler is poked there."""
    grid = [i * period_s + chance.uniform(0, 0.004) for i in range(math.ceil(seconds / period_s) + 2)]
    return sorted([*grid, *(border + chance.uniform(0.0002, 0.003) for border in borders)])


@pytest.mark.parametrize("seed", range(100))
def test_the_counter_is_within_its_stated_error(seed: int) -> None:
    chance = random.Random(seed)
    seconds = 12.0
    card, step_s = random_card(chance, seconds), chance.uniform(0.01, COUNTER_STEP_S)
    start, first = chance.uniform(0.5, 2.0), chance.uniform(2.5, 5.0)
    end = chance.uniform(first + 1, seconds - 1)
    times = sample_times(chance, seconds, 0.1, (start, first, end))
    readings = [(round(t * NS), card.counter(t, step_s)) for t in times]
    for a, b in ((start, first), (first, end), (start, end)):
        found = from_counter(readings, Window(round(a * NS), round(b * NS)), MOST_W)
        assert found is not None
        assert abs(found.joules - card.energy(a, b)) <= found.error_j
        assert found.error_j <= 2.5 * MOST_W * COUNTER_STEP_S, "two steps and little more"
        assert found.is_measured


@pytest.mark.parametrize("seed", range(40))
def test_the_integral_is_within_its_stated_error(seed: int) -> None:
    """Readings of the moment, at which no change is missed: the curve is what lies between them."""
    chance = random.Random(seed)
    times = [0.0]
    while times[-1] < 10:
        times.append(times[-1] + chance.uniform(0.05, 0.2))
    curve = [(round(t * NS), chance.uniform(20, MOST_W)) for t in times]
    jumps = [chance.uniform(a, b) for a, b in itertools.pairwise(times)]
    card = Card([0.0, *jumps], [w for _, w in curve])
    window = Window(round(1.23 * NS), round(8.7 * NS))
    found = from_power(curve, window)
    assert found is not None
    # The two pieces cut by the borders may have jumped on the other side of them.
    slack = 2 * MOST_W * 0.2
    assert abs(found.joules - card.energy(1.23, 8.7)) <= found.error_j + slack


def test_a_ramp_is_integrated_within_one_percent_at_ten_hertz() -> None:
    def watts(t: float) -> float:
        return 200 + 150 * math.sin(t)

    curve = [(round(i * NS / 10), watts(i / 10)) for i in range(200)]
    found = from_power(curve, Window(round(0.55 * NS), round(17.31 * NS)))
    exact = 200 * (17.31 - 0.55) + 150 * (math.cos(0.55) - math.cos(17.31))
    assert found is not None
    assert abs(found.joules - exact) < 0.01 * exact
    assert abs(found.joules - exact) <= found.error_j


@pytest.mark.parametrize("seed", range(40))
def test_an_average_over_a_second_is_within_its_stated_error(seed: int) -> None:
    chance = random.Random(seed)
    card = random_card(chance, 20.0)
    curve = [(round(t * NS), card.energy(t - 1, t)) for t in (1 + i / 10 for i in range(170))]
    start, end = chance.uniform(3, 5), chance.uniform(10, 15)
    found = from_power(curve, Window(round(start * NS), round(end * NS)), averaged_s=1.0)
    assert found is not None
    # What the average of a second hides of the second before its first reading is bounded by the card alone.
    assert abs(found.joules - card.energy(start, end)) <= found.error_j + MOST_W * 0.5


@given(st.floats(0, 1e6), st.floats(1, 400), st.integers(1, 50))
def test_parts_add_up(begin_j: float, watts: float, cut: int) -> None:
    readings = [(i * NS // 10, begin_j + watts * i / 10) for i in range(60)]
    border = cut * NS // 10 + 12_345
    whole = from_counter(readings, Window(0, 59 * NS // 10), MOST_W)
    parts = [from_counter(readings, w, MOST_W) for w in (Window(0, border), Window(border, 59 * NS // 10))]
    assert whole is not None and parts[0] is not None and parts[1] is not None
    assert (parts[0] + parts[1]).joules == pytest.approx(whole.joules, abs=1e-6 + begin_j * 1e-12)


@given(
    at_0=st.floats(0, 500),
    slope=st.floats(-50, 50),
    times_ms=st.lists(st.integers(1, 9_999), max_size=30, unique=True),
    borders_ms=st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)),
)
def test_energy_of_a_linear_curve_is_exact(
    at_0: float, slope: float, times_ms: list[int], borders_ms: tuple[int, int]
) -> None:
    """Wherever the readings lie, the trapezoid rule with interpolated borders gives the integral."""
    curve = [(ms * 10**6, at_0 + slope * ms / 1000) for ms in sorted({*range(0, 10_001, 1000), *times_ms})]
    a, b = sorted(borders_ms)
    found = from_power(curve, Window(a * 10**6, b * 10**6))
    a_s, b_s = a / 1000, b / 1000
    assert found is not None
    assert found.joules == pytest.approx(at_0 * (b_s - a_s) + slope * (b_s**2 - a_s**2) / 2, rel=1e-9, abs=1e-6)


@given(st.lists(st.tuples(st.integers(1, 10**9), st.floats(0, 700)), min_size=3, max_size=30), st.data())
def test_energy_of_two_parts_is_that_of_the_whole(steps: list[tuple[int, float]], data: st.DataObject) -> None:
    curve, t_ns = [], 0
    for gap, watts in steps:
        t_ns += gap
        curve.append((t_ns, watts))
    first, last = curve[0][0], curve[-1][0]
    middle = data.draw(st.integers(first, last))
    whole = from_power(curve, Window(first, last))
    one, other = from_power(curve, Window(first, middle)), from_power(curve, Window(middle, last))
    assert whole is not None and one is not None and other is not None
    assert whole.joules == pytest.approx((one + other).joules, rel=1e-9, abs=1e-9)


def test_what_nobody_saw_is_not_guessed() -> None:
    curve = [(t * NS // 10, 100.0) for t in range(100) if not 30 < t < 50]
    assert from_power(curve, Window(0, 9 * NS)) is None
    before = from_power(curve, Window(0, 3 * NS))
    assert before is not None and before.joules == pytest.approx(300)


@pytest.mark.parametrize("seed", range(40))
def test_a_power_that_jumps_between_readings_stays_within_the_estimate(seed: int) -> None:
    """A square wave of a tenth to half a second, read five times a second and soon after the borders."""
    chance = random.Random(seed)
    period, low, high = chance.uniform(0.1, 0.5), chance.uniform(20, 100), chance.uniform(150, 400)
    edges = [i * period / 2 for i in range(round(40 / period))]
    card = Card(edges, [high if i % 2 else low for i in range(len(edges))])
    start, end = chance.uniform(1, 3), chance.uniform(8, 15)
    times = sample_times(chance, 16.0, 0.2, (start, end))
    found = from_power([(round(t * NS), card.power(t)) for t in times], Window(round(start * NS), round(end * NS)))
    assert found is not None and abs(found.joules - card.energy(start, end)) <= found.error_j


def test_readings_at_one_moment_do_no_harm() -> None:
    found = from_power([(0, 100.0), (NS, 100.0), (NS, 300.0), (2 * NS, 300.0)], Window(0, 2 * NS))
    assert found is not None and found.joules == 400.0


@given(st.integers(2, 100), st.floats(0.1, 5.0))
def test_a_window_that_is_not_covered_has_no_energy(n: int, beyond_s: float) -> None:
    readings = [(i * NS // 10, 10.0 * i) for i in range(n)]
    last = readings[-1][0]
    for window in (Window(-round(beyond_s * NS), last), Window(0, last + round(beyond_s * NS))):
        assert from_counter(readings, window, MOST_W) is None
        assert from_power(readings, window) is None
    assert from_counter([], Window(0, 1), MOST_W) is None


def test_a_counter_that_begins_anew() -> None:
    """The driver was loaded again between two readings: what was used in between is in the error."""
    readings = [(i * NS // 10, 5000 + 30.0 * i) for i in range(20)]
    readings += [((20 + i) * NS // 10, 30.0 * i) for i in range(20)]
    found = from_counter(readings, Window(NS, 3 * NS), MOST_W)
    assert found is not None
    assert abs(found.joules - 600) <= found.error_j
    before = from_counter(readings, Window(NS // 2, NS), MOST_W)
    after = from_counter(readings, Window(5 * NS // 2, 3 * NS), MOST_W)
    assert before is not None and after is not None
    assert before.joules == pytest.approx(150) and after.joules == pytest.approx(150)
    assert max(before.error_j, after.error_j) < found.error_j + 1


def test_too_short_to_measure() -> None:
    readings = [(i * NS // 10, 30.0 * i) for i in range(20)]
    found = from_counter(readings, Window(NS, NS + NS // 20), MOST_W)
    assert found is not None and not found.is_measured


def test_sensors_that_contradict_each_other() -> None:
    def meter(watts: float, counted_w: float, seconds: int = 20, ripple_w: float = 0.0) -> Meter:
        times = [i * NS // 10 for i in range(seconds * 10 + 1)]
        power = [(t, watts + (ripple_w if i % 2 else -ripple_w)) for i, t in enumerate(times)]
        return Meter([(t, counted_w * t / NS) for t in times], power)

    def whole(seconds: int) -> Window:
        return Window(0, seconds * NS)

    assert meter(108, 100).disagrees(whole(20))
    assert not meter(104, 100).disagrees(whole(20)), "within five percent"
    assert meter(110, 100, ripple_w=30).disagrees(whole(20)), "ripples of either sign cancel"
    assert not meter(110, 100, 1).disagrees(whole(1)), "within the steps of the counter"
    assert not Meter([], [(0, 1.0), (NS, 1.0)]).disagrees(whole(1)), "there is nothing to contradict"


def test_idle_power_and_tokens() -> None:
    assert Energy(1000, 20).less(Power(50, 1), 4).per(100) == Energy(8.0, 0.24)
