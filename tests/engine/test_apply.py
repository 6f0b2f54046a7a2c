"""Settings changed under a conversation: the real engine, the real weights."""

from __future__ import annotations

import random
from dataclasses import replace

import psutil

from gemtop.domain.events import (
    GenerateRequest,
    LoadFailed,
    ModelLoaded,
    PrefillProgress,
    RunFinished,
    RunStarted,
    SettingsRefused,
    TokenGenerated,
)
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from tests.engines import EngineDriver

GREEDY = SamplingSettings(temperature=0)
START = EngineSettings(OffloadSettings(n_gpu_layers=0), ContextSettings(n_ctx=1024, n_threads=1))
PROMPT = "The capital of France is"


def with_context(settings: EngineSettings, **changes: object) -> EngineSettings:
    return replace(settings, context=replace(settings.context, **changes))  # type: ignore[arg-type]


def apply(driver: EngineDriver, settings: EngineSettings) -> ModelLoaded:
    """Change the settings; what was loaded. The conversation has been decoded again when this returns."""
    driver.engine.apply(settings)
    loaded = driver.wait_for(ModelLoaded, SettingsRefused, LoadFailed)
    assert isinstance(loaded, ModelLoaded), loaded
    finished = driver.wait_for(RunFinished)
    assert finished.status == "finished"
    return loaded


def refused(driver: EngineDriver, settings: EngineSettings) -> str:
    driver.engine.apply(settings)
    event = driver.wait_for(SettingsRefused)
    return event.message


def go_on(driver: EngineDriver, n: int) -> str:
    return driver.run(GenerateRequest(PROMPT, n, GREEDY, resume=True))[0]


def begin(driver: EngineDriver, prompt: str, n: int) -> tuple[int, ...]:
    """Run a prompt; every token of it and of its answer."""
    before = len(driver.events)
    driver.run(GenerateRequest(prompt, n, GREEDY))
    events = driver.events[before:]
    started = next(e for e in events if isinstance(e, RunStarted))
    return (*started.prompt_tokens, *(e.token_id for e in events if isinstance(e, TokenGenerated)))


def decoded_again(driver: EngineDriver) -> tuple[int, ...]:
    """The tokens of the last change's run."""
    return next(e for e in reversed(driver.events) if isinstance(e, RunStarted) and e.kind == "apply").prompt_tokens


def test_a_conversation_goes_on_in_a_new_context(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, START)
    tokens = begin(engine, PROMPT, 10)
    loaded = apply(engine, with_context(START, n_ctx=2048))
    assert (loaded.model.n_ctx, loaded.weights_kept) == (2048, True)
    assert decoded_again(engine) == tokens
    _, finished = engine.run(GenerateRequest(PROMPT, 6, GREEDY, resume=True))
    assert finished.context_used == len(tokens) + 5  # the sixth was sampled and not decoded


def test_the_run_of_a_change_decodes_what_the_context_held(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, START)
    engine.run(GenerateRequest(PROMPT, 10, GREEDY))
    before = len(engine.events)
    apply(engine, with_context(START, n_ubatch=8, n_batch=8))
    started = next(e for e in engine.events[before:] if isinstance(e, RunStarted))
    done = [e.n_done for e in engine.events[before:] if isinstance(e, PrefillProgress)]
    assert started.kind == "apply" and started.cached_tokens == 0
    assert done == [8, len(started.prompt_tokens)] and len(started.prompt_tokens) == 16


def test_resuming_without_a_change_goes_on_as_well(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, START)
    whole, _ = engine.run(GenerateRequest(PROMPT, 12, GREEDY))
    begun, _ = engine.run(GenerateRequest(PROMPT, 5, GREEDY))
    assert begun + go_on(engine, 7) == whole  # nothing was decoded in another way


def test_nothing_to_resume_is_said(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, START)
    _, finished = engine.run(GenerateRequest("x", 5, GREEDY, resume=True))
    assert finished.status == "failed" and finished.message is not None and "nothing to go on" in finished.message


def test_a_context_too_small_for_the_conversation_is_refused(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, START)
    tokens = begin(engine, "word " * 300, 4)
    words = refused(engine, with_context(START, n_ctx=200))
    assert "256 tokens is too small" in words and f"holds {len(tokens)}" in words
    apply(engine, with_context(START, n_ctx=512))
    assert decoded_again(engine) == tokens


def test_what_fails_half_way_is_taken_back(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, START)
    tokens = begin(engine, PROMPT, 10)
    bad = replace(START, offload=replace(START.offload, override_tensor=(("blk", "nowhere"),)))
    assert "nowhere" in refused(engine, bad)
    apply(engine, START)
    assert decoded_again(engine) == tokens


def test_what_can_never_fit_is_refused_with_the_arithmetic(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, START)
    begin(engine, PROMPT, 10)
    words = refused(engine, with_context(START, n_ctx=2_000_000, swa_full=True, type_k="f32", type_v="f32"))
    assert "cannot fit" in words and "KV cache" in words and "GiB" in words
    assert go_on(engine, 3)


def test_fifty_changes_leave_the_conversation_as_it_was_and_take_no_memory(
    engine: EngineDriver, model_path: str
) -> None:
    engine.load(model_path, START)
    tokens = begin(engine, PROMPT, 12)
    chance, process, settings = random.Random(4), psutil.Process(), START
    memory = []
    for number in range(50):
        settings = with_context(
            settings,
            n_ctx=chance.choice((256, 512, 1024, 2048)),
            n_ubatch=chance.choice((16, 64, 128)),
            type_k=chance.choice(("f16", "q8_0")),
            flash_attn=chance.choice(("auto", "on")),
            swa_full=chance.random() < 0.3,
        )
        if number % 10 == 9:
            settings = replace(settings, offload=replace(settings.offload, use_mmap=number % 20 == 9))
        apply(engine, settings)
        assert decoded_again(engine) == tokens
        memory.append(process.memory_info().rss)
    assert max(memory[25:]) < max(memory[:25]) + 20e6


def test_ledger_of_a_load_holds_prediction_and_measurement(engine: EngineDriver, model_path: str) -> None:
    engine.engine.open(model_path, START)
    loaded = engine.wait_for(ModelLoaded)
    (host,) = loaded.memory
    assert host.device == "CPU" and host.predicted is not None
    for part in ("weights_bytes", "kv_bytes", "compute_bytes", "output_bytes"):
        assert abs(getattr(host.predicted, part) - getattr(host.measured, part)) < 20_000, part


def test_a_cancelled_change_leaves_the_engine_usable(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, START)
    engine.run(GenerateRequest(PROMPT, 4, GREEDY))
    engine.engine.apply(with_context(START, n_ctx=2048))
    engine.engine.cancel()
    engine.wait_for(SettingsRefused, RunFinished)
    text, finished = engine.run(GenerateRequest(PROMPT, 4, GREEDY))
    assert finished.status == "finished" and text
    assert any(isinstance(event, TokenGenerated) for event in engine.events)
