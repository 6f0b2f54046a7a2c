"""Speed over time, as the charts show it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.rates import RatePoint, RateSeries

S = 1_000_000_000


def stretches(series: RateSeries) -> list[list[RatePoint]]:
    """The points between gaps."""
    found: list[list[RatePoint]] = [[]]
    for point in series.points():
        if point.tokens_per_s is None:
            found.append([])
        else:
            found[-1].append(point)
    return [stretch for stretch in found if stretch]


def test_a_steady_speed_is_a_level_line() -> None:
    series = RateSeries(bin_ns=S // 4)
    series.begin(0)
    for i in range(1, 101):
        series.add(i * S // 50)
    series.end(2 * S)
    (stretch,) = stretches(series)
    assert {round(p.tokens_per_s or 0, 6) for p in stretch} == {50.0}
    assert (stretch[0].t_ns, stretch[-1].t_ns) == (0, 2 * S)


def test_a_model_slower_than_a_bin_shows_its_speed_and_no_comb() -> None:
    series = RateSeries(bin_ns=S // 4)
    series.begin(0)
    for second in range(2, 21, 2):
        series.add(second * S)
    assert {p.tokens_per_s for p in series.points()} == {0.5}


@given(st.lists(st.integers(1, S), min_size=1, max_size=200))
def test_no_token_is_lost_or_counted_twice(gaps_ns: list[int]) -> None:
    series = RateSeries(bin_ns=S // 4)
    series.begin(0)
    t_ns = 0
    for gap in gaps_ns:
        t_ns += gap
        series.add(t_ns)
    series.end(t_ns)
    (stretch,) = stretches(series)
    area = sum((b.tokens_per_s or 0) * (b.t_ns - a.t_ns) / 1e9 for a, b in pairwise(stretch))
    assert area == pytest.approx(len(gaps_ns), rel=1e-6)
    assert [p.t_ns for p in stretch] == sorted(p.t_ns for p in stretch)


def test_a_prefill_of_several_chunks_counts_their_tokens() -> None:
    series = RateSeries(bin_ns=S // 4)
    series.begin(0)
    series.add(S, 512)
    series.add(2 * S, 256)
    series.end(2 * S)
    assert [p.tokens_per_s for p in series.points()] == [512.0, 512.0, 256.0, None]


def test_runs_are_apart_by_a_gap() -> None:
    series = RateSeries(bin_ns=S // 4)
    for start in (0, 10 * S):
        series.begin(start)
        series.add(start + S)
        series.end(start + S)
    assert [len(stretch) for stretch in stretches(series)] == [2, 2]


def test_a_phase_that_ends_at_once_leaves_no_speed() -> None:
    series = RateSeries()
    series.begin(0)
    series.end(1)
    assert stretches(series) == []


def test_tokens_without_a_beginning_start_one() -> None:
    series = RateSeries(bin_ns=S // 4)
    series.add(S)
    series.add(2 * S)
    assert [p.tokens_per_s for p in series.points()] == [1.0, 1.0]


def test_only_the_last_points_are_kept() -> None:
    series = RateSeries(bin_ns=1, keep=10)
    series.begin(0)
    for i in range(1, 1000):
        series.add(i * S)
    assert len(series.points()) == 10
    assert series.points()[-1].t_ns == 999 * S
