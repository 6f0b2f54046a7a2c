"""Grids of cells and what differs between two of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gemtop.charts.grid import Canvas, CellRow, badge, changed_runs

text_lines = st.text(alphabet="ab 漢é字", max_size=14)


def row(text: str, width: int = 12, role: str = "text") -> CellRow:
    canvas = Canvas(width, 1)
    canvas.put(0, 0, text, role)
    return canvas.freeze().rows[0]


def test_text_outside_is_cut_off() -> None:
    canvas = Canvas(4, 2)
    canvas.put(-1, 0, "abcdef")
    canvas.put(0, 7, "nowhere")
    canvas.put(3, 1, "漢")
    assert canvas.freeze().text == "bcde\n"


def test_wide_and_combining_characters() -> None:
    canvas = Canvas(6, 1)
    end = canvas.put(0, 0, "漢e\u0301x")
    assert end == 4
    assert canvas.freeze().rows[0].glyphs == ("漢", "", "e\u0301", "x", " ", " ")
    canvas.put(1, 0, "y")
    assert canvas.freeze().rows[0].glyphs[:2] == (" ", "y"), "half a wide character is none"


def test_equal_lines_have_no_runs() -> None:
    assert changed_runs(row("same"), row("same")) == []
    assert changed_runs(row("a  b", role="x"), row("a  b", role="y")) == [(0, 4)]


def test_near_runs_are_one_far_runs_two() -> None:
    assert changed_runs(row("a..b"), row("c..d")) == [(0, 4)]
    assert changed_runs(row("a..b"), row("c..d"), join_cells=2) == [(0, 1), (3, 4)]


def test_runs_take_wide_characters_whole() -> None:
    assert changed_runs(row("漢字"), row("ab字")) == [(0, 2)]
    assert changed_runs(row("a漢"), row("ab c")) == [(1, 4)]


@given(text_lines, text_lines, st.integers(0, 9))
def test_copying_the_runs_makes_the_new_line(was: str, is_now: str, join: int) -> None:
    old, new = row(was), row(is_now)
    glyphs = list(old.glyphs)
    last = 0
    for start, end in changed_runs(old, new, join):
        assert start >= last or join == 0 or start < end
        assert new.glyphs[start] != ""
        assert end == len(new.glyphs) or new.glyphs[end] != ""
        glyphs[start:end] = new.glyphs[start:end]
        last = end
    assert tuple(glyphs) == new.glyphs


def test_a_badge_keeps_its_ground() -> None:
    canvas = Canvas(12, 1)
    canvas.put(1, 0, " QAT Q4 ", badge("qat"))
    canvas.tint(0, 0, 12, "prompt")
    (row,) = canvas.freeze().rows
    assert row.roles == ("@prompt", *(["badge@qat"] * 8), "@prompt", "@prompt", "@prompt"), "blanks in it and all"
