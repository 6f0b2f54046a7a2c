"""The arithmetic that keeps charts calm."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.charts.spec import (
    ChartSpec,
    Series,
    bin_to_columns,
    clock_text,
    column_of,
    nice_ceiling,
    stable_range,
    stepped_window,
    tick_text,
    with_gaps,
)

positive = st.floats(1e-6, 1e12)


@pytest.mark.parametrize(
    ("value", "ceiling"),
    [(0, 1), (-3, 1), (math.inf, 1), (1, 1), (1.1, 2), (34.2, 50), (50, 50), (812, 1000), (0.3, 0.5)],
)
def test_nice_ceiling(value: float, ceiling: float) -> None:
    assert nice_ceiling(value) == pytest.approx(ceiling)


@given(positive)
def test_nice_ceiling_is_near_and_not_below(value: float) -> None:
    top = nice_ceiling(value)
    assert value <= top * 1.0001
    assert top <= value * 2.5 * 1.0001


def test_range_grows_at_once_and_shrinks_late() -> None:
    held = stable_range(None, [34.0])
    assert held == (0.0, 50.0)
    assert stable_range(held, [51.0]) == (0.0, 100.0)
    assert stable_range(held, [21.0]) == held, "still more than 40 %"
    assert stable_range(held, [19.0]) == (0.0, 20.0)
    assert stable_range(held, []) == held
    assert stable_range(held, [None, math.nan]) == held


@given(st.lists(st.one_of(st.none(), st.just(0.0), positive), min_size=1), st.one_of(st.none(), positive))
def test_range_holds_every_value(values: list[float | None], top: float | None) -> None:
    held = None if top is None else (0.0, nice_ceiling(top))
    low, high = stable_range(held, values)
    assert all(low <= value <= high * 1.0001 for value in values if value is not None)


@given(st.floats(0, 1e6), st.floats(1, 3600))
def test_window_holds_now_and_keeps_its_span(now_s: float, span_s: float) -> None:
    first, last = stepped_window(now_s, span_s)
    assert first - 1e-6 <= now_s <= last + 1e-6
    assert last - first == pytest.approx(span_s)


def test_window_moves_by_quarters() -> None:
    windows = [stepped_window(t / 2, 60.0) for t in range(400)]
    assert stepped_window(0, 60) == (0, 60)
    assert stepped_window(59.9, 60) == (0, 60)
    assert stepped_window(60, 60) == (15, 75)
    assert len(set(windows)) < 15


def test_bins_are_means_in_order() -> None:
    points = ((0.0, 1.0), (0.1, 3.0), (10.0, 5.0), (99.0, 7.0))
    assert bin_to_columns(points, (0.0, 10.0), 11) == [(0, 2.0), (10, 5.0)]


def test_gaps_stay_gaps() -> None:
    points = ((0.0, 1.0), (1.0, None), (2.0, 2.0), (2.1, math.nan), (3.0, 4.0))
    assert bin_to_columns(points, (0.0, 10.0), 11) == [(0, 1.0), (1, None), (2, 2.0), (2, None), (3, 4.0)]


@pytest.mark.parametrize("period_s", [0.1, 0.2, 1.0, 60.0])
def test_a_curve_has_a_gap_where_the_driver_hung(period_s: float) -> None:
    """For two seconds, or three readings."""
    before = [(k * period_s, 1.0) for k in range(50)]
    back_s = before[-1][0] + max(2.0, 3 * period_s)
    after = [(back_s + k * period_s, 2.0) for k in range(50)]
    found = with_gaps([*before, *after])
    assert found == (*before, ((before[-1][0] + back_s) / 2, None), *after)


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)], [(1.0, 2.0), (50.0, 3.0)], [(0.0, 1.0), (1.4, 1.0), (2.0, None)]])
def test_a_curve_without_long_gaps_stays_as_it_is(points: list[tuple[float, float | None]]) -> None:
    assert with_gaps(points) == tuple(points)


@given(
    st.lists(st.tuples(st.floats(-10, 110), st.one_of(st.none(), st.floats(0, 1e6)))),
    st.integers(1, 200),
)
def test_bins_keep_one_value_a_column(points: list[tuple[float, float | None]], columns: int) -> None:
    points.sort(key=lambda point: point[0])
    binned = bin_to_columns(points, (0.0, 100.0), columns)
    valued = [column for column, value in binned if value is not None]
    assert valued == sorted(set(valued))
    assert all(0 <= column < columns for column, _ in binned)
    inside = {column_of(x, (0.0, 100.0), columns) for x, y in points if 0 <= x <= 100 and y is not None}
    assert set(valued) == inside


@given(st.floats(0, 4.9e8))
def test_tick_labels_keep_their_width(value: float) -> None:
    top = nice_ceiling(value)
    for part in (0.0, 0.5, 1.0):
        assert len(tick_text(top * part)) <= 4 or top * part < 0.01


def test_labels() -> None:
    assert [tick_text(v) for v in (0, 0.5, 0.125, 24, 1000, 24_576, 500_000, 1e6, 2.5e6)] == [
        "0",
        "0.5",
        "0.12",
        "24",
        "1000",
        "25k",
        "500k",
        "1M",
        "2.5M",
    ]
    assert clock_text(75) == "1:15"
    assert clock_text(3_675) == "1:01:15"
    assert clock_text(1.5, step_s=0.5) == "1.5"


def test_has_data_looks_at_the_window() -> None:
    series = (Series("decode", "decode", ((1.0, 5.0), (70.0, None))),)
    assert ChartSpec(series=series, x_range=(0, 60)).has_data
    assert not ChartSpec(series=series, x_range=(60, 120)).has_data
