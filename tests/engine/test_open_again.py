"""Opening a model whose weights are loaded already."""

from __future__ import annotations

from pathlib import Path

from gemtop.domain.events import LoadFailed, LoadProgress
from gemtop.domain.settings import ContextSettings, EngineSettings
from tests.engines import EngineDriver


def with_context(n_ctx: int) -> EngineSettings:
    return EngineSettings(context=ContextSettings(n_ctx=n_ctx, n_threads=1))


def test_it_can_be_cancelled_as_well(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, with_context(512))
    engine.events.clear()
    engine.engine.open(model_path, with_context(1024))
    engine.engine.cancel()
    failed = engine.wait_for(LoadFailed)
    assert failed.cancelled
    assert engine.load(model_path, with_context(1024)).n_ctx == 1024


def test_the_name_is_that_of_the_path_it_was_opened_by(engine: EngineDriver, model_path: str, tmp_path: Path) -> None:
    other = tmp_path / "gemma-3-270m-qat-Q4_K_M.gguf"
    other.symlink_to(model_path)
    assert engine.load(model_path, with_context(512)).classification.training == "ptq"
    engine.events.clear()
    again = engine.load(str(other), with_context(512))
    assert (again.header.path, again.classification.training) == (str(other), "qat")
    assert not any(isinstance(e, LoadProgress) for e in engine.events), "the weights stayed"
