"""One column of a result against another, without saying how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gemtop.domain.text import one_line

AxisKind = Literal["number", "time", "names"]


@dataclass(frozen=True, slots=True)
class Axis:
    """A range that ends on round figures, and the figures on it with their words."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class XYSpec:
    """Points over two axes."""

    x_label: str
    y_label: str
    points: tuple[tuple[float, float], ...]
    x: Axis
    y: Axis
    joined: bool = False
    """The points are a curve."""
    placeholder: str = ""


_STEPS_S = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800,
)  # fmt: skip


def _step(span: float, count: int) -> float:
    """1, 2 or 5 times a power of ten, so that at most `count` of them cover the span."""
    rough = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * f for f in (1, 2, 5, 10) if power * f >= rough * (1 - 1e-9))


def number_axis(values: Sequence[float], count: int = 4) -> Axis:
    """An axis for numbers; it begins at 0 where that wastes less than half of it."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if 0 <= low <= high / 2:
        low = 0.0
    if high <= low:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    span = high - low
    if not math.isfinite(span) or span < 1e-300:
        return Axis(low, high, ((low, f"{low:.4g}"), (high, f"{high:.4g}")))
    step = _step(span, count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if last - first > 4 * count or first == last:  # the step is lost in the digits of the values
        return Axis(low, high, ((low, f"{low:.6g}"), (high, f"{high:.6g}")))
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple((n * step, _figure(n * step, places)) for n in range(first, last + 1))
    return Axis(first * step, last * step, ticks)


def _figure(value: float, places: int) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e7 or places > 5:
        return f"{value:.3g}"
    for size, letter in ((1e6, "M"), (1e4, "k")):
        scale = 1e6 if letter == "M" else 1e3
        if abs(value) >= size:
            return f"{value / scale:g}{letter}"
    return f"{value:.{places}f}"


def time_axis(values: Sequence[float], count: int = 4) -> Axis:
    """An axis for moments in seconds since 1970, in local time."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high <= low:
        high = low + 1.0
    step = next((s for s in _STEPS_S if (high - low) / s <= count), 0)
    if not step:
        step = math.ceil((high - low) / count / 86400) * 86400
    try:
        offset = datetime.fromtimestamp(low).astimezone().utcoffset()
        shift = offset.total_seconds() if offset is not None else 0.0
        first = math.ceil((low + shift) / step)
        marks = [n * step - shift for n in range(first, int((high + shift) // step) + 1)]
        ticks = tuple((at, _moment(at, step)) for at in marks)
    except (OverflowError, ValueError, OSError):  # a year that Python does not know
        ticks = ()
    return Axis(low, high, ticks)


def _moment(at: float, step: float) -> str:
    when = datetime.fromtimestamp(at)
    if step >= 86400:
        return f"{when:%Y-%m-%d}"
    if step >= 3600:
        return f"{when:%m-%d %H:%M}"
    return f"{when:%H:%M}" if step >= 60 else f"{when:%H:%M:%S}"


def names_axis(names: Sequence[str]) -> Axis:
    """An axis of names, each at its number."""
    ticks = tuple((float(number), one_line(name)) for number, name in enumerate(names))
    return Axis(-0.5, max(len(names), 1) - 0.5, ticks)


def xy_spec(
    x_label: str,
    y_label: str,
    points: Sequence[tuple[float, float]],
    kind: AxisKind,
    names: Sequence[str] = (),
    *,
    joined: bool = False,
) -> XYSpec:
    """Points with axes that fit them."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x = names_axis(names) if kind == "names" else time_axis(xs) if kind == "time" else number_axis(xs, 6)
    words = "" if points else "no row has a value in both columns"
    return XYSpec(one_line(x_label), one_line(y_label), tuple(points), x, number_axis(ys), joined, words)
