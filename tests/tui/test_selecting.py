"""Text selected with the mouse: whole lines again, whatever the width; nothing sent while nothing is selected."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from gemtop.config import Paths
from gemtop.tui.widgets import selecting
from gemtop.tui.widgets.selecting import Place
from gemtop.tui.widgets.stream import StreamView
from gemtop.tui.widgets.values import ValueGrid
from gemtop.tui.widgets.wrap import WrappedText
from tests.tui.sitting import gemtop

TEXT = "The council approved the budget after a debate.\nSee notes/2026-11.txt for e\u0301te\u0301 and 漢字.\n\nEnd"


@given(st.text(alphabet="ab  \n漢é\u0301-", max_size=120), st.integers(2, 30), st.integers(2, 30), st.data())
def test_what_is_selected_does_not_depend_on_the_width(text: str, first: int, second: int, data: st.DataObject) -> None:
    wrapped = WrappedText(first)
    wrapped.append(text)
    places = [
        Place(row.paragraph, row.start + sum(map(len, row.glyphs[:at])))
        for row in wrapped.rows
        for at in range(len(row.glyphs) + 1)
    ]
    if not places:
        return
    stretch = tuple(sorted(data.draw(st.tuples(st.sampled_from(places), st.sampled_from(places)))))
    before = selecting.text_between(wrapped.rows, (stretch[0], stretch[1]))
    wrapped.resize(second)
    assert selecting.text_between(wrapped.rows, (stretch[0], stretch[1])) == before
    whole = (Place(0, 0), Place(10**9, 0))
    fresh = WrappedText(10**6)
    fresh.append(text)
    assert selecting.text_between(wrapped.rows, whole) == "\n".join("".join(row.glyphs) for row in fresh.rows)


class Program(App[None]):
    CSS = "StreamView { height: 11; } ValueGrid { height: 3; }"

    def compose(self) -> ComposeResult:
        yield ValueGrid(title="values", framed=True)
        yield StreamView(title="output", framed=True)

    @property
    def stream(self) -> StreamView:
        return self.query_one(StreamView)

    @property
    def selected(self) -> str | None:
        return self.screen.get_selected_text()

    @property
    def tinted(self) -> str:
        return "|".join(
            "".join(g for g, role in zip(row.glyphs, row.roles, strict=True) if role.endswith("@selection"))
            for row in self.stream.cells.rows[1:-1]
        ).strip("|")


async def drag(pilot: Pilot[None], start: tuple[int, int], end: tuple[int, int]) -> None:
    await pilot.mouse_down(StreamView, offset=start)
    await pilot.hover(StreamView, offset=end)
    await pilot.mouse_up(StreamView, offset=end)
    await pilot.pause()


async def test_dragging_selects_and_a_click_ends_it() -> None:
    program = Program()
    async with program.run_test(size=(26, 14)) as pilot:
        program.stream.append(TEXT)
        await pilot.pause()
        #  The council approved
        #  the budget after a
        #  debate.
        await drag(pilot, (6, 1), (8, 2))
        assert program.selected == "council approved the bud"
        assert program.tinted == "council approved |the bud"
        program.stream.append(" more words")
        assert program.selected == "council approved the bud", "it stays where it is in the text"
        await drag(pilot, (20, 3), (4, 3))
        assert program.selected == "bate.", "backwards, from behind the end of a row"
        await drag(pilot, (2, 4), (20, 9))
        assert program.selected is not None and program.selected.startswith("See notes/2026-11.txt")
        await pilot.click(StreamView, offset=(4, 2))
        assert program.selected is None and program.tinted == ""


async def test_a_double_click_takes_the_word_and_a_third_the_paragraph() -> None:
    program = Program()
    async with program.run_test(size=(26, 14)) as pilot:
        program.stream.append(TEXT)
        await pilot.pause()
        await pilot.click(StreamView, offset=(8, 4), times=2)
        assert program.selected == "notes/2026-11.txt"
        await pilot.click(StreamView, offset=(8, 4), times=3)
        assert program.selected == "See notes/2026-11.txt for e\u0301te\u0301 and 漢字."


async def test_the_view_scrolls_while_the_mouse_is_held_beyond_its_edge() -> None:
    program = Program()
    async with program.run_test(size=(26, 14)) as pilot:
        program.stream.append("\n".join(f"line {number}" for number in range(30)))
        program.stream.action_top()
        await pilot.mouse_down(StreamView, offset=(2, 1))
        await pilot.hover(offset=(10, 13))
        while program.stream.top < 8:
            await pilot.pause(0.02)
        await pilot.mouse_up(offset=(10, 13))
        taken = program.selected
        assert taken is not None and taken.startswith("line 0\nline 1\n") and "line 12" in taken
        assert program.mouse_captured is None
        program.stream.clear()
        await pilot.pause()
        assert program.selected is None


async def test_only_text_is_selected_and_other_widgets_give_none() -> None:
    program = Program()
    async with program.run_test(size=(26, 14)) as pilot:
        await drag(pilot, (3, 1), (9, 3))
        assert program.selected is None, "there is no text yet"
        program.stream.append("\x1b[31mred")
        await pilot.mouse_down(ValueGrid, offset=(3, 1))
        await pilot.hover(StreamView, offset=(4, 4))
        await pilot.mouse_up(StreamView, offset=(4, 4))
        assert program.selected is None
        program.stream.text_select_all()
        assert program.selected == "␛[31mred"


async def test_ctrl_c_copies_what_is_selected_of_the_output(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.type("Once upon a time\n")
        await screen.until_shown("Once upon a time Once upon", "-n reached")
        output = screen.app.screen.query_one("#output", StreamView)
        await screen.pilot.click(output, offset=(6, 3), times=3)
        await screen.pilot.press("ctrl+c")
        assert screen.app.clipboard == " Once upon a time Once upon"
        assert screen.app.return_value is None, "and it has not left"
