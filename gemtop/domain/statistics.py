"""The few statistics gemtop quotes, each defined once (docs/metrics.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

Z95 = 1.959964
"""Of the normal distribution: 95 % of it lie so many standard deviations or fewer from its mean."""


@dataclass(frozen=True, slots=True)
class MeanSd:
    """Mean and sample standard deviation (n - 1) of n repetitions; sd is 0 for one."""

    mean: float
    sd: float
    n: int


def mean_sd(values: Sequence[float]) -> MeanSd:
    """Raises ValueError on an empty sequence."""
    if not values:
        raise ValueError("mean of nothing")
    n = len(values)
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
    return MeanSd(mean, sd, n)


def percentile(sorted_values: Sequence[float], pct: float) -> float | None:
    """Linear interpolation between closest ranks (numpy's default, DuckDB's quantile_cont); None if empty."""
    if not sorted_values:
        return None
    rank = (len(sorted_values) - 1) * pct / 100
    low = math.floor(rank)
    high = min(low + 1, len(sorted_values) - 1)
    return sorted_values[low] + (sorted_values[high] - sorted_values[low]) * (rank - low)


@dataclass(frozen=True, slots=True)
class MeanCi:
    """A mean and the half width of its 95 % confidence interval."""

    mean: float
    ci95: float | None
    """None for one value, which tells nothing of the spread."""
    n: int


def mean_ci(values: Sequence[float]) -> MeanCi:
    """Student's interval of n independent values. Raises ValueError on an empty sequence."""
    found = mean_sd(values)
    return MeanCi(found.mean, interval_95(found), found.n)


def interval_95(found: MeanSd) -> float | None:
    """Half the width of the mean's 95 % confidence interval; None for one value."""
    if found.n == 1:
        return None
    return student_t_quantile(0.975, found.n - 1) * found.sd / math.sqrt(found.n)


@cache
def student_t_quantile(share: float, freedom: int) -> float:
    """The value below which Student's t with so many degrees of freedom lies with probability `share`, 0.5 to 1.

    By bisection of its distribution, to 12 digits. Raises ValueError for other arguments.
    """
    if not 0.5 <= share < 1 or freedom < 1:
        raise ValueError(f"no quantile {share} of t with {freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while _student_t_below(high, freedom) < share:
        low, high = high, high * 2
    while high - low > 1e-12 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_t_below(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def _student_t_below(t: float, freedom: int) -> float:
    """P(T < t) for t of 0 and more (NIST Handbook of Mathematical Functions, 8.17: the incomplete beta function)."""
    return 1 - _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22, Lentz's algorithm)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction of the mirror image converges faster
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 500):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            c, d = 1 + term / c, 1 / (1 + term * d)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value


def share_interval_95(hits: int, n: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a share, `hits` of `n`, by Wilson's score (JASA 22, 1927): good for few too.

    Raises ValueError without any.
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"no share of {hits} of {n}")
    z2 = Z95 * Z95
    middle = (hits + z2 / 2) / (n + z2)
    reach = Z95 / (n + z2) * math.sqrt(hits * (n - hits) / n + z2 / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as much one is than the other."""

    value: float
    """Geometric mean of the ratios of pairs."""
    low: float | None
    high: float | None
    """Ends of its 95 % confidence interval; None for one pair."""
    n: int

    @property
    def differs(self) -> bool | None:
        """Whether 1 is outside the interval; None where there is none."""
        return None if self.low is None or self.high is None else not self.low <= 1 <= self.high


def paired_ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Ratio of the second to the first of each pair. Raises ValueError without a pair, or where one is not above 0."""
    if any(a <= 0 or b <= 0 for a, b in pairs):
        raise ValueError("a ratio needs values above 0")
    logs = mean_ci([math.log(b / a) for a, b in pairs])
    if logs.ci95 is None:
        return Ratio(math.exp(logs.mean), None, None, logs.n)
    return Ratio(math.exp(logs.mean), math.exp(logs.mean - logs.ci95), math.exp(logs.mean + logs.ci95), logs.n)
