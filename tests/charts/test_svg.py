"""The parts of a picture: axes that hold their values, text that fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.charts.svg import escaped, fitting, log_axis, log_scale, signed_scale, width_of

POSITIVE = st.floats(min_value=1e-12, max_value=1e9)


@given(st.lists(POSITIVE, min_size=1, max_size=20))
def test_a_logarithmic_axis_holds_its_values(values: list[float]) -> None:
    axis = log_axis(values)
    assert axis.low <= min(values) * (1 + 1e-6) and axis.high >= max(values) * (1 - 1e-6)
    assert 2 <= len(axis.ticks) <= 8
    assert all(axis.low <= value <= axis.high for value, _ in axis.ticks)
    assert len({words for _, words in axis.ticks}) == len(axis.ticks)


def test_ticks_of_a_logarithmic_axis() -> None:
    assert [words for _, words in log_axis([0.004, 3.1]).ticks] == ["0.01", "0.1", "1"]
    assert [words for _, words in log_axis([0.03, 0.04]).ticks] == ["0.01", "0.02", "0.05", "0.1"]
    assert next(words for _, words in log_axis([2e-7, 3e-6]).ticks) == "2·10⁻⁷"


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=20))
def test_a_signed_scale_has_0_and_keeps_the_order(values: list[float]) -> None:
    scale = signed_scale(values, 300.0, 0.0)
    assert scale.axis.low <= min(*values, 0.0) + 1e-9 and scale.axis.high >= max(*values, 0.0) - 1e-9
    placed = [scale.at(value) for value in sorted(values)]
    assert placed == sorted(placed, reverse=True)
    assert 0.0 <= scale.at(0.0) <= 300.0


def test_small_and_large_changes_are_told_apart_on_one_scale() -> None:
    scale = signed_scale([-0.2, 0.3, 5.0, 340.0], 300.0, 0.0)
    words = [words for _, words in scale.axis.ticks]
    assert words == ["\u22121", "\u22120.1", "0", "+0.1", "+1", "+10", "+100", "+1000"]
    assert scale.at(0.0) - scale.at(0.3) > 15
    assert next(words for _, words in signed_scale([1.0, 2.0], 300.0, 0.0).axis.ticks) == "0"


def test_what_is_not_above_0_lies_at_the_low_end() -> None:
    scale = log_scale([0.1, 10.0], 300.0, 0.0)
    assert scale.at(0.0) == scale.at(-5.0) >= 300.0


@given(st.text(), st.floats(min_value=10, max_value=400))
def test_a_line_fits_its_room(text: str, room: float) -> None:
    line = fitting(text, room)
    assert len(line) <= 1 or width_of(line) <= room


@pytest.mark.parametrize(
    ("text", "written"),
    [("<a href='x'>&", "&lt;a href=&#x27;x&#x27;&gt;&amp;"), ("\x1b[0m\ud800\ufffe", "␛[0m\\ud800\ufffd")],
)
def test_text_is_no_markup(text: str, written: str) -> None:
    assert escaped(text) == written
