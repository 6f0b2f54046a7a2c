"""A one-layer Gemma 3 with random weights, some 400 KB: enough to find out whether this CPU runs this build."""

from __future__ import annotations

import ctypes
import os
import random
from pathlib import Path

from gemtop.engine.binding import GgmlInitParams, c

_EMBD, _FF, _VOCAB, _HEAD_DIM = 256, 512, 64, 64
_F32, _Q4_0 = 0, 2


def write(path: Path) -> None:
    """Write the model with ggml's own GGUF writer; raises OSError where that fails."""
    context = c("ggml_init")(GgmlInitParams(8 << 20, None, False))
    gguf = c("gguf_init_empty")()
    try:
        _set_keys(gguf)
        for name, kind, width, height in _tensors():
            if height:
                tensor = c("ggml_new_tensor_2d")(context, kind, width, height)
            else:
                tensor = c("ggml_new_tensor_1d")(context, kind, width)
            c("ggml_set_name")(tensor, name.encode())
            _fill(tensor, kind)
            c("gguf_add_tensor")(gguf, tensor)
        if not c("gguf_write_to_file")(gguf, os.fsencode(path), False):
            raise OSError(f"cannot write {path}")
    finally:
        c("gguf_free")(gguf)
        c("ggml_free")(context)


def _set_keys(gguf: int) -> None:
    for key, text in (("general.architecture", "gemma3"), ("tokenizer.ggml.model", "no_vocab")):
        c("gguf_set_val_str")(gguf, key.encode(), text.encode())
    for key, number in (
        ("vocab_size", _VOCAB),
        ("context_length", 512),
        ("embedding_length", _EMBD),
        ("block_count", 1),
        ("feed_forward_length", _FF),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 1),
        ("attention.key_length", _HEAD_DIM),
        ("attention.value_length", _HEAD_DIM),
        ("attention.sliding_window", 128),
    ):
        c("gguf_set_val_u32")(gguf, f"gemma3.{key}".encode(), number)
    for key, value in (("attention.layer_norm_rms_epsilon", 1e-6), ("rope.freq_base", 1e6)):
        c("gguf_set_val_f32")(gguf, f"gemma3.{key}".encode(), value)


def _tensors() -> list[tuple[str, int, int, int]]:
    q, kv = 4 * _HEAD_DIM, _HEAD_DIM
    return [
        ("token_embd.weight", _Q4_0, _EMBD, _VOCAB),
        ("output_norm.weight", _F32, _EMBD, 0),
        ("blk.0.attn_norm.weight", _F32, _EMBD, 0),
        ("blk.0.attn_q.weight", _Q4_0, _EMBD, q),
        ("blk.0.attn_k.weight", _Q4_0, _EMBD, kv),
        ("blk.0.attn_v.weight", _Q4_0, _EMBD, kv),
        ("blk.0.attn_output.weight", _Q4_0, q, _EMBD),
        ("blk.0.post_attention_norm.weight", _F32, _EMBD, 0),
        ("blk.0.attn_q_norm.weight", _F32, _HEAD_DIM, 0),
        ("blk.0.attn_k_norm.weight", _F32, _HEAD_DIM, 0),
        ("blk.0.ffn_norm.weight", _F32, _EMBD, 0),
        ("blk.0.ffn_gate.weight", _Q4_0, _EMBD, _FF),
        ("blk.0.ffn_up.weight", _Q4_0, _EMBD, _FF),
        ("blk.0.ffn_down.weight", _Q4_0, _FF, _EMBD),
        ("blk.0.post_ffw_norm.weight", _F32, _EMBD, 0),
    ]


def _fill(tensor: int, kind: int) -> None:
    size = int(c("ggml_nbytes")(tensor))
    address = c("ggml_get_data")(tensor)
    if kind == _F32:
        values = (ctypes.c_float * (size // 4))(*([1.0] * (size // 4)))
        ctypes.memmove(address, values, size)
        return
    # A Q4_0 block is an f16 scale and 16 bytes of quants: a small fixed scale keeps the numbers finite.
    blocks, noise = size // 18, random.Random(size)
    data = b"".join(b"\x00\x28" + noise.randbytes(16) for _ in range(blocks))
    ctypes.memmove(address, data, size)
