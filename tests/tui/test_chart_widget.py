"""Charts and value grids on a screen, and what their updates cost."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.widget import Widget

from gemtop.charts.spec import ChartSpec, Mark, Reading, Series
from gemtop.domain.text import text_width
from gemtop.tui.painting import Place
from gemtop.tui.widgets.cells import CellWidget, clip
from gemtop.tui.widgets.chart import Chart
from gemtop.tui.widgets.palette import ROLES, role_style
from gemtop.tui.widgets.values import Value, ValueGrid

from .terminal import Terminal, assert_shown


def decode_chart(count: int, **changes: object) -> ChartSpec:
    rng = random.Random(4)
    points = tuple((t / 5, 34 + rng.gauss(0, 1)) for t in range(count))
    spec = ChartSpec(
        "tokens/s",
        series=(Series("decode", "decode", points),),
        y_range=(0.0, 50.0),
        x_label="60 s",
        marks=(Mark(2.0, "run 4"),),
        placeholder="no run yet",
        readings=(Reading("decode", "34.2", "decode"), Reading("p50", "34.6")),
    )
    return replace(spec, **changes)


class Shown(App[None]):
    """One widget; what it asks to be repainted is kept."""

    CSS = "Chart, ValueGrid { height: 12; }"

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget
        self.regions: list[Region] = []
        refresh = widget.refresh

        def record(*regions: Region, **options: Any) -> Widget:
            whole = Region(0, 0, *widget.size)
            self.regions.extend(regions or [whole])
            return refresh(*regions, **options)

        widget.refresh = record  # type: ignore[method-assign, assignment]

    def compose(self) -> ComposeResult:
        yield self.widget

    def screen_text(self) -> str:
        return "\n".join(strip.text.rstrip() for strip in self.screen._compositor.render_strips())


async def test_a_chart_has_title_readings_axes_and_curve() -> None:
    chart = Chart(decode_chart(100), framed=True)
    async with Shown(chart).run_test(size=(120, 40)):
        lines = chart.cells.text.split("\n")
        assert lines[0].startswith("┌─ tokens/s ──")
        assert lines[0].endswith(" decode  34.2   p50  34.6 ─┐")
        assert lines[-1] == "└" + "─" * 118 + "┘"
        assert "50┤" in lines[1]
        assert any("decode" in row.roles for row in chart.cells.rows[1:])


async def test_the_screen_shows_the_cells() -> None:
    chart = Chart(decode_chart(100))
    app = Shown(chart)
    async with app.run_test(size=(120, 40)) as pilot:
        for count in range(100, 200, 9):
            chart.show_spec(decode_chart(count))
            await pilot.pause()
            assert app.screen_text().startswith(chart.cells.text)


async def test_an_equal_spec_repaints_and_plots_nothing() -> None:
    chart = Chart(decode_chart(100))
    app = Shown(chart)
    async with app.run_test(size=(120, 40)):
        plots = chart.plots_drawn
        app.regions.clear()
        chart.show_spec(decode_chart(100))
        assert (app.regions, chart.plots_drawn) == ([], plots)
        chart.show_spec(decode_chart(100, readings=(Reading("decode", "35.2", "decode"), Reading("p50", "34.6"))))
        assert chart.plots_drawn == plots, "a reading is no part of the plot"
        assert sum(region.area for region in app.regions) == 1


@pytest.mark.parametrize(
    ("columns", "span_s", "column_s"), [(69, 60.0, 1.0), (49, 60.0, 60 / 40), (49, 900.0, 2.0), (209, 60.0, 1.0)]
)
async def test_how_long_a_column_is(columns: int, span_s: float, column_s: float) -> None:
    """Of the plot: frame and axis take nine. Never too short to be read, or so long that the chart seems to hang."""
    chart = Chart(decode_chart(10), framed=True)
    async with Shown(chart).run_test(size=(columns, 20)):
        assert chart.column_s(span_s) == column_s


async def test_padded_values_are_where_textual_would_have_them() -> None:
    """What is painted past it has to be."""
    grid = ValueGrid()
    grid.styles.padding = (1, 3)
    app = Shown(grid)
    async with app.run_test(size=(60, 20)):
        region = Place().region(grid, app.screen)
        assert region is not None
        assert (region.offset, region.size) == ((3, 1), grid.size)


async def test_a_new_point_repaints_few_cells() -> None:
    chart = Chart(decode_chart(100))
    app = Shown(chart)
    async with app.run_test(size=(120, 40)):
        app.regions.clear()
        chart.show_spec(decode_chart(105))
        assert 0 < sum(region.area for region in app.regions) < 40


async def test_placeholder_until_there_is_data() -> None:
    chart = Chart(decode_chart(0))
    async with Shown(chart).run_test(size=(60, 20)):
        assert "no run yet" in chart.cells.text
        chart.show_spec(decode_chart(100))
        assert "no run yet" not in chart.cells.text


@pytest.mark.parametrize("size", [(1, 1), (5, 2), (20, 5), (200, 60)])
@pytest.mark.parametrize("framed", [True, False])
async def test_any_size(size: tuple[int, int], framed: bool) -> None:
    chart = Chart(decode_chart(100), framed=framed)
    app = Shown(chart)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.resize_terminal(*size)
        await pilot.pause()
        assert (chart.cells.width, chart.cells.height) == (chart.size.width, chart.size.height)
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert "tokens/s" in app.screen_text()


async def test_ascii_charts_are_ascii() -> None:
    chart = Chart(decode_chart(100), framed=True, ascii_only=True)
    app = Shown(chart)
    async with app.run_test(size=(120, 40)):
        assert chart.cells.text.isascii()


async def test_themes_decide_the_colours() -> None:
    chart = Chart(decode_chart(100))
    app = Shown(chart)
    async with app.run_test(size=(120, 40)) as pilot:
        dark = {role: chart._style_of(role) for role in ROLES}
        app.theme = "textual-light"
        await pilot.pause()
        light = {role: chart._style_of(role) for role in ROLES}
        assert all(dark[role] != light[role] for role in ROLES)
        assert chart._style_of("no such role") == light["text"]


def test_titles_make_room_and_never_grow() -> None:
    assert clip("gemma-3-27b", 20) == "gemma-3-27b"
    assert clip("gemma-3-27b", 8) == "gemma-3…"
    assert text_width(clip("漢字漢字", 6)) <= 6
    assert clip("abc", 0) == ""


async def test_readings_without_room_are_left_out_from_the_last() -> None:
    readings = (Reading("decode", "34.2"), Reading("prefill", "812.0"), Reading("p50", "34.6"))
    chart = Chart(decode_chart(100, readings=readings))
    async with Shown(chart).run_test(size=(44, 20)):
        assert chart.cells.rows[0].text == "tokens/s        decode  34.2   prefill 812.0"


# Values -------------------------------------------------------------------------------------------------


def gpu(power: str, temperature: str = "67 °C") -> list[list[Value]]:
    return [
        [Value("util", "97 %"), Value("power", power)],
        [Value("temp", temperature), Value("sm", "1695 MHz")],
        [Value("throttle", "SwPowerCap 4.1 s of 31.0", "warn")],
    ]


async def test_values_are_aligned_and_steady() -> None:
    grid = ValueGrid()
    app = Shown(grid)
    async with app.run_test(size=(60, 20)):
        grid.show_rows(gpu("312 W"))
        assert grid.cells.text.split("\n")[:3] == [
            "util  97 %   power    312 W",
            "temp 67 °C   sm    1695 MHz",
            "throttle SwPowerCap 4.1 s of 31.0",
        ]
        app.regions.clear()
        grid.show_rows(gpu("98 W"))
        assert grid.cells.text.split("\n")[0] == "util  97 %   power     98 W"
        assert [(r.y, r.height) for r in app.regions] == [(0, 1)]
        assert sum(region.area for region in app.regions) <= 3
        app.regions.clear()
        grid.show_rows(gpu("98 W"))
        assert app.regions == []


async def test_values_too_wide_end_in_an_ellipsis() -> None:
    grid = ValueGrid()
    async with Shown(grid).run_test(size=(24, 20)):
        grid.show_rows(gpu("312 W"))
        assert all(len(line) <= 24 for line in grid.cells.text.split("\n"))
        assert "…" in grid.cells.text


async def test_values_take_the_height_of_their_rows() -> None:
    class Two(App[None]):
        def compose(self) -> ComposeResult:
            yield ValueGrid(title="GPU", framed=True)

    app = Two()
    async with app.run_test(size=(60, 20)) as pilot:
        grid = app.query_one(ValueGrid)
        grid.show_rows(gpu("312 W"))
        await pilot.pause()
        assert grid.size.height == 5
        assert "throttle" in grid.cells.text


async def test_control_characters_of_a_name_stay_harmless() -> None:
    grid = ValueGrid(title="\x1b[31mevil\nname")
    async with Shown(grid).run_test(size=(60, 20)):
        grid.show_rows([[Value("GPU", "RTX \x1b]0;x\x07")]])
        assert "\x1b" not in grid.cells.text
        assert "␛[31mevil name" in grid.cells.text


# A real terminal ----------------------------------------------------------------------------------------


def test_the_terminal_shows_what_the_widgets_hold(tmp_path: Path) -> None:
    with Terminal("cell_program.py", tmp_path) as terminal:
        terminal.next_dump()
        for key in "uuuuunueuuuuueuu":
            terminal.press(key)
            assert_shown(terminal)


def test_resizes_leave_no_trace(tmp_path: Path) -> None:
    with Terminal("cell_program.py", tmp_path) as terminal:
        terminal.next_dump()
        for columns, rows in ((80, 24), (200, 60), (61, 23), (20, 5), (1, 1), (120, 40)):
            terminal.resize(columns, rows)
            assert_shown(terminal)
            for key in "uu":
                terminal.press(key)
            assert_shown(terminal)
            assert len(terminal.cells()) == rows


def test_an_update_costs_a_fraction_of_a_repaint(tmp_path: Path) -> None:
    with Terminal("cell_program.py", tmp_path) as terminal:
        terminal.next_dump()
        for key in "fn":
            assert terminal.press(key, 0.2) < 10, "nothing changed, even where everything is painted anew"
        updates = sorted(terminal.press("u", 0.1) for _ in range(15))
        # Two charts, two titles, a row of values and three words; the median leaves out steps of the window.
        assert updates[len(updates) // 2] < 350


async def test_every_role_has_a_colour_in_every_theme() -> None:
    app = App[None]()
    async with app.run_test(size=(40, 10)):
        widget = CellWidget()
        await app.mount(widget)
        for theme in ("textual-dark", "textual-light"):
            app.theme = theme
            styles = {role: role_style(widget, role) for role in ROLES}
            assert all(style.color and style.bgcolor and style.color != style.bgcolor for style in styles.values())
        assert role_style(widget, "no such role") == role_style(widget, "text")
