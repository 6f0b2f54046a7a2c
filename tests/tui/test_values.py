"""Labelled values: what is kept of them where room is short, and bars beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gemtop.tui.devices import WIDE_CELLS, card_rows
from gemtop.tui.meters import meters
from gemtop.tui.widgets.values import Value, ValueGrid, fitting
from tests.tui.test_devices_table import CARD, SAMPLE


def drawn(rows: list[list[Value]], width: int, height: int | None = None) -> list[str]:
    grid = ValueGrid(ascii_only=False)
    grid.show_rows(rows)
    return [line.rstrip() for line in grid.draw(width, height or len(rows)).text.splitlines()]


def test_parts_that_find_no_room_are_left_out_and_none_is_cut() -> None:
    parts = ["1.8 % of a core", "engine 41 %", "0 samples late"]
    assert fitting(parts, 100) == "1.8 % of a core, engine 41 %, 0 samples late"
    assert fitting(parts, 43) == "1.8 % of a core, engine 41 %"
    assert fitting(parts, 5) == "1.8 % of a core", "it is cut when it is drawn"
    assert fitting([], 5) == ""


def test_blanks_keep_the_parts_of_a_value_apart_and_line_ends_do_not() -> None:
    assert drawn([[Value("a", "one   two\nthree\tfour", left=True)]], 40) == ["a one   two three four"]


def test_a_card_has_bars_where_there_is_room_for_them() -> None:
    lines = drawn(card_rows(CARD, SAMPLE, 196), 196)
    assert all("█" in line for line in lines[1:5])
    assert not any("█" in line for line in drawn(card_rows(CARD, SAMPLE, WIDE_CELLS), WIDE_CELLS))


@pytest.mark.parametrize("cells", [40, 84, 200])
def test_bars_are_as_long_as_what_they_tell(cells: int) -> None:
    found = {value.label: value.text for value in meters(CARD, SAMPLE, cells)}
    assert found["VRAM"].endswith(" 75 %") and found["power"].endswith(" 89 %")
    bar = found["VRAM"].rpartition("░")[0] + "░"
    assert bar.count("█") == round(0.75 * len(bar))


def test_of_what_is_not_known_there_is_no_bar() -> None:
    bare = replace(CARD, power_limit_w=None)
    assert [value.label for value in meters(bare, replace(SAMPLE, gpu_util_pct=None), 80)] == ["mem ctrl", "VRAM"]
