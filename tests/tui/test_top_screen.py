"""The monitor's screen: on a real terminal with the real probes, and over samples that tell everything."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.command import CommandList, CommandPalette
from textual.pilot import Pilot

from gemtop.config import Paths
from gemtop.domain.telemetry import DeviceInfo, DeviceSample, Sample, TelemetryStatus
from gemtop.monitor import Monitor
from gemtop.session import begin_session
from gemtop.tui.top import TopApp, TopOptions, TopScreen
from gemtop.tui.top_layout import arrange
from gemtop.tui.widgets.cells import CellWidget
from tests import nvml_stub
from tests.cli.commands import rows
from tests.fakes import ListRecorder
from tests.tui.program import GemtopTerminal
from tests.tui.stills import until
from tests.tui.test_devices_table import CARD, HOST, SAMPLE

SIZES = ((80, 24), (120, 40), (200, 60))


@pytest.fixture(scope="session")
def stub_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml_stub.build(tmp_path_factory.mktemp("nvml"))


def top(stub_dir: Path, *arguments: str, scenario: str = "ok", columns: int = 120, rows: int = 40) -> GemtopTerminal:
    path = nvml_stub.environment(stub_dir)["LD_LIBRARY_PATH"]
    return GemtopTerminal(["top", *arguments], columns, rows, LD_LIBRARY_PATH=path, NVML_STUB_SCENARIO=scenario)


# On a terminal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_it_shows_the_cards_and_leaves_the_terminal_as_it_was(stub_dir: Path, key: str) -> None:
    with top(stub_dir) as terminal:
        terminal.wait_for_text("gemtop top", "Stub RTX 24G", "Stub T4 16G", "utilisation", "VRAM", "machine")
        terminal.type(key)
        assert terminal.wait() == 0
        assert terminal.is_restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(stub_dir: Path, folders: Paths, number: int) -> None:
    with top(stub_dir, "--record", "--interval", "0.1") as terminal:
        terminal.wait_for_text("Stub RTX 24G", "recording")
        terminal.kill_program(number)
        assert terminal.wait() == 0
        assert terminal.is_restored()
        assert "recorded as session" in terminal.text
    assert rows(folders, "SELECT command, status FROM sessions") == [("top", "finished")]


def test_a_damaged_history_is_set_aside_and_named(stub_dir: Path, folders: Paths) -> None:
    folders.history.parent.mkdir()
    folders.history.write_text("this is no database\n" * 1000)
    with top(stub_dir, "--record", "--interval", "0.1") as terminal:
        terminal.wait_for_text("recording", "begun")
        terminal.type("q")
        assert terminal.wait() == 0
    assert rows(folders, "SELECT command, status FROM sessions") == [("top", "finished")]


def test_killed_it_leaves_the_terminal_as_it_was(stub_dir: Path) -> None:
    with top(stub_dir) as terminal:
        terminal.wait_for_text("Stub RTX 24G")
        terminal.kill_program()
        assert terminal.wait() == 70
        assert terminal.is_restored()


def test_what_is_painted_is_what_textual_would_paint(stub_dir: Path) -> None:
    """Readings go past its compositor; when it paints all of it anew, nothing changes."""
    with top(stub_dir, "--interval", "0.3") as terminal:
        terminal.wait_for_text("Stub RTX 24G")
        for _ in range(5):
            before = terminal.text
            terminal.wait_until(lambda before=before: terminal.text != before, "the next reading")  # type: ignore[misc]
        terminal.type("p")
        terminal.wait_for_text("paused")
        while terminal.read(0.5):
            pass
        held = terminal.text
        terminal.type("?")
        terminal.wait_for_text("hold the picture")
        terminal.type("\x1b")
        terminal.wait_until(lambda: "hold the picture" not in terminal.text, "the keys are gone")
        while terminal.read(0.3):
            pass
        assert terminal.text == held


def test_a_terminal_of_another_size_is_filled_anew(stub_dir: Path) -> None:
    with top(stub_dir, columns=200, rows=60) as terminal:
        for columns, height in ((80, 24), (40, 10), (120, 40)):
            terminal.wait_for_text("RTX" if columns != 40 else "GPU")
            terminal.resize(columns, height)
            terminal.wait_until(lambda: "Quit" in terminal.text.splitlines()[-1], f"the keys at {columns}x{height}")
        terminal.wait_for_text("Stub RTX 24G", "utilisation")


def test_without_a_driver_it_shows_the_machine_and_what_would_help(tmp_path: Path) -> None:
    path = nvml_stub.environment_without_driver(tmp_path)["LD_LIBRARY_PATH"]
    with GemtopTerminal(["top"], LD_LIBRARY_PATH=path) as terminal:
        terminal.wait_for_text("libnvidia-ml.so.1 not found", "--gpus all", "CPU load", "RAM")
        terminal.type("q")
        assert terminal.wait() == 0


def test_a_driver_that_hangs_is_told(stub_dir: Path) -> None:
    with top(stub_dir, "--interval", "0.2", scenario="hang=1.power hang_s=30") as terminal:
        terminal.wait_for_text("no reading for")
        terminal.type("q")
        assert terminal.wait() == 0


def test_a_history_that_cannot_be_written_is_one_line(tmp_path: Path, stub_dir: Path) -> None:
    with top(stub_dir, "--record", "--db", str(tmp_path)) as terminal:
        assert terminal.wait() == 2
        assert terminal.is_restored()
        assert "--db PATH" in terminal.text


def test_a_port_that_is_taken_is_one_line(stub_dir: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with top(stub_dir, "--prometheus", str(holder.getsockname()[1])) as terminal:
            assert terminal.wait() == 2
            assert terminal.is_restored()
            assert "choose another with --prometheus PORT" in terminal.text


# Over samples that tell everything --------------------------------------------------------------------------


class Scripted:
    """A sampler that reads when it is told to."""

    def __init__(self, cards: tuple[DeviceInfo, ...], reason: str | None = None) -> None:
        self.status = TelemetryStatus(cards, "570.00", reason, "12.8")
        self.rounds = 0

    def made(self, emit: Callable[[Sample], None], on_status: Callable[[TelemetryStatus], None]) -> Scripted:
        self.emit, self._on_status = emit, on_status
        return self

    def start(self) -> None:
        self._on_status(self.status)
        self.read()

    def read(self, **changes: object) -> None:
        self.rounds += 1
        now_ns = time.monotonic_ns()
        self.emit(replace(HOST, t_ns=now_ns))
        for card in self.status.devices:
            sample = DeviceSample(**{name: getattr(SAMPLE, name) for name in DeviceSample.__slots__})
            self.emit(replace(sample, t_ns=now_ns, device=card.index, **changes))

    def stop(self) -> bool:
        return True


@asynccontextmanager
async def screen(
    cards: tuple[DeviceInfo, ...], size: tuple[int, int] = (120, 40), recorder: ListRecorder | None = None
) -> AsyncIterator[tuple[Pilot[int], Scripted]]:
    sampler = Scripted(cards, None if cards else "no driver: libnvidia-ml.so.1 not found")

    def make(on_round: Callable[[], None]) -> Monitor:
        return Monitor(begin_session("top"), sampler.made, recorder, 1.0, on_round)

    app = TopApp(TopOptions(1.0, None, None, False), make)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "CUDA 12.8" in text(pilot) or size[0] < 80, "the header")
        await until(pilot, lambda: " 97 " in text(pilot) or not cards, "the first readings")
        yield pilot, sampler


def text(pilot: Pilot[int]) -> str:
    """What the widgets hold, from top to bottom."""
    top_screen = pilot.app.screen_stack[0]
    shown = [w for w in top_screen.walk_children() if isinstance(w, CellWidget) and w.region.height]
    return "\n".join(widget.cells.text for widget in sorted(shown, key=lambda w: (w.region.y, w.region.x)))


def cards_of(count: int) -> tuple[DeviceInfo, ...]:
    return tuple(replace(CARD, index=str(number)) for number in range(count))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 8])
async def test_every_size_shows_every_card_and_fills_the_terminal(size: tuple[int, int], count: int) -> None:
    async with screen(cards_of(count), size) as (pilot, _):
        await pilot.pause()
        shown = text(pilot)
        for number in range(count):
            assert f"{number} " in shown
        assert shown.count("RTX 3090") == count
        for words in ("97", "18.0", "utilisation") if count else ("--gpus all", "CPU load"):
            assert words in shown
        assert "34 %" in shown and "Quit" in shown
        regions = [w.region for w in pilot.app.screen.walk_children() if isinstance(w, CellWidget) and w.region.height]
        assert max(region.bottom for region in regions) == size[1]
        assert all(region.right <= size[0] for region in regions)


async def test_at_40x10_it_still_tells_the_card() -> None:
    async with screen(cards_of(1), (40, 10)) as (pilot, _):
        assert "util" in text(pilot) and "97 %" in text(pilot)


async def test_more_cards_than_fit_can_be_scrolled() -> None:
    async with screen(cards_of(8), (80, 16)) as (pilot, _):
        before = text(pilot)
        assert "7 RTX" not in before and "more ─┘" in before, "the frame says that there are others"
        for _ in range(8):
            await pilot.press("down")
        assert "7 RTX" in text(pilot) and "more ─┘" not in text(pilot)
        assert "util %" in text(pilot)
        await pilot.press("pageup", "pageup")
        assert text(pilot) == before


async def test_another_theme_is_chosen_while_readings_go_on() -> None:
    async with screen(cards_of(1)) as (pilot, sampler):
        before = pilot.app.theme
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette), "the list of themes")
        await until(pilot, lambda: pilot.app.screen.query_one(CommandList).option_count > 1, "themes")
        await pilot.press("down", "down")
        await until(pilot, lambda: pilot.app.theme != before, "one is shown as one goes past it")
        sampler.read(gpu_util_pct=11.0)
        await until(pilot, lambda: "11 %" in text(pilot), "the readings behind the list")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.theme == before, "none was chosen")


async def test_a_held_picture_stands_still_and_goes_on_with_what_is_now() -> None:
    async with screen(cards_of(1)) as (pilot, sampler):
        await pilot.press("p")
        assert "paused" in text(pilot)
        sampler.read(gpu_util_pct=11.0)
        await pilot.pause(0.1)
        assert "97 %" in text(pilot)
        await pilot.press("space")
        assert "11 %" in text(pilot) and "paused" not in text(pilot)


async def test_recording_and_what_keeps_it_from_being_written_stand_in_the_header() -> None:
    recorder = ListRecorder()
    async with screen(cards_of(1), recorder=recorder) as (pilot, sampler):
        assert "recording" in text(pilot)
        recorder.problem = "the disk is full"
        await pilot.pause(0.3)
        sampler.read()
        await until(pilot, lambda: "not recorded" in text(pilot), "the problem")
        assert [note.message for note in pilot.app._notifications] == ["the disk is full"]


async def test_processes_are_listed_with_harmless_names() -> None:
    async with screen(cards_of(1)) as (pilot, _):
        assert "pyth␛on x" in text(pilot) and "not seen from here" in text(pilot)


async def test_what_is_equal_is_not_drawn_again() -> None:
    async with screen(cards_of(1)) as (pilot, sampler):
        await pilot.pause(0.3)
        sampler.read()
        await pilot.pause(0.3)
        grid = pilot.app.screen.query_one("#devices", CellWidget)
        before = grid.cells
        sampler.read()
        await pilot.pause(0.3)
        assert grid.cells is before
        assert isinstance(pilot.app.screen, TopScreen)


def test_the_layout_gives_no_rows_that_are_not_there() -> None:
    for width in (40, 80, 120, 200):
        for height in range(10, 70):
            for cards in range(9):
                layout = arrange(width, height, cards, 7 * cards or 1, 3 * cards, 4)
                used = 2 + layout.devices + layout.processes + layout.machine + (5 if layout.charts else 0)
                assert used <= height, (width, height, cards, layout)
