"""LoRA adapters on the real weights: on, off, scaled, and those that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gemtop.domain.events import GenerateRequest, LoadFailed, ModelLoaded
from gemtop.domain.settings import ContextSettings, EngineSettings, LoraAdapter, OffloadSettings, SamplingSettings
from tests.engine.test_apply import apply, begin, refused
from tests.engines import EngineDriver
from tests.lora_files import write_lora

START = EngineSettings(OffloadSettings(n_gpu_layers=0), ContextSettings(n_ctx=512, n_threads=1))
REQUEST = GenerateRequest("The capital of France is", 16, SamplingSettings(temperature=0))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lora(tmp_path_factory.mktemp("lora") / "poet.gguf")


def with_lora(*adapters: LoraAdapter) -> EngineSettings:
    return replace(START, lora=adapters)


def test_an_adapter_changes_what_is_said_and_off_gives_it_back(
    engine: EngineDriver, model_path: str, adapter: Path
) -> None:
    engine.load(model_path, START)
    plain, _ = engine.run(REQUEST)
    on = apply(engine, with_lora(LoraAdapter(str(adapter))))
    assert on.weights_kept
    changed, _ = engine.run(REQUEST)
    apply(engine, with_lora(LoraAdapter(str(adapter), 0.0)))
    off, _ = engine.run(REQUEST)
    assert changed != plain and off == plain


def test_a_model_may_be_opened_with_adapters(engine: EngineDriver, model_path: str, adapter: Path) -> None:
    engine.load(model_path, with_lora(LoraAdapter(str(adapter), 0.5), LoraAdapter(str(adapter), 0.5)))
    twice, _ = engine.run(REQUEST)
    apply(engine, START)
    plain, _ = engine.run(REQUEST)
    assert twice != plain


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "llama"}, "adapter for llama, and the model is gemma3"),
        ({"kind": "model"}, "is not a LoRA adapter"),
        ({"width": 1152, "n_out": 1024}, "no LoRA adapter of"),
    ],
)
def test_what_does_not_fit_is_refused(
    engine: EngineDriver, model_path: str, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    wrong = write_lora(tmp_path / "wrong.gguf", **changes)  # type: ignore[arg-type]
    engine.load(model_path, START)
    tokens = begin(engine, "The capital of France is", 4)
    assert words in refused(engine, with_lora(LoraAdapter(str(wrong))))
    _, finished = engine.run(replace(REQUEST, resume=True, n_predict=2))
    assert finished.status == "finished" and finished.context_used > len(tokens)


def test_a_missing_adapter_is_named(engine: EngineDriver, model_path: str, tmp_path: Path) -> None:
    engine.engine.open(model_path, with_lora(LoraAdapter(str(tmp_path / "none.gguf"))))
    failed = engine.wait_for(LoadFailed, ModelLoaded)
    assert isinstance(failed, LoadFailed) and "none.gguf does not exist" in failed.message
