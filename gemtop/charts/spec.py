"""What a chart shows, without saying how it is drawn; and the arithmetic that keeps it calm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from gemtop.domain.energy import LONGEST_GAP_S

_UNUSUAL = 2.5
Point = tuple[float, float | None]
"""(x in seconds, y); a y of None is a gap."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve. Later series are drawn over earlier ones."""

    label: str
    colour_role: str
    points: tuple[Point, ...]
    right_axis: bool = False
    """Measured by `ChartSpec.right_range`, labelled on the right, in place of `y_range`."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical mark: a run began here, or settings changed."""

    x: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Band:
    """A span of time that is set apart by its ground, with words on its first line."""

    start: float
    end: float
    label: str
    colour_role: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A current value in a title: label, then the text right-aligned in `width` cells."""

    label: str
    text: str
    colour_role: str = ""
    width: int = 5


@dataclass(frozen=True, slots=True)
class ChartSpec:
    """Everything a chart shows. Two equal specs look the same, so the second need not be drawn."""

    title: str = ""
    unit: str = ""
    series: tuple[Series, ...] = ()
    x_range: tuple[float, float] = (0.0, 60.0)
    y_range: tuple[float, float] = (0.0, 1.0)
    x_label: str = ""
    marks: tuple[Mark, ...] = ()
    placeholder: str = ""
    """Shown in place of curves while there is nothing to draw."""
    right_range: tuple[float, float] | None = None
    readings: tuple[Reading, ...] = ()
    """Most important first: where the title has no room, the last are left out."""
    bands: tuple[Band, ...] = ()

    @property
    def has_data(self) -> bool:
        """Whether any series has a value inside the time range."""
        first, last = self.x_range
        return any(y is not None and first <= x <= last for series in self.series for x, y in series.points)


def nice_ceiling(value: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below the value; 1 for anything not above 0."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for step in (1.0, 2.0, 5.0):
        # Ten thousandths of slack: 0.3 * 10 / 3 must not climb to the next step.
        if value <= step * power * 1.0001:
            return step * power
    return 10.0 * power


def stable_range(previous: tuple[float, float] | None, values: Iterable[float | None]) -> tuple[float, float]:
    """A y range from 0 for the values that seldom changes.

    It grows at once and shrinks only when the values need less than 40 % of it. Values that are None,
    infinite or not a number do not count.
    """
    top = max((value for value in values if value is not None and math.isfinite(value)), default=0.0)
    needed = nice_ceiling(top)
    if previous is None:
        return (0.0, needed)
    held = previous[1]
    if top > held or (0.0 < top < 0.4 * held):
        return (0.0, needed)
    return (0.0, held)


def stepped_window(now_s: float, span_s: float) -> tuple[float, float]:
    """The time range that holds `now_s`, moved in steps of a quarter of its span.

    A window that slides at every frame changes every cell of a chart; this one changes them once a quarter.
    """
    span = max(span_s, 1e-6)
    step = span / 4
    end = max(span, (math.floor(now_s / step) + 1) * step)
    return (end - span, end)


def with_gaps(points: Iterable[Point]) -> tuple[Point, ...]:
    """Readings in order of time, with a gap where none came for long: a curve across it would be made up.

    Long is more than LONGEST_GAP_S, and than _UNUSUAL times what lies between two of them on average.
    """
    found = tuple(points)
    if len(found) < 3:
        return found
    longest_s = max(LONGEST_GAP_S, _UNUSUAL * (found[-1][0] - found[0][0]) / (len(found) - 1))
    gaps = [(a, b) for a, b in pairwise(x for x, _ in found) if b - a > longest_s]
    return tuple(sorted([*found, *(((a + b) / 2, None) for a, b in gaps)], key=itemgetter(0))) if gaps else found


def column_of(x: float, x_range: tuple[float, float], columns: int) -> int:
    """The column whose middle lies nearest to x; outside the range it is below 0 or not below `columns`."""
    first, last = x_range
    if last <= first or columns <= 1:
        return 0 if first <= x <= last else -1
    return math.floor((x - first) / (last - first) * (columns - 1) + 0.5)


def bin_to_columns(
    points: Sequence[Point], x_range: tuple[float, float], columns: int
) -> list[tuple[int, float | None]]:
    """Points reduced to one a column: (column, mean of its values), in the order of time.

    (column, None) is a gap; a gap narrower than a column stays one. Points outside the range are left out,
    values that are infinite or not a number count as gaps.
    """
    binned: list[tuple[int, float | None]] = []
    total, count, current = 0.0, 0, -1
    gap_before = gap_after = False

    def flush() -> None:
        if gap_before or (gap_after and not count):
            binned.append((current, None))
        if count:
            binned.append((current, total / count))
            if gap_after:
                binned.append((current, None))

    for x, y in points:
        if not x_range[0] <= x <= x_range[1]:
            continue
        column = column_of(x, x_range, columns)
        if column != current:
            if current >= 0:
                flush()
            total, count, current = 0.0, 0, column
            gap_before = gap_after = False
        if y is None or not math.isfinite(y):
            if count:
                gap_after = True
            else:
                gap_before = True
        else:
            total += y
            count += 1
    if current >= 0:
        flush()
    return binned


def tick_text(value: float) -> str:
    """A number in at most four characters, rounded where it has to be: 0.5, 250, 2.5, 25k, 1M.

    Numbers below 0.01 and beyond the millions take more.
    """
    suffix, scaled = "", value
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= 9999.5 and abs(value) >= 0.9995 * size:
            suffix, scaled = unit, value / size
            break
    if scaled == int(scaled):
        return f"{int(scaled)}{suffix}"
    for digits in (3, 2, 1):
        text = f"{scaled:.{digits}g}{suffix}"
        if len(text) <= 4 and "e" not in text:
            return text
    return f"{scaled:.0f}{suffix}" if abs(scaled) >= 10 else f"{scaled:.1g}{suffix}"


def clock_text(seconds: float, step_s: float = 1.0) -> str:
    """Elapsed time as m:ss or h:mm:ss; with tenths where labels lie less than a second apart."""
    if step_s < 1.0:
        return f"{seconds:.1f}"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
