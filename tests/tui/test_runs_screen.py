"""The runs of a session: the table, its columns by width, details, and what is copied."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from textual.app import App, ComposeResult

from gemtop.charts.colours import named_variant_role
from gemtop.config import Paths
from gemtop.domain.events import GenerateRequest
from gemtop.domain.resources import Resources
from gemtop.domain.settings import ContextSettings, EngineSettings, SamplingSettings
from gemtop.domain.validity import Verdict
from gemtop.session import Session, begin_session
from gemtop.tui.run_list import RunLine, details, run_lines, tsv
from gemtop.tui.screens.runs import RunsScreen
from gemtop.tui.widgets.rows_view import RowsView
from gemtop.tui.widgets.run_table import RunTable
from gemtop.view import RunRecorded, SessionEvent, SessionView
from tests.engines import FakeEngine, fake_model
from tests.fakes import FakeSampler, ListRecorder

USED = Resources(
    decode_j_per_token=9.1, decode_j_per_token_error=0.23, energy_j=300.0, energy_error_j=4.0, energy_source="counter",
    vram_peak_bytes=18 * 2**30, reasons={"prefill_j_per_token": "too short to measure", "throttled_s": "no card"},
)  # fmt: skip


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def sitting() -> SessionView:
    """Two runs, a change of settings between them, over fakes; the second run has figures of energy."""
    ended: list[RunRecorded] = []

    def listen(event: SessionEvent) -> None:
        if isinstance(event, RunRecorded):
            ended.append(event)

    session = Session(
        begin_session("tui"),
        lambda emit: FakeEngine(emit, fake_model(chat_template=False)),
        lambda emit, on_status: FakeSampler(emit, on_status),
        ListRecorder(),
        listen,
    )
    session.start()
    session.open("fake.gguf", EngineSettings())
    steps = (
        lambda: session.generate(GenerateRequest("Once upon\ta time", 4, SamplingSettings(), False)),
        lambda: session.apply(EngineSettings(context=ContextSettings(n_ctx=8192))),
        lambda: session.generate(GenerateRequest("Tell me", 40, SamplingSettings(), False)),
    )
    try:
        for count, step in enumerate(steps):
            wait_until(lambda: session.ready and not session.busy)
            step()
            wait_until(lambda count=count: len(ended) > count)
        view = session.view()
    finally:
        session.close()
    *before, last = view.runs
    return replace(view, runs=(*before, replace(last, resources=USED, verdict=Verdict(True))))


def test_lines_details_and_text(folders: Paths) -> None:
    view = sitting()
    lines = run_lines(view)
    assert [line.run.number for line in lines] == [3, 2, 1] and lines[1].change.startswith("ctx 4096→8192")
    told = {label: value for label, value, _ in details(lines[0])}
    assert told["decode"].endswith("9.10 ± 0.23 J/token") and told["of the run"] == "300.0 ± 4.0 J"
    assert "too short to measure: prefill" in told["N/A"] or "N/A" in told
    assert told["ended"] == "-n reached" and told["throttled"] == "N/A (no card)"
    assert ("", "too few tokens: 4 generated tokens, a speed needs 32", "warn") in details(lines[2])
    running = RunLine(replace(view.runs[0], status=None, resources=None, verdict=None))
    assert ("ended", "it goes on", "text") in details(running)

    rows = [row.split("\t") for row in tsv(lines).splitlines()]
    assert len({len(row) for row in rows}) == 1
    first, last = dict(zip(rows[0], rows[1], strict=True)), dict(zip(rows[0], rows[3], strict=True))
    assert (first["run"], first["valid"], last["valid"], last["decode_j_per_token"]) == ("1", "false", "true", "9.1")
    assert dict(zip(rows[0], rows[2], strict=True))["kind"] == "apply"


def test_colours_follow_the_name() -> None:
    names = ("QAT Q4_0", "QAT+PTQ Q4_K_M", "PTQ Q4_K_M", "FP16", "BF16", "Q8_0")
    assert [named_variant_role(name) for name in names] == ["qat", "qat", "ptq", "fp16", "fp16", "other"]


class Program(App[None]):
    def __init__(self, view: SessionView) -> None:
        super().__init__()
        self.view = view
        self.chosen = ""

    def compose(self) -> ComposeResult:
        yield RunTable(id="runs")

    def on_mount(self) -> None:
        self.query_one(RunTable).show_view(self.view)

    def on_side_list_chosen(self, message: RunTable.Chosen) -> None:
        self.chosen = message.key

    @property
    def text(self) -> str:
        strips = self.screen._compositor.render_strips(self.size)
        return "\n".join(strip.text.rstrip() for strip in strips)


async def test_columns_that_find_no_room_are_left_out_and_clicks_find_their_line(folders: Paths) -> None:
    view = sitting()
    program = Program(view)
    async with program.run_test(size=(140, 12)) as pilot:
        table = program.query_one(RunTable)
        wide = program.text.splitlines()
        assert wide[1].strip("│ ").split() == [
            "run",
            "variant",
            "decode",
            "prefill",
            "TTFT",
            "s",
            "tokens",
            "J/token",
            "verdict",
        ]
        assert "9.10 ± 0.23  ✓ valid" in wide[2] and "changed ctx 4096→8192" in wide[3]
        assert "✗ not valid  too few tokens: 4 generated tokens" in wide[4]
        await pilot.click(RunTable, offset=(5, 4))
        assert program.chosen == "1"
        await pilot.click(RunTable, offset=(5, 1))
        assert table.number == 1, "the headings are no line"
        await pilot.resize_terminal(44, 12)
        narrow = program.text.splitlines()
        assert narrow[1].strip("│ ").split() == ["run", "variant", "decode", "verdict"] and "✓ valid" in narrow[2]
        assert all(len(line) <= 44 for line in narrow)


async def test_the_cursor_stays_with_the_newest_until_it_is_moved(folders: Paths) -> None:
    view = sitting()
    program = Program(replace(view, runs=view.runs[:2]))
    async with program.run_test(size=(100, 12)) as pilot:
        table = program.query_one(RunTable)
        assert table.number == 2
        table.show_view(view)
        assert table.number == 3
        table.focus()
        await pilot.press("down")
        table.show_view(replace(view, runs=(*view.runs, replace(view.runs[-1], number=4))))
        assert table.number == 2 and "4 runs" in program.text


async def test_the_dialog_shows_a_run_and_copies(folders: Paths) -> None:
    view = sitting()
    program = Program(replace(view, runs=()))
    async with program.run_test(size=(100, 30)) as pilot:
        await program.push_screen(RunsScreen(lambda: program.view))
        await pilot.pause()
        assert "no run yet" in program.text
        await pilot.press("y", "enter")
        assert program.clipboard == ""
        program.view = view
        program.screen._show()
        await pilot.press("y")
        assert program.clipboard.count("\n") == 4
        await pilot.press("down", "down", "enter")
        assert isinstance(program.focused, RowsView)
        await pilot.press("y")
        assert program.clipboard.count("\n") == 2 and "\n1\tgenerate\t" in program.clipboard
        await pilot.press("escape")
        assert isinstance(program.focused, RunTable)
        await pilot.press("escape")
        assert not isinstance(program.screen, RunsScreen)


async def test_few_rows_show_one_of_the_two_at_a_time(folders: Paths) -> None:
    program = Program(sitting())
    async with program.run_test(size=(60, 20)) as pilot:
        program.screen_stack[0].VERTICAL_BREAKPOINTS = None
        screen = RunsScreen(lambda: program.view, number=1)
        screen.VERTICAL_BREAKPOINTS = [(0, "-tiny"), (10, "-flat"), (16, "-low"), (22, "-tall")]
        await program.push_screen(screen)
        await pilot.pause()
        assert "too few tokens: 4 generated" in program.text and "3 runs" not in program.text
        await pilot.press("escape")
        assert "3 runs" in program.text and "too few tokens" not in program.text
