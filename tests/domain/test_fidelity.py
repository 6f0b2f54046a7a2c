"""Figures over the tokens of a text."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from gemtop.domain.fidelity import Divergences, Likelihoods, along, fidelity, perplexity, perplexity_of


def test_perplexity_and_its_error() -> None:
    found = perplexity(Likelihoods(512, 1, [1.0, 2.0, 3.0]))
    assert found.perplexity.value == pytest.approx(math.exp(2.0))
    # llama-perplexity: sqrt((mean of squares - square of mean) / (n - 1)), times the perplexity
    assert found.perplexity.standard_error == pytest.approx(math.exp(2.0) * math.sqrt((14 / 3 - 4) / 2))
    assert (found.n_tokens, found.n_ctx, found.n_chunks) == (3, 512, 1)
    assert perplexity_of([2000.0]).value < math.inf
    assert perplexity_of([1.0]).standard_error is None
    with pytest.raises(ValueError):
        perplexity_of([])


def test_figures_against_a_baseline() -> None:
    chance = random.Random(3)
    n = 4001
    theirs = [chance.expovariate(0.5) for _ in range(n)]
    mine = [nll + chance.gauss(0.02, 0.3) for nll in theirs]
    kl = [chance.lognormvariate(-4, 1.5) for _ in range(n)]
    same = [chance.random() < 0.9 for _ in range(n)]
    found = fidelity(Likelihoods(512, 16, mine), Divergences(theirs, kl, [0.01] * n, same))
    assert found.kl_mean.value == pytest.approx(math.fsum(kl) / n)
    assert found.kl_mean.standard_error == pytest.approx(float(stats.sem(kl)), rel=1e-9)
    assert found.kl_mean_compact_error == pytest.approx(0.01 / math.sqrt(n))
    assert found.kl_max == max(kl)
    for quantile, share in ((found.kl_median, 0.5), (found.kl_p90, 0.9), (found.kl_p99, 0.99)):
        assert quantile.value == pytest.approx(float(stats.scoreatpercentile(kl, 100 * share)))
        assert quantile.standard_error is not None
    share = sum(same) / n
    assert found.top1_agreement.value == pytest.approx(share)
    assert found.top1_agreement.standard_error == pytest.approx(math.sqrt(share * (1 - share) / (n - 1)))
    differences = [(math.exp(-a) - math.exp(-b)) ** 2 for a, b in zip(mine, theirs, strict=True)]
    assert found.probability_rms.value == pytest.approx(math.sqrt(sum(differences) / n))
    assert found.ln_perplexity_ratio.value == pytest.approx((math.fsum(mine) - math.fsum(theirs)) / n)


def test_the_error_of_a_quantile_is_that_of_repeated_samples() -> None:
    """Of samples of one distribution, as often as one likes: their quantiles spread as the errors say."""
    chance = random.Random(5)
    found, errors = [], []
    for _ in range(400):
        values = [chance.lognormvariate(0, 1) for _ in range(800)]
        one = fidelity(Likelihoods(512, 1, values), Divergences(values, values, [0.0] * 800, [True] * 800)).kl_p90
        assert one.standard_error is not None
        found.append(one.value)
        errors.append(one.standard_error)
    spread = float(stats.tstd(found))
    assert sum(errors) / len(errors) == pytest.approx(spread, rel=0.1)


def test_a_model_against_itself() -> None:
    values = [1.0, 2.0, 0.5]
    found = fidelity(Likelihoods(8, 1, values), Divergences(values, [0.0] * 3, [0.0] * 3, [True] * 3))
    assert (found.kl_mean.value, found.kl_max, found.top1_agreement.value) == (0.0, 0.0, 1.0)
    assert (found.probability_rms.value, found.probability_rms.standard_error) == (0.0, 0.0)
    assert found.ln_perplexity_ratio.value == 0.0
    assert found.kl_p99.standard_error is None  # three values tell nothing of a 99th percentile's error


def test_figures_along_the_text() -> None:
    assert along([1.0, 2.0, 3.0, 4.0], 2, lambda part: sum(part) / len(part)) == [1.5, 3.5]
    assert along([1.0, 2.0, 3.0], 200, max) == [1.0, 2.0, 3.0]
