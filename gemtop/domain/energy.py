"""Energy of a window of time, from a counter of joules or from readings of power, each with its error.

Both are bounds, not standard deviations: as long as the sensor itself is right, the true energy lies within
`joules` ± `error_j`. Pure arithmetic over timestamped readings on one monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

COUNTER_STEP_S = 0.1
"""NVML's energy counter moves every 10 to 100 ms, by card: what it says may be that old."""
_STEP_NS = round(COUNTER_STEP_S * 1e9)
DISAGREEMENT = 0.05
"""Counter and integral that differ by more than this share, and by more than their errors, contradict each other."""
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

    def less(self, watts: float, seconds: float) -> Energy:
        """What is left with a steady power taken off."""
        return Energy(self.joules - watts * seconds, self.error_j)

    def per(self, count: float) -> Energy:
        """The share of one of `count` tokens, or of one of so many seconds."""
        return Energy(self.joules / count, self.error_j / count)

    @property
    def is_measured(self) -> bool:
        """Whether more is known than that it may be nothing: else the window was too short to measure."""
        return self.joules > self.error_j


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
    where the curve does not reach over the whole window: power is not guessed beyond the last reading.

    Between two readings the power is taken to lie between them, so each piece is off by half their difference at most.
    An average is late by half its span: at each end, what changed within a span of it may fall on the other side.
    """
    if len(curve) < 2 or curve[0][0] > window.start_ns or curve[-1][0] < window.end_ns:
        return None
    total = error = 0.0
    for (t0, p0), (t1, p1) in pairwise(curve):
        a, b = max(t0, window.start_ns), min(t1, window.end_ns)
        if b <= a or t1 == t0:
            continue
        slope = (p1 - p0) / (t1 - t0)
        seconds = (b - a) / 1e9
        total += (p0 + slope * (a - t0) + p0 + slope * (b - t0)) / 2 * seconds
        error += abs(p1 - p0) / 2 * seconds
    if averaged_s:
        error += sum(_smeared_j(curve, end_ns, averaged_s) for end_ns in (window.start_ns, window.end_ns))
    return Energy(total, error)


def _smeared_j(curve: Sequence[Reading], t_ns: int, averaged_s: float) -> float:
    """Energy that averaging may have carried over this border."""
    span_ns = averaged_s * 1e9
    near = [watts for at_ns, watts in curve if t_ns - span_ns <= at_ns <= t_ns + span_ns]
    return (max(near) - min(near)) * averaged_s if near else 0.0


def measured(counter: Sequence[Reading], curve: Sequence[Reading], window: Window) -> Energy | None:
    """Energy of one device in a window: from its counter where it has one, else from its power.

    A counter misses nothing between two readings and no average smears it. None where neither covers the window.
    """
    counted = from_counter(counter, window, _most_w(counter, curve)) if counter else None
    return from_power(curve, window) if counted is None else counted


def _most_w(counter: Sequence[Reading], curve: Sequence[Reading]) -> float:
    """More than the device is likely to draw: a quarter above the most that was read of it, one way or the other."""
    read = [watts for _, watts in curve]
    for (t0, e0), (t1, e1) in _a_step_apart(counter):
        if t1 - t0 >= _STEP_NS:
            read.append((e1 - e0) / ((t1 - t0) / 1e9 - COUNTER_STEP_S / 2))
    return 1.25 * max(read, default=_UNKNOWN_W)


def disagree(counted: Energy, integrated: Energy) -> bool:
    """Whether counter and integral contradict each other: by more than a share, and by more than their errors."""
    difference = abs(counted.joules - integrated.joules)
    return difference > DISAGREEMENT * abs(counted.joules) and difference > counted.error_j + integrated.error_j
