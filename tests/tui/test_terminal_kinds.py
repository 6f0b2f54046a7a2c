"""Screens on terminals that are unlike each other, on real pseudo-terminals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gemtop.charts.colours import VARIANTS
from gemtop.config import Paths
from tests.tui.palette_program import LINES
from tests.tui.program import GemtopTerminal
from tests.tui.terminal import Cell, Terminal

_COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")
_TOGETHER = (
    ("prefill", "decode", "throttle"),
    ("weights", "kv", "compute", "other", "free"),
    ("good", "warn", "bad"),
    ("removed", "added"),
    ("memory", "prefill", "decode", "load"),
)


def roles_on(tmp_path: Path, **environment: str) -> tuple[dict[str, Cell], bytes]:
    """The second cell of each role's line, and all that was sent."""
    with Terminal("palette_program.py", tmp_path, rows=len(LINES) + 1, **environment) as terminal:
        last = LINES[-1]
        while last not in terminal.text:
            terminal.read()
        while terminal.read(0.2):
            pass
        cells = terminal.cells()
        return {role: cells[y][1] for y, role in enumerate(LINES)}, terminal.raw


@pytest.mark.parametrize(
    "environment",
    [
        {"COLORTERM": "truecolor"},
        {"COLORTERM": ""},
        {"COLORTERM": "", "TERM": "xterm"},
        {"COLORTERM": "", "TERM": "xterm", "GEMTOP_SCREEN_THEME": "gemtop-light"},
        {"COLORTERM": "", "TERM": "xterm", "GEMTOP_SCREEN_THEME": "nord"},
        {"COLORTERM": "", "GEMTOP_SCREEN_THEME": "gemtop-light"},
    ],
    ids=["truecolour", "256", "16", "16, light", "16, nord", "256, light"],
)
def test_what_meets_is_told_apart(tmp_path: Path, environment: dict[str, str]) -> None:
    found, sent = roles_on(tmp_path, **environment)
    for roles in _TOGETHER:
        assert len({found[role][1] for role in roles}) == len(roles), {role: found[role][1] for role in roles}
    grounds = {role: found[f"badge@{role}"][2] for role in (*VARIANTS, "other")}
    assert len({*grounds.values(), found["text"][2]}) == 5, grounds
    assert len({found[role][2] for role in ("text", "text@prompt", "text@selection")}) >= 2
    for role, (_, colour, ground, _) in found.items():
        assert colour != ground, role
    assert (b"38;2;" in sent) == (environment["COLORTERM"] != ""), "no more colours than it says it has"
    assert (b"38;5;" in sent) == (environment["COLORTERM"] == "" and "TERM" not in environment)


def test_no_color_sends_none(tmp_path: Path) -> None:
    found, sent = roles_on(tmp_path, NO_COLOR="1")
    assert not _COLOUR.search(sent)
    assert {(colour, ground) for _, colour, ground, _ in found.values()} == {("default", "default")}
    assert b"\x1b[1;7m" in sent, "badges are bold and reversed"
    assert b"\x1b[2m" in sent, "what is muted is faint"


def test_not_a_byte_beyond_ascii(folders: Paths, model_path: str) -> None:
    """From the first line to the last, whatever is shown and typed."""
    arguments = [model_path, "-t", "1", "-c", "1024", "--temp", "0", "-n", "12", "--prompt", "Ünï cödé 漢字 ± →"]
    with GemtopTerminal(arguments, LC_ALL="C") as terminal:
        terminal.wait_for_text("> Uni code ???? ~ >", "-n reached", "+- tokens/s ---", "+----")
        assert "*" in terminal.text, "the curves"
        assert "* decode" in terminal.text and "+ prefill" in terminal.text
        terminal.type("Gr\u00fc\u00dfe ")
        terminal.wait_for_text("Gruse")
        terminal.type_bytes(b"\xfc\xff")  # a terminal in Latin-1; to UTF-8 it is no character
        terminal.wait_for_text("Gruse ??")
        terminal.type("\x1b")
        terminal.wait_for_text("Enter Prompt")
        for key, words in (("2", "chunks of the text"), ("3", "SQL"), ("4", "plan"), ("5", "llama"), ("1", "tokens/s")):
            terminal.type(key)
            terminal.wait_for_text(words)
        terminal.type("t")
        terminal.wait_for_text("flash attention", "< auto")
        terminal.type("\x1b")
        terminal.wait_until(lambda: "flash attention" not in terminal.text, "the panel is gone")
        terminal.type("\x1b[20~")
        terminal.wait_for_text("Search for themes", "tokyo-night")
        terminal.type("\x1b")
        terminal.wait_until(lambda: "tokyo-night" not in terminal.text, "the list is gone")
        terminal.type("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()
        assert terminal.raw.isascii()


def test_a_table_on_a_terminal_without_utf_8(folders: Paths) -> None:
    """In files and pipes it is UTF-8 all the same, and read aloud it has no rule."""
    sql = "SELECT '9.1 ± 0.2 °C' AS figure"
    with GemtopTerminal(["query", sql], LC_ALL="C") as terminal:
        assert terminal.wait() == 0
        assert b"9.1 +- 0.2 C" in terminal.raw and b"-----" in terminal.raw
        assert terminal.raw.isascii()
    with GemtopTerminal(["query", sql], ACCESSIBLE="1", LC_ALL="C.UTF-8") as terminal:
        assert terminal.wait() == 0
        assert "9.1 ± 0.2 °C" in terminal.text
        assert "─" not in terminal.text
    pipe = subprocess.run(
        [sys.executable, "-m", "gemtop", "query", sql],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        check=True,
    )
    assert "9.1 ± 0.2 °C" in pipe.stdout.decode()
