"""The monitor's screen: a table of each card, charts, processes and the machine.

A frame is drawn when everything has been read once more, and at no other time.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.screen import Screen
from textual.worker import WorkerState

from gemtop.domain.errors import EXIT_BAD_INPUT, EXIT_FAILURE, EXIT_OK, GemtopError
from gemtop.domain.text import one_line
from gemtop.keymap import Keys
from gemtop.tui import devices, no_card
from gemtop.tui.base_app import BaseApp
from gemtop.tui.bindings import bindings
from gemtop.tui.comeback import Comeback
from gemtop.tui.hints import TOP_KEYS
from gemtop.tui.terminal_app import Beat
from gemtop.tui.top_layout import Layout, arrange
from gemtop.tui.traces import TraceChart
from gemtop.tui.widgets.header import HeaderLine, HeaderText
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.values import Value, ValueGrid

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.worker import Worker

    from gemtop.config import Paths
    from gemtop.monitor import Monitor, MonitorView, Snapshot
    from gemtop.tui.top_charts import TopCharts

    MakeMonitor = Callable[[Callable[[], None]], Monitor]

_LEAST_FRAME_S = 0.25
"""Readings may come ten times a second; nobody reads figures that fast."""
_AROUND_A_CURVE = 9
"""Columns of a chart that its frame and its axis take."""
_WATCH_S = 2.0
"""How often it is looked whether readings still come."""


@dataclass(frozen=True, slots=True)
class TopOptions:
    """What the command line asked for."""

    period_s: float
    history: Paths | None
    """Where the readings are recorded; None where they are not."""
    prometheus: int | None
    all_gpus: bool
    thrift: bool = False
    """Send little to the terminal."""


class RoundRead(Message):
    """Everything was read once more."""


class TopScreen(Screen[None]):
    """What the machine does now."""

    key_scopes = ("top", "program")

    BINDINGS: ClassVar[list[BindingType]] = bindings("top")

    def __init__(self) -> None:
        super().__init__()
        self._charts: TopCharts | None = None
        self._layout: Layout | None = None
        self._paused = False
        self._offset = 0
        self._problem: str | None = None
        self._notes_told = 0
        self._charted_ns = 0
        self._chart_count = 0
        self._settled = False
        """The charts were drawn in this layout."""

    @property
    def _app(self) -> TopApp:
        return cast("TopApp", self.app)

    def compose(self) -> ComposeResult:
        yield HeaderLine(id="header")
        yield ValueGrid(title="GPU", framed=True, id="devices")
        with Horizontal(id="charts"):
            for number in range(3):
                yield TraceChart(framed=True, id=f"chart-{number}")
        yield ValueGrid(title="processes", framed=True, id="processes")
        yield ValueGrid(title="machine", framed=True, id="machine")
        yield KeyLine(TOP_KEYS, id="keys")

    def on_mount(self) -> None:
        self.query_one("#devices", ValueGrid).scrolls = True
        self.query_one("#header", HeaderLine).show_text(HeaderText((("gemtop top", "title"), ("starting", "muted"))))
        self._beat = Beat(self._app, _LEAST_FRAME_S)
        self.set_interval(_WATCH_S, self.watch_readings)

    def on_resize(self, event: events.Resize) -> None:
        self._settled = False
        self.call_after_refresh(self.show_frame)

    def on_round_read(self) -> None:
        if self._beat.is_due():
            self.show_frame()

    def watch_readings(self) -> None:
        """A driver that hangs brings no readings, and so no frame: say so."""
        monitor = self._app.monitor
        if monitor is not None and monitor.stale_s(time.monotonic_ns()) is not None:
            self._show_header(monitor.view(0.0))

    # What is shown

    def show_frame(self) -> None:
        """Everything, from one view of the monitor."""
        monitor = self._app.monitor
        if monitor is None or (self._paused and self._layout is not None and self._layout.size == self.size):
            return
        from gemtop.tui.top_charts import TopCharts

        if self._charts is None:
            self._charts = TopCharts.begin(monitor.begin.started_ns, monitor.period_s)
        view = monitor.view(self._charts.live.span_s)
        self._show_header(view)
        self._tell_problem(view.problem)
        self._tell_notes(view.notes)
        if view.latest is None:
            return
        if not self._charts_are_due(view.t_ns):
            self._show_tables(view.latest)
            return
        specs = self._charts.specs(view)
        self._chart_count = len(specs)
        self._show_tables(view.latest)
        for number, spec in enumerate(specs):
            chart = self.query_one(f"#chart-{number}", TraceChart)
            if chart.display:
                chart.show_spec(spec)

    def _charts_are_due(self, now_ns: int) -> bool:
        """Whether the newest readings have come to another dot than those before: else the curves would stay."""
        assert self._charts is not None
        dots = 2 * max(1, self.query_one("#chart-0").size.width - _AROUND_A_CURVE)
        if self._settled and now_ns - self._charted_ns < 0.9e9 * self._charts.live.span_s / dots:
            return False
        self._charted_ns = now_ns
        return True

    def _show_header(self, view: MonitorView) -> None:
        monitor = self._app.monitor
        assert monitor is not None
        left = [("gemtop top", "title"), (one_line(monitor.begin.host), "text")]
        status = view.status
        if status is not None:
            versions = (("driver", status.driver_version), ("CUDA", status.cuda_version))
            left += [(f"{name} {version}", "muted") for name, version in versions if version]
        right = []
        if view.stale_s is not None:
            right.append((f"no reading for {view.stale_s:.0f} s", "bad"))
        if self._paused:
            right.append(("paused", "warn"))
        if view.recording:
            right.append(("not recorded", "bad") if view.problem else ("recording", "good"))
        if self._app.options.prometheus is not None:
            right.append((f"Prometheus :{self._app.options.prometheus}", "muted"))
        right.append((f"every {monitor.period_s:g} s", "muted"))
        self.query_one("#header", HeaderLine).show_text(HeaderText(tuple(left), tuple(right)))

    def _tell_problem(self, problem: str | None) -> None:
        if problem != self._problem and problem is not None:
            self.notify(problem, title="not recorded", severity="error", timeout=20, markup=False)
        self._problem = problem

    def _tell_notes(self, notes: tuple[str, ...]) -> None:
        """Say, once for each, what the user should know of the history."""
        for note in notes[self._notes_told :]:
            self.notify(note, title="history", timeout=20, markup=False)
        self._notes_told = len(notes)

    def _show_tables(self, found: Snapshot) -> None:
        width, height = self.size
        infos, latest = found.status.devices, {sample.device: sample for sample in found.devices}
        inner = width - 4
        cards = [row for info in infos for row in devices.card_rows(info, latest.get(info.index), inner)]
        if not infos:
            cards = no_card.no_gpu_lines(found.status, inner)
        machine = devices.wide_host_rows(found.host, inner, found.cost) if found.host else []
        machine += [[Value("", note, "muted", left=True)] for note in found.status.notes]
        processes = devices.process_rows(infos, latest) if infos else []
        counts = (len(infos), len(cards), len(processes), len(machine), self._chart_count)
        before, layout = self._layout, arrange(width, height, *counts)
        if layout.compact:
            cards = devices.compact_rows(infos, latest, inner)
            layout = arrange(width, height, *counts, len(cards))
        if layout != self._layout:
            self._arrange(layout)
        room = max(1, layout.devices - 2)
        self._offset = max(0, min(self._offset, len(cards) - room))
        head = cards[:1] if layout.compact else []
        self.query_one("#devices", ValueGrid).show_rows([*head, *cards[len(head) + self._offset :]])
        if layout.processes:
            self.query_one("#processes", ValueGrid).show_rows(processes)
        if layout.machine:
            self.query_one("#machine", ValueGrid).show_rows(machine)
        self._settled = self._layout is before

    def _arrange(self, layout: Layout) -> None:
        before, self._layout = self._layout, layout
        for name, rows in (
            ("devices", layout.devices),
            ("processes", layout.processes),
            ("machine", layout.machine),
        ):
            grid = self.query_one(f"#{name}", ValueGrid)
            grid.display = rows > 0
            grid.styles.height = rows
            if before is None or before.compact != layout.compact:
                grid.forget_widths()
        self.query_one("#charts").display = layout.charts > 0
        for number in range(3):
            self.query_one(f"#chart-{number}").display = number < layout.charts

    # What the user does

    def action_pause(self) -> None:
        self._paused = not self._paused
        monitor = self._app.monitor
        if self._paused and monitor is not None:
            self._show_header(monitor.view(0.0))
        else:
            self.show_frame()

    def action_scroll(self, rows: int) -> None:
        self._offset = max(0, self._offset + rows)
        monitor = self._app.monitor
        found = monitor.latest() if monitor else None
        if found is not None:
            self._show_tables(found)

    def action_leave(self) -> None:
        self._app.leave(EXIT_OK)


class TopApp(BaseApp):
    """The monitor's screen over one Monitor."""

    CSS = """
    TopScreen { layout: vertical; }
    #charts { height: 1fr; }
    #charts > * { height: 100%; }
    .dialog {
        width: 74; max-width: 100%; height: auto; max-height: 100%;
        border: round $primary; padding: 0 1; background: $surface; overflow-y: auto;
    }
    .-thrift KeysScreen, .-thrift CommandPalette { background: transparent; }
    KeysScreen .dialog { width: 100; }
    .dialog .title { text-style: bold; }
    .dialog .note { color: $text-muted; }
    """
    TITLE = "gemtop top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = bindings("program")

    def __init__(self, options: TopOptions, make_monitor: MakeMonitor | None = None, keys: Keys | None = None) -> None:
        super().__init__(keys, thrift=options.thrift)
        self.options = options
        self.monitor: Monitor | None = None
        self._make_monitor = make_monitor or self._real_monitor
        self._top = TopScreen()
        self._leaving = False
        self._exit_words = ""

    def fresh(self) -> Snapshot | None:
        """What was read lately, for Prometheus; any thread may ask."""
        monitor = self.monitor
        return monitor.fresh() if monitor else None

    # From start to end

    def run_and_report(self) -> int:
        """Run until the user leaves; say in a line what went wrong, and return the exit code."""
        code = self.run_screen()
        if code is None:
            self.tell(self.failure)
            self._close("the screen failed")
        self.tell(self._exit_words)
        return EXIT_FAILURE if code is None else code

    def get_default_screen(self) -> TopScreen:
        return self._top

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.leave, EXIT_OK)
        loop.add_signal_handler(signal.SIGHUP, self.hung_up)
        Comeback(self._driver).install()
        # The first frame is on the screen before anything big is imported.
        self.call_after_refresh(self._start)

    def _start(self) -> None:
        gc.enable()
        gc.freeze()  # the program itself is never garbage: collections stay short
        self.run_worker(self._start_monitor, thread=True, name="start", exit_on_error=False)

    def _start_monitor(self) -> None:
        self.monitor = monitor = self._make_monitor(self._round_read)
        monitor.start()

    def _real_monitor(self, on_round: Callable[[], None]) -> Monitor:
        from gemtop.assembly import make_monitor

        given = self.options
        return make_monitor(
            given.history,
            given.period_s,
            on_round,
            all_gpus=given.all_gpus,
            terminal_bytes=lambda: self.pace.sent_bytes,
        )

    def _round_read(self) -> None:
        """Called on the sampler's thread."""
        if not self._leaving:
            self._top.post_message(RoundRead())

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.name == "start":
            error = event.worker.error
            known = isinstance(error, GemtopError)
            self._exit_words = one_line(str(error) if known else f"{type(error).__name__}: {error}")
            self.leave(error.exit_code if isinstance(error, GemtopError) else EXIT_FAILURE)

    # Leaving

    def action_leave(self) -> None:
        self.leave(EXIT_OK)

    def action_leave_or_copy(self) -> None:
        self.action_leave()

    def leave(self, code: int) -> None:
        """Write down what is recorded, and end with this exit code."""
        if self._leaving:
            return
        self._leaving = True

        def close() -> None:
            ended = code or self._close(None)
            self.call_from_thread(self.exit, ended)

        self.run_worker(close, thread=True, name="close", exit_on_error=False)

    def _close(self, reason: str | None) -> int:
        """End the monitor; the exit code that comes of it."""
        monitor, self.monitor = self.monitor, None
        if monitor is None:
            return EXIT_OK
        monitor.close(reason)
        if monitor.problem:
            self._exit_words = self._exit_words or monitor.problem
            return EXIT_BAD_INPUT
        if monitor.recording:
            self._exit_words = f"recorded as session {monitor.begin.session_id}"
        return EXIT_OK

    def hung_up(self) -> None:
        """The terminal has gone: keep what is recorded, then end."""
        if self._leaving:
            return
        self._leaving = True
        self._close("ended by SIGHUP")
        self.exit(128 + signal.SIGHUP)
