"""Plots of one column against another."""

from __future__ import annotations

import math

import pytest

from gemtop.charts.render import render_xy
from gemtop.charts.xy import names_axis, number_axis, time_axis, xy_spec


def test_figures_on_an_axis_are_round_and_hold_the_values() -> None:
    axis = number_axis([3.0, 41.0])
    assert (axis.low, axis.high) == (0.0, 60.0) and [text for _, text in axis.ticks] == ["0", "20", "40", "60"]
    near = number_axis([100.2, 100.4])
    assert near.low <= 100.2 and near.high >= 100.4 and near.low > 90


@pytest.mark.parametrize("values", [[], [0.0], [5.0], [-3.0, -3.0], [1e300, -1e300], [1e17, 1e17 + 16], [1e-320, 0.0]])
def test_odd_values_have_an_axis(values: list[float]) -> None:
    axis = number_axis(values)
    assert axis.high > axis.low or not math.isfinite(axis.high - axis.low) or axis.ticks
    assert len(axis.ticks) < 40
    assert time_axis([abs(v) for v in values]).high > 0


def test_a_plot_of_any_size() -> None:
    spec = xy_spec("variant\x1b[2J", "speed", [(0.0, 1.0), (1.0, 3.0)], "names", ("FP16", "QAT\nQ4_0"))
    for width in range(0, 80, 7):
        for height in range(12):
            for ascii_only in (False, True):
                cells = render_xy(spec, width, height, ascii_only=ascii_only)
                assert (cells.width, cells.height) == (width, height)
                assert not ascii_only or cells.text.replace("␛", "").isascii()
    text = render_xy(spec, 60, 10).text
    assert "FP16" in text and "QAT Q4_0" in text and "•" in text and "\x1b" not in text


def test_a_curve_is_joined_and_nothing_says_so() -> None:
    curve = xy_spec("i", "y", [(float(i), float(i)) for i in range(3)], "number", joined=True)
    assert sum(char not in " \n" for char in render_xy(curve, 40, 10).text) > 60
    assert "no row has a value in both columns" in render_xy(xy_spec("i", "y", [], "number"), 60, 8).text
    assert [text for _, text in names_axis(["a", "b"]).ticks] == ["a", "b"]
