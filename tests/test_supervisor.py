"""The thin parent: what it passes on, what it says, and that no child outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from gemtop.supervisor import RESET
from tests.conftest import child_environment
from tests.tui.program import GemtopTerminal

LIMIT_S = 30

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from gemtop.supervisor import supervise

here = Path(sys.argv[1])
for number in (signal.SIGHUP, signal.SIGQUIT):  # whoever runs the tests in the background ignores them
    signal.signal(number, signal.SIG_DFL)

def note(name, text=""):
    (here / (name + ".tmp")).write_text(text)
    (here / (name + ".tmp")).rename(here / name)

def wait_for_ever():
    note("ready", str(os.getpid()))
    while True:
        time.sleep(60)

def child(attempt):
{body}

sys.exit(supervise(child, lambda died_of: f"the program was ended by {{died_of}}"))
"""


def program(folder: Path, body: str) -> list[str]:
    script = folder / "program.py"
    script.write_text(PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    ")))
    return [sys.executable, str(script), str(folder)]


def supervised(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program(folder, body), capture_output=True, text=True, timeout=LIMIT_S, check=False, env=child_environment()
    )


@contextmanager
def supervising(folder: Path, body: str) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """The parent and its child, which is waiting."""
    process = subprocess.Popen(
        program(folder, body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=child_environment()
    )
    pid = None
    try:
        until(lambda: (folder / "ready").exists(), "the child is ready")
        pid = int((folder / "ready").read_text())
        yield process, psutil.Process(pid)
    finally:
        for left in (process.pid, pid):
            if left is not None and psutil.pid_exists(left):
                os.kill(left, signal.SIGKILL)
        process.communicate()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {LIMIT_S} s: {what}"
        time.sleep(0.005)


@pytest.mark.parametrize("code", [0, 1, 2, 70, 130])
def test_exit_codes_are_passed_through(tmp_path: Path, code: int) -> None:
    done = supervised(tmp_path, f"return {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_leaving_by_exit_counts_too(tmp_path: Path) -> None:
    assert supervised(tmp_path, "sys.exit(3)").returncode == 3


def test_what_the_child_printed_is_not_lost(tmp_path: Path) -> None:
    done = supervised(tmp_path, "sys.stdout.write('words')\nreturn 0")
    assert done.stdout == "words"


def test_an_exception_in_the_child_is_shown_once(tmp_path: Path) -> None:
    done = supervised(tmp_path, "raise RuntimeError('of the child')")
    assert done.returncode == 1
    assert done.stderr.count("RuntimeError: of the child") == 1


@pytest.mark.parametrize(
    "number", [signal.SIGSEGV, signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL]
)
def test_a_death_by_signal_is_one_line_and_70(tmp_path: Path, number: signal.Signals) -> None:
    done = supervised(tmp_path, f"os.kill(os.getpid(), {int(number)})\ntime.sleep(60)")
    assert done.returncode == 70
    assert done.stderr == f"gemtop: the program was ended by {number.name}\n"
    assert done.stdout == ""


def test_a_real_fault_in_c_is_the_same(tmp_path: Path) -> None:
    done = supervised(tmp_path, "import ctypes\nctypes.string_at(0)")
    assert done.returncode == 70
    assert "ended by SIGSEGV" in done.stderr


def test_a_child_that_asks_for_it_is_started_anew(tmp_path: Path) -> None:
    body = """
    from gemtop.supervisor import RESTART
    print(f"attempt {attempt} of {os.getppid() == int((here / 'parent').read_text())}") if attempt else note(
        "parent", str(os.getppid()))
    return RESTART if attempt < 3 else 5
    """
    done = supervised(tmp_path, body)
    assert done.returncode == 5, "and 75 is never seen outside"
    assert done.stdout.splitlines() == [f"attempt {n} of True" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGWINCH]
)
def test_signals_reach_the_child_which_decides(tmp_path: Path, number: signal.Signals) -> None:
    body = f"""
    def leave(got, frame):
        note("got", str(got))
        os._exit(9)
    signal.signal({int(number)}, leave)
    wait_for_ever()
    """
    with supervising(tmp_path, body) as (process, _child):
        process.send_signal(number)
        assert process.wait(LIMIT_S) == 9
    assert (tmp_path / "got").read_text() == str(int(number))


def test_a_child_that_is_ended_by_a_signal_it_was_passed(tmp_path: Path) -> None:
    with supervising(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_DFL)\nwait_for_ever()") as (process, _child):
        process.terminate()
        assert process.wait(LIMIT_S) == 70
        assert process.stderr is not None
        assert process.stderr.read() == "gemtop: the program was ended by SIGTERM\n"


def test_a_parent_that_is_killed_leaves_no_child(tmp_path: Path) -> None:
    body = """
    def leave(got, frame):
        note("got", str(got))
        os._exit(0)
    signal.signal(signal.SIGHUP, leave)
    wait_for_ever()
    """
    with supervising(tmp_path, body) as (process, child):
        process.kill()
        process.wait(LIMIT_S)
        until((tmp_path / "got").exists, "the child was told")
        assert (tmp_path / "got").read_text() == str(int(signal.SIGHUP))
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child has ended")


def test_it_stops_and_goes_on_with_its_child(tmp_path: Path) -> None:
    with supervising(tmp_path, "wait_for_ever()") as (process, child):
        parent = psutil.Process(process.pid)
        child.suspend()
        until(lambda: parent.status() == psutil.STATUS_STOPPED, "the parent stops too: the shell has its prompt")
        parent.resume()
        until(lambda: child.status() != psutil.STATUS_STOPPED, "the child goes on")
        until(lambda: parent.status() != psutil.STATUS_STOPPED, "the parent goes on")
        child.kill()
        assert process.wait(LIMIT_S) == 70


def test_what_it_sends_to_put_a_terminal_back() -> None:
    """Nothing but modes: no text, no clearing of what the user had on the screen."""
    for mode in ("?1049l", "?25h", "?1000l", "?1003l", "?1006l", "?2004l", "?2026l", "?1004l", "?7h"):
        assert f"\x1b[{mode}" in RESET
    assert "\x1b[2J" not in RESET
    assert "\x1bc" not in RESET


def test_echo_and_lines_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that changes everything about its terminal and is killed."""
    body = """
    import tty
    tty.setraw(0)
    os.write(1, b"\\x1b[?1049h\\x1b[?25l\\x1b[?1000h\\x1b[?1003h\\x1b[?1006h\\x1b[?2004h")
    os.kill(os.getpid(), signal.SIGKILL)
    """
    arguments = program(tmp_path, body)
    real = os.execve
    monkeypatch.setattr(os, "execve", lambda path, _arguments, environment: real(path, arguments, environment))
    with GemtopTerminal([]) as terminal:
        assert terminal.wait() == 70
        assert terminal.is_restored()
        assert "the program was ended by SIGKILL" in terminal.text
