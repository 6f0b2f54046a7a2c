"""What the environment says of the terminal."""

from __future__ import annotations

import pytest

from gemtop.terminal import ascii_screen, charset, colour_depth, reads_line_by_line


@pytest.mark.parametrize(
    "environ,expected",
    [
        ({}, "utf-8"),
        ({"LANG": "de_DE.UTF-8"}, "utf-8"),
        ({"LC_CTYPE": "UTF-8"}, "utf-8"),
        ({"LANG": "de_DE.UTF-8", "LC_CTYPE": "en_US.utf8", "LC_ALL": "C"}, "ascii"),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, "ascii"),  # what Python makes of LANG=C
        ({"LANG": "en_US.UTF-8", "LC_CTYPE": "C.UTF-8"}, "utf-8"),
        ({"LC_ALL": "C.UTF-8"}, "utf-8"),
        ({"LC_ALL": "POSIX"}, "ascii"),
        ({"LANG": "de_DE.ISO-8859-1"}, "iso8859-1"),
        ({"LANG": "de_DE@euro"}, "iso8859-1"),
        ({"LANG": "ja_JP.eucJP"}, "euc_jp"),
        ({"LANG": "xx_XX.nonsense"}, "ascii"),
    ],
)
def test_the_locale_says_how_characters_are_encoded(environ: dict[str, str], expected: str) -> None:
    assert charset(environ) == expected


def test_screens_in_ascii() -> None:
    assert ascii_screen("auto", {"LC_ALL": "C", "TERM": "xterm"})
    assert ascii_screen("auto", {"TERM": "linux", "LANG": "C.UTF-8"}), "its font has no braille"
    assert not ascii_screen("auto", {"TERM": "xterm-256color", "LANG": "en_US.UTF-8"})
    assert ascii_screen("on", {"LANG": "en_US.UTF-8"})
    assert not ascii_screen("off", {"LC_ALL": "C"})


@pytest.mark.parametrize(
    "environ,expected",
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolour"),
        ({"TERM": "xterm", "COLORTERM": "24bit"}, "truecolour"),
        ({"TERM": "xterm-kitty"}, "truecolour"),  # over SSH without COLORTERM
        ({"TERM": "tmux-256color"}, "256"),
        ({"TERM": "xterm"}, "sixteen"),
        ({"TERM": "linux"}, "sixteen"),
        ({"TERM": "vt100"}, "none"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, "none"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "256"),  # empty counts as not set
    ],
)
def test_how_many_colours(environ: dict[str, str], expected: str) -> None:
    assert colour_depth(environ) == expected


def test_who_reads() -> None:
    assert reads_line_by_line({"TERM": "dumb"})
    assert reads_line_by_line({"TERM": "xterm", "ACCESSIBLE": "1"})
    assert not reads_line_by_line({"TERM": "xterm", "ACCESSIBLE": "0"})
    assert not reads_line_by_line({"TERM": "xterm"})
