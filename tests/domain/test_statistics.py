"""The statistics gemtop quotes, against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.statistics import mean_sd, percentile

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
