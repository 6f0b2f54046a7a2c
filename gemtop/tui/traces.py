"""Charts that cost little to go on: curves of braille dots drawn here, axes drawn once.

plotext takes 5 ms for a chart of this size, and a monitor draws three at each reading.
"""

from __future__ import annotations

from dataclasses import replace

from gemtop.charts.grid import Canvas, Cells
from gemtop.charts.render import LABEL_CELLS, render
from gemtop.charts.spec import ChartSpec, Series, bin_to_columns
from gemtop.tui.widgets.chart import Chart

_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The dots of a braille cell by row and column."""
_BRAILLE = 0x2800


class TraceChart(Chart):
    """A Chart whose curves are drawn without plotext; the axes are the same."""

    _axes_key: tuple[object, ...] = ()
    _axes: Cells = Cells(0, 0, ())

    def draw(self, width: int, height: int) -> Cells:
        """The curves over the axes, which are drawn anew only where ranges or size change."""
        spec = self.spec
        if (
            self.ascii_only
            or (not self.coloured and len(spec.series) > 1)
            or width < 4
            or height < 2
            or not spec.has_data
        ):
            return super().draw(width, height)
        key = (spec.x_range, spec.y_range, width, height)
        if key != self._axes_key:
            bare = ChartSpec(x_range=spec.x_range, y_range=spec.y_range)
            self._axes_key, self._axes = key, render(bare, width, height)
        labelled = width >= 24 and height >= 3
        left, rows = (LABEL_CELLS + 1, height - 1) if labelled else (0, height)
        canvas = Canvas(width, height)
        canvas.paste(0, 0, self._axes)
        for (x, y), (bits, role) in dots(spec, width - left, rows).items():
            canvas.put(left + x, y, chr(_BRAILLE + bits), role)
        return canvas.freeze()


def dots(spec: ChartSpec, columns: int, rows: int) -> dict[tuple[int, int], tuple[int, str]]:
    """Cells of the curves: (column, row) to the dots in it and their colour, that of the last curve there."""
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for series in spec.series:
        for x, top, bottom in _strokes(series, spec, columns, rows):
            for y in range(top, bottom + 1):
                cell = (x // 2, y // 4)
                held, _ = cells.get(cell, (0, ""))
                cells[cell] = (held | _BITS[y % 4][x % 2], series.colour_role)
    return cells


def _strokes(series: Series, spec: ChartSpec, columns: int, rows: int) -> list[tuple[int, int, int]]:
    """Columns of dots with their highest and lowest dot: a curve without holes where values follow each other."""
    low, high = spec.y_range
    most = rows * 4 - 1
    scale = most / (high - low) if high > low else 0.0
    strokes: list[tuple[int, int, int]] = []
    before: tuple[int, int] | None = None
    for x, value in bin_to_columns(series.points, spec.x_range, columns * 2):
        if value is None:
            before = None
            continue
        y = most - round(min(max((value - low) * scale, 0.0), most))
        if before is None:
            strokes.append((x, y, y))
        else:
            last_x, last_y = before
            at = last_y
            for step in range(last_x + 1, x + 1):
                to = last_y + round((y - last_y) * (step - last_x) / (x - last_x))
                towards = at + (to > at) - (to < at)  # the dot at `at` is there already, in the column before
                strokes.append((step, min(towards, to), max(towards, to)))
                at = to
        before = (x, y)
    return strokes


def without_values(spec: ChartSpec, *, named: bool) -> ChartSpec:
    """The chart with the names of its curves alone, or nothing: the table tells the values."""
    kept = tuple(replace(reading, text="", width=0) for reading in spec.readings) if named else ()
    return replace(spec, readings=kept)
