"""A live chart: title and current values on its first line, plotext's curves below."""

from __future__ import annotations

from dataclasses import replace

from gemtop.charts.grid import Cells
from gemtop.charts.render import LABEL_CELLS, marker_of, render
from gemtop.charts.spec import ChartSpec, Reading
from gemtop.tui.widgets.cells import CellWidget

_CURVE = "\u2812"
"""A braille cell as a sample of a curve."""
_SOONEST_S, _LATEST_S = 1.0, 2.0


class Chart(CellWidget):
    """Shows a ChartSpec. The same spec at the same size is not drawn again."""

    DEFAULT_CSS = """
    Chart { height: 1fr; width: 1fr; min-height: 1; }
    """

    def __init__(
        self,
        spec: ChartSpec | None = None,
        *,
        framed: bool = False,
        ascii_only: bool | None = None,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(framed=framed, ascii_only=ascii_only, name=name, id=id, classes=classes)
        self._spec = ChartSpec()
        self._drawn: tuple[ChartSpec, int, int, bool] | None = None
        self._plot = Cells(0, 0, ())
        self.plots_drawn = 0
        """How often plotext was asked, for tests and the observer's own figures."""
        if spec is not None:
            self.show_spec(spec)

    @property
    def spec(self) -> ChartSpec:
        """What is shown."""
        return self._spec

    def show_spec(self, spec: ChartSpec) -> None:
        """Show a chart; costs nothing if it equals the last."""
        if spec == self._spec:
            return
        self._spec = spec
        title = f"{spec.title}  {spec.unit}" if spec.unit else spec.title
        self.set_title(title, self._legend(spec))
        self.rebuild()

    def column_s(self, span_s: float) -> float:
        """How long a column of such a span is, in seconds: drawn more often a chart looks the same.

        At least _SOONEST_S, and of a long span not more than one would wait for: _LATEST_S.
        """
        axes = (LABEL_CELLS + 1) * (1 if self._spec.right_range is None else 2)
        return min(max(span_s / max(1, self.inner_size()[0] - axes), _SOONEST_S), _LATEST_S)

    def _legend(self, spec: ChartSpec) -> tuple[Reading, ...]:
        """The readings; where curves are told apart by what they are drawn with, with that before their names."""
        count = len(spec.series)
        if count < 2 or (self.coloured and not self.ascii_only):
            return spec.readings
        drawn = {
            series.colour_role: marker_of(number, count, ascii_only=self.ascii_only, coloured=self.coloured)
            for number, series in enumerate(spec.series, 1)
        }
        return tuple(
            replace(one, label=f"{drawn[one.colour_role].replace('braille', _CURVE)} {one.label}")
            if one.colour_role in drawn
            else one
            for one in spec.readings
        )

    def draw(self, width: int, height: int) -> Cells:
        """The plot; drawn again only if spec, size or characters changed."""
        # Title and readings are not part of the plot, and readings change more often than curves.
        plotted = replace(self._spec, title="", unit="", readings=())
        key = (plotted, width, height, self.ascii_only)
        if key != self._drawn:
            self._plot = render(self._spec, width, height, ascii_only=self.ascii_only, coloured=self.coloured)
            self._drawn = key
            self.plots_drawn += 1
        return self._plot
