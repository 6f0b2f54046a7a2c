"""Energy of a window of time, from a counter of joules or from readings of power, each with its error.

Of a counter the error is a bound: as long as the sensor itself is right, the true energy lies within `joules` ±
`error_j`. Of an integral it is an estimate, since nobody knows what happens between two readings. Pure arithmetic over
timestamped readings on one monotonic clock.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

COUNTER_STEP_S = 0.1
"""NVML's energy counter moves every 10 to 100 ms, by card: what it says may be that old."""
_STEP_NS = round(COUNTER_STEP_S * 1e9)
DISAGREEMENT = 0.05
"""Counter and integral that differ by more than this share contradict each other."""
LONGEST_GAP_S = 1.5
"""Power is not interpolated over longer: nobody knows what it was."""
_UNKNOWN_W = 1000.0
"""No card draws more."""
Reading = tuple[int, float]
"""t_ns and joules of a counter, or t_ns and watts."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time on the monotonic clock, in nanoseconds."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules, and how far off they may be."""

    joules: float
    error_j: float

    def __add__(self, other: Energy) -> Energy:
        return Energy(self.joules + other.joules, self.error_j + other.error_j)

    def less(self, steady: Power, seconds: float) -> Energy:
        """What is left with a steady power taken off."""
        return Energy(self.joules - steady.watts * seconds, self.error_j + steady.error_w * seconds)

    def per(self, count: float) -> Energy:
        """The share of one of `count` tokens, or of one of so many seconds."""
        return Energy(self.joules / count, self.error_j / count)

    @property
    def is_measured(self) -> bool:
        """Whether more is known than that it may be nothing: else the window was too short to measure."""
        return self.joules > self.error_j


@dataclass(frozen=True, slots=True)
class Power:
    """Watts, and how far off they may be."""

    watts: float
    error_w: float

    def __add__(self, other: Power) -> Power:
        return Power(self.watts + other.watts, self.error_w + other.error_w)


def from_counter(readings: Sequence[Reading], window: Window, most_w: float) -> Energy | None:
    """Difference of a counter over a window, off by one step of the counter and what lies before a reading at each end.

    `readings` are (t_ns, joules) in order of time, `most_w` the most the card can draw. None where they do not reach
    over the whole window. A counter that began anew inside it lost what was used in between: that is in the error.
    """
    steady, lost_j = _without_resets(readings, window, most_w)
    if len(steady) < 2 or steady[0][0] > window.start_ns or steady[-1][0] < window.end_ns:
        return None
    start_j, start_error_j = _used_until(steady, window.start_ns, most_w)
    end_j, end_error_j = _used_until(steady, window.end_ns, most_w)
    return Energy(end_j - start_j + lost_j / 2, start_error_j + end_error_j + lost_j / 2)


def _without_resets(readings: Sequence[Reading], window: Window, most_w: float) -> tuple[list[Reading], float]:
    """The readings as if the counter had never begun anew, and the most that was lost inside the window."""
    steady: list[Reading] = []
    offset_j = lost_j = 0.0
    for t_ns, joules in readings:
        if steady and joules + offset_j < steady[-1][1]:
            before_ns, before_j = steady[-1]
            offset_j = before_j
            if before_ns < window.end_ns and t_ns > window.start_ns:
                lost_j += max(0.0, most_w * (t_ns - before_ns) / 1e9 - joules)
        steady.append((t_ns, joules + offset_j))
    return steady, lost_j


def _used_until(readings: Sequence[Reading], t_ns: int, most_w: float) -> tuple[float, float]:
    """Energy used until a time between two readings, and how far off that may be.

    It never falls, rises by no more than `most_w`, and each reading is below it by one step of the counter at most.
    """
    step_j = _step_j(readings, t_ns, most_w)
    after = max(1, bisect_left(readings, t_ns, key=_time))
    (t0, e0), (t1, e1) = readings[after - 1], readings[after]
    low = max(e0, e1 - most_w * (t1 - t_ns) / 1e9)
    high = step_j + min(e1, e0 + most_w * (t_ns - t0) / 1e9)
    # One step behind at both ends of a window cancels out, so the guess is what the counter would have shown.
    shown = min(max(e0 + (e1 - e0) * (t_ns - t0) / max(1, t1 - t0), low), high)
    return shown, max(shown - low, high - shown)


def _step_j(readings: Sequence[Reading], t_ns: int, most_w: float) -> float:
    """The most the counter moves by at once around a time: what it counted within the length of a step there."""
    first = max(0, bisect_left(readings, t_ns - 3 * _STEP_NS, key=_time) - 1)
    near = readings[first : bisect_right(readings, t_ns + 3 * _STEP_NS, key=_time) + 1]
    return min(most_w * COUNTER_STEP_S, max(e1 - e0 for (_, e0), (_, e1) in _a_step_apart(near)))


def _a_step_apart(readings: Sequence[Reading]) -> Iterator[tuple[Reading, Reading]]:
    """Each reading, and the first that is a step of the counter later; the last one where none is."""
    later = 0
    for reading in readings:
        while later < len(readings) - 1 and readings[later][0] - reading[0] < _STEP_NS:
            later += 1
        yield reading, readings[later]


def _time(reading: Reading) -> int:
    return reading[0]


def from_power(curve: Sequence[Reading], window: Window, averaged_s: float = 0.0) -> Energy | None:
    """Integral of a power curve over a window, by the trapezoid rule, borders interpolated.

    `curve` is (t_ns, watts) in order of time; each may be an average over the `averaged_s` seconds before it. None
    where the curve does not reach over the whole window, or leaves more than LONGEST_GAP_S of it without a reading.

    The error is an estimate: between two readings the power is taken to lie within the range of those two and their
    neighbours, so each piece may be off by half of that range. What comes and goes between readings is not seen. An
    average is late by half its span: at each end, what changed within a span of it may fall on the other side.
    """
    if len(curve) < 2 or curve[0][0] > window.start_ns or curve[-1][0] < window.end_ns:
        return None
    total = error = 0.0
    for joules, error_j, seconds in _pieces(curve, window):
        if seconds > LONGEST_GAP_S:
            return None
        total += joules
        error += error_j
    return Energy(total, error + _smeared(curve, window, averaged_s))


def _pieces(curve: Sequence[Reading], window: Window) -> Iterator[tuple[float, float, float]]:
    """Joules between each two readings inside the window, how far off they may be, and the seconds between the two."""
    for i, ((t0, p0), (t1, p1)) in enumerate(pairwise(curve)):
        a, b = max(t0, window.start_ns), min(t1, window.end_ns)
        if b <= a or t1 == t0:
            continue
        slope = (p1 - p0) / (t1 - t0)
        seconds = (b - a) / 1e9
        near = [watts for _, watts in curve[max(0, i - 1) : i + 3]]
        joules = (p0 + slope * (a - t0) + p0 + slope * (b - t0)) / 2 * seconds
        yield joules, (max(near) - min(near)) / 2 * seconds, (t1 - t0) / 1e9


def _smeared(curve: Sequence[Reading], window: Window, averaged_s: float) -> float:
    """Energy that averaging may have carried over the borders."""
    if not averaged_s:
        return 0.0
    span_ns, carried = averaged_s * 1e9, 0.0
    for t_ns in (window.start_ns, window.end_ns):
        near = [watts for at_ns, watts in curve if t_ns - span_ns <= at_ns <= t_ns + span_ns]
        carried += (max(near) - min(near)) * averaged_s if near else 0.0
    return carried


@dataclass(frozen=True, slots=True)
class Meter:
    """The two ways to know the energy of one device."""

    counter: Sequence[Reading]
    """(t_ns, joules); empty where it has none."""
    power: Sequence[Reading]
    """(t_ns, watts)."""
    averaged_s: float = 0.0
    """Each reading of power is the average over so many seconds before it."""

    def counted(self, window: Window) -> Energy | None:
        """By the counter. None where it has none, or not over the whole window."""
        return from_counter(self.counter, window, _most_w(self.counter, self.power)) if self.counter else None

    def integrated(self, window: Window) -> Energy | None:
        """By the power. None where it does not cover the window."""
        return from_power(self.power, window, self.averaged_s)

    def best(self, window: Window) -> Energy | None:
        """By the counter if there is one: it misses nothing between two readings, and no average smears it."""
        counted = self.counted(window)
        return self.integrated(window) if counted is None else counted

    def disagrees(self, window: Window) -> bool:
        """Whether counter and integral contradict each other: by more than 5 %, and more than borders explain.

        Between readings errors of either sign cancel, so their root sum of squares is allowed for, not their sum.
        """
        counted, integrated = self.counted(window), self.integrated(window)
        if counted is None or integrated is None:
            return False
        noise_j = math.sqrt(sum(error_j**2 for _, error_j, _ in _pieces(self.power, window)))
        allowed_j = counted.error_j + noise_j + _smeared(self.power, window, self.averaged_s)
        difference_j = abs(counted.joules - integrated.joules)
        return difference_j > DISAGREEMENT * abs(counted.joules) and difference_j > allowed_j


def _most_w(counter: Sequence[Reading], curve: Sequence[Reading]) -> float:
    """More than the device is likely to draw: a quarter above the most that was read of it, one way or the other."""
    read = [watts for _, watts in curve]
    for (t0, e0), (t1, e1) in _a_step_apart(counter):
        if t1 - t0 >= _STEP_NS:
            read.append((e1 - e0) / ((t1 - t0) / 1e9 - COUNTER_STEP_S / 2))
    return 1.25 * max(read, default=_UNKNOWN_W)
