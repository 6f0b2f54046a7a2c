"""Predictions against what llama.cpp then reports of a real load, and against what is published."""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemtop.cli import options
from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.events import ModelLoaded
from gemtop.domain.plan import GIB, MIB, MemoryUse, Plan, plan_json, verdict
from gemtop.domain.settings import CACHE_TYPES, ContextSettings, EngineSettings, LoraAdapter, OffloadSettings
from gemtop.engine.cpu import memory_bytes
from gemtop.engine.planner import Planner, PlanRequest, parse_sizes
from tests.derived import FILE_TYPES, derive
from tests.engine.test_apply import apply
from tests.engines import EngineDriver
from tests.gemma_files import SHAPES, write_gemma
from tests.lora_files import write_lora
from tests.rpc_server import rpc_server

CARD = (24 * GIB,)
_HUNDREDTH_BYTES = 0.011 * MIB
"""What llama.cpp's report is rounded to, twice where two figures of it are added up."""


@pytest.fixture
def planner(folders: Paths) -> Iterator[Planner]:
    with Planner(folders) as found:
        yield found


@pytest.fixture(scope="module")
def formats(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("formats")
    return [model_path, *(str(derive(model_path, folder, name)) for name in FILE_TYPES)]


@pytest.fixture(scope="module")
def sparse(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Gemma 3 in its four sizes as QAT Q4_0 with F16 embeddings."""
    folder = tmp_path_factory.mktemp("sparse")
    return {size: str(write_gemma(folder / f"gemma-3-{size}-it-qat-q4_0.gguf", size, model_path)) for size in SHAPES}


def plan(planner: Planner, path: str, cards: Sequence[int] = (), *, search: bool = False, **context: object) -> Plan:
    settings = EngineSettings(context=ContextSettings(**context))  # type: ignore[arg-type]
    return planner.plan(PlanRequest(path, settings, tuple(cards), search=search))


def assert_foretold(loaded: ModelLoaded) -> None:
    """KV cache and compute to the last digit that llama.cpp prints, weights within 0.1 %."""
    for memory in loaded.memory:
        assert memory.predicted is not None, memory.reason
        measured, predicted = memory.measured, memory.predicted
        assert abs(measured.kv_bytes - predicted.kv_bytes) <= 2 * _HUNDREDTH_BYTES, memory
        assert abs(measured.compute_bytes - predicted.compute_bytes) <= _HUNDREDTH_BYTES, memory
        assert abs(measured.weights_bytes - predicted.weights_bytes) <= 0.001 * measured.weights_bytes, memory


# A grid walked askew: each value of each setting once or more, not every one with every other.
GRID = [
    ContextSettings(n_ctx=n_ctx, n_ubatch=n_ubatch, type_k=kind, type_v=kind, swa_full=whole, n_threads=1)
    for kind, n_ctx, n_ubatch, whole in zip(
        CACHE_TYPES,
        itertools.cycle((512, 4096, 32_768, 8192, 1000)),
        itertools.cycle((512, 128, 64, 512)),
        itertools.cycle((False, False, True)),
        strict=False,
    )
]


def test_five_formats_on_the_cpu(engine: EngineDriver, formats: list[str]) -> None:
    for number, path in enumerate(formats):
        here = OffloadSettings(n_gpu_layers=0)
        engine.engine.open(path, EngineSettings(here, GRID[number]))
        assert_foretold(engine.wait_for(ModelLoaded))
        for context in GRID[number + 1 :: 3]:
            assert_foretold(apply(engine, EngineSettings(here, context)))
        assert_foretold(apply(engine, EngineSettings(replace(here, use_mmap=False), GRID[0])))


def test_layers_on_another_device(engine: EngineDriver, formats: list[str]) -> None:
    with rpc_server() as (endpoint, _):
        for number, path in enumerate(formats[:2]):
            for asked, context in ((0, GRID[number]), (7, GRID[number + 3]), (-1, GRID[number + 5])):
                offload = OffloadSettings(n_gpu_layers=asked, rpc_servers=(endpoint,))
                engine.engine.open(path, EngineSettings(offload, context))
                assert_foretold(engine.wait_for(ModelLoaded))
        engine.load(formats[0], EngineSettings(OffloadSettings(n_gpu_layers=0)))


@pytest.mark.parametrize(
    ("context", "kv_mib"),
    [
        ({"n_ctx": 4096}, 944),
        ({"n_ctx": 8192}, 1264),
        ({"n_ctx": 8192, "swa_full": True}, 3968),
        ({"n_ctx": 32_768}, 3184),
        ({"n_ctx": 131_072}, 10_864),
    ],
)
def test_published_sizes_of_the_27b(
    planner: Planner, sparse: dict[str, str], context: dict[str, object], kv_mib: int
) -> None:
    found = plan(planner, sparse["27b"], CARD, **context)
    (card,) = found.devices
    assert card.use.kv_bytes / MIB == pytest.approx(kv_mib, abs=0.005)
    assert found.model["size_bytes"] / 1e9 == pytest.approx(17.2, abs=0.05)


def test_every_size_is_planned_on_a_card_that_is_not_here(planner: Planner, sparse: dict[str, str]) -> None:
    for size, path in sparse.items():
        found = plan(planner, path, CARD, n_ctx=8192)
        (card,) = found.devices
        assert found.fits and card.memory.name == "GPU0" and card.free_bytes > 0
        assert found.settings["n_gpu_layers"] == found.model["n_layers"] == SHAPES[size].layers + 1
        assert card.use.weights_bytes + found.host.use.weights_bytes >= found.model["size_bytes"] - 20 * MIB


def test_what_is_said_to_fit_fits_and_the_next_does_not(planner: Planner, sparse: dict[str, str]) -> None:
    found = plan(planner, sparse["27b"], CARD, search=True, n_ctx=131_072)
    assert not found.fits and found.max_n_ctx["f16"]
    longest = found.max_n_ctx["f16"]
    assert plan(planner, sparse["27b"], CARD, n_ctx=longest).fits
    assert not plan(planner, sparse["27b"], CARD, n_ctx=longest + 256).fits
    assert found.max_n_ctx["q8_0"] == found.max_n_ctx["q4_0"] == 131_072
    most = found.max_n_gpu_layers
    assert most is not None and 0 < most < 63
    offload = OffloadSettings(n_gpu_layers=most)
    context = ContextSettings(n_ctx=131_072)
    assert planner.plan(PlanRequest(sparse["27b"], EngineSettings(offload, context), CARD, search=False)).fits


def reduced_host(bytes_left: int) -> dict[str, int]:
    """`held` of a request for a machine whose memory others have taken, but for so much."""
    return {"host": bytes_left - memory_bytes()[1]}


def test_layers_are_named_only_where_the_host_holds_the_rest(planner: Planner, sparse: dict[str, str]) -> None:
    settings = EngineSettings(context=ContextSettings(n_ctx=8192))
    card = (3 * GIB,)
    found = planner.plan(PlanRequest(sparse["4b"], settings, card, held=reduced_host(8 * GIB)))
    most = found.max_n_gpu_layers
    assert not found.fits and most and f"{most} layers offloaded (-ngl {most})" in verdict(found)
    with_them = EngineSettings(OffloadSettings(n_gpu_layers=most), settings.context)
    request = PlanRequest(sparse["4b"], with_them, card, search=False, held=reduced_host(8 * GIB))
    assert planner.plan(request).fits
    found = planner.plan(PlanRequest(sparse["4b"], settings, card, held=reduced_host(GIB)))
    assert found.max_n_gpu_layers is None and verdict(found).endswith("; nothing does on this machine.")


def test_a_smaller_micro_batch_or_the_cpu_alone_is_named_where_it_would_do(planner: Planner, model_path: str) -> None:
    tight = plan(planner, model_path, (GIB,), search=True)
    assert tight.max_n_ctx["f16"] == 256, "the micro-batch is no longer than the context"
    assert tight.max_n_gpu_layers is None
    assert verdict(tight).endswith("; this would: a micro-batch of 128 (-ub 128).")
    assert plan(planner, model_path, (GIB,), n_ubatch=128).fits


def test_the_cpu_alone_is_named_where_nothing_fits_on_the_card(planner: Planner, model_path: str) -> None:
    nothing = plan(planner, model_path, (600 * MIB,), search=True)
    assert set(nothing.max_n_ctx.values()) == {0} and nothing.max_n_gpu_layers is None
    assert verdict(nothing).endswith("; this would: the CPU alone (-dev none).")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "llama"}, "adapter for llama, and the model is gemma3"),
        ({"kind": "model"}, "is not a LoRA adapter"),
        ({"width": 1152}, "no LoRA adapter of Gemma 3 270m"),
    ],
)
def test_what_is_no_adapter_of_the_model_is_refused(
    planner: Planner, model_path: str, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    good, wrong = write_lora(tmp_path / "good.gguf"), write_lora(tmp_path / "wrong.gguf", **changes)  # type: ignore[arg-type]

    def with_lora(*files: Path) -> PlanRequest:
        lora = tuple(LoraAdapter(str(file)) for file in files)
        return PlanRequest(model_path, EngineSettings(lora=lora), CARD, search=False)

    with pytest.raises(BadInputError, match=words):
        planner.plan(with_lora(good, wrong))
    plain, adapted = (planner.plan(with_lora(*files)) for files in ((), (good,)))
    more = sum(ledger.use.weights_bytes for ledger in adapted.ledgers)
    more -= sum(ledger.use.weights_bytes for ledger in plain.ledgers)
    assert more == pytest.approx(good.stat().st_size, abs=2)
    write_lora(good, **changes)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match=words):
        planner.plan(with_lora(good))


@pytest.mark.parametrize("pattern", ["[", "(?<x>blk)", "[z-a]"])
def test_an_override_that_llama_cannot_read_is_bad_input(planner: Planner, model_path: str, pattern: str) -> None:
    offload = OffloadSettings(override_tensor=(("blk", "CPU"), (pattern, "CPU")))
    with pytest.raises(BadInputError, match=re.escape(f"--override-tensor {pattern}=CPU: ")):
        planner.plan(PlanRequest(model_path, EngineSettings(offload), search=False))


@pytest.mark.parametrize("pattern", ["[", "blk[0-9", "(", "a)", "*a", "a|*", "a\\", "^*", "{2}a"])
def test_a_pattern_refused_by_the_command_line_is_refused_by_llama(
    planner: Planner, model_path: str, pattern: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no regular expression"):
        options.overrides(f"{pattern}=CPU")
    offload = OffloadSettings(override_tensor=((pattern, "CPU"),))
    with pytest.raises(BadInputError, match="--override-tensor"):
        planner.plan(PlanRequest(model_path, EngineSettings(offload), search=False))


@pytest.mark.parametrize("pattern", ["a**", "[]", "[^]", "\\i", "blk.*ffn.*"])
def test_a_pattern_that_llama_takes_is_taken_by_the_command_line(
    planner: Planner, model_path: str, pattern: str
) -> None:
    offload = OffloadSettings(override_tensor=options.overrides(f"{pattern}=CPU"))
    assert planner.plan(PlanRequest(model_path, EngineSettings(offload), search=False)).fits


def test_two_cards_share_by_their_size(planner: Planner, sparse: dict[str, str]) -> None:
    found = plan(planner, sparse["12b"], (24 * GIB, 8 * GIB), n_ctx=8192)
    first, second = found.devices
    assert first.use.kv_bytes > 2 * second.use.kv_bytes > 0
    assert first.use.weights_bytes > second.use.weights_bytes > 0


def test_the_same_question_again_needs_no_dry_run(planner: Planner, sparse: dict[str, str], folders: Paths) -> None:
    first = plan(planner, sparse["4b"], CARD, search=True)
    (kept,) = (folders.cache / "plans").iterdir()
    answers = json.loads(kept.read_text())
    with Planner(folders) as another:
        again = plan(another, sparse["4b"], CARD, search=True)
    assert again.devices[0].use == first.devices[0].use and again.max_n_ctx == first.max_n_ctx
    assert json.loads(kept.read_text()) == answers
    kept.write_text("{ damaged")
    assert plan(planner, sparse["4b"], CARD).devices[0].use == first.devices[0].use


def damaged(entries: dict[str, Any], what: str) -> object:
    """A plan cache's content with every entry changed in one way."""
    host = {"host": dict.fromkeys(MemoryUse.__dataclass_fields__, 1.5)}
    changes: dict[str, Any] = {
        "text for a number": {"n_ctx": "8192"},
        "a number for text": {"flash_attn": 1},
        "a list for devices": {"devices": [1]},
        "a device without sizes": {"devices": {"GPU0": {}}},
        "a number for a device": {"devices": {"GPU0": 7}},
        "sizes that are no integers": host,
        "an unknown field": {"more": 1},
    }
    if what in changes:
        return {key: {**entry, **changes[what]} for key, entry in entries.items()}
    whole: dict[str, object] = {"a list": [entries], "numbers for entries": dict.fromkeys(entries, 5)}
    return {**whole, "a refusal that is none": {key: {"refused": [1]} for key in entries}}[what]


@pytest.mark.parametrize(
    "what",
    [
        "text for a number", "a number for text", "a list for devices", "a device without sizes",
        "a number for a device", "sizes that are no integers", "an unknown field", "a list", "numbers for entries",
        "a refusal that is none",
    ],
)  # fmt: skip
def test_what_was_not_written_to_the_cache_is_not_there(
    planner: Planner, model_path: str, folders: Paths, what: str
) -> None:
    first = plan(planner, model_path)
    (kept,) = (folders.cache / "plans").iterdir()
    good = json.loads(kept.read_text())
    kept.write_text(json.dumps(damaged(good, what)))
    again = plan(planner, model_path)
    assert (again.host.use, again.settings) == (first.host.use, first.settings)
    assert {key: json.loads(kept.read_text())[key] for key in good} == good


def test_a_plan_goes_through_json(planner: Planner, model_path: str) -> None:
    data = json.loads(json.dumps(plan_json(plan(planner, model_path, CARD, search=True))))
    assert list(data)[:8] == [
        "model", "settings", "devices", "host", "max_n_ctx", "max_n_gpu_layers", "fits", "verdict",
    ]  # fmt: skip
    for ledger in (*data["devices"], data["host"]):
        sizes = ("weights", "kv_global", "kv_swa", "compute", "output", "reserve", "free", "total")
        assert {"name", "fits", *(f"{size}_bytes" for size in sizes)} <= set(ledger)
    assert set(data["max_n_ctx"]) == {"f16", "q8_0", "q4_0"}


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({"n_ctx": 10**12}, "64 times that is no use"),
        ({"n_ubatch": 0}, "-ub 0"),
        ({"flash_attn": "off", "type_v": "q8_0"}, "needs flash attention"),
    ],
)
def test_absurd_settings_are_refused(planner: Planner, model_path: str, context: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        plan(planner, model_path, **context)


def test_a_child_that_dies_is_an_answer_and_the_next_question_gets_one(planner: Planner, model_path: str) -> None:
    plan(planner, model_path)
    child = planner._child
    assert child is not None
    child.kill()
    child.wait()
    with pytest.raises(GemtopError, match=r"llama\.cpp"):
        plan(planner, model_path, n_ctx=777)
    assert plan(planner, model_path, n_ctx=777).settings["n_ctx"] == 1024


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("24GiB", (24 << 30,)),
        ("24g,16G", (24 << 30, 16 << 30)),
        ("24576MiB", (24 << 30,)),
        ("24GB", (24 * 10**9,)),
        ("1.5GiB", (3 << 29,)),
    ],
)
def test_sizes(text: str, sizes: tuple[int, ...]) -> None:
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize("text", ["0", "24", "", "GiB", "-3GiB", "nanGiB", "1e99GiB", "0GiB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(BadInputError, match="--gpu-memory"):
        parse_sizes(text)


@pytest.mark.parametrize("text", ["24GiB,", ",24GiB", "24GiB,,16GiB"])
def test_a_size_missing_beside_a_comma_is_said_to_be(text: str) -> None:
    with pytest.raises(BadInputError, match=f"--gpu-memory {text}: there is no size on one side of a comma"):
        parse_sizes(text)
