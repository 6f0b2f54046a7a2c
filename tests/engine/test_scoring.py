"""Texts through real weights: against llama-perplexity's own figures, and against the divergence worked out in full."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemtop.domain.events import ScoreProgress, TextScored, TopTokens
from gemtop.domain.fidelity import Divergences, fidelity, perplexity
from gemtop.domain.settings import ContextSettings, EngineSettings
from gemtop.engine import predictions
from gemtop.engine.perplexity import ln_sum_exp
from gemtop.engine.predictions import Predictions
from gemtop.engine.protocol import ScoreRequest
from gemtop.prompts import corpus
from tests.derived import derive
from tests.engines import EngineDriver
from tests.tools import llama_perplexity
from tests.tools.llama_perplexity import CHUNKS

RECORDED = json.loads(llama_perplexity.DATA.read_text(encoding="utf-8"))
KIND = llama_perplexity.kind_of_processor()
THEIRS = RECORDED["kinds"][KIND or "AVX2"]
ROOM = 1 if KIND else 20
"""Other kernels move figures by a hundredth; where llama-perplexity was not run, they are held against those of one."""


@pytest.fixture(scope="module")
def formats(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("formats")
    made = {name: str(derive(model_path, folder, name)) for name in THEIRS if name != "Q4_K_M"}
    return {**made, "Q4_K_M": model_path}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the baseline's predictions are kept; the test that makes them comes first."""
    return tmp_path_factory.mktemp("predictions") / "f16.predictions"


def settings(n_ctx: int = 512) -> EngineSettings:
    return EngineSettings(context=ContextSettings(n_ctx=n_ctx, n_batch=256, n_ubatch=256))


def score(engine: EngineDriver, path: str, request: ScoreRequest) -> TextScored:
    engine.load(path, settings())
    engine.engine.score(request)
    return engine.wait_for(TextScored)


def test_the_text_is_that_of_the_figures() -> None:
    assert corpus.default().sha256 == RECORDED["corpus_sha256"]


@pytest.mark.parametrize("name", THEIRS)
def test_figures_are_llama_perplexitys(engine: EngineDriver, formats: dict[str, str], kept: Path, name: str) -> None:
    base = name == "F16"
    request = ScoreRequest(corpus.default().text, 512, CHUNKS, () if base else (kept,), kept if base else None)
    found = score(engine, formats[name], request)
    assert (found.status, found.message) == ("finished", None)
    assert found.likelihoods is not None
    mine, theirs = perplexity(found.likelihoods), THEIRS[name]
    assert mine.n_tokens == CHUNKS * 255
    assert mine.perplexity.value == pytest.approx(theirs["perplexity"], rel=0.001 * ROOM)
    assert mine.perplexity.standard_error == pytest.approx(theirs["perplexity_se"], rel=0.002 * ROOM)
    if base:
        assert found.divergences == ()
        assert [e.n_done for e in engine.events if isinstance(e, ScoreProgress)] == [1, 2]
        return
    (far_from,) = found.divergences
    assert isinstance(far_from, Divergences)
    far = fidelity(found.likelihoods, far_from)
    assert far.kl_mean.value == pytest.approx(theirs["kl_mean"], rel=0.01 * ROOM)
    assert far.kl_mean.standard_error == pytest.approx(theirs["kl_mean_se"], rel=0.02 * ROOM)
    assert far.kl_median.value == pytest.approx(theirs["kl_median"], rel=0.02 * ROOM)
    assert far.kl_p90.value == pytest.approx(theirs["kl_p90"], rel=0.02 * ROOM)
    assert far.kl_p99.value == pytest.approx(theirs["kl_p99"], rel=0.02 * ROOM)
    assert far.kl_max == pytest.approx(theirs["kl_max"], rel=0.02 * ROOM)
    assert 100 * far.top1_agreement.value == pytest.approx(theirs["top1_pct"], abs=0.2 * ROOM)
    assert 100 * far.top1_agreement.standard_error == pytest.approx(theirs["top1_pct_se"], rel=0.02 * ROOM)  # type: ignore[operator]
    assert 100 * far.probability_rms.value == pytest.approx(theirs["rms_pct"], rel=0.01 * ROOM)
    assert 100 * far.probability_rms.standard_error == pytest.approx(theirs["rms_pct_se"], rel=0.02 * ROOM)  # type: ignore[operator]
    assert far.ln_perplexity_ratio.value == pytest.approx(theirs["ln_ratio"], abs=0.0005 * ROOM)
    assert far.ln_perplexity_ratio.standard_error == pytest.approx(theirs["ln_ratio_se"], rel=0.02 * ROOM)


def test_the_file_is_small_beside_llama_perplexitys(kept: Path) -> None:
    theirs = CHUNKS * 255 * (2 * 262_144 + 8)  # 16 bits an entry of the vocabulary, and a scale
    assert kept.stat().st_size * 20 < theirs


# The compact file against the divergence in full


@pytest.fixture
def rows() -> Iterator[tuple[Any, Any]]:
    """Logits of two models with a vocabulary like Gemma's: one, and the same with noise, more where it is unlikely."""
    chance = np.random.default_rng(11)
    n_vocab = 50_000
    base = chance.normal(0, 3, (24, n_vocab)).astype(np.float32)
    base[:, :40] += chance.normal(6, 3, (24, 40)).astype(np.float32)
    yield base, base + chance.normal(0, 0.25, base.shape).astype(np.float32)


def in_full(base: Any, other: Any) -> float:
    p, q = (row.astype(np.float64) - row.max() for row in (base, other))
    p, q = p - np.log(np.exp(p).sum()), q - np.log(np.exp(q).sum())
    return float((np.exp(p) * (p - q)).sum())


def ln_sum(row: Any) -> float:
    wide = row.astype(np.float64)
    return float(wide.max() + np.log(np.exp(wide - wide.max()).sum()))


def test_the_divergence_is_that_of_the_whole_vocabulary(rows: tuple[Any, Any]) -> None:
    base, other = rows
    n_top, n_drawn = 64, 64  # so few that most of the probability is in the rest
    kind = predictions.record_type(n_top, n_drawn)
    found, errors, wanted, rest = [], [], [], []
    for i, (one, two) in enumerate(zip(base, other, strict=True)):
        record = np.zeros(1, dtype=kind)[0]
        predictions.keep(one, np.exp(one - one.max()), ln_sum(one), 1.0, i, record, n_top)
        kl, error = predictions.divergence(record, two, ln_sum(two), n_top)
        found.append(kl)
        errors.append(error)
        wanted.append(in_full(one, two))
        rest.append(float(record["rest"]))
    assert np.mean(rest) > 0.2
    assert np.mean(found) == pytest.approx(np.mean(wanted), rel=0.02)
    standard = np.sqrt(np.square(errors).sum()) / len(errors)
    assert abs(np.mean(found) - np.mean(wanted)) < 3 * standard
    assert standard < 0.02 * np.mean(wanted)


@pytest.mark.parametrize("above", [5, 15, 20, 25, 30, 40, 70, 150])
def test_a_model_that_is_certain_where_the_baseline_is_not(rows: tuple[Any, Any], above: float) -> None:
    """Its rest is smaller than what float32 can tell from 1."""
    base, other = rows
    n_top = 1024
    found, errors, wanted = [], [], []
    for i, (one, two) in enumerate(zip(base, other, strict=True)):
        two = two.copy()
        two[two.argmax()] += above
        record = np.zeros(1, dtype=predictions.record_type(n_top, 64))[0]
        predictions.keep(one, np.exp(one - one.max()), ln_sum(one), 1.0, i, record, n_top)
        kl, error = predictions.divergence(record, two, ln_sum_exp(two, np.empty_like(two)), n_top)
        found.append(kl)
        errors.append(error)
        wanted.append(in_full(one, two))
    assert found == pytest.approx(wanted, rel=0.02)
    assert max(errors) < 0.02


def test_the_same_row_is_kept_the_same_way(rows: tuple[Any, Any]) -> None:
    row = rows[0][0]
    kept = np.zeros(2, dtype=predictions.record_type(16, 8))
    for record in kept:
        predictions.keep(row, np.exp(row - row.max()), ln_sum(row), 0.5, 7, record, 16)
    assert kept[0] == kept[1]
    assert kept[0]["token"][0] == row.argmax()
    assert set(kept[0]["token"][:16]) == set(np.argsort(row)[-16:])


@pytest.mark.parametrize("n_vocab", [40, 255, 256, 257, 1000])
def test_entries_are_drawn_with_their_own_probability(n_vocab: int) -> None:
    row = np.random.default_rng(3).normal(0, 2, n_vocab).astype(np.float32)
    n_top, n_drawn = 8, 2000
    record = np.zeros(1, dtype=predictions.record_type(n_top, n_drawn))[0]
    predictions.keep(row, np.exp(row - row.max()), ln_sum(row), 0.5, 1, record, n_top)
    p = np.exp(row.astype(np.float64) - ln_sum(row))
    top = np.argsort(-row)[:n_top]
    p[top] = 0.0
    assert float(record["rest"]) == pytest.approx(p.sum(), abs=1e-6)
    drawn = np.bincount(record["token"][n_top:], minlength=n_vocab)
    # Draws from equal parts of the whole: how often each comes is off by less than 2, and far less on average.
    assert np.abs(drawn - n_drawn * p / p.sum()).max() < 2
    assert drawn[top].sum() == 0
    assert np.allclose(np.exp(record["ln_p"][n_top:]), p[record["token"][n_top:]], rtol=1e-4)


def test_a_prediction_that_is_certain_has_no_rest() -> None:
    row = np.full(300, -200.0, dtype=np.float32)
    row[:4] = 10.0
    record = np.zeros(1, dtype=predictions.record_type(4, 8))[0]
    predictions.keep(row, np.exp(row - row.max()), ln_sum(row), 0.5, 1, record, 4)
    kl, error = predictions.divergence(record, row, ln_sum(row), 4)
    assert (kl, error) == (pytest.approx(0, abs=1e-6), 0.0)


# What is most likely


def test_the_most_likely_tokens(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, settings(256))
    engine.engine.top_tokens((2, 818, 5279, 529, 7001, 563), 5)
    found = engine.wait_for(TopTokens)
    assert len(found.tokens) == 5
    shares = [share for _, _, share in found.tokens]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) < 1
    engine.engine.top_tokens(tuple(range(2, 300)), 5)
    assert "do not fit" in str(engine.wait_for(TopTokens).message)


# What is wrong


def test_a_text_shorter_than_two_chunks(engine: EngineDriver, model_path: str) -> None:
    found = score(engine, model_path, ScoreRequest("Too short. " * 20, 512))
    assert found.status == "failed"
    assert str(found.message).startswith("the text is too short: ")


def test_predictions_of_another_text_or_of_other_chunks(engine: EngineDriver, model_path: str, kept: Path) -> None:
    text = corpus.default().text
    other = score(engine, model_path, ScoreRequest(text[2000:], 512, CHUNKS, (kept,)))
    assert other.status == "finished" and other.likelihoods is not None  # alone it is scored all the same
    assert other.divergences == ("its tokenizer makes other tokens of the text than the baseline's",)
    found = score(engine, model_path, ScoreRequest(text, 256, CHUNKS, (kept,)))
    assert found.divergences == ("the baseline's predictions are of 2 chunks of 512 tokens, not of 2 of 256",)


def test_two_baselines_in_one_pass(engine: EngineDriver, model_path: str, kept: Path, tmp_path: Path) -> None:
    own, broken = tmp_path / "own", tmp_path / "broken"
    broken.write_bytes(kept.read_bytes()[:-1])
    text = corpus.default().text
    score(engine, model_path, ScoreRequest(text, 512, CHUNKS, (), own))
    found = score(engine, model_path, ScoreRequest(text, 512, CHUNKS, (kept, broken, own)))
    assert found.likelihoods is not None
    far, none, near = found.divergences
    assert isinstance(far, Divergences) and isinstance(near, Divergences)
    assert fidelity(found.likelihoods, near).kl_mean.value < 1e-6 < fidelity(found.likelihoods, far).kl_mean.value
    assert "is no whole file of predictions: delete it" in str(none)


def test_a_text_that_does_not_fit_the_context(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, settings())
    text = corpus.default().text
    engine.engine.score(ScoreRequest(text, 1024))
    assert engine.wait_for(TextScored).message == "chunks of 1,024 tokens do not fit into a context of 512"


def test_a_file_that_is_no_predictions(tmp_path: Path, kept: Path) -> None:
    from gemtop.domain.errors import BadInputError

    for name, data in {"none": b"", "text": b"hello", "cut": kept.read_bytes()[:-1]}.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(BadInputError, match="is no whole file of predictions: delete it"):
            Predictions(path)
    with pytest.raises(BadInputError, match="cannot be read"):
        Predictions(tmp_path / "missing")


def test_stopping_leaves_no_file(engine: EngineDriver, model_path: str, tmp_path: Path) -> None:
    engine.load(model_path, settings())
    engine.engine.score(ScoreRequest(corpus.default().text, 512, None, (), tmp_path / "kept"))
    engine.wait_for(ScoreProgress)
    engine.engine.cancel()
    assert engine.wait_for(TextScored).status == "cancelled"
    assert list(tmp_path.glob("kept*")) == []


def test_a_full_disk_leaves_no_file(engine: EngineDriver, model_path: str, tmp_path: Path) -> None:
    engine.load(model_path, settings(256))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        engine.engine.score(ScoreRequest(corpus.default().text, 256, 1, (), tmp_path / "kept"))
        found = engine.wait_for(TextScored)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found.status == "failed"
    assert "cannot be kept" in str(found.message)
    assert list(tmp_path.glob("kept*")) == []
