"""How fast decode could be: the bytes a token must read against how fast each device reads its memory.

The roofline model (Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 52(4), 2009): a computation that does little with each byte is no faster than its memory. Decode
of one sequence is one: it multiplies every weight by one vector. Its roof is therefore

    tokens/s = 1 / sum over devices (bytes the device reads for a token / bytes it reads in a second)

since the devices take their layers in turn. It is a bound: what is read twice, computed or handed over comes on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gemtop.domain.model import DeviceMemory, LoadedModel, ModelHeader, TensorInfo

_HOST = "CPU"
_EMBEDDING = "token_embd.weight"
_LOOKED_UP = (_EMBEDDING, "per_layer_token_embd.weight", "position_embd.weight", "token_types.weight")
"""Tables of which a token needs one row; llama.cpp keeps them on the host."""
_VISION = ("v.", "mm.")
_ROUNDING_BYTES = 32 << 10
"""llama.cpp reports buffers to 0.01 MiB; less than this is what its rounding leaves over."""

_CACHE_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip
"""Bytes of a number in the KV cache: ggml packs 32 of them with their scale (ggml-common.h)."""
_GLOBAL_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}
"""Every how many layers one attends to the whole context, where the file does not say (llama.cpp's src/models)."""


@dataclass(frozen=True, slots=True)
class DeviceReads:
    """What one device reads to decode a token."""

    device: str
    """llama.cpp's name: CPU, CUDA0, RPC0."""
    weights_bytes: float
    """Of its layers, read whole for every token. LoRA adapters, a hundredth of that, are not counted."""
    kv_bytes: float
    """Keys and values of one token of the context, in layers that attend to all of it."""
    kv_window_bytes: float = 0.0
    """The same in sliding-window layers."""
    window: int | None = None
    """Tokens that a sliding-window layer sees."""

    def bytes_per_token(self, depth: float) -> float:
        """Bytes read to decode one token with `depth` tokens in the context; a run's mean depth gives its mean."""
        seen = depth if self.window is None else min(depth, self.window)
        return self.weights_bytes + self.kv_bytes * depth + self.kv_window_bytes * seen


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """How fast a device reads its memory."""

    bytes_per_s: float
    source: Literal["nvml", "measured"]
    """The card's bus width times its clock, or a test of reading."""


@dataclass(frozen=True, slots=True)
class Roof:
    """The most tokens per second that a device's memory lets its part of the model do, were it alone."""

    device: str
    bytes_per_token: float
    bandwidth: Bandwidth | None
    tokens_per_s: float | None
    reason: str | None = None
    """Why it is not known."""


def reads_of(model: LoadedModel, memory: Sequence[DeviceMemory]) -> tuple[DeviceReads, ...]:
    """What each device that holds a part of the model reads for a token; empty where `memory` is.

    A device's weights are what llama.cpp reports of its buffers; the host has what no other device has, since what is
    reported of it counts repacked weights twice, a mapped file as one stretch, and the input's copy of the embedding,
    of which one row is read. Gemma ties the embedding to the output matrix, and as that it is read whole where
    the output layer is. Vision tensors are not read. Of experts the share that a token uses is taken, evenly on every
    device. Keys and values are spread over devices as the measured KV cache is, which is an approximation where a
    device has more than its share of global layers. Weights split by rows lie in buffers of no single device and are
    taken for the host's.
    """
    read, active = _weights(model.header)
    elsewhere = sum(device.measured.weights_bytes for device in memory if device.device != _HOST)
    cache_bytes = sum(device.measured.kv_bytes for device in memory)
    cache = _cache(model)
    found = []
    for device in memory:
        weights = read - elsewhere if device.device == _HOST else device.measured.weights_bytes
        share = device.measured.kv_bytes / cache_bytes if cache_bytes else 0.0
        weights_bytes = weights * active if weights > _ROUNDING_BYTES else 0.0
        if cache is None:
            found.append(DeviceReads(device.device, weights_bytes, device.measured.kv_bytes / model.n_ctx))
        else:
            kv, kv_window, window = cache
            found.append(DeviceReads(device.device, weights_bytes, kv * share, kv_window * share, window))
    return tuple(found)


def roofs(
    reads: Sequence[DeviceReads],
    bandwidths: Mapping[str, Bandwidth],
    depth: float,
    reasons: Mapping[str, str] | None = None,
) -> tuple[Roof, ...]:
    """The roof of each device that reads anything, at a context depth in tokens.

    `bandwidths` and `reasons`, why one is not known, are by llama.cpp's name of the device.
    """
    found = []
    for device in reads:
        size_bytes = device.bytes_per_token(depth)
        if size_bytes <= 0:  # it keeps the embedding's input copy alone, or nothing
            continue
        bandwidth = bandwidths.get(device.device)
        if bandwidth is None:
            reason = (reasons or {}).get(device.device, "its memory bandwidth is not known")
            found.append(Roof(device.device, size_bytes, None, None, reason))
        else:
            found.append(Roof(device.device, size_bytes, bandwidth, bandwidth.bytes_per_s / size_bytes))
    return tuple(found)


def together(parts: Sequence[Roof]) -> float | None:
    """Tokens per second with all devices reading in turn without a pause; None where one of them is not known."""
    seconds = 0.0
    for part in parts:
        if part.bandwidth is None:
            return None
        seconds += part.bytes_per_token / part.bandwidth.bytes_per_s
    return 1 / seconds if seconds else None


@dataclass(frozen=True, slots=True)
class DecodeRoof:
    """What is known, once a model is loaded, of how fast it can decode."""

    reads: tuple[DeviceReads, ...]
    bandwidths: Mapping[str, Bandwidth]
    """By llama.cpp's name of the device."""
    reasons: Mapping[str, str]
    """Why one is not known."""

    def at(self, depth: float) -> tuple[Roof, ...]:
        """The roof of each device that reads anything, with `depth` tokens in the context."""
        return roofs(self.reads, self.bandwidths, depth, self.reasons)


def _weights(header: ModelHeader) -> tuple[int, float]:
    """Bytes of the weights a token goes through, and the share of them it uses: less than 1 with experts."""
    tensors = [tensor for tensor in header.tensors if not tensor.name.startswith(_VISION)]
    names = {tensor.name for tensor in tensors}
    unread = set(_LOOKED_UP) - (set() if "output.weight" in names else {_EMBEDDING})
    read = [tensor for tensor in tensors if tensor.name not in unread]
    total = _sum(read)
    experts, used = header.arch_int("expert_count"), header.arch_int("expert_used_count")
    if not experts or not used or not total:
        return total, 1.0
    idle = _sum([tensor for tensor in read if "_exps." in tensor.name]) * (1 - used / experts)
    return total, 1 - idle / total


def _sum(tensors: Sequence[TensorInfo]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)


def _cache(model: LoadedModel) -> tuple[float, float, int] | None:
    """Bytes of keys and values of a token in all global layers, in all sliding-window layers, and tokens these see.

    None where there are no such layers, or the header does not tell which they are: then what the cache was measured
    to take, spread over the context, says the same or nearly so.
    """
    header = model.header
    layers, window = header.arch_int("block_count"), header.arch_int("attention.sliding_window")
    every = header.arch_int("attention.sliding_window_pattern") or _GLOBAL_EVERY.get(header.architecture)
    heads, length = header.arch_int("attention.head_count_kv"), _head_length(header)
    key = header.arch_int("attention.key_length") or length
    value = header.arch_int("attention.value_length") or length
    key_bytes, value_bytes = _CACHE_BYTES.get(model.type_k), _CACHE_BYTES.get(model.type_v)
    if not (layers and window and every and heads and key and value and key_bytes and value_bytes):
        return None
    a_layer = heads * (key * key_bytes + value * value_bytes)
    n_global = layers // every  # the last one of each group
    return a_layer * n_global, a_layer * (layers - n_global), window


def _head_length(header: ModelHeader) -> int | None:
    width, heads = header.arch_int("embedding_length"), header.arch_int("attention.head_count")
    return width // heads if width and heads else None
