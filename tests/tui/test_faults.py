"""What must not hurt: sizes nobody uses, a line that drops, a large paste, old terminals, and our own mistakes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from gemtop.config import Paths
from gemtop.logs import log_file
from tests.tui.program import LIMIT_S, GemtopTerminal, gemtop_after
from tests.tui.test_picture import shown
from tests.tui.test_terminal_life import QUICK, rows

ENDLESS = ("-c", "32768", "-n", "-1", "--prompt", "Once upon a time")


def log_text(folders: Paths) -> str:
    return log_file(folders).read_text() if log_file(folders).exists() else ""


# Sizes -----------------------------------------------------------------------------------------------------


PLAN = "plan for this machine"
ESC = "\x1b[27u"
"""The key itself, as terminals with Kitty's protocol send it: what follows makes no other key of it."""
SIZES = ((1, 1), (2, 2), (300, 5), (5, 300), (39, 9), (1, 1), (120, 40))


def test_no_size_breaks_a_screen_or_a_dialog_while_a_run_goes_on(folders: Paths, model_path: str) -> None:
    with GemtopTerminal([model_path, *QUICK, *ENDLESS]) as terminal:

        def storm(keys: str, text: str) -> None:
            terminal.type(keys)
            terminal.wait_for_text(text)
            for columns, lines in SIZES:
                terminal.resize(columns, lines)
                terminal.read()
            # The last line at the last size: nothing of the storm is on its way any more.
            terminal.wait_until(lambda: "Esc" in terminal.screen.display[-1], "all 40 lines")
            terminal.wait_for_text(text)

        terminal.wait_for_text("running")
        for keys, text in (
            ("2", "mark"),
            ("3", "SQL"),
            ("\x1b4", PLAN),
            ("5", "llama"),
            ("1", "TTFT"),
        ):
            storm(keys, text)
        for keys, text in (
            ("?", "Esc closes"),
            ("t", "micro-batch"),
            ("s", "temperature"),
            ("\x10", "Search for"),
        ):
            storm(keys, text)
            terminal.type(ESC)
            terminal.wait_until(lambda text=text: text not in terminal.text, f"{text} is gone")  # type: ignore[misc]
        storm("/", "Ctrl-S Save")
        assert shown(terminal.redrawn()) == shown(terminal.screen)
        terminal.type(ESC)
        terminal.wait_for_text("stopped", "q Quit")
        terminal.type("q")
        assert terminal.wait() == 0
    assert "Traceback" not in log_text(folders)
    assert rows(folders, "SELECT status FROM runs") == [("cancelled",)]


def test_a_terminal_that_was_small_for_a_moment_is_filled_again(folders: Paths, model_path: str) -> None:
    """The program learns of its size as it is by then, which is that of before; and while it changes the screen."""
    with GemtopTerminal([model_path, *QUICK]) as terminal:
        terminal.wait_for_text("ctx 1024", "q Quit")
        terminal.type("\x1b5")
        terminal.wait_for_text("sched_reserve", "Esc Back")
        for key in "5124" * 5:
            terminal.type(f"\x1b{key}")
            for _ in range(2):
                terminal.resize(1, 1)
                terminal.resize(120, 40)
                terminal.wait_until(lambda: is_filled(terminal.screen.display), f"all 40 lines after {key}")
        terminal.type(f"\x1b1{ESC}")
        terminal.wait_for_text("q Quit")
        terminal.type("q")
        assert terminal.wait() == 0
    assert "Traceback" not in log_text(folders)


def test_a_size_that_comes_back_before_textual_has_drawn_for_it_leaves_nothing_empty(model_path: str) -> None:
    """What is drawn in between is still of the size before, and no reason for Textual to draw that once more."""
    with GemtopTerminal([model_path, *QUICK], program=gemtop_after(_SLOW_TO_RESIZE)) as terminal:
        terminal.wait_for_text("ctx 1024", "q Quit")
        terminal.type("\x1b5")
        terminal.wait_for_text("sched_reserve", "Esc Back")
        terminal.resize(1, 1)
        sent = len(terminal.raw)
        terminal.type("\x0c")
        terminal.wait_until(lambda: len(terminal.raw) > sent, "the cell that is left")
        terminal.resize(120, 40)
        terminal.wait_until(lambda: is_filled(terminal.screen.display), "all 40 lines")


_SLOW_TO_RESIZE = (
    "from textual.app import App\n"
    "set_timer = App.set_timer\n"
    "def slow(self, delay, callback=None, **others):\n"
    "    return set_timer(self, 0.5 if callback == self._check_resize else delay, callback, **others)\n"
    "App.set_timer = slow"
)


def is_filled(lines: Sequence[str]) -> bool:
    """Whether a screen fills the terminal, from its header and tabs to its keys; two lines of Live may be empty."""
    written = [line for line in lines if line.strip()]
    return "gemtop" in lines[0] and "5 Log" in lines[1] and len(written) >= 38 and "Esc" in lines[39]


def test_a_size_that_nobody_told_of_is_found(model_path: str) -> None:
    """Some containers and multiplexers lose the signal."""
    with GemtopTerminal([model_path, *QUICK], program=gemtop_after(_DEAF)) as terminal:
        terminal.wait_for_text("ctx 1024", "q Quit")
        terminal.resize(120, 50)
        terminal.wait_until(lambda: "q Quit" in terminal.screen.display[49], "the last line is the 50th")
        terminal.type("q")
        assert terminal.wait() == 0


_DEAF = (
    "import signal\n"
    "hear = signal.signal\n"
    "signal.signal = lambda number, act: hear(number, signal.SIG_IGN if number == signal.SIGWINCH else act)"
)


# A line that drops -----------------------------------------------------------------------------------------


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_for_end(process: psutil.Process) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not has_ended(process):
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.05)


def test_a_closed_terminal_ends_the_session_well(folders: Paths, model_path: str) -> None:
    with GemtopTerminal([model_path, *QUICK, *ENDLESS]) as terminal:
        terminal.wait_for_text("running")
        program = terminal.program
        terminal.hang_up()
        _, status = os.waitpid(terminal.pid, 0)
        terminal.exit_code = os.waitstatus_to_exitcode(status)
        assert terminal.exit_code == 129
        assert has_ended(program)
    assert "Traceback" not in log_text(folders)
    assert rows(folders, "SELECT status FROM runs") == [("cancelled",)]
    assert rows(folders, "SELECT end_reason FROM sessions") == [("ended by SIGHUP",)]


def test_a_terminal_that_goes_without_a_signal_is_noticed(folders: Paths, model_path: str, tmp_path: Path) -> None:
    """A process that does not belong to the terminal gets no SIGHUP: it finds out by an error, or the end of input."""
    pid_file = tmp_path / "pid"
    apart = (
        "import os\nif child := os.fork():\n    os.waitpid(child, 0)\n    os._exit(0)\nos.setsid()\n"
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))"
    )
    with GemtopTerminal([model_path, *QUICK, *ENDLESS], program=gemtop_after(apart)) as terminal:
        terminal.wait_for_text("running")
        program = psutil.Process(int(pid_file.read_text()))
        terminal.hang_up()
        wait_for_end(program)
    assert rows(folders, "SELECT status FROM runs") == [("cancelled",)]


def test_kept_running_a_run_ends_without_its_terminal(folders: Paths, model_path: str) -> None:
    with GemtopTerminal([model_path, *QUICK, "-n", "64", "--prompt", "Once upon a time", "--keep-running"]) as terminal:
        terminal.wait_for_text("running")
        program = terminal.program
        terminal.hang_up()
        _, status = os.waitpid(terminal.pid, 0)
        terminal.exit_code = os.waitstatus_to_exitcode(status)
        assert terminal.exit_code == 0
        assert has_ended(program)
    assert "Traceback" not in log_text(folders)
    assert rows(folders, "SELECT status, generated_tokens FROM runs") == [("finished", 64)]
    assert rows(folders, "SELECT end_reason FROM sessions") == [(None,)]


def test_kept_running_there_is_nothing_to_run_for(folders: Paths, model_path: str) -> None:
    with GemtopTerminal([model_path, *QUICK], GEMTOP_SCREEN_KEEP_RUNNING="true") as terminal:
        terminal.wait_for_text("ctx 1024")
        terminal.hang_up()
        _, status = os.waitpid(terminal.pid, 0)
        terminal.exit_code = os.waitstatus_to_exitcode(status)
        assert terminal.exit_code == 129


# A large paste ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["lorem ipsum ", "lorem ipsum dolor sit amet, and so on\n"])
def test_a_megabyte_is_pasted_kept_and_refused_in_one_line(folders: Paths, model_path: str, unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    with GemtopTerminal([model_path, *QUICK]) as terminal:
        terminal.wait_for_text("ctx 1024")
        data = ("\x1b[200~" + text.replace("\n", "\r") + "\x1b[201~").encode()

        def write() -> None:
            for at in range(0, len(data), 4096):
                os.write(terminal.fd, data[at : at + 4096])

        paste = threading.Thread(target=write)
        paste.start()
        terminal.wait_for_text("[text 1: 1,000,000 characters")
        paste.join()
        terminal.type(" and more")
        terminal.wait_for_text("] and more")
        terminal.type("\r")
        terminal.wait_for_text("the prompt is too long:", "in a context of 1,024")
        terminal.type("/\x1b[A")
        terminal.wait_for_text("1,000,009 characters")
        terminal.type("\x7f")
        terminal.wait_for_text("type a prompt; Enter")
        terminal.type(ESC)
        terminal.wait_for_text("q Quit")
        terminal.type("q")
        assert terminal.wait() == 0


# Old terminals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "", "LANG": "C"}, {"LC_ALL": "de_DE.ISO-8859-1"}])
def test_without_utf_8_nothing_but_ascii_is_sent(model_path: str, locale: dict[str, str]) -> None:
    with GemtopTerminal([model_path, *QUICK, "-n", "4", "--prompt", "Crème brûlée, 漢字"], **locale) as terminal:
        terminal.wait_for_text("-n reached", "Creme brulee, ????")
        for keys, text in (("\x1b2", "mark"), ("3", "SQL"), ("4", PLAN), ("5", "llama"), ("q", "TTFT")):
            terminal.type(keys)
            terminal.wait_for_text(text)
        terminal.type("q")
        assert terminal.wait() == 0
        assert terminal.raw.isascii()


@pytest.mark.parametrize("arguments", [[], ["top"], ["replay", "last"]])
@pytest.mark.parametrize(("term", "words"), [("dumb", "TERM=dumb says"), ("", "TERM is not set")])
def test_a_terminal_that_can_show_nothing_is_told_so(arguments: list[str], term: str, words: str) -> None:
    with GemtopTerminal(arguments, TERM=term, columns=300) as terminal:
        assert terminal.wait() == 2
        assert words in terminal.text and terminal.raw.count(b"\n") == 1
        assert b"\x1b" not in terminal.raw


# Our own mistakes ------------------------------------------------------------------------------------------

MISTAKES = {
    "in a drawing": "setattr(Chart, 'draw', fail)",
    "in what Textual renders": "(setattr(KeyLine, 'render_line', fail), self.query_one(KeyLine).refresh())",
    "in a timer": "self.set_timer(0.01, fail)",
    "in a handler": "fail()",
    "in a worker": "self.run_worker(failing())",
    "in a thread": "self.run_worker(fail, thread=True)",
}


@pytest.mark.parametrize("where", MISTAKES)
def test_an_exception_keeps_the_session_and_names_the_log(folders: Paths, model_path: str, where: str) -> None:
    code = (
        "from gemtop.tui.screens.live import LiveScreen\n"
        "from gemtop.tui.widgets.chart import Chart\n"
        "from gemtop.tui.widgets.keyline import KeyLine\n"
        "def fail(*_, **named):\n    raise RuntimeError('a mistake of ours')\n"
        "async def failing():\n    fail()\n"
        f"LiveScreen.action_new = lambda self: ({MISTAKES[where]}, None)[1]"
    )
    with GemtopTerminal([model_path, *QUICK, *ENDLESS], program=gemtop_after(code)) as terminal:
        terminal.wait_for_text("running")
        terminal.type("n")
        assert terminal.wait() == 1
        assert terminal.is_restored()
        log, what = log_file(folders), "RuntimeError: a mistake of ours"
        assert terminal.afterwards.splitlines() == [
            f"gemtop: something failed in the screen that should not: {what}; the log says more: {log}",
            "gemtop: 1 run recorded; see them with: gemtop query sessions",
        ]
    assert "Traceback" in log.read_text() and f"in the screen: {what}" in log.read_text()
    assert rows(folders, "SELECT status FROM runs") == [("cancelled",)]
    assert rows(folders, "SELECT end_reason FROM sessions") == [("the screen failed",)]
