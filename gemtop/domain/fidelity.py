"""How well a model predicts a text, alone and against a baseline: figures over the counted tokens, with errors.

Definitions and errors are those of llama-perplexity (llama.cpp, tools/perplexity/perplexity.cpp), so that figures can
be held against those of others: the error of a mean is sd / sqrt(n - 1) over tokens, taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gemtop.domain.errors import BadInputError
from gemtop.domain.statistics import percentile

MOST_NATS = 700.0
"""e to the power of more is no double."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its standard error."""

    value: float
    standard_error: float | None
    """None where the tokens are too few to tell."""


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """What a model makes of a text: one value a counted token, in the order of the text."""

    n_ctx: int
    """Tokens in a chunk."""
    n_chunks: int
    nll: Sequence[float]
    """Negative log-likelihood of the token that comes, in nats."""


@dataclass(frozen=True, slots=True)
class Divergences:
    """A model against the baseline's predictions of the same text: one value a counted token."""

    baseline_nll: Sequence[float]
    kl: Sequence[float]
    """KL divergence of the model from the baseline, in nats: sum of p ln(p / q) over the vocabulary, p the baseline."""
    kl_error: Sequence[float]
    """Standard error of `kl` by what the compact predictions leave out."""
    same_top: Sequence[bool]
    """Both hold the same token most likely."""


@dataclass(frozen=True, slots=True)
class Perplexity:
    """e to the power of the mean negative log-likelihood."""

    perplexity: Estimate
    n_tokens: int
    """Tokens that were counted."""
    n_ctx: int
    n_chunks: int


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far a model is from the baseline on a text."""

    kl_mean: Estimate
    kl_median: Estimate
    kl_p90: Estimate
    kl_p99: Estimate
    kl_max: float
    kl_mean_compact_error: float
    """Of the standard error of `kl_mean`, what comes from the compact predictions alone."""
    top1_agreement: Estimate
    """Share of tokens for which both hold the same token most likely."""
    probability_rms: Estimate
    """Root mean square of the difference of the probabilities of the token that comes."""
    ln_perplexity_ratio: Estimate
    """Mean difference of the log-likelihoods, token by token: ln(perplexity / baseline's perplexity)."""


def check_length(n_tokens: int, n_ctx: int, text: str = "the text") -> None:
    """Raises BadInputError for a text of less than two chunks, as llama-perplexity does."""
    if n_tokens < 2 * n_ctx:
        raise BadInputError(f"{text} is too short: {n_tokens:,} tokens, and chunks of {n_ctx:,} need {2 * n_ctx:,}")


def perplexity(found: Likelihoods) -> Perplexity:
    """Raises ValueError without a token."""
    return Perplexity(perplexity_of(found.nll), len(found.nll), found.n_ctx, found.n_chunks)


def perplexity_of(nll: Sequence[float]) -> Estimate:
    """e to the power of the mean negative log-likelihood; its error is the mean's, times the value."""
    mean = _mean(nll)
    value = math.exp(min(mean.value, MOST_NATS))
    return Estimate(value, None if mean.standard_error is None else value * mean.standard_error)


def fidelity(found: Likelihoods, against: Divergences) -> Fidelity:
    """Raises ValueError without a token."""
    kl = sorted(against.kl)
    n = len(kl)
    share = sum(against.same_top) / n
    agreement = Estimate(share, math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None)
    pairs = list(zip(found.nll, against.baseline_nll, strict=True))
    squares = _mean([(math.exp(-mine) - math.exp(-theirs)) ** 2 for mine, theirs in pairs])
    rms = math.sqrt(squares.value)
    rms_error = None if squares.standard_error is None else squares.standard_error / (2 * rms) if rms else 0.0
    return Fidelity(
        kl_mean=_mean(against.kl),
        kl_median=_quantile(kl, 50.0),
        kl_p90=_quantile(kl, 90.0),
        kl_p99=_quantile(kl, 99.0),
        kl_max=kl[-1],
        kl_mean_compact_error=math.sqrt(math.fsum(error**2 for error in against.kl_error)) / n,
        top1_agreement=agreement,
        probability_rms=Estimate(rms, rms_error),
        ln_perplexity_ratio=_mean([mine - theirs for mine, theirs in pairs]),
    )


def along(values: Sequence[float], parts: int, of: Callable[[Sequence[float]], float]) -> list[float]:
    """A figure for each of at most `parts` equal stretches of the text, in order."""
    n = len(values)
    parts = min(parts, n)
    return [of(values[n * i // parts : n * (i + 1) // parts]) for i in range(parts)]


def _mean(values: Sequence[float]) -> Estimate:
    n = len(values)
    if n == 0:
        raise ValueError("figures of no tokens")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None)
    variance = math.fsum((value - mean) ** 2 for value in values) / n
    return Estimate(mean, math.sqrt(variance / (n - 1)))


def _quantile(ordered: Sequence[float], pct: float) -> Estimate:
    """A quantile; its error is half the distance between the order statistics one standard error of the rank away.

    The rank of a quantile is binomial, whatever the distribution of the values (Conover, Practical Nonparametric
    Statistics, section 3.2).
    """
    value = percentile(ordered, pct)
    assert value is not None
    n, share = len(ordered), pct / 100
    reach = math.sqrt(n * share * (1 - share))
    low, high = (n - 1) * share - reach, (n - 1) * share + reach
    if low < 0 or high > n - 1:
        return Estimate(value, None)
    below, above = percentile(ordered, 100 * low / (n - 1)), percentile(ordered, 100 * high / (n - 1))
    assert below is not None and above is not None
    return Estimate(value, (above - below) / 2)
