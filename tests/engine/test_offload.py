"""Layers on real second devices: llama.cpp's RPC servers on loopback, where there is no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gemtop.domain.events import GenerateRequest, LoadFailed, ModelLoaded
from gemtop.domain.model import LoadedModel
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from tests.engine.test_apply import apply, begin, decoded_again, with_context
from tests.engines import EngineDriver
from tests.rpc_server import rpc_server

CPU = OffloadSettings(n_gpu_layers=0, use_extra_bufts=False)
"""Repacked weights would be multiplied by other kernels than the server's, and unsure tokens come out otherwise."""
CONTEXT = ContextSettings(n_ctx=512, n_threads=1)
REQUEST = GenerateRequest("The capital of France is", 8, SamplingSettings(temperature=0))


@pytest.fixture
def two_servers() -> Iterator[tuple[str, str]]:
    with rpc_server() as (first, _), rpc_server() as (second, _):
        yield first, second


def settings(offload: OffloadSettings) -> EngineSettings:
    return EngineSettings(offload, CONTEXT)


def layers_kib(model: ModelLoaded) -> dict[str, int]:
    """KiB of weights by device."""
    return {memory.device: memory.measured.weights_bytes // 1024 for memory in model.memory}


def test_zero_some_and_all_layers_say_the_same(engine: EngineDriver, model_path: str) -> None:
    engine.load(model_path, settings(CPU))
    text, _ = engine.run(REQUEST)
    with rpc_server() as (endpoint, _):
        remote = replace(CPU, rpc_servers=(endpoint,))
        sizes = []
        for asked, held in ((0, 0), (7, 7), (-1, 19), (99, 19)):
            loaded = apply(engine, settings(replace(remote, n_gpu_layers=asked)))
            assert loaded.model.n_gpu_layers == held
            sizes.append(sum(size for name, size in layers_kib(loaded).items() if name.startswith("RPC")))
            assert engine.run(REQUEST)[0] == text
        assert sizes[0] == 0 < sizes[1] < sizes[2] == sizes[3]
        apply(engine, settings(CPU))  # nothing of ours is on the server when it goes


def test_a_split_over_two_servers_says_the_same(
    engine: EngineDriver, model_path: str, two_servers: tuple[str, str]
) -> None:
    engine.load(model_path, settings(CPU))
    text, _ = engine.run(REQUEST)
    offload = replace(CPU, n_gpu_layers=-1, rpc_servers=two_servers, tensor_split=(3.0, 1.0))
    loaded = apply(engine, settings(offload))
    first, second = (memory for memory in loaded.memory if memory.device.startswith("RPC"))
    assert first.measured.kv_bytes > 2 * second.measured.kv_bytes > 0
    for memory in (first, second):
        assert memory.predicted is not None
        assert abs(memory.predicted.weights_bytes - memory.measured.weights_bytes) < 0.001 * 2**28
        assert abs(memory.predicted.kv_bytes - memory.measured.kv_bytes) < 10_000
        # With several devices llama.cpp's own dry run counts one set of copies between them too many.
        assert 0 <= memory.predicted.compute_bytes - memory.measured.compute_bytes < 6 << 20
    assert engine.run(REQUEST)[0] == text
    one = apply(engine, settings(replace(offload, devices=(second.device,), tensor_split=())))
    assert [memory.device for memory in one.memory] == ["CPU", second.device]
    none = apply(engine, settings(replace(offload, split_mode="none", main_gpu=1, tensor_split=())))
    assert _holder(none.model) == second.device
    apply(engine, settings(CPU))


def _holder(model: LoadedModel) -> str:
    (device,) = model.devices
    return device.name


def test_a_context_changes_while_the_server_serves_us(engine: EngineDriver, model_path: str) -> None:
    with rpc_server() as (endpoint, _):
        start = settings(replace(CPU, n_gpu_layers=-1, rpc_servers=(endpoint,)))
        engine.load(model_path, start)
        tokens = begin(engine, "The capital of France is", 4)
        loaded = apply(engine, with_context(start, n_ctx=1024, type_k="q8_0"))
        assert loaded.weights_kept and decoded_again(engine) == tokens
        assert all(memory.predicted is not None for memory in loaded.memory)
        apply(engine, settings(CPU))


def test_tensors_may_be_placed_by_name(engine: EngineDriver, model_path: str) -> None:
    with rpc_server() as (endpoint, _):
        all_layers = replace(CPU, n_gpu_layers=-1, rpc_servers=(endpoint,))
        whole = layers_kib(_load(engine, model_path, all_layers))
        kept_here = replace(all_layers, override_tensor=((r"ffn_.*", "CPU"),))
        parted = layers_kib(apply(engine, settings(kept_here)))
        (remote,) = (name for name in whole if name != "CPU")
        assert parted[remote] < whole[remote] and parted["CPU"] > whole["CPU"]
        apply(engine, settings(CPU))


@pytest.mark.parametrize(
    ("offload", "words"),
    [
        (replace(CPU, devices=("CUDA7",)), "there is no device 'CUDA7'"),
        (replace(CPU, main_gpu=3), "--main-gpu 3"),
        (replace(CPU, tensor_split=(1.0,) * 500), "--tensor-split has 500 shares"),
        (replace(CPU, override_tensor=(("x", "CUDA0"),)), "buffer types here are"),
    ],
)
def test_what_is_not_there_is_refused(
    engine: EngineDriver, model_path: str, offload: OffloadSettings, words: str
) -> None:
    engine.engine.open(model_path, settings(offload))
    failed = engine.wait_for(LoadFailed, ModelLoaded)
    assert isinstance(failed, LoadFailed) and words in failed.message


def _load(engine: EngineDriver, path: str, offload: OffloadSettings) -> ModelLoaded:
    engine.engine.open(path, settings(offload))
    loaded = engine.wait_for(LoadFailed, ModelLoaded)
    assert isinstance(loaded, ModelLoaded), loaded
    return loaded
