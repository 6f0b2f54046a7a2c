"""What the charts of the live screen show."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from gemtop.charts.grid import Canvas, Cells
from gemtop.charts.live import CHARTS, SPANS_S
from gemtop.tui.widgets.cells import CellWidget

if TYPE_CHECKING:
    from gemtop.tui.screens.live_view import LiveView

_LABEL = 24
_SPAN_WORDS = {30: "30 seconds", 60: "1 minute", 300: "5 minutes", 900: "15 minutes"}


class Choices(CellWidget, can_focus=True):
    """A line for each chart and one for the span of time, each with its value between arrows."""

    DEFAULT_CSS = "Choices { height: auto; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k,shift+tab", "move(-1)", show=False),
        Binding("down,j,tab", "move(1)", show=False),
        Binding("left", "change(-1)", show=False),
        Binding("right,space", "change(1)", show=False),
    ]

    def __init__(self, live: LiveView) -> None:
        super().__init__()
        self._live = live
        self._row = 0

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._live.charts) + 1

    def _lines(self) -> list[tuple[str, str]]:
        places = ("above", "below, left", "below, middle", "below, right (wide)")
        lines = [(place, CHARTS[name]) for place, name in zip(places, self._live.charts, strict=False)]
        return [*lines, ("time", _SPAN_WORDS[int(self._live.span_s)])]

    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        for y, (label, value) in enumerate(self._lines()[:height]):
            chosen = y == self._row
            canvas.put(0, y, label, "title" if chosen else "muted")
            before, after = (self._stroke("‹ ", "< "), self._stroke(" ›", " >")) if chosen else ("  ", "  ")
            x = canvas.put(_LABEL, y, before, "key")
            x = canvas.put(x, y, value, "text")
            canvas.put(x, y, after, "key")
            if chosen:
                canvas.tint(0, y, width, "key")
        return canvas.freeze()

    def action_move(self, way: int) -> None:
        self._row = (self._row + way) % (len(self._live.charts) + 1)
        self.rebuild()

    def action_change(self, way: int) -> None:
        """The next value of this line; the charts behind show it at once."""
        live = self._live
        if self._row == len(live.charts):
            at = SPANS_S.index(int(live.span_s)) + way
            live.span_s = float(SPANS_S[at % len(SPANS_S)])
        else:
            names = list(CHARTS)
            charts = list(live.charts)
            charts[self._row] = names[(names.index(charts[self._row]) + way) % len(names)]
            live.charts = tuple(charts)
        live.show_frame()
        self.rebuild()

    def on_click(self, event: events.Click) -> None:
        """On a line: that one; left or right of its value: the value before or the next."""
        if 0 <= event.y <= len(self._live.charts):
            event.stop()
            self._row = event.y
            if event.x >= _LABEL:
                self.action_change(-1 if event.x < _LABEL + 2 else 1)
            self.rebuild()


class ChartsScreen(ModalScreen[None]):
    """Every change is seen behind it at once."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,x", "dismiss", show=False)]

    def __init__(self, live: LiveView) -> None:
        super().__init__()
        self._live = live

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("charts", classes="title")
            yield Choices(self._live)
            yield Static("Up and Down choose, Left and Right change; Esc closes", classes="note")
