"""ChartSpec to cells. plotext draws the curves; this is the only module that imports it."""

from __future__ import annotations

import re
import threading
from typing import Any

from gemtop.charts.grid import Canvas, Cells
from gemtop.charts.spec import ChartSpec, Series, bin_to_columns, clock_text, column_of, tick_text
from gemtop.charts.xy import Axis, XYSpec
from gemtop.domain.text import text_width

LABEL_CELLS = 4
"""Width of the labels of the y axis, the same for every chart so that they line up."""

_SEQUENCE = re.compile(r"\x1b\[([0-9;]*)m|([^\x1b]+)")
_FOREGROUND = "38;5;"
_ASCII_MARKERS = "*+ox#%"
_MARKERS = ("braille", "•", "×", "+", "◦", "▪")
"""Of curves that no colour tells apart, the last one's first."""
_FEW = 200
"""Up to so many points that are not joined are drawn large."""

_lock = threading.Lock()
"""plotext has one global figure."""
_plotext: Any = None
_markers: dict[tuple[str, int], Any] = {}


def _figure() -> Any:
    """plotext's figure, bare: no axes, ticks, legend, background or limit of size. Imported at first use."""
    global _plotext
    if _plotext is None:
        import plotext

        plotext.terminal.limit(False, False)
        figure = plotext.figure
        figure.axes(False)
        figure.canvas("default")
        figure.legend(False)
        for axis in ("x", "y"):
            for side in (0, 1):
                figure.ruler(axis, side).ticks([])
        _plotext = plotext
    return _plotext.figure


def _marker(symbol: str, number: int) -> Any:
    """A marker in palette colour `number`, by which its cells are told apart afterwards."""
    key = (symbol, number)
    if key not in _markers:
        _markers[key] = _plotext.marker(symbol, _plotext.pixel(foreground=number))
    return _markers[key]


def marker_of(number: int, count: int, *, ascii_only: bool, coloured: bool) -> str:
    """What the curve of this number, counted from 1, is drawn with: the last, which lies on top, with the finest."""
    markers = _ASCII_MARKERS if ascii_only else ("braille",) if coloured else _MARKERS
    return markers[(count - number) % len(markers)]


def render(spec: ChartSpec, width: int, height: int, *, ascii_only: bool = False, coloured: bool = True) -> Cells:
    """Draw a chart of width x height cells: curves, marks, axes and their labels; the title is the widget's.

    Axis labels go first where room is short; no size raises. Series keep their `colour_role`, everything
    else has the roles `axis`, `mark` and `placeholder`. Without colours each curve has a marker of its own.
    """
    canvas = Canvas(width, height)
    if not canvas.width or not canvas.height:
        return canvas.freeze()
    labelled = width >= 24 and height >= 3
    left = LABEL_CELLS + 1 if labelled else 0
    right = LABEL_CELLS + 1 if labelled and spec.right_range is not None else 0
    columns, rows = width - left - right, height - (1 if labelled else 0)
    if spec.has_data:
        _draw_curves(canvas, spec, left, columns, rows, ascii_only, coloured)
        _draw_bands(canvas, spec, left, columns, rows, ascii_only)
        _draw_marks(canvas, spec, left, columns, rows, ascii_only)
    else:
        text = spec.placeholder
        if len(text) > columns:
            text = text[: max(0, columns - 3)] + "..." if ascii_only else text[: columns - 1] + "…"
        canvas.put(left + max(0, (columns - len(text)) // 2), max(0, (rows - 1) // 2), text, "placeholder")
    if labelled:
        _draw_y_axis(canvas, spec.y_range, left - 1, rows, "+|" if ascii_only else "┤│", on_left=True)
        if spec.right_range is not None:
            strokes = "+|" if ascii_only else "├│"
            _draw_y_axis(canvas, spec.right_range, left + columns, rows, strokes, on_left=False)
        _draw_x_axis(canvas, spec, left, columns, rows, ascii_only)
    return canvas.freeze()


def _dots(
    series: Series, spec: ChartSpec, columns: int, rows: int, per_row: int
) -> tuple[list[float], list[float], list[int]]:
    """Positions in cells of a curve's points, and the indices of those not joined to the one before.

    Values are set to the middle of the dot they fall on: what does not move by a dot moves no cell, and
    points inside a level stretch can be left out, which is most of the time plotext needs.
    """
    low, high = spec.right_range if series.right_axis and spec.right_range else spec.y_range
    scale = (rows - 1) / (high - low) if high > low else 0.0
    xs: list[float] = []
    ys: list[float] = []
    breaks: list[int] = []
    broken = True
    for column, value in bin_to_columns(series.points, spec.x_range, columns):
        if value is None:
            broken = True
            continue
        cell = min(max((value - low) * scale, 0.0), rows - 1.0)
        y = (int((cell + 0.5) * per_row) + 0.5) / per_row - 0.5
        x = column + 0.25 if per_row > 1 else float(column)
        if broken:
            breaks.append(len(xs))
        elif len(ys) - breaks[-1] >= 2 and ys[-1] == ys[-2] == y:
            xs[-1] = x
            continue
        xs.append(x)
        ys.append(y)
        broken = False
    return xs, ys, breaks


def _draw_curves(
    canvas: Canvas, spec: ChartSpec, left: int, columns: int, rows: int, ascii_only: bool, coloured: bool
) -> None:
    with _lock:
        figure = _figure()
        figure.clear.data()
        figure.plot_size(columns, rows)
        figure.ruler("x", 0).lim(0, max(columns - 1, 1))
        figure.ruler("y", 0).lim(0, max(rows - 1, 1))
        for number, series in enumerate(spec.series, 1):
            symbol = marker_of(number, len(spec.series), ascii_only=ascii_only, coloured=coloured)
            xs, ys, breaks = _dots(series, spec, columns, rows, 4 if symbol == "braille" else 1)
            if not xs:
                continue
            signal = figure.signal(xs, ys, marker=_marker(symbol, number)).lines(True)
            for index in breaks:
                signal.line(index, False)
            figure.draw(signal)
        drawn = figure.build().string()
    roles = [series.colour_role for series in spec.series]
    for y, line in enumerate(drawn.split("\n")[:rows]):
        x, role = left, ""
        for match in _SEQUENCE.finditer(line):
            codes, text = match.groups()
            if text is None:
                number = int(codes[len(_FOREGROUND) :]) if codes.startswith(_FOREGROUND) else 0
                role = roles[number - 1] if 0 < number <= len(roles) else ""
            elif text.isspace():
                x += len(text)
            else:
                x = canvas.put(x, y, text, role)


def _draw_bands(canvas: Canvas, spec: ChartSpec, left: int, columns: int, rows: int, ascii_only: bool) -> None:
    """A line along the top of each band with its words in it or beside it, and a ground below it.

    The line and the words are for terminals without colours, too.
    """
    stroke = "^" if ascii_only else "▔"
    spans = []
    for band in spec.bands:
        first = max(0, column_of(band.start, spec.x_range, columns))
        last = min(columns - 1, column_of(band.end, spec.x_range, columns))
        if first <= last:
            spans.append((left + first, left + last + 1, band))
    free = {x for x in range(left, left + columns) if canvas.is_blank(x, 0)}
    lined = free & {x for start, end, _ in spans for x in range(start, end)}
    for start, end, band in spans:
        for x in lined & set(range(start, end)):
            canvas.put(x, 0, stroke, band.colour_role)
    for start, end, band in spans:
        cells = len(band.label)
        inside = [start] if cells <= end - start and free.issuperset(range(start, start + cells)) else []
        beside = [x for x in (end + 1, start - 1 - cells) if (free - lined).issuperset(range(x, x + cells))]
        for x in (*inside, *beside)[:1]:
            canvas.put(x, 0, band.label, band.colour_role)
            free -= set(range(x - 1, x + cells + 1))
    for start, end, band in spans:
        canvas.ground(start, end, rows, band.colour_role)


def _draw_marks(canvas: Canvas, spec: ChartSpec, left: int, columns: int, rows: int, ascii_only: bool) -> None:
    """Marks stand behind the curves; their labels go where nothing else is, at the bottom, else the top."""
    stroke = ":" if ascii_only else "┊"
    places = []
    for mark in spec.marks:
        column = column_of(mark.x, spec.x_range, columns)
        if not 0 <= column < columns:
            continue
        places.append((left + column, mark.label))
        for y in range(rows):
            if canvas.is_blank(left + column, y):
                canvas.put(left + column, y, stroke, "mark")
    for x, words in places:
        label = words.replace("→", "->") if ascii_only else words
        cells = len(label)
        if not label or rows < 3:
            continue
        # A blank on each side keeps the words off the curve; the edge of the chart will do as one.
        starts = [x + 1] if x + 1 + cells <= left + columns else [x - cells]
        for start, y in [(start, y) for y in (rows - 1, 0) for start in starts]:
            if start >= left and canvas.is_blank(start, y, cells):
                canvas.put(start, y, label, "mark")
                break


def _draw_y_axis(
    canvas: Canvas, limits: tuple[float, float], x: int, rows: int, strokes: str, *, on_left: bool
) -> None:
    """The vertical line at column x, with labels at top and bottom, and between them where there is room."""
    low, high = limits
    steps = 4 if rows >= 13 else 2 if rows >= 5 else 1
    for y in range(rows):
        canvas.put(x, y, strokes[-1], "axis")
    for step in range(steps + 1):
        y = int((rows - 1) * (1 - step / steps) + 0.5)
        text = tick_text(low + (high - low) * step / steps)
        if len(text) > LABEL_CELLS:
            # Cut short it would be another number.
            text = "?"
        canvas.put(x, y, strokes[0], "axis")
        canvas.put(x - len(text) if on_left else x + 1, y, text, "axis")


def _draw_x_axis(canvas: Canvas, spec: ChartSpec, left: int, columns: int, y: int, ascii_only: bool) -> None:
    """The line below: elapsed time at each quarter, the name of the span at its right end."""
    dash, corner = ("-", "+") if ascii_only else ("─", "└")
    canvas.put(left - 1, y, corner + dash * columns, "axis")
    if spec.right_range is not None:
        canvas.put(left + columns, y, "+" if ascii_only else "┘", "axis")
    free = left + columns
    if spec.x_label and len(spec.x_label) + 4 <= columns:
        text = f" {spec.x_label}"
        free -= len(text)
        canvas.put(free, y, text, "axis")
    first, last = spec.x_range
    step = (last - first) / 4
    quarters = (1, 2, 3) if columns >= 36 else (2,) if columns >= 16 else ()
    for quarter in quarters:
        at = first + quarter * step
        text = f" {clock_text(at, step)} "
        start = left + column_of(at, spec.x_range, columns) - len(text) // 2
        if start + len(text) < free:
            canvas.put(start, y, text, "axis")


def render_xy(spec: XYSpec, width: int, height: int, *, ascii_only: bool = False) -> Cells:
    """Draw points over two axes, in width x height cells; no size raises. The points have the role `decode`."""
    canvas = Canvas(width, height)
    if not canvas.width or not canvas.height:
        return canvas.freeze()
    if not spec.points:
        canvas.put(max(0, (width - len(spec.placeholder)) // 2), height // 2, spec.placeholder, "placeholder")
        return canvas.freeze()
    labels = max((text_width(text) for _, text in spec.y.ticks), default=0)
    labelled = width >= labels + 16 and height >= 4
    left = labels + 1 if labelled else 0
    columns, rows = width - left, height - (2 if labelled else 0)
    _draw_points(canvas, spec, left, columns, rows, ascii_only)
    if labelled:
        _draw_xy_axes(canvas, spec, left, columns, rows, ascii_only)
    return canvas.freeze()


def _share(value: float, axis: Axis) -> float:
    return (value - axis.low) / (axis.high - axis.low) if axis.high > axis.low else 0.5


def _draw_points(canvas: Canvas, spec: XYSpec, left: int, columns: int, rows: int, ascii_only: bool) -> None:
    across, up = max(columns - 1, 1), max(rows - 1, 1)
    fine = 1 if ascii_only else 4
    places = [(_share(x, spec.x) * across, _share(y, spec.y) * up) for x, y in spec.points]
    if not spec.joined:  # points on one dot are one
        places = list(dict.fromkeys((round(x * 2) / 2, round(y * fine) / fine) for x, y in places))
    with _lock:
        figure = _figure()
        figure.clear.data()
        figure.plot_size(columns, rows)
        figure.ruler("x", 0).lim(0, across)
        figure.ruler("y", 0).lim(0, up)
        few = "•" if len(places) <= _FEW and not spec.joined else "braille"
        marker = _marker(_ASCII_MARKERS[0] if ascii_only else few, 1)
        signal = figure.signal([x for x, _ in places], [y for _, y in places], marker=marker)
        figure.draw(signal.lines(spec.joined))
        drawn = figure.build().string()
    for y, line in enumerate(drawn.split("\n")[:rows]):
        x = left
        for _, text in _SEQUENCE.findall(line):
            x = x + len(text) if text.isspace() else canvas.put(x, y, text, "decode")


def _draw_xy_axes(canvas: Canvas, spec: XYSpec, left: int, columns: int, rows: int, ascii_only: bool) -> None:
    """A line at the left and one below, figures on both as far as they find room, the x column's name below."""
    side, tick, dash, corner = "|+-+" if ascii_only else "│┤─└"
    for y in range(rows):
        canvas.put(left - 1, y, side, "axis")
    taken: set[int] = set()
    for value, text in spec.y.ticks:
        y = rows - 1 - round(_share(value, spec.y) * max(rows - 1, 1))
        if 0 <= y < rows and y not in taken:
            taken |= {y - 1, y, y + 1} if rows > 6 else {y}
            canvas.put(left - 1 - text_width(text), y, text, "axis")
            canvas.put(left - 1, y, tick, "axis")
    canvas.put(left - 1, rows, corner + dash * columns, "axis")
    free, end = left, left + columns
    for value, text in spec.x.ticks:
        x = left + round(_share(value, spec.x) * max(columns - 1, 1))
        start = min(max(left, x - text_width(text) // 2), end - text_width(text))
        if free <= start:
            canvas.put(x, rows, "+" if ascii_only else "┴", "axis")
            free = canvas.put(start, rows + 1, text, "axis") + 2
    start = end - text_width(spec.x_label)
    if start >= free:
        canvas.put(start, rows + 1, spec.x_label, "title")
