"""Gemma 3 of every size as sparse files: the real shapes and the real vocabulary, the weights a hole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gemtop.engine import binding
from tests.gguf_files import type_ids


@dataclass(frozen=True)
class Shape:
    """config.json of google/gemma-3-*-it, in llama.cpp's names."""

    width: int
    layers: int
    ff: int
    heads: int
    kv_heads: int
    head: int
    window: int = 1024
    context: int = 131_072


SHAPES = {
    "1b": Shape(1152, 26, 6912, 4, 1, 256, window=512, context=32_768),
    "4b": Shape(2560, 34, 10240, 8, 4, 256),
    "12b": Shape(3840, 48, 15360, 16, 8, 256),
    "27b": Shape(5376, 62, 21504, 32, 16, 128),
}


def write_gemma(path: Path, size: str, vocabulary: str, kind: str = "q4_0", embedding: str = "f16") -> Path:
    """Write a Gemma 3 of this size whose matrices are of these types; `vocabulary` is a GGUF to take it from."""
    c, shape = binding.c, SHAPES[size]
    source = c("gguf_init_from_file")(os.fsencode(vocabulary), binding.GgufInitParams(True, None))
    out = c("gguf_init_empty")()
    context = c("ggml_init")(binding.GgmlInitParams(1 << 22, None, True))
    try:
        c("gguf_set_kv")(out, source)
        _set_keys(out, shape, size)
        bytes_of_tensors = 0
        for name, type_name, *sizes in _tensors(shape, kind, embedding):
            tensor = c(f"ggml_new_tensor_{len(sizes)}d")(context, type_ids()[type_name], *sizes)
            c("ggml_set_name")(tensor, name.encode())
            c("gguf_add_tensor")(out, tensor)
            bytes_of_tensors += -(-int(c("ggml_nbytes")(tensor)) // 32) * 32
        path.parent.mkdir(parents=True, exist_ok=True)
        assert c("gguf_write_to_file")(out, os.fsencode(path), True)
    finally:
        c("ggml_free")(context)
        c("gguf_free")(out)
        c("gguf_free")(source)
    os.truncate(path, path.stat().st_size + bytes_of_tensors)
    return path


def _set_keys(out: int, shape: Shape, size: str) -> None:
    c = binding.c
    c("gguf_set_val_str")(out, b"general.name", f"Gemma 3 {size} it".encode())
    c("gguf_set_val_u32")(out, b"general.file_type", 2)
    for key, number in (
        ("context_length", shape.context),
        ("embedding_length", shape.width),
        ("block_count", shape.layers),
        ("feed_forward_length", shape.ff),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head),
        ("attention.value_length", shape.head),
        ("attention.sliding_window", shape.window),
    ):
        c("gguf_set_val_u32")(out, f"gemma3.{key}".encode(), number)
    for key, value in (("attention.layer_norm_rms_epsilon", 1e-6), ("rope.freq_base", 1e6)):
        c("gguf_set_val_f32")(out, f"gemma3.{key}".encode(), value)


def _tensors(shape: Shape, kind: str, embedding: str) -> list[tuple[str | int, ...]]:
    q, kv = shape.heads * shape.head, shape.kv_heads * shape.head
    tensors: list[tuple[str | int, ...]] = [
        ("token_embd.weight", embedding, shape.width, 262_144),
        ("output_norm.weight", "f32", shape.width),
    ]
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        for name, *sizes in (
            ("attn_q", shape.width, q),
            ("attn_k", shape.width, kv),
            ("attn_v", shape.width, kv),
            ("attn_output", q, shape.width),
            ("ffn_gate", shape.width, shape.ff),
            ("ffn_up", shape.width, shape.ff),
            ("ffn_down", shape.ff, shape.width),
        ):
            tensors.append((f"{block}{name}.weight", kind, *sizes))
        for name, length in (
            ("attn_norm", shape.width),
            ("post_attention_norm", shape.width),
            ("ffn_norm", shape.width),
            ("post_ffw_norm", shape.width),
            ("attn_q_norm", shape.head),
            ("attn_k_norm", shape.head),
        ):
            tensors.append((f"{block}{name}.weight", "f32", length))
    return tensors
