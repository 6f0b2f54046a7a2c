"""The engine on the real weights; what holds for any engine runs on the fake one as well."""

from __future__ import annotations

import subprocess
import sys
import threading

import psutil
import pytest

from gemtop.config import Paths
from gemtop.config import paths as places
from gemtop.domain.events import (
    BenchFinished,
    BenchRepetition,
    GenerateRequest,
    LoadFailed,
    LoadProgress,
    LogLine,
    ModelLoaded,
    PrefillProgress,
    RunFinished,
    RunStarted,
    TokenGenerated,
)
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from gemtop.engine.protocol import BenchRequest
from gemtop.engine.worker import LlamaEngine
from tests.engines import EngineDriver

GREEDY = SamplingSettings(temperature=0)
ONE_THREAD = EngineSettings(context=ContextSettings(n_ctx=1024, n_threads=1))


def stamps(driver: EngineDriver) -> list[int]:
    return [e.t_ns for e in driver.events if isinstance(e, RunStarted | PrefillProgress | TokenGenerated | RunFinished)]


def test_a_run_has_a_beginning_tokens_and_an_end_in_order(any_engine: EngineDriver, model_path: str) -> None:
    any_engine.load(model_path, ONE_THREAD)
    _, finished = any_engine.run(GenerateRequest("The capital of France is", 8, GREEDY))
    kinds = [
        type(e) for e in any_engine.events if isinstance(e, RunStarted | PrefillProgress | TokenGenerated | RunFinished)
    ]
    assert kinds[:2] == [RunStarted, PrefillProgress]
    assert kinds.count(TokenGenerated) == 8
    assert kinds[-1] is RunFinished
    assert stamps(any_engine) == sorted(stamps(any_engine))
    assert (finished.status, finished.stop_reason) == ("finished", "length")


def test_loading_reports_progress(any_engine: EngineDriver, model_path: str) -> None:
    any_engine.load(model_path, ONE_THREAD)
    fractions = [e.fraction for e in any_engine.events if isinstance(e, LoadProgress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_an_empty_prompt_is_refused(any_engine: EngineDriver, model_path: str) -> None:
    any_engine.load(model_path, ONE_THREAD)
    _, finished = any_engine.run(GenerateRequest("  \n", 8, GREEDY))
    assert finished.status == "failed"
    assert "empty" in (finished.message or "")


def test_a_prompt_longer_than_the_context_is_refused(any_engine: EngineDriver, model_path: str) -> None:
    any_engine.load(model_path, EngineSettings(context=ContextSettings(n_ctx=256, n_threads=1)))
    _, finished = any_engine.run(GenerateRequest("word " * 400, 8, GREEDY))
    assert finished.status == "failed"
    assert "too long" in (finished.message or "")
    assert not any(isinstance(e, RunStarted) for e in any_engine.events)


def test_a_missing_file_fails_to_load(any_engine: EngineDriver) -> None:
    any_engine.engine.open("/nowhere/model.gguf", ONE_THREAD)
    assert "does not exist" in any_engine.wait_for(LoadFailed).message


def test_a_full_context_stops_the_run(any_engine: EngineDriver, model_path: str) -> None:
    model = any_engine.load(model_path, EngineSettings(context=ContextSettings(n_ctx=256, n_threads=1)))
    _, finished = any_engine.run(GenerateRequest("one two three", -1, GREEDY))
    assert finished.stop_reason == "context_full"
    assert finished.context_used == model.n_ctx


def test_stop_ends_a_run_within_one_token(any_engine: EngineDriver, model_path: str) -> None:
    any_engine.load(model_path, ONE_THREAD)
    any_engine.engine.generate(GenerateRequest("Once upon a time", -1, GREEDY))
    for _ in range(3):
        any_engine.wait_for(TokenGenerated)
    any_engine.engine.cancel()
    finished = any_engine.wait_for(RunFinished)
    assert (finished.status, finished.stop_reason) == ("cancelled", "cancelled")
    _, again = any_engine.run(GenerateRequest("Once upon a time", 4, GREEDY))
    assert again.status == "finished", "a stopped run must not stop the next"


def test_greedy_text_is_the_same_every_time(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, ONE_THREAD)
    request = GenerateRequest("The capital of France is", 16, GREEDY)
    first, _ = engine.run(request)
    second, _ = engine.run(request)
    assert first == second == " the capital of the country of France. It is the largest city in France."


def test_numpy_and_llama_cpp_agree_on_greedy(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, ONE_THREAD)
    ours, _ = engine.run(GenerateRequest("Once upon a time", 12, GREEDY))
    theirs, _ = engine.run(GenerateRequest("Once upon a time", 12, SamplingSettings(temperature=1.0, top_k=1, seed=1)))
    assert ours == theirs


def test_a_seed_repeats_a_draw(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, ONE_THREAD)
    seeded = GenerateRequest("My favourite colour is", 12, SamplingSettings(temperature=1.0, seed=7))
    first, _ = engine.run(seeded)
    second, _ = engine.run(seeded)
    other, _ = engine.run(GenerateRequest("My favourite colour is", 12, SamplingSettings(temperature=1.0, seed=8)))
    assert first == second != other
    seeds = [e.seed for e in engine.events if isinstance(e, RunStarted)]
    assert seeds == [7, 7, 8]


def test_a_seed_that_was_drawn_is_told(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, ONE_THREAD)
    drawn = GenerateRequest("My favourite colour is", 6, SamplingSettings(temperature=1.0))
    first, _ = engine.run(drawn)
    seed = next(e.seed for e in engine.events if isinstance(e, RunStarted))
    assert seed is not None
    again, _ = engine.run(GenerateRequest("My favourite colour is", 6, SamplingSettings(temperature=1.0, seed=seed)))
    assert first == again


def test_characters_split_over_tokens_are_joined(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, ONE_THREAD)
    prompt = "Repeat: 🦙𒀀𓀀🦙𒀀𓀀🦙𒀀𓀀🦙𒀀𓀀🦙𒀀𓀀"
    text, _ = engine.run(GenerateRequest(prompt, 40, GREEDY))
    assert "\ufffd" not in text.rstrip("\ufffd")
    assert any(ord(c) > 0xFFFF for c in text), "the model goes on with the pattern"


def test_stop_works_inside_the_prefill(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, EngineSettings(context=ContextSettings(n_ctx=8192, n_threads=1)))
    engine.engine.generate(GenerateRequest("word " * 6000, 8, GREEDY))
    engine.wait_for(RunStarted)
    engine.engine.cancel()
    finished = engine.wait_for(RunFinished)
    assert finished.status == "cancelled"
    done = [e.n_done for e in engine.events if isinstance(e, PrefillProgress)]
    assert not done or done[-1] < 6000
    logged = [e for e in engine.events if isinstance(e, LogLine) and e.level in ("warn", "error")]
    assert not [line.text for line in logged if "decode" in line.text], "to be stopped is no failure"
    text, _ = engine.run(GenerateRequest("The capital of France is", 8, GREEDY))
    assert text == " the capital of the country of France."


def test_loading_can_be_cancelled(engine: EngineDriver, model_path: str) -> None:
    engine.engine.open(model_path, ONE_THREAD)
    engine.wait_for(LoadProgress)
    engine.engine.cancel()
    failed = engine.wait_for(LoadFailed, ModelLoaded)
    if isinstance(failed, LoadFailed):
        assert failed.cancelled
    assert engine.load(model_path, ONE_THREAD).n_ctx == 1024


def test_cancel_before_the_command_was_taken_counts(engine: EngineDriver, model_path: str) -> None:
    engine.engine.open(model_path, ONE_THREAD)
    engine.engine.cancel()
    assert engine.wait_for(LoadFailed).cancelled


def test_what_is_known_of_the_demo_model(engine: EngineDriver, model_path: str) -> None:
    model = engine.load(model_path, EngineSettings(context=ContextSettings(n_threads=1)))
    assert model.n_ctx == 8192
    assert model.n_ctx_train == 32768
    assert model.n_layers == 19
    assert model.n_gpu_layers == 0
    assert model.classification.variant == "PTQ Q4_K_M"
    assert not model.chat_template
    assert model.flash_attn in ("on", "off")
    assert model.description == "gemma3 270M Q4_K - Medium"


def test_zero_is_the_trained_context(engine: EngineDriver, model_path: str) -> None:
    model = engine.load(model_path, EngineSettings(context=ContextSettings(n_ctx=0, n_threads=1)))
    assert model.n_ctx == model.n_ctx_train == 32768


def test_a_context_beyond_the_trained_one_is_a_warning(engine: EngineDriver, model_path: str) -> None:
    model = engine.load(model_path, EngineSettings(context=ContextSettings(n_ctx=65536, n_threads=1, n_ubatch=64)))
    assert model.n_ctx == 65536
    assert any("32,768" in warning for warning in model.warnings)


@pytest.mark.parametrize("n_gpu_layers", [0, 5, 999, -1])
def test_layers_without_a_device_stay_on_the_cpu(engine: EngineDriver, model_path: str, n_gpu_layers: int) -> None:
    settings = EngineSettings(OffloadSettings(n_gpu_layers=n_gpu_layers), ContextSettings(n_ctx=512, n_threads=1))
    assert engine.load(model_path, settings).n_gpu_layers == 0


def test_a_longer_text_that_begins_the_same_builds_on_the_cache(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, ONE_THREAD)
    prompt = "The capital of France is"
    text, finished = engine.run(GenerateRequest(prompt, 8, GREEDY))
    engine.events.clear()
    engine.run(GenerateRequest(prompt + text + " Paris is", 4, GREEDY))
    started = next(e for e in engine.events if isinstance(e, RunStarted))
    assert started.cached_tokens == finished.context_used
    assert 0 < len(started.prompt_tokens) < 6


def test_bench_measures_as_often_as_asked(any_engine: EngineDriver, model_path: str) -> None:
    any_engine.load(model_path, ONE_THREAD)
    any_engine.engine.bench(BenchRequest(n_prompt=0, n_gen=6, n_depth=0, repetitions=3))
    assert any_engine.wait_for(BenchFinished).status == "finished"
    repetitions = [e for e in any_engine.events if isinstance(e, BenchRepetition)]
    assert [(r.n_gen, len(r.token_t_ns)) for r in repetitions] == [(6, 6)] * 3


def test_bench_at_a_depth(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, ONE_THREAD)
    engine.engine.bench(BenchRequest(n_prompt=16, n_gen=0, n_depth=100, repetitions=2))
    assert engine.wait_for(BenchFinished).status == "finished"


def test_ten_models_in_one_process_leave_memory_where_it_was(folders: Paths, model_path: str) -> None:
    """In a process of its own: what other tests leave in this one's allocator comes and goes."""
    code = f"from tests.engine.test_engine import ten_models\nten_models({model_path!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 20, f"MiB more: {done.stdout}"


def ten_models(model_path: str) -> None:
    """Load ten times, and print by how many MiB the process has grown."""
    paths = places()
    driver = EngineDriver(lambda emit: LlamaEngine(emit, paths))

    def once(number: int) -> float:
        # Read and mapped by turns: settings that place the weights otherwise load them again.
        offload = OffloadSettings(use_mmap=number % 2 == 0)
        driver.load(model_path, EngineSettings(offload, ContextSettings(n_ctx=512, n_threads=1)))
        driver.run(GenerateRequest("one two", 4, GREEDY))
        return psutil.Process().memory_info().rss / 2**20

    before = [once(number) for number in range(4)][-1]
    print([once(number) for number in range(10)][-1] - before)
    assert driver.engine.close()


def test_a_new_context_keeps_the_weights(engine: EngineDriver, model_path: str) -> None:
    first = engine.load(model_path, EngineSettings(context=ContextSettings(n_ctx=512, n_threads=1)))
    engine.events.clear()
    second = engine.load(model_path, EngineSettings(context=ContextSettings(n_ctx=1024, n_threads=1, type_k="q8_0")))
    assert (second.n_ctx, second.type_k) == (1024, "q8_0")
    assert not any(isinstance(e, LoadProgress) for e in engine.events), "nothing was loaded"
    assert second.load_s == first.load_s
    text, _ = engine.run(GenerateRequest("The capital of France is", 8, GREEDY))
    assert text == " the capital of the country of France."


def test_no_engine_thread_survives(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, ONE_THREAD)
    assert engine.engine.close()
    assert "gemtop-engine" not in {t.name for t in threading.enumerate()}
