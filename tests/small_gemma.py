"""A Gemma 3 of one layer and random weights in floats, less than 2 MB, that llama.cpp loads and quantises."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.gguf_bytes import BOOL, F32, I32, STRING, U32, Key, Tensor, header, padded

WIDTH, FF, VOCABULARY, HEAD = 256, 512, 64, 64
_F32_ID, _F16_ID = 0, 1
_U16 = 2

KEYS: Mapping[str, Any] = {
    "general.architecture": "gemma3",
    "general.name": "Gemma 3 small",
    "general.file_type": 1,
    "tokenizer.ggml.model": "no_vocab",
    "gemma3.vocab_size": VOCABULARY,
    "gemma3.context_length": 512,
    "gemma3.embedding_length": WIDTH,
    "gemma3.block_count": 1,
    "gemma3.feed_forward_length": FF,
    "gemma3.attention.head_count": 4,
    "gemma3.attention.head_count_kv": 1,
    "gemma3.attention.key_length": HEAD,
    "gemma3.attention.value_length": HEAD,
    "gemma3.attention.sliding_window": 128,
    "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
    "gemma3.rope.freq_base": 1e6,
}
MATRICES: Mapping[str, tuple[int, int]] = {
    "token_embd": (WIDTH, VOCABULARY),
    "blk.0.attn_q": (WIDTH, 4 * HEAD),
    "blk.0.attn_k": (WIDTH, HEAD),
    "blk.0.attn_v": (WIDTH, HEAD),
    "blk.0.attn_output": (4 * HEAD, WIDTH),
    "blk.0.ffn_gate": (WIDTH, FF),
    "blk.0.ffn_up": (WIDTH, FF),
    "blk.0.ffn_down": (FF, WIDTH),
}
_NORMS: Mapping[str, int] = {
    "output_norm": WIDTH, "blk.0.attn_norm": WIDTH, "blk.0.post_attention_norm": WIDTH, "blk.0.ffn_norm": WIDTH,
    "blk.0.post_ffw_norm": WIDTH, "blk.0.attn_q_norm": HEAD, "blk.0.attn_k_norm": HEAD,
}  # fmt: skip

Weights = Callable[[str, int], bytes]
"""The bytes of the F16 matrix of this name with so many weights."""


def noise(name: str, count: int) -> bytes:
    random = np.random.default_rng(len(name) + count)
    return random.normal(0, 0.02, count).astype(np.float16).tobytes()


def write_small(path: Path, keys: Mapping[str, Any] = {}, weights: Weights = noise, *, output: bool = False) -> Path:
    """Write it in F16, with these keys as well; with an output matrix of its own where that is asked for."""
    tensors = _tensors(output=output)
    path.write_bytes(_file(_keys({**KEYS, **keys}), tensors, weights))
    return path


def write_small_split(path: Path, count: int) -> list[Path]:
    """The same in parts, as gguf-split makes them. `path` ends in .gguf; the first part is what to give."""
    tensors, parts = _tensors(output=False), []
    for number in range(count):
        split: list[Key] = [("split.no", _U16, number), ("split.count", _U16, count)]
        split.append(("split.tensors.count", I32, len(tensors)))
        part = path.with_name(f"{path.stem}-{number + 1:05}-of-{count:05}.gguf")
        part.write_bytes(_file([*(_keys(KEYS) if number == 0 else []), *split], tensors[number::count], noise))
        parts.append(part)
    return parts


def _tensors(*, output: bool) -> list[Tensor]:
    matrices = {**MATRICES, "output": (WIDTH, VOCABULARY)} if output else MATRICES
    tensors: list[Tensor] = [(f"{name}.weight", shape, _F16_ID) for name, shape in matrices.items()]
    return tensors + [(f"{name}.weight", (length,), _F32_ID) for name, length in _NORMS.items()]


def _keys(values: Mapping[str, Any]) -> list[Key]:
    kinds = {str: STRING, bool: BOOL, int: U32, float: F32}
    return [(key, kinds[type(value)], value) for key, value in values.items()]


def _file(keys: Sequence[Key], tensors: Sequence[Tensor], weights: Weights) -> bytes:
    parts = [header(keys, tensors)]
    for name, shape, kind in tensors:
        count = int(np.prod(shape))
        data = weights(name, count) if kind == _F16_ID else struct.pack(f"<{count}f", *[1.0] * count)
        parts.append(data + bytes(padded(len(data)) - len(data)))
    return b"".join(parts)
