"""What the live screen shows of a session, one that goes on or one that is replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from gemtop.tui.first_paint import SPAN_S
from gemtop.tui.screens.base import BaseScreen
from gemtop.tui.terminal_app import TerminalApp, draw_frames, draw_text
from gemtop.tui.widgets.chart import Chart
from gemtop.tui.widgets.header import HeaderLine
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.ledger import MemoryLedger
from gemtop.tui.widgets.run_table import RunTable
from gemtop.tui.widgets.side_list import SideList
from gemtop.tui.widgets.stream import StreamView
from gemtop.tui.widgets.values import Value, ValueGrid

if TYPE_CHECKING:
    from gemtop.charts.live import LiveCharts, Scene
    from gemtop.view import SessionView, Shown

DEFAULT_CHARTS: tuple[str, ...] = ("speed", "memory", "power", "temperature")
"""What the charts show; the last ones are left out where there is no room."""
_MACHINE_S = 1.0
"""Readings of the machine are shown so often; what the run does, with every frame."""


class LiveView(BaseScreen[None]):
    """Charts, figures, and the text as it streams."""

    def __init__(self) -> None:
        super().__init__()
        self.charts = DEFAULT_CHARTS
        self.span_s = SPAN_S
        self._charts: LiveCharts | None = None
        self._steps: dict[str, int] = {}
        """When what moves on slowly was drawn, by name."""
        self._shown_run = 0
        self._shown_text = 0
        """Characters of the run's text that are in the output pane."""
        self._pieces = 0
        self._problem: str | None = None
        self._notes_told = 0

    @property
    def shown(self) -> Shown | None:
        """What is drawn."""
        raise NotImplementedError

    @property
    def heading(self) -> str:
        """The first words of the first line."""
        return "gemtop"

    @property
    def opening(self) -> str:
        """The name of the model that is being loaded, where it is known."""
        return ""

    @property
    def without_model(self) -> str:
        """What the first line says where no model is loaded."""
        return ""

    def compose_body(self, empty: str) -> ComposeResult:
        """Everything between the first lines and the last; `empty` stands where no text is yet."""
        with Vertical(id="body"):
            with Horizontal(id="charts"):
                with Vertical(id="curves"):
                    yield Chart(framed=True, id="chart-0")
                    with Horizontal(id="more-curves"):
                        for number in range(1, len(DEFAULT_CHARTS)):
                            yield Chart(framed=True, id=f"chart-{number}")
                with Vertical(id="facts"):
                    yield MemoryLedger(id="ledger")
                    yield ValueGrid(title="devices", framed=True, id="devices")
            yield MemoryLedger(framed=False, id="ledger-line")
            yield ValueGrid(id="vitals")
            yield ValueGrid(id="figures")
            with Horizontal(id="texts"):
                yield StreamView(title="output", framed=True, id="output", placeholder=empty)
                yield RunTable(quiet=True, id="runs")
        yield Static("gemtop needs at least 40 x 10 cells; enlarge the terminal, or press q", id="too-small")

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#output"))
        draw_frames(self, lambda: self.show_frame(whole=False))
        draw_text(self, self.show_text)

    def on_screen_resume(self) -> None:
        self.show_text()
        self.show_frame()

    # Charts and figures

    @property
    def line_note(self) -> str:
        """What there is to say of a slow line to the terminal."""
        return cast(TerminalApp, self.app).line_note

    def show_frame(self, *, whole: bool = True) -> None:
        """Everything but the text, from one view of the session; of it what has moved on, or the `whole`."""
        session = self.shown
        if session is None:
            return
        view = session.view(self.span_s if self.is_current else 0)
        self._tell_problem(view.problem)
        self._tell_notes(view.notes)
        if self.is_current:
            if whole:
                self._steps.clear()
            self._show_run(view)
            self._show_charts(session.started_ns, view)
            if self._has_moved("machine", view, _MACHINE_S):
                self._show_machine(view)

    def _has_moved(self, name: str, view: SessionView, step_s: float) -> bool:
        """Whether so long has gone by, on the clock of what is shown, since this was drawn."""
        step = int(view.t_ns / 1e9 / step_s)
        before, self._steps[name] = self._steps.get(name), step
        return step != before

    def _show_run(self, view: SessionView) -> None:
        from gemtop.tui import present

        self.query_one("#header", HeaderLine).show_text(
            present.header_text(view, self.heading, self.opening, self.without_model)
        )
        width = self.size.width
        self._show_values("#figures", present.figure_rows(view, width))
        self._show_values("#vitals", present.vital_rows(view, width - 2))

    def _show_values(self, name: str, rows: list[list[Value]]) -> None:
        grid = self.query_one(name, ValueGrid)
        if grid.display:
            grid.show_rows(rows)

    def _show_machine(self, view: SessionView) -> None:
        from gemtop.tui import devices, present

        table = self.query_one("#devices", ValueGrid)
        cells = table.inner_size()[0] if table.size else devices.LIVE_CELLS
        self._show_values("#devices", present.device_rows(view, cells))
        for ledger in self.query(MemoryLedger):
            if ledger.size:
                ledger.show_view(view)
        self.query_one("#runs", RunTable).show_view(view)
        self.query_one("#keys", KeyLine).show_note(self.line_note or present.cost_note(view.cost))

    def _show_charts(self, started_ns: int, view: SessionView) -> None:
        from gemtop.charts.live import LiveCharts

        if self._charts is None:
            self._charts = LiveCharts(started_ns)
        self._charts.span_s = self.span_s
        scene = None
        for number, name in enumerate(self.charts):
            chart = self.query_one(f"#chart-{number}", Chart)
            if chart.size and self._has_moved(f"chart-{number}", view, chart.column_s(self.span_s)):  # has it room?
                scene = scene or scene_of(view)
                chart.show_spec(self._charts.draw(name, scene))

    def _tell_problem(self, problem: str | None) -> None:
        """Say, once for each, what keeps the history from being written; the header goes on saying so."""
        if problem != self._problem and problem is not None:
            self.notify(problem, title="not recorded", severity="error", timeout=20, markup=False)
        self._problem = problem

    def _tell_notes(self, notes: tuple[str, ...]) -> None:
        """Say, once for each, what the user should know of the history."""
        for note in notes[self._notes_told :]:
            self.notify(note, title="history", timeout=20, markup=False)
        self._notes_told = len(notes)

    # The text

    def show_text(self) -> None:
        """What was generated since the last time."""
        session = self.shown
        if session is None or not self._shown_run:
            return
        number, self._pieces, text = session.text_since(self._shown_run, self._pieces)
        if number == self._shown_run and text:
            self._shown_text += len(text)
            self.query_one("#output", StreamView).append(text)

    def on_side_list_chosen(self, message: SideList.Chosen) -> None:
        """A run of the list: all there is to know of it."""
        message.stop()
        self._show_runs(int(message.key))

    def action_runs(self) -> None:
        self._show_runs(None)

    def _show_runs(self, number: int | None) -> None:
        from gemtop.tui.screens.runs import RunsScreen

        shown = self.shown
        if shown is not None:
            self.app.push_screen(RunsScreen(lambda: shown.view(0), number))

    def action_copy(self) -> None:
        """The text of the output pane into the clipboard of the terminal (OSC 52), over SSH as well."""
        text = self.query_one("#output", StreamView).text
        if not text:
            self.notify("there is no output to copy yet", severity="warning")
            return
        self.app.copy_to_clipboard(text)
        self.notify(f"{len(text):,} characters copied, if your terminal allows it", timeout=4)


def scene_of(view: SessionView) -> Scene:
    """What charts are drawn of."""
    from gemtop.charts.live import Scene
    from gemtop.domain.resources import throttled_spans

    samples = view.device_samples
    return Scene(
        now_ns=view.t_ns,
        devices=[d for d in view.devices if d.index in view.used_devices] or view.devices,
        samples=samples,
        hosts=view.host_samples,
        prefill=view.prefill_rate,
        decode=view.decode_rate,
        timing=view.run.timing if view.run else None,
        moments=[(mark.t_ns, mark.label) for mark in view.marks],
        throttled=[
            part
            for index in view.used_devices
            for part in throttled_spans([s for s in samples if s.device == index], view.t_ns)
        ],
        roof_share=view.run.roof_share if view.run else None,
    )
