"""Cells that go into the picture of the terminal at once, past Textual's compositor.

Where nothing lies over a screen, the compositor finds out for each changed run which widgets it may belong to and
renders their lines anew: two thirds of what a frame costs. Widgets of cells know what has changed and where they
are. Textual's own picture stays right, since it asks the same widgets for their lines whenever it paints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.style import Style
from textual.geometry import Region

from gemtop.charts.grid import CellRow, Cells, changed_runs
from gemtop.tui.terminal import Terminal
from gemtop.tui.traces import TraceChart
from gemtop.tui.widgets.cells import CellWidget
from gemtop.tui.widgets.values import ValueGrid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gemtop.tui.picture import PenOf, Picture
    from gemtop.tui.terminal_app import TerminalApp


class Painter:
    """What one frame puts into the picture."""

    def __init__(self, area: Region, picture: Picture, pens: PenOf) -> None:
        self._area = area
        self._picture = picture
        self._pens = pens
        picture.tick()

    def covers(self, region: Region) -> bool:
        """Whether all of a widget's region is on the screen."""
        return self._area.contains_region(region)

    def put(self, x: int, y: int, row: CellRow, start: int, end: int, style_of: Callable[[str], Style]) -> None:
        """Columns [start, end) of a line that begins in column x of line y of the screen."""
        pens = {role: self._pens(style_of(role)) for role in set(row.roles[start:end])}
        self._picture.put_cells(x + start, y, row.glyphs[start:end], [pens[role] for role in row.roles[start:end]])


class Painted(CellWidget):
    """A widget of cells that paints itself while it has a painter."""

    painter: Painter | None = None

    def show(self, cells: Cells) -> None:
        """Paint what has changed; without a painter, or at a new size, leave it to Textual."""
        painter, old = self.painter, self._cells
        if painter is None or (old.width, old.height) != (cells.width, cells.height):
            super().show(cells)
            return
        region = self.region
        if region.size != (cells.width, cells.height) or not painter.covers(region):
            super().show(cells)
            return
        self._cells = cells
        for y, (was, is_now) in enumerate(zip(old.rows, cells.rows, strict=True)):
            if was is not is_now:
                for start, end in changed_runs(was, is_now):
                    painter.put(region.x, region.y + y, is_now, start, end, self._style_of)


# Textual takes a widget's rules from its first base alone, so the mixin comes last; no other base has a `show`.


class PaintedGrid(ValueGrid, Painted):
    """A grid of values that paints itself."""


class PaintedChart(TraceChart, Painted):
    """A chart that paints itself."""


def painter_for(app: TerminalApp) -> Painter | None:
    """A painter where what is painted is what Textual would: no dialog, no message, no filter over the screen."""
    try:
        covered = app._batch_count or app._notifications or app.screen._layout_required or len(app.screen_stack) != 1
    except AttributeError:  # Textual has moved on: it paints by itself
        return None
    if covered or app.no_color or not isinstance(app._driver, Terminal):
        return None
    return Painter(app.screen.region, app.picture, app.pens)


@contextmanager
def painting(app: TerminalApp, widgets: Sequence[Painted], *, settled: bool) -> Iterator[None]:
    """Have these widgets paint themselves meanwhile, if they may; `settled` says that the layout stands."""
    painter = painter_for(app) if settled else None
    for widget in widgets:
        widget.painter = painter
    try:
        yield
    finally:
        for widget in widgets:
            widget.painter = None
        if painter is not None:
            app.send_picture()
