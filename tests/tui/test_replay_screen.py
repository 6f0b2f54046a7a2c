"""The replay's screen: over recorded sessions with the pilot, and as a program on a real terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot

from gemtop.cli.replay import opened
from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.domain.records import Record, SessionEnd
from gemtop.history.replaying import SampleStretch
from gemtop.keymap import Keys
from gemtop.tui.replay import ReplayApp
from gemtop.tui.screens.keys import KeysScreen
from gemtop.tui.screens.replay import ReplayScreen
from gemtop.tui.widgets.stream import StreamView
from gemtop.tui.widgets.timebar import TimeBar
from tests.cli.commands import gemtop
from tests.history.rows import SESSION, STARTED_NS, S, put_in, run, run_end, samples, session, tokens, whole_session
from tests.tui.program import LIMIT_S, GemtopTerminal


def three_runs(*, ends: bool = True) -> list[Record]:
    """A session of 40 seconds with a run of ten tokens every ten; the last one is cut off where it has no end."""
    rows: list[Record] = [session()]
    for number in (1, 2, 3):
        begin = run(number=number, start_ns=STARTED_NS + number * 10 * S, prompt=f"prompt {number}")
        rows += [begin, *tokens(begin.run_id, first_s=number * 10 + 1.0, gaps_s=(0.5,) * 10)]
        if ends or number < 3:
            end_ns = begin.start_ns + 7 * S
            rows.append(run_end(begin.run_id, end_ns=end_ns, output=f"text of run {number}"))
    rows += samples(40.0)
    return [*rows, SessionEnd(STARTED_NS + 40 * S, None)] if ends else rows


class Screen:
    """The application, and ways to type and look."""

    def __init__(self, app: ReplayApp, pilot: Pilot[int]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def text(self) -> str:
        strips = self.app.screen._compositor.render_strips(self.app.size)
        return "\n".join(strip.text.rstrip() for strip in strips)

    @property
    def output(self) -> str:
        return self.app.get_default_screen().query_one("#output", StreamView).text

    @property
    def second(self) -> float:
        screen = self.app.get_default_screen()
        return screen._position() / S

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        waited = 0.0
        while not condition():
            assert waited < LIMIT_S, f"not within {LIMIT_S} s: {what}; the screen reads\n{self.text}"
            await self.pilot.pause(0.05)
            waited += 0.05

    async def shows(self, *texts: str) -> None:
        await self.until(lambda: all(text in self.text for text in texts), f"{texts}")


@asynccontextmanager
async def replaying(
    paths: Paths, rows: list[Record], *, at_s: float = 0.0, size: tuple[int, int] = (120, 40), paused: bool = True
) -> AsyncIterator[Screen]:
    put_in(paths, rows)
    app = ReplayApp(opened(paths, "last"), position_ns=round(at_s * S))
    async with app.run_test(size=size, notifications=True) as pilot:
        screen = Screen(app, pilot)
        if paused:
            await screen.press("space")
            await screen.shows("paused")
        yield screen


# Keys


async def test_space_pauses_and_goes_on(folders: Paths) -> None:
    async with replaying(folders, three_runs(), at_s=5) as screen:
        before = screen.second
        await screen.pilot.pause(0.3)
        assert screen.second == before
        await screen.press("space")
        await screen.shows("playing")
        await screen.until(lambda: screen.second > before, "time goes on")


async def test_arrows_scrub(folders: Paths) -> None:
    async with replaying(folders, three_runs(), at_s=20) as screen:
        start = screen.second
        for key, moved in (("right", 5), ("left", 0), ("left", -5), ("home", -start), ("pagedown", 40 - start)):
            await screen.press(key)
            assert screen.second == pytest.approx(start + moved)
        await screen.shows("at end", "0:40 of 0:40")
        await screen.press("shift+left")
        assert screen.second == 0
        await screen.press("end")
        assert screen.second == 40
        await screen.press("space")  # from the beginning again
        await screen.shows("playing", "0:00 of 0:40")


async def test_from_run_to_run(folders: Paths) -> None:
    async with replaying(folders, three_runs()) as screen:
        for key, at, word in (
            ("right_square_bracket", 10, "run 1"), ("n", 20, "run 2"), ("n", 30, "run 3"), ("N", 20, "run 2"),
            ("left_square_bracket", 10, "run 1"), ("3", 30, "run 3"),
        ):  # fmt: skip
            await screen.press(key)
            assert screen.second == at
            await screen.shows(f"{word} of 3")
        await screen.press("n")
        await screen.shows("no run begins after this moment")
        await screen.press("9")
        await screen.shows("there is no run 9")


async def test_figures_and_text_are_those_of_the_moment(folders: Paths) -> None:
    async with replaying(folders, three_runs(), at_s=0) as screen:
        await screen.press("2", "right")  # 25 s: nine of the eleven tokens of run 2
        await screen.shows("> prompt 2", "run 2", "running", "generated 9", "2.0")
        assert screen.output == "text of run 1" + "text of run 2"[: round(13 * 9 / 11)]
        await screen.press("right")
        await screen.shows("> prompt 3", "run 3", "generated 0")
        assert screen.output == "text of run 1text of run 2"
        await screen.press("home")
        await screen.shows("no run yet")
        assert screen.output == ""


async def test_speed(folders: Paths) -> None:
    async with replaying(folders, three_runs()) as screen:
        for key, speed in (("plus", "2x"), ("plus", "4x"), ("minus", "2x"), *[("minus", "")] * 3, ("minus", "0.25x")):
            await screen.press(key)
            await screen.shows(f" {speed}")
        assert screen.app.playback.speed == 0.25
        for _ in range(10):
            await screen.press("plus")
        assert screen.app.playback.speed == 64
        await screen.press("space")
        await screen.shows("at end", "run 3 of 3")
        assert screen.output == "text of run 1text of run 2text of run 3"


async def test_a_click_on_the_bar_goes_there_and_a_drag_scrubs(folders: Paths) -> None:
    async with replaying(folders, three_runs()) as screen:
        first, behind = screen.app.screen.query_one(TimeBar)._bar
        middle = (first + behind) // 2
        await screen.pilot.click(TimeBar, offset=(middle, 0))
        assert screen.second == pytest.approx(20, abs=1)
        await screen.pilot.mouse_down(TimeBar, offset=(middle, 0))
        await screen.pilot.hover(TimeBar, offset=(behind - 1, 0))
        await screen.pilot.mouse_up(TimeBar, offset=(behind - 1, 0))
        assert screen.second == 40
        await screen.pilot.hover(TimeBar, offset=(first, 0))
        assert screen.second == 40, "the button is up"


async def test_every_key_of_the_list_is_bound(folders: Paths) -> None:
    bound = set(ReplayScreen._merge_bindings().key_to_bindings)
    assert {"space", "left", "right", "home", "end", "plus", "minus", "y", "q", "1", "9"} <= bound
    assert not bound & {"r", "t", "s", "m", "enter", "slash"}, "nothing can be run here"
    async with replaying(folders, three_runs()) as screen:
        before = screen.second
        await screen.press("f9", "n", "3")
        await screen.until(lambda: isinstance(screen.app.screen, CommandPalette), "the list of themes")
        assert screen.second == before, "what is typed looks for a theme"
        await screen.press("escape")
        await screen.press("question_mark")
        assert isinstance(screen.app.screen, KeysScreen)
        await screen.shows(*(words for _, words in Keys().listed(("replay",))))
        await screen.press("q")
        assert not isinstance(screen.app.screen, KeysScreen) and screen.app.return_value is None
        await screen.press("q")
        await screen.until(lambda: screen.app.return_value == 0, "it leaves")


# What there may be


@pytest.mark.parametrize("size", [(40, 10), (60, 12), (80, 24), (120, 40), (200, 60)])
async def test_sizes(folders: Paths, size: tuple[int, int]) -> None:
    async with replaying(folders, three_runs(), at_s=22, size=size) as screen:
        await screen.shows("paused", "of 0:40", "gemtop replay")
        assert len(screen.text.splitlines()) <= size[1]


async def test_what_is_missing_is_said(folders: Paths) -> None:
    async with replaying(folders, three_runs(ends=False), at_s=34) as screen:
        await screen.shows("this session crashed: the process died", "run 3", "running")
        await screen.press("end")
        await screen.shows("crashed")


async def test_a_history_that_cannot_be_read_any_more(folders: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    async with replaying(
        folders, [session(), *samples(1200.0, 5.0), SessionEnd(STARTED_NS + 1200 * S, None)]
    ) as screen:

        def locked(start_ns: int, end_ns: int) -> SampleStretch:
            raise HistoryError("h.duckdb is in use by duckdb (PID 7)")

        source = screen.app.get_default_screen()._replay._source
        monkeypatch.setattr(source, "samples", locked)
        await screen.press("end")
        await screen.shows("in use by duckdb (PID 7)")
        monkeypatch.undo()
        await screen.press("left", "left")
        await screen.shows("19:50 of 20:00", "paused")


# The program


def test_a_person_pauses_scrubs_and_leaves(folders: Paths) -> None:
    put_in(folders, three_runs())
    with GemtopTerminal(["replay", "last", "--speed", "4x", "--from", "0:08"]) as terminal:
        terminal.wait_for_text("gemtop replay", "QAT Q4_0", "playing", "4x", "> prompt 1")
        terminal.type(" ")
        terminal.wait_for_text("paused")
        terminal.type("3\x1b[C")  # at once: keys keep their order
        terminal.wait_for_text("0:35 of 0:40", "run 3 of 3", "> prompt 3")
        terminal.type("\x1b[H")
        terminal.wait_for_text("0:00 of 0:40", "run 0 of 3")
        terminal.type("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, 70)])
def test_a_signal_gives_the_terminal_back(folders: Paths, number: int, code: int) -> None:
    put_in(folders, whole_session())
    with GemtopTerminal(["replay", SESSION]) as terminal:
        terminal.wait_for_text("playing", "of 0:05")
        terminal.kill_program(number)
        assert terminal.wait() == code
        assert terminal.is_restored()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "gemtop: there is no session 'nonsense'; gemtop sessions lists them"),
        (["last", "--from", "1:00"], "gemtop: --from 1:00: the session ends at 0:05"),
    ],
)
def test_what_cannot_be_shown_is_one_line(folders: Paths, arguments: list[str], words: str) -> None:
    put_in(folders, whole_session())
    with GemtopTerminal(["replay", *arguments]) as terminal:
        assert terminal.wait() == 2
        assert words in terminal.text
        assert terminal.is_restored()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["last"], "there is no terminal here"),
        (["last", "--speed", "fast"], "'fast' is no speed; give one from 0.25x to 64x"),
        (["last", "--speed", "1000x"], "is no speed"),
        (["last", "--from", "later"], "'later' is no moment"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str) -> None:
    done = gemtop("replay", *arguments)
    assert done.returncode == 2
    assert words in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_neither_llama_nor_nvml_is_loaded(folders: Paths, tmp_path: Path) -> None:
    put_in(folders, whole_session())
    code = (
        "import sys; from gemtop.config import paths; from gemtop.cli.replay import opened; "
        "import gemtop.tui.replay; opened(paths(), 'last').view(); "
        "print([name for name in ('llama_cpp', 'pynvml', 'psutil') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
