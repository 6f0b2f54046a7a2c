"""A line of 2 KB a second, and one that stands for a while: counted in bytes, not in seconds."""

from __future__ import annotations

import re

import psutil
import pytest

from gemtop.config import Paths
from tests.cli.commands import gemtop
from tests.tui.slow_line import SlowTerminal
from tests.tui.test_picture import shown
from tests.tui.test_terminal_life import QUICK, generated, rows

SECOND = 2000
"""Bytes that the line carries in a second."""


def settle(terminal: SlowTerminal) -> None:
    """Wait until the line carries little for what is drawn, and how fast it is has been found out."""
    for _ in range(3):
        before = generated(terminal)
        terminal.wait_until(lambda before=before: generated(terminal) > before, "another frame")  # type: ignore[misc]


def test_what_a_key_does_never_waits_long_on_a_slow_line(model_path: str, folders: Paths) -> None:
    """What was sent and is not read yet is what the effect of a key has to wait for."""
    with SlowTerminal([model_path, *QUICK, "-n", "-1", "--prompt", "Once upon a time"], SECOND) as terminal:
        terminal.wait_for_text("running")
        settle(terminal)
        terminal.most_waiting = 0
        for key, shown in (
            ("?", lambda: has_dialog(terminal)),
            ("\x1b", lambda: not has_dialog(terminal)),
            ("/", lambda: "type a prompt; Enter" in terminal.text),
            ("x", lambda: terminal.screen.display[-2].startswith(" x")),
            ("\x7f", lambda: "type a prompt; Enter" in terminal.text),
            ("\t", lambda: "type a prompt; Enter" not in terminal.text),
            ("5", lambda: "TTFT" not in terminal.text),
            ("1", lambda: "TTFT" in terminal.text),
        ):
            terminal.type(key)
            terminal.wait_until(shown, f"the effect of {key!r}")
        assert terminal.most_waiting <= SECOND
        terminal.type("\x1b")
        terminal.wait_for_text("stopped")
        terminal.type("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()
        assert b"\x1b[0n" not in terminal.raw, "an answer was left for the shell"
    assert rows(folders, "SELECT status FROM runs") == [("cancelled",)]


def has_dialog(terminal: SlowTerminal) -> bool:
    return re.search("│ keys +│", terminal.text) is not None


def has_ended(folders: Paths) -> bool:
    """The run is written down, in the spool or in the history."""
    if any('"run_end"' in path.read_text() for path in folders.spools.glob("*.jsonl")):
        return True
    return (
        folders.history.exists() and b"finished" in gemtop("query", "SELECT status FROM runs", "--format", "csv").stdout
    )


def own_bytes(process: psutil.Process) -> int:
    """Memory in use but for what is mapped from files, such as weights."""
    memory = process.memory_info()
    return int(memory.rss - memory.shared)


@pytest.mark.parametrize("answers", [True, False])
def test_while_nobody_reads_the_run_goes_on_and_the_screen_is_right_after(
    model_path: str, folders: Paths, answers: bool
) -> None:
    arguments = [model_path, *QUICK, "-n", "48", "--prompt", "Once upon a time"]
    with SlowTerminal(arguments, 1_000_000, answers=answers) as terminal:
        terminal.wait_for_text("running", ", there")  # the first token: all its buffers are in use
        terminal.stopped = True
        before, memory = len(terminal.raw), own_bytes(terminal.program)
        terminal.wait_until(lambda: has_ended(folders), "the run ends unseen")
        assert own_bytes(terminal.program) - memory < 20_000_000
        terminal.stopped = False
        terminal.wait_for_text("-n reached")
        assert len(terminal.raw) - before < 30_000, "what nobody saw was not kept for later"
        other = terminal.redrawn()
        assert shown(terminal.screen) == shown(other)
        terminal.type("q")
        assert terminal.wait() == 0
