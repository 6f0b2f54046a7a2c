"""Two columns of a result as a plot."""

from __future__ import annotations

from gemtop.charts.grid import Canvas, Cells
from gemtop.charts.render import render_xy
from gemtop.charts.xy import XYSpec
from gemtop.tui.widgets.cells import CellWidget


class XYChart(CellWidget, can_focus=True):
    """Shows an XYSpec; drawn again only at another size."""

    DEFAULT_CSS = "XYChart { height: 1fr; width: 1fr; min-height: 3; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(framed=True, id=id)
        self._spec: XYSpec | None = None
        self._drawn: tuple[XYSpec, int, int] | None = None
        self._plot = Cells(0, 0, ())

    def show_spec(self, spec: XYSpec, note: str = "") -> None:
        """Show points; `note` says what is not among them."""
        self._spec = spec
        self.set_title(f"{spec.y_label} by {spec.x_label}{note}")
        self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        if self._spec is None:
            return Canvas(width, height).freeze()
        if self._drawn != (self._spec, width, height):
            self._plot = render_xy(self._spec, width, height, ascii_only=self.ascii_only)
            self._drawn = (self._spec, width, height)
        return self._plot
