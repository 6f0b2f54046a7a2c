"""Figures of variants held against each other, as SVG: what they show comes in, and nothing is computed here.

All are as wide as a column of text. Each variant has a line of its own for its name and its figures, so that text never
lies over text, however long the names are and however many variants there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gemtop.charts.svg import WIDTH, Canvas, Scale, dash_of, fitting, linear_axis, log_scale, signed_scale, width_of

_LEFT, _RIGHT = 64.0, WIDTH - 20
_ROW = 24.0
_NAMES = 56.0
_PLOT = 300.0


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around a figure."""

    name: str
    """Of gemtop's own: letters and hyphens."""
    title: str
    x_label: str
    y_label: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A value with the ends of its interval; None where it has none."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, ...]:
        return tuple(v for v in (self.low, self.value, self.high) if v is not None)


@dataclass(frozen=True, slots=True)
class Item:
    """A variant in a figure."""

    number: int
    """Decides colour and shape."""
    label: str
    words: str
    """Its figures, with their errors."""
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Point(Item):
    x: float = 0.0
    y: Span = Span(0.0)


@dataclass(frozen=True, slots=True)
class Bar(Item):
    span: Span | None = None
    """None where it is not known; the words say why."""


@dataclass(frozen=True, slots=True)
class Box(Item):
    quantiles: tuple[float, float, float, float, float, float] = (0.0,) * 6
    """5th, 25th, 50th, 75th, 95th, 99th percentile."""


@dataclass(frozen=True, slots=True)
class Curve(Item):
    points: tuple[tuple[float, float], ...] = ()
    level: float | None = None
    """Its mean, drawn across."""


def scatter(frame: Frame, points: Sequence[Point], *, log_y: bool = False, at_zero: bool = False) -> str:
    """Points with error bars over a key that has every figure. `at_zero` draws a line there."""
    canvas = Canvas()
    ends = [end for point in points for end in point.y.ends] + ([0.0] if at_zero else [])
    x = Scale(linear_axis([point.x for point in points] + [0.0], 6), _LEFT, _RIGHT)
    bottom = 28 + _PLOT
    y = log_scale([end for end in ends if end > 0], bottom, 28) if log_y else signed_scale(ends, bottom, 28)
    _axes(canvas, frame, x, y)
    if at_zero:
        canvas.line(_LEFT, y.at(0), _RIGHT, y.at(0), "axis")
    for point in points:
        canvas.begin(point.number, f"{point.label}: {point.words}")
        if point.y.low is not None and point.y.high is not None:
            canvas.whisker((y.at(point.y.low), y.at(point.y.high)), x.at(point.x), across=False)
        canvas.mark(point.number, x.at(point.x), y.at(point.y.value), hollow=point.hollow)
        canvas.end()
    return canvas.picture(_key(canvas, points, 28 + _PLOT + 68), frame.name, frame.title, described(points))


def curves(frame: Frame, lines: Sequence[Curve]) -> str:
    """Lines of x and a share of 1, each in a dash of its own, over a key."""
    canvas = Canvas()
    x = Scale(linear_axis([value for line in lines for value, _ in line.points] + [0.0], 6), _LEFT, _RIGHT)
    y = Scale(linear_axis([0.0, 1.0]), 28 + _PLOT, 28)
    _axes(canvas, frame, x, y)
    for line in lines:
        canvas.begin(line.number, line.label)
        canvas.stroke([(x.at(a), y.at(b)) for a, b in line.points], 2, dash_of(line.number))
        canvas.end()
    bottom = _key(canvas, lines, 28 + _PLOT + 68, dashes=True)
    return canvas.picture(bottom, frame.name, frame.title, described(lines))


def bars(frame: Frame, rows: Sequence[Bar]) -> str:
    """A bar a variant, from 0, with its interval."""
    canvas = Canvas()
    ends = [end for row in rows if row.span for end in row.span.ends]
    x = Scale(linear_axis([*ends, 0.0], 6), 20, _RIGHT)
    top, each = 8.0, 46.0
    _upright(canvas, frame, x, top, top + each * len(rows))
    for index, row in enumerate(rows):
        y = top + each * index
        _head(canvas, row, y + 16)
        if row.span is not None:
            canvas.begin(row.number, f"{row.label}: {row.words}")
            zero, value = x.at(0), x.at(row.span.value)
            canvas.fill(min(zero, value), y + 24, abs(value - zero), 14, 0.45 if row.span.low is not None else 0.8)
            if row.span.low is not None and row.span.high is not None:
                canvas.whisker((x.at(row.span.low), x.at(row.span.high)), y + 31, across=True)
            canvas.end()
    return canvas.picture(top + each * len(rows) + 48, frame.name, frame.title, described(rows))


def boxes(frame: Frame, rows: Sequence[Box]) -> str:
    """Box of the middle half with the median, a line from the 5th to the 95th percentile, a mark at the 99th."""
    canvas = Canvas()
    x = Scale(linear_axis([q for row in rows for q in row.quantiles] + [0.0], 6), 20, _RIGHT)
    top, each = 8.0, 50.0
    _upright(canvas, frame, x, top, top + each * len(rows))
    for index, row in enumerate(rows):
        y = top + each * index
        _head(canvas, row, y + 16)
        p5, p25, p50, p75, p95, p99 = map(x.at, row.quantiles)
        canvas.begin(row.number, f"{row.label}: {row.words}")
        canvas.whisker((p5, p95), y + 34, across=True)
        canvas.box(p25, y + 26, p75 - p25, 16, "ground")
        canvas.fill(p25, y + 26, p75 - p25, 16, 0.45)
        canvas.stroke([(p50, y + 24), (p50, y + 44)], 3)
        canvas.mark(row.number, p99, y + 34, 4.5, hollow=True)
        canvas.end()
    return canvas.picture(top + each * len(rows) + 48, frame.name, frame.title, described(rows))


def strips(frame: Frame, rows: Sequence[Curve]) -> str:
    """A strip a variant over one x axis, all with the same logarithmic y axis; its mean is a broken line."""
    canvas = Canvas()
    values = [y for row in rows for _, y in row.points if y > 0]
    x = Scale(linear_axis([value for row in rows for value, _ in row.points] + [0.0], 6), _LEFT, _RIGHT)
    top, each, high = 8.0, 116.0, 82.0
    for index, row in enumerate(rows):
        y = top + each * index
        _head(canvas, row, y + 16)
        scale = log_scale(values, y + 26 + high, y + 26)
        canvas.box(_LEFT, y + 26, _RIGHT - _LEFT, high, "band")
        last = None
        for value, words in scale.axis.ticks:
            at = scale.at(value)
            canvas.line(_LEFT, at, _RIGHT, at, "grid")
            if last is None or last - at >= 15:
                canvas.text(_LEFT - 8, at + 4, words, "end", "quiet")
                last = at
        canvas.begin(row.number, f"{row.label}: {row.words}")
        if row.level is not None and row.level > 0:
            canvas.stroke([(_LEFT, scale.at(row.level)), (_RIGHT, scale.at(row.level))], 1, "5 4")
        canvas.stroke([(x.at(a), scale.at(b)) for a, b in row.points], 1.3)
        canvas.end()
    bottom = top + each * len(rows) - 6
    _x_axis(canvas, frame, x, bottom)
    return canvas.picture(bottom + 48, frame.name, frame.title, described(rows))


def described(items: Sequence[Item]) -> str:
    """What a figure shows, for who cannot see it."""
    return "; ".join(f"{item.label}: {item.words}" for item in items)


def _axes(canvas: Canvas, frame: Frame, x: Scale, y: Scale) -> None:
    canvas.text(8, 16, frame.y_label, kind="quiet")
    for value, words in y.axis.ticks:
        canvas.line(_LEFT, y.at(value), _RIGHT, y.at(value), "grid")
        canvas.text(_LEFT - 8, y.at(value) + 4, words, "end", "quiet")
    canvas.line(_LEFT, y.end, _LEFT, y.begin, "axis")
    _x_axis(canvas, frame, x, y.begin)


def _upright(canvas: Canvas, frame: Frame, x: Scale, top: float, bottom: float) -> None:
    for value, _ in x.axis.ticks:
        canvas.line(x.at(value), top + 22, x.at(value), bottom, "grid")
    _x_axis(canvas, frame, x, bottom)


def _x_axis(canvas: Canvas, frame: Frame, x: Scale, y: float) -> None:
    canvas.line(x.begin, y, x.end, y, "axis")
    free = -1e9
    for value, words in x.axis.ticks:
        at, reach = x.at(value), width_of(words) / 2
        canvas.line(at, y, at, y + 5, "axis")
        middle = max(reach + 1, min(WIDTH - reach - 1, at))
        if middle - reach >= free:  # a figure that has no room between its neighbours is left out
            canvas.text(middle, y + 19, words, "middle", "quiet")
            free = middle + reach + 8
    canvas.text(x.end, y + 38, frame.x_label, "end", "quiet")


def _head(canvas: Canvas, item: Item, y: float) -> None:
    """A variant's mark, name and figures in a line."""
    words = fitting(item.words, 440)
    canvas.box(20, y - 13, _RIGHT - 20, 18, "ground")
    canvas.begin(item.number)
    canvas.mark(item.number, 28, y - 4.5, 5, item.hollow)
    canvas.end()
    canvas.text(_NAMES, y, fitting(item.label, _RIGHT - _NAMES - 16 - width_of(words)), kind="bold")
    canvas.text(_RIGHT, y, words, "end")


def _key(canvas: Canvas, items: Sequence[Item], top: float, *, dashes: bool = False) -> float:
    """A line for each variant; returns where it ends."""
    for index, item in enumerate(items):
        y = top + _ROW * index
        _head(canvas, item, y)
        if dashes:
            canvas.begin(item.number)
            canvas.stroke([(8, y - 4.5), (48, y - 4.5)], 2, dash_of(item.number))
            canvas.end()
    return top + _ROW * (len(items) - 1) + 14
