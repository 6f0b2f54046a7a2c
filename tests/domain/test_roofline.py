"""The roof of decode: known models on known cards, and what holds of every one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.model import DeviceMemory, LoadedModel, TensorInfo
from gemtop.domain.plan import MemoryUse
from gemtop.domain.roofline import Bandwidth, DeviceReads, Roof, reads_of, roofs, together
from gemtop.domain.telemetry import DeviceInfo
from tests.engines import fake_model

EMBEDDING = 2_818_572_288
"""Gemma 3 27B: 262,144 x 5,376 in F16."""
LAYER = 232_243_200 + 87_040
"""Its matrices of 412,876,800 weights in Q4_0, 18 bytes for 32 of them, and 21,760 F32 of norms."""
OUTPUT_NORM = 21_504
WHOLE = 62 * LAYER + EMBEDDING + OUTPUT_NORM
KV_LAYER = 16 * (128 + 128) * 2
RTX_3090 = Bandwidth(936e9, "nvml")
SHAPE = {
    "gemma3.block_count": 62,
    "gemma3.embedding_length": 5376,
    "gemma3.attention.head_count": 32,
    "gemma3.attention.head_count_kv": 16,
    "gemma3.attention.key_length": 128,
    "gemma3.attention.value_length": 128,
    "gemma3.attention.sliding_window": 1024,
}


def gemma_27b(*more: TensorInfo, **changes: object) -> LoadedModel:
    """Gemma 3 27B as QAT Q4_0, with more tensors and other metadata."""
    tensors = (
        TensorInfo("token_embd.weight", "f16", EMBEDDING),
        TensorInfo("output_norm.weight", "f32", OUTPUT_NORM),
        *(TensorInfo(f"blk.{layer}.all", "q4_0", LAYER) for layer in range(62)),
        *more,
    )
    model = fake_model()
    metadata = dict(model.header.metadata) | SHAPE | changes
    return replace(model, header=replace(model.header, tensors=tensors, metadata=metadata))


def held(device: str, weights: int, kv: int = 0) -> DeviceMemory:
    use = MemoryUse(weights_bytes=weights, kv_global_bytes=kv)
    return DeviceMemory(device, device, use, None, None, "nothing was planned")


def test_the_bandwidth_of_a_card_is_that_of_its_data_sheet() -> None:
    for bits, clock_mhz, gb_per_s in ((384, 9751, 936), (384, 10501, 1008), (5120, 1215, 1555), (512, 14001, 1792)):
        card = DeviceInfo("0", "a card", None, None, None, None, memory_bus_bits=bits, clock_mem_max_mhz=clock_mhz)
        assert card.memory_bandwidth_bytes_per_s == pytest.approx(gb_per_s * 1e9, rel=0.001)
    assert DeviceInfo("0", "a card", None, None, None, None).memory_bandwidth_bytes_per_s is None


def test_gemma_27b_on_a_card_of_936_gb_a_second() -> None:
    reads = reads_of(gemma_27b(), (held("CPU", EMBEDDING), held("CUDA0", WHOLE, kv=1000)))
    for depth, kv in ((0, 0), (1000, 62_000 * KV_LAYER), (8192, (10 * 8192 + 52 * 1024) * KV_LAYER)):
        (card,) = roofs(reads, {"CUDA0": RTX_3090}, depth)
        assert card.device == "CUDA0" and card.bytes_per_token == WHOLE + kv
        assert card.tokens_per_s == pytest.approx(936e9 / (WHOLE + kv)) == together((card,))
    assert together(roofs(reads, {"CUDA0": RTX_3090}, 8192)) == pytest.approx(51.06, abs=0.01)


def test_layers_that_stay_on_the_host_are_read_there() -> None:
    remote, repacked_and_mapped = 20 * LAYER + EMBEDDING + OUTPUT_NORM, 1.9 * 42 * LAYER + EMBEDDING
    memory = (held("CPU", int(repacked_and_mapped), kv=42), held("CUDA0", remote, kv=20))
    host, card = reads_of(gemma_27b(), memory)
    assert (host.weights_bytes, card.weights_bytes) == (42 * LAYER, remote)
    assert host.bytes_per_token(100) + card.bytes_per_token(100) == pytest.approx(WHOLE + 6200 * KV_LAYER)
    parts = roofs((host, card), {"CPU": Bandwidth(60e9, "measured"), "CUDA0": RTX_3090}, 100)
    speed = together(parts)
    assert speed is not None and 1 / speed == pytest.approx(9.792e9 / 60e9 + 7.482e9 / 936e9, rel=1e-3)
    unknown = roofs((host, card), {"CUDA0": RTX_3090}, 100, {"CPU": "it was not measured"})
    assert together(unknown) is None
    assert [part.reason for part in unknown] == ["it was not measured", None]
    assert unknown[0].tokens_per_s is None and unknown[0].bytes_per_token == host.bytes_per_token(100)


def test_what_a_token_does_not_read_is_not_counted() -> None:
    memory = (held("CPU", WHOLE),)
    vision = (TensorInfo("v.blk.0.attn_q.weight", "f16", 10**9), TensorInfo("mm.input.weight", "f16", 10**8))
    assert reads_of(gemma_27b(*vision), memory)[0].weights_bytes == WHOLE
    untied = gemma_27b(TensorInfo("output.weight", "q4_0", 10**9))
    assert reads_of(untied, memory)[0].weights_bytes == WHOLE - EMBEDDING + 10**9
    experts = gemma_27b(
        TensorInfo("blk.0.ffn_up_exps.weight", "q4_0", 8 * 10**9),
        **{"gemma3.expert_count": 8, "gemma3.expert_used_count": 2},
    )
    assert reads_of(experts, memory)[0].weights_bytes == pytest.approx(WHOLE + 2 * 10**9)


@pytest.mark.parametrize(("kind", "share"), [("f32", 2), ("bf16", 1), ("q8_0", 34 / 64), ("q4_0", 18 / 64)])
def test_a_smaller_cache_is_less_to_read(kind: str, share: float) -> None:
    model = replace(gemma_27b(), type_k=kind, type_v=kind)
    (host,) = reads_of(model, (held("CPU", WHOLE, kv=1),))
    assert host.bytes_per_token(100) - host.weights_bytes == pytest.approx(6200 * KV_LAYER * share)


def test_without_a_sliding_window_the_measured_cache_says_what_a_token_takes() -> None:
    for changes in ({"gemma3.attention.sliding_window": 0}, {"general.architecture": "llama"}):
        (host,) = reads_of(gemma_27b(**changes), (held("CPU", WHOLE, kv=4096 * 1000),))
        assert host.bytes_per_token(500) - host.weights_bytes == 500 * 1000


def test_nothing_is_said_of_devices_that_hold_nothing() -> None:
    assert reads_of(fake_model(), ()) == ()
    rounded = (held("CPU", EMBEDDING + 4000), held("CUDA0", WHOLE - 4000, kv=1))
    assert [part.device for part in roofs(reads_of(gemma_27b(), rounded), {}, 100)] == ["CUDA0"]
    assert together(()) is None


SIZES = st.floats(0, 1e12)
READS = st.builds(
    DeviceReads, st.just("CUDA0"), SIZES, st.floats(0, 1e6), st.floats(0, 1e6), st.none() | st.integers(1, 8192)
)


@given(READS, st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_longer_context_is_never_less_to_read(reads: DeviceReads, depth: float, more: float) -> None:
    assert reads.bytes_per_token(depth) <= reads.bytes_per_token(depth + more)


PARTS = st.builds(
    lambda size, speed: Roof("CUDA0", size, Bandwidth(speed, "measured"), speed / size),
    st.floats(1, 1e12),
    st.floats(1e6, 1e13),
)


@given(st.lists(PARTS, min_size=1, max_size=5))
def test_all_devices_are_together_no_faster_than_each(parts: list[Roof]) -> None:
    speed = together(parts)
    assert speed is not None
    slowest = min(part.tokens_per_s or 0 for part in parts)
    assert slowest / len(parts) * (1 - 1e-9) <= speed <= slowest * (1 + 1e-9)
