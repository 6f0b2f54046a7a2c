"""The parts of a picture in SVG: scales, axes, marks and text that cannot be taken for markup."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gemtop.charts.colours import DARK_SERIES, LIGHT_SERIES
from gemtop.charts.xy import Axis, number_axis
from gemtop.domain.text import one_line, printable, shortened, storable, text_width

WIDTH = 760.0
_CELL = 0.62
"""Width of a terminal cell's worth of text over its size: wider than the letters of common sans-serif fonts."""
_SIZE = 13.0
_NO_XML = re.compile(r"[\ufffe\uffff]")

_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2", "12 4", "4 2 1 2")


def _colours(values: Sequence[str]) -> str:
    return "".join(f".v{number}{{color:{value}}}" for number, value in enumerate(values))


STYLE = (
    ".fig{background:#fff}.fig text{font:13px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1f2328}"
    ".fig .quiet{fill:#59636e}.fig .bold{font-weight:600}.fig .axis{stroke:#818b98;fill:none}"
    ".fig .grid{stroke:#dfe4e9;fill:none}.fig .ground{fill:#fff}.fig .band{fill:#eef1f4}" + _colours(LIGHT_SERIES) +
    "@media (prefers-color-scheme:dark){"
    ".fig{background:#151b23}.fig text{fill:#e6edf3}.fig .quiet{fill:#9da7b3}.fig .axis{stroke:#7d8894}"
    ".fig .grid{stroke:#2f3742}.fig .ground{fill:#151b23}.fig .band{fill:#212830}" + _colours(DARK_SERIES) + "}"
    "@media print{.fig{background:#fff}.fig text{fill:#000}.fig .grid{stroke:#dfe4e9}.fig .ground{fill:#fff}"
    ".fig .band{fill:#eef1f4}" + _colours(LIGHT_SERIES) + "}"
)  # fmt: skip
"""For a page that holds pictures, and inside each that stands alone."""


def escaped(text: str) -> str:
    """Text of anyone's for SVG and HTML, content and attributes: control characters shown, markup as it is written."""
    return html.escape(_NO_XML.sub("\ufffd", printable(storable(text))), quote=True)


def fitting(text: str, room: float, size: float = _SIZE) -> str:
    """A line of text that takes at most `room` pixels, cut with an ellipsis."""
    line = one_line(storable(text))
    while line and width_of(line, size) > room:
        line = shortened(line, max(1, min(len(line) - 1, int(room / (_CELL * size)))))
        if len(line) == 1:
            break
    return line


def width_of(text: str, size: float = _SIZE) -> float:
    return text_width(text) * _CELL * size


def colour_class(number: int) -> str:
    """The class that gives a variant its colour, the same in every figure and table."""
    return f"v{number % len(LIGHT_SERIES)}"


@dataclass(frozen=True, slots=True)
class Scale:
    """Where on the picture a value lies."""

    axis: Axis
    begin: float
    """Pixel of the axis's low end."""
    end: float
    transform: Callable[[float], float] = float
    """Of values, before they are laid out evenly."""

    def at(self, value: float) -> float:
        low, high = self.transform(self.axis.low), self.transform(self.axis.high)
        share = (self.transform(value) - low) / (high - low)
        return self.begin + min(1.02, max(-0.02, share)) * (self.end - self.begin)


def log_scale(values: Sequence[float], begin: float, end: float) -> Scale:
    """A logarithmic scale for values above 0; what is not above it lies at the low end."""
    axis = log_axis(values)
    return Scale(axis, begin, end, lambda value: math.log10(max(value, axis.low / 2)))


def signed_scale(values: Sequence[float], begin: float, end: float) -> Scale:
    """A scale with 0 in it: linear, or where values differ by much, logarithmic on both sides of a linear middle."""
    sizes = [abs(value) for value in values if value]
    largest, smallest = max(sizes, default=1.0), min(sizes, default=1.0)
    if largest < 30 * smallest:
        return Scale(linear_axis([*values, 0.0]), begin, end)
    power = max(math.floor(math.log10(smallest)), math.floor(math.log10(largest)) - 4)
    step = 10.0**power
    axis = _signed_axis(min(values), max(values), power)
    return Scale(axis, begin, end, lambda value: math.copysign(math.log10(1 + abs(value) / step), value))


def _signed_axis(low: float, high: float, power: int) -> Axis:
    """Powers of ten from this one on, on both sides of 0 as far as there are values."""

    def side(reach: float, sign: str) -> list[tuple[float, str]]:
        top = power - 1 if reach <= 0 else max(power, math.ceil(math.log10(reach) - 1e-9))
        factor = -1.0 if sign == "\u2212" else 1.0
        return [(factor * 10.0**p, sign + _log_text(10.0**p, p, 1)) for p in range(power, top + 1)]

    ticks = (*reversed(side(-low, "\u2212")), (0.0, "0"), *side(high, "+"))
    return Axis(ticks[0][0], ticks[-1][0], ticks)


_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def log_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis for values above 0, from one round figure to another."""
    low, high = min(values), max(values)
    steps = [(10.0**power * factor, power, factor) for power in range(-30, 31) for factor in (1, 2, 5)]
    first = max(i for i, step in enumerate(steps) if step[0] <= low * (1 + 1e-9))
    last = min(i for i, step in enumerate(steps) if step[0] >= high * (1 - 1e-9))
    if last - first < 2:
        first, last = first - 1, last + 1
    chosen = steps[first : last + 1]
    if last - first > 6:  # decades alone
        tens = [step for step in chosen if step[2] == 1]
        every = -(-len(tens) // 6)
        ticks = tens[::every]
    else:
        ticks = chosen
    return Axis(chosen[0][0], chosen[-1][0], tuple((value, _log_text(value, power, f)) for value, power, f in ticks))


def _log_text(value: float, power: int, factor: int) -> str:
    if -4 <= power <= 3:
        return f"{value:.{max(0, -power)}f}"
    ten = "10" + str(power).translate(_POWERS)
    return ten if factor == 1 else f"{factor}·{ten}"


def linear_axis(values: Sequence[float], count: int = 5) -> Axis:
    """An axis of round figures with a true minus sign."""
    axis = number_axis(values, count)
    return Axis(axis.low, axis.high, tuple((value, words.replace("-", "\u2212")) for value, words in axis.ticks))


class Canvas:
    """A picture as it is drawn, from the top down."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> None:
        """A line of text; nothing in it is markup."""
        names = f' class="{kind}"' if kind else ""
        where = f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{where}{names}>{escaped(words)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" class="{kind}"/>'
        )

    def begin(self, number: int, tip: str = "") -> None:
        """What follows has the colour of this variant."""
        title = f"<title>{escaped(tip)}</title>" if tip else ""
        self.parts.append(f'<g class="{colour_class(number)}">{title}')

    def end(self) -> None:
        self.parts.append("</g>")

    def stroke(self, points: Sequence[tuple[float, float]], width: float = 1.5, dash: str = "") -> None:
        """A line in the variant's colour."""
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="currentColor" stroke-width="{width}"{dashes}'
            ' stroke-linejoin="round"/>'
        )

    def fill(self, x: float, y: float, width: float, height: float, opacity: float = 1.0) -> None:
        """A box in the variant's colour."""
        faint = f' fill-opacity="{opacity}"' if opacity < 1 else ""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.5, width):.1f}" height="{height:.1f}" rx="2"'
            f' fill="currentColor"{faint}/>'
        )

    def mark(self, number: int, x: float, y: float, size: float = 6.0, hollow: bool = False) -> None:
        """A variant's shape, in its colour."""
        self.parts.append(shape(number, x, y, size, hollow))

    def whisker(self, ends: tuple[float, float], at: float, across: bool) -> None:
        """An interval with caps; `across` lies along x."""
        a, b = ends
        if across:
            paths = [((a, at), (b, at)), ((a, at - 4), (a, at + 4)), ((b, at - 4), (b, at + 4))]
        else:
            paths = [((at, a), (at, b)), ((at - 4, a), (at + 4, a)), ((at - 4, b), (at + 4, b))]
        for path in paths:
            self.stroke(path, 1.4)

    def picture(self, height: float, name: str, title: str, description: str) -> str:
        """The whole of it. `name` is of gemtop's own: it makes ids that differ on a page."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="fig" viewBox="0 0 {WIDTH:.0f} {height:.0f}"'
            f' width="{WIDTH:.0f}" height="{height:.0f}" role="img" aria-labelledby="{name}-title {name}-desc">'
            f'<title id="{name}-title">{escaped(title)}</title><desc id="{name}-desc">{escaped(description)}</desc>'
            + "".join(self.parts)
            + "</svg>"
        )


def standing_alone(picture: str) -> str:
    """A picture as a file of its own, its style inside."""
    head, sign, rest = picture.partition(">")
    ground = f'<rect width="{WIDTH:.0f}" height="100%" class="ground"/>'
    return f"{head}{sign}<style>{STYLE}</style>{ground}{rest}\n"


def dash_of(number: int) -> str:
    return _DASHES[number % len(_DASHES)]


def shape(number: int, x: float, y: float, size: float = 6.0, hollow: bool = False) -> str:
    """Circle, square, diamond, triangles, pentagon, stars: as many as there are colours.

    Where the colours begin again, each has the next one's shape.
    """
    paint = (
        'class="ground" stroke="currentColor" stroke-width="2"'
        if hollow
        else 'fill="currentColor" stroke="currentColor"'
    )
    kind = (number + number // len(LIGHT_SERIES)) % len(LIGHT_SERIES)
    if kind == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" {paint}/>'
    corners, turn, inner = _SHAPES[kind]
    count = corners * (2 if inner else 1)
    points = []
    for i in range(count):
        angle = math.pi * (2 * i / count + turn)
        reach = size * (1.1 if not (inner and i % 2) else inner)
        points.append(f"{x + reach * math.sin(angle):.1f},{y - reach * math.cos(angle):.1f}")
    return f'<polygon points="{" ".join(points)}" {paint}/>'


_SHAPES: dict[int, tuple[int, float, float]] = {
    1: (4, 0.25, 0.0),
    2: (4, 0.0, 0.0),
    3: (3, 0.0, 0.0),
    4: (3, 1.0, 0.0),
    5: (5, 0.0, 0.0),
    6: (5, 0.0, 0.45),
    7: (4, 0.0, 0.4),
}
"""Corners, turn in half circles, and for stars the reach of the inner corners."""
