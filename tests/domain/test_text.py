"""Text made safe for a screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.text import cell_width, one_line, printable, shortened


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a\nb\tc"),
        ("\x1b[2J", "\u241b[2J"),
        ("\x1b]0;owned\x07", "\u241b]0;owned\u2407"),
        ("\x9b31m", "<009B>31m"),
        ("over\rwritten", "over\u240dwritten"),
        ("\x7f", "\u2421"),
        ("\x00", "\u2400"),
        ("a\u202eb", "a<202E>b"),
        ("\u2066x\u2069", "<2066>x<2069>"),
        ("\u2028", "<2028>"),
        ("\ufeff", "<FEFF>"),
        ("naïve 日本 🦙", "naïve 日本 🦙"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(given_text: str, shown: str) -> None:
    assert printable(given_text) == shown


@given(st.text())
def test_nothing_that_moves_a_terminal_is_left(text: str) -> None:
    left = {c for c in printable(text) if c not in "\n\t" and (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0)}
    assert not left
    assert printable(printable(text)) == printable(text)


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert one_line(text) == one_line(one_line(text))


def test_one_line_folds_blanks() -> None:
    assert one_line("  a\n\n b\t\tc ") == "a b c"


@pytest.mark.parametrize(
    ("char", "cells"),
    [("a", 1), ("é", 1), ("\u0301", 0), ("\u200d", 0), ("\ufe0f", 0), ("日", 2), ("ｗ", 2), ("🦙", 2)],
)
def test_cells_of_a_character(char: str, cells: int) -> None:
    assert cell_width(char) == cells


@given(st.text(st.characters()), st.integers(1, 40))
def test_what_is_shortened_can_be_written_anywhere(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most
    assert printable(short) == short
    short.encode("utf-8")


def test_what_is_short_stays_whole() -> None:
    assert shortened("a  b\nc", 5) == "a b c"
    assert shortened("abcdef", 5) == "abcd\u2026"
    assert shortened("\ud800", 9) == "\\ud800"
