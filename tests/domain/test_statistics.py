"""The statistics gemtop quotes, against numpy's and scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gemtop.domain.statistics import mean_ci, mean_sd, paired_ratio, percentile, share_interval_95, student_t_quantile

SPEEDS = st.floats(min_value=0, max_value=1e6, allow_nan=False)


@given(st.lists(SPEEDS, min_size=1, max_size=200), st.floats(min_value=0, max_value=100))
def test_percentile_is_numpys(values: list[float], pct: float) -> None:
    values.sort()
    assert percentile(values, pct) == pytest.approx(np.percentile(values, pct), rel=1e-9, abs=1e-9)


def test_percentile_of_nothing_is_unknown() -> None:
    assert percentile([], 50) is None


def test_percentile_of_one_value_is_that_value() -> None:
    assert [percentile([7.0], pct) for pct in (0, 50, 99, 100)] == [7.0] * 4


def test_percentile_reaches_both_ends() -> None:
    assert percentile([1.0, 2.0, 10.0], 0) == 1.0
    assert percentile([1.0, 2.0, 10.0], 100) == 10.0


@given(st.lists(SPEEDS, min_size=2, max_size=50))
def test_mean_and_deviation_are_numpys(values: list[float]) -> None:
    found = mean_sd(values)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert found.sd == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-6)
    assert found.n == len(values)


def test_one_repetition_has_no_deviation() -> None:
    assert (mean_sd([3.5]).mean, mean_sd([3.5]).sd, mean_sd([3.5]).n) == (3.5, 0.0, 1)


def test_the_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        mean_sd([])


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 9, 10, 11, 30, 99, 1000, 100_000])
@pytest.mark.parametrize("share", [0.5, 0.6, 0.9, 0.975, 0.9995])
def test_students_t_is_scipys(share: float, freedom: int) -> None:
    assert student_t_quantile(share, freedom) == pytest.approx(float(stats.t.ppf(share, freedom)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("share", "freedom"), [(0.4, 3), (1.0, 3), (0.9, 0)])
def test_no_such_quantile(share: float, freedom: int) -> None:
    with pytest.raises(ValueError):
        student_t_quantile(share, freedom)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_an_interval_is_scipys(values: list[float]) -> None:
    found = mean_ci(values)
    assert found.ci95 is not None
    error = float(stats.sem(values))
    wanted = 0.0 if error == 0 else float(stats.t.interval(0.95, len(values) - 1, scale=error)[1])
    assert found.ci95 == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_one_value_has_no_interval() -> None:
    assert mean_ci([3.0]).ci95 is None


def test_a_ratio_of_pairs() -> None:
    pairs = [(1.0, 2.0), (10.0, 19.0), (5.0, 10.5), (2.0, 4.1)]
    found = paired_ratio(pairs)
    logs = [math.log(b / a) for a, b in pairs]
    low, high = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    assert found.value == pytest.approx(math.exp(sum(logs) / 4))
    assert (found.low, found.high) == (pytest.approx(math.exp(low)), pytest.approx(math.exp(high)))
    assert found.differs is True
    assert paired_ratio([(1.0, 1.1), (1.0, 0.9)]).differs is False
    assert paired_ratio([(1.0, 2.0)]).differs is None
    with pytest.raises(ValueError):
        paired_ratio([(0.0, 1.0)])


@given(st.integers(min_value=1, max_value=500), st.data())
def test_the_interval_of_a_share_is_scipys(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(min_value=0, max_value=n))
    theirs = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert share_interval_95(hits, n) == pytest.approx((theirs.low, theirs.high), abs=1e-7)


def test_a_share_of_nothing_is_unknown() -> None:
    with pytest.raises(ValueError):
        share_interval_95(0, 0)
