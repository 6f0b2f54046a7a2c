"""Streaming text: wrapping, scrolling, what it lets through and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Region

from gemtop.tui.widgets.stream import StreamView
from gemtop.tui.widgets.wrap import WrappedText, glyph_of

from .terminal import Terminal, assert_shown

texts = st.text(alphabet="ab  \n\t漢é\u0301-", max_size=120)
widths = st.integers(2, 30)


def lines_of(wrapped: WrappedText) -> list[str]:
    return [row.cells(wrapped.width).text.rstrip() for row in wrapped.rows]


def wrap(text: str, width: int = 20) -> list[str]:
    wrapped = WrappedText(width)
    wrapped.append(text)
    return lines_of(wrapped)


# Wrapping -----------------------------------------------------------------------------------------------


def test_words_move_whole_to_the_next_row() -> None:
    assert wrap("The council approved the budget after a debate.") == [
        "The council approved",
        "the budget after a",
        "debate.",
    ]


def test_words_longer_than_a_row_are_cut() -> None:
    assert wrap("see " + "x" * 45) == ["see", "x" * 20, "x" * 20, "x" * 5]


def test_blanks_hang_over_the_edge_and_indents_stay() -> None:
    assert wrap("12345678901234567890     next") == ["12345678901234567890", "next"]
    assert wrap("    indented\n  less") == ["    indented", "  less"]


def test_line_ends() -> None:
    assert wrap("a\nb") == ["a", "b"]
    assert wrap("a\n") == ["a"]
    assert wrap("a\n\nb") == ["a", "", "b"]
    assert wrap("\n\nb") == ["", "", "b"]
    assert wrap("a\r\nb") == ["a", "b"]


def test_tabs_go_to_the_next_stop() -> None:
    assert wrap("a\tb\n\tc") == ["a   b", "    c"]


def test_wide_characters_are_never_cut() -> None:
    assert wrap("漢" * 11, width=5) == ["漢漢"] * 5 + ["漢"]
    assert all(cell_len(line) <= 5 for line in wrap("a漢b漢c漢d", width=5))


def test_escape_sequences_become_pictures() -> None:
    text = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eevil\ud800"
    assert not set("".join(wrap(text, 80))) & set("\x1b\x07\x9b\u202e\ud800")
    assert wrap(text, 80)[0].startswith("␛[2J␛]0;title␇")


def test_characters_whose_width_terminals_dispute() -> None:
    assert wrap("👨\u200d👩\u200d👧 👍🏽 ❤\ufe0f") == ["👨👩👧 👍 ❤"]
    assert wrap("e" + "\u0301" * 500 + "x")[0].startswith("e\u0301")
    assert len(wrap("e" + "\u0301" * 500 + "x")[0]) < 10


@given(st.characters())
def test_textual_agrees_about_every_width(char: str) -> None:
    glyph, wide = glyph_of(char)
    assert glyph == "" or not char.isprintable() or cell_len(glyph) == wide


@given(st.lists(texts, max_size=12), widths)
def test_pieces_wrap_like_the_whole(pieces: list[str], width: int) -> None:
    whole, grown = WrappedText(width), WrappedText(width)
    whole.append("".join(pieces))
    for piece in pieces:
        grown.append(piece)
    assert lines_of(grown) == lines_of(whole)
    assert grown.text == "".join(pieces)


@given(texts, widths, widths)
def test_a_new_width_wraps_like_a_new_text(text: str, first: int, second: int) -> None:
    moved, fresh = WrappedText(first), WrappedText(second)
    moved.append(text)
    moved.resize(second)
    fresh.append(text)
    assert lines_of(moved) == lines_of(fresh)
    moved.append("more text")
    fresh.append("more text")
    assert lines_of(moved) == lines_of(fresh)


@given(texts, widths)
def test_rows_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    kept = "".join("".join(lines).split())
    assert kept.replace("\u0301", "") == "".join(text.split()).replace("\u0301", "")


def test_new_widths_cost_no_text() -> None:
    wrapped = WrappedText(20, keep_chars=1000)
    wrapped.append("x " * 300)
    for width in (30, 20) * 10:
        wrapped.resize(width)
    wrapped.append("y")
    assert wrapped.dropped_rows == 0


def test_a_bounded_amount_is_kept() -> None:
    wrapped = WrappedText(20, keep_chars=1000)
    for number in range(2000):
        wrapped.append(f"line {number}\n")
    assert 1000 <= len(wrapped.text) <= 1300
    assert len(wrapped.rows) < 200
    assert lines_of(wrapped)[-1] == "line 1999"
    assert wrapped.dropped_rows + len(wrapped.rows) == 2000
    for empty in (WrappedText(20, keep_chars=1000), WrappedText(1, keep_chars=1000)):
        for _ in range(50):
            empty.append("\n" * 500)
        assert len(empty.rows) < 1300


def test_an_append_works_on_the_last_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of an append, counted in characters wrapped: that of the new text and of one row."""
    from gemtop.tui.widgets import wrap as module

    wrapped = WrappedText(80)
    wrapped.append("word " * 20_000)
    counted = []
    split = module.split_rows

    def count(glyphs: list[str], widths: list[int], width: int) -> Any:
        counted.append(len(glyphs))
        return split(glyphs, widths, width)

    monkeypatch.setattr(module, "split_rows", count)
    for _ in range(100):
        wrapped.append("and more ")
    assert max(counted) <= 2 * 80 + 9
    wrapped.append("x" * 1_000_000)
    assert counted[-1] <= 200_000 + 160


# The widget ---------------------------------------------------------------------------------------------


class Reading(App[None]):
    """A StreamView; the regions it asks to be repainted are kept."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.view = StreamView(**options)
        self.regions: list[Region] = []
        refresh = self.view.refresh

        def record(*regions: Region, **more: Any) -> StreamView:
            self.regions.extend(regions or [Region(0, 0, *self.view.size)])
            return refresh(*regions, **more)

        self.view.refresh = record  # type: ignore[method-assign]

    def compose(self) -> ComposeResult:
        yield self.view

    def shown(self) -> list[str]:
        return [strip.text.rstrip() for strip in self.screen._compositor.render_strips()]


def numbered(first: int, last: int) -> str:
    return "".join(f"line {number}\n" for number in range(first, last))


async def test_text_appears_and_an_append_repaints_its_own_cells() -> None:
    app = Reading()
    async with app.run_test(size=(40, 10)) as pilot:
        app.view.append("The council")
        app.regions.clear()
        app.view.append(" approved")
        assert app.regions == [Region(12, 0, 8, 1)], "the blank before it stays"
        await pilot.pause()
        assert app.shown()[0] == "The council approved"
        app.regions.clear()
        app.view.append("")
        assert app.regions == []


async def test_the_view_moves_up_by_half_at_the_bottom() -> None:
    app = Reading()
    async with app.run_test(size=(40, 10)):
        tops = []
        for number in range(40):
            app.view.append(f"line {number}\n")
            tops.append(app.view.top)
        assert tops[9] == 0
        assert tops[10] == 5
        assert len(set(tops)) == 7
        assert "line 39" in app.view.cells.text


async def test_only_rows_in_view_are_kept_as_cells() -> None:
    app = Reading()
    async with app.run_test(size=(40, 10)) as pilot:
        rows = app.view._wrapped.rows
        for number in range(40):
            app.view.append(f"line {number}\n")
        app.view.action_top()
        await pilot.resize_terminal(40, 6)
        await pilot.pause()
        assert [row for row in rows if row.drawn is not None] == rows[:6]
        app.view.action_bottom()
        assert [row for row in rows if row.drawn is not None] == rows[app.view.top :][:6]


async def test_scrolled_up_it_stays_until_end() -> None:
    app = Reading()
    async with app.run_test(size=(40, 10)) as pilot:
        app.view.focus()
        app.view.append(numbered(0, 100))
        await pilot.press("pageup", "pageup")
        top = app.view.top
        assert not app.view.follows
        app.view.append(numbered(100, 150))
        assert app.view.top == top
        assert app.view.cells.rows[9].text.endswith(" ↓ End ")
        await pilot.press("home")
        assert app.view.cells.rows[0].text.startswith("line 0")
        await pilot.press("end")
        assert app.view.follows
        assert "line 149" in app.view.cells.text
        assert "↓ End" not in app.view.cells.text


async def test_wheel_and_paging_down_to_the_end() -> None:
    app = Reading()
    async with app.run_test(size=(40, 10)) as pilot:
        app.view.focus()
        app.view.append(numbered(0, 100))
        await pilot._post_mouse_events([_wheel_up()], app.view)
        await pilot.pause()
        assert not app.view.follows
        for _ in range(20):
            await pilot.press("pagedown")
        assert app.view.follows
        assert "line 99" in app.view.cells.text


async def test_short_text_does_not_scroll() -> None:
    app = Reading()
    async with app.run_test(size=(40, 10)) as pilot:
        app.view.focus()
        app.view.append(numbered(0, 3))
        await pilot.press("pageup", "up", "home", "down", "pagedown", "end")
        assert (app.view.top, app.view.follows) == (0, True)


async def test_marks_are_set_off_and_no_part_of_the_text() -> None:
    app = Reading(placeholder="type a prompt")
    async with app.run_test(size=(40, 10)):
        assert app.view.cells.rows[0].text.startswith("type a prompt")
        app.view.mark("> Why?")
        app.view.append("Because.")
        app.view.mark("> And?")
        app.view.append("So.")
        assert app.view.cells.text.rstrip().split("\n") == ["> Why?", "Because.", "", "> And?", "So."]
        assert app.view.text == "Because.So."
        assert set(app.view.cells.rows[3].roles) == {"prompt", ""}
        app.view.clear()
        assert (app.view.text, app.view.row_count) == ("", 0)
        assert app.view.cells.rows[0].text.startswith("type a prompt")


@pytest.mark.parametrize("follow", [True, False])
async def test_resize_keeps_the_place(follow: bool) -> None:
    app = Reading()
    async with app.run_test(size=(80, 20)) as pilot:
        app.view.focus()
        app.view.append("".join(f"line {number} {'word ' * 12}\n" for number in range(200)))
        if not follow:
            await pilot.press("home", "pagedown", "pagedown")
        first = app.view.cells.rows[0].text.split()[1]
        await pilot.resize_terminal(37, 12)
        await pilot.pause()
        if follow:
            assert "line 199" in app.view.cells.text
        else:
            assert app.view.cells.rows[0].text.startswith(f"line {first} ")
        for size in ((1, 1), (5, 2), (120, 40)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert app.shown()[: app.view.size.height] == [row.text.rstrip() for row in app.view.cells.rows]


async def test_dropped_text_moves_a_scrolled_view() -> None:
    app = Reading(keep_chars=2000)
    async with app.run_test(size=(40, 10)) as pilot:
        app.view.focus()
        app.view.append(numbered(0, 150))
        await pilot.press("pageup")
        held = app.view.cells.rows[0].text
        app.view.append(numbered(150, 260))
        assert app.view.cells.rows[0].text == held
        app.view.append(numbered(260, 2000))
        assert app.view.top == 0, "what was read is gone"
        assert len(app.view.text) <= 2600


def _wheel_up() -> Any:
    from textual.events import MouseScrollUp

    return MouseScrollUp


def test_much_text_on_a_real_terminal(tmp_path: Any) -> None:
    with Terminal("cell_program.py", tmp_path, 90, 30) as terminal:
        terminal.next_dump()
        for key in ("e", "e", "\x1b[5~", "u", "\x1b[6~", "e", "u"):
            terminal.press(key)
            assert_shown(terminal)
        assert b"\x1b[31m" not in terminal.raw, "an escape sequence of the text reached the terminal"
