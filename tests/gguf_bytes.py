"""GGUF headers as bytes, whole or broken, and a 27B whose weights are a hole."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
_FORMATS = {0: "B", 2: "H", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q"}
_TYPE_F32, TYPE_F16, TYPE_Q4_0 = 0, 1, 2
_BYTES_OF_32 = {_TYPE_F32: 128, TYPE_F16: 64, TYPE_Q4_0: 18}

Key = tuple[str, int, Any]
Tensor = tuple[str, tuple[int, ...], int]


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        kind, values = value
        body = (
            b"".join(map(text, values)) if kind == STRING else struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
        )
        return struct.pack("<IQ", kind, len(values)) + body
    return struct.pack("<" + _FORMATS[kind], value)


def header(keys: Sequence[Key], tensors: Sequence[Tensor] = (), alignment: int = 32, version: int = 3) -> bytes:
    """A header up to where the weights begin. Shapes are in ggml's order, the row first."""
    out = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(keys))]
    out += [text(name) + struct.pack("<I", kind) + _value(kind, value) for name, kind, value in keys]
    offset = 0
    for name, shape, kind in tensors:
        out.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
        offset += padded(tensor_bytes(shape, kind), alignment)
    data = b"".join(out)
    return data + bytes(padded(len(data), alignment) - len(data))


def tensor_bytes(shape: tuple[int, ...], kind: int) -> int:
    count = 1
    for length in shape:
        count *= length
    return count * _BYTES_OF_32[kind] // 32


def padded(size: int, alignment: int = 32) -> int:
    return -(-size // alignment) * alignment


def write_27b(path: Path) -> int:
    """Gemma 3 27B QAT as Google publishes it: 17.2 GB, of which the header is on the disk. Returns its length."""
    width, ff, layers, vocabulary, heads, kv_heads, head = 5376, 21504, 62, 262_144, 32, 16, 128
    tensors: list[Tensor] = [("token_embd.weight", (width, vocabulary), TYPE_F16), ("output_norm.weight", (width,), 0)]
    for layer in range(layers):
        matrices = {
            "attn_q": (width, heads * head), "attn_k": (width, kv_heads * head), "attn_v": (width, kv_heads * head),
            "attn_output": (heads * head, width), "ffn_gate": (width, ff), "ffn_up": (width, ff),
            "ffn_down": (ff, width),
        }  # fmt: skip
        norms = {"attn_norm": width, "post_attention_norm": width, "ffn_norm": width, "post_ffw_norm": width}
        norms |= {"attn_q_norm": head, "attn_k_norm": head}
        tensors += [(f"blk.{layer}.{name}.weight", shape, TYPE_Q4_0) for name, shape in matrices.items()]
        tensors += [(f"blk.{layer}.{name}.weight", (length,), 0) for name, length in norms.items()]
    keys: list[Key] = [
        ("general.architecture", STRING, "gemma3"),
        ("general.name", STRING, "Gemma 3 27B It Qat Q4_0"),
        ("general.file_type", U32, 2),
        ("gemma3.block_count", U32, layers),
        ("gemma3.context_length", U32, 131_072),
        ("gemma3.embedding_length", U32, width),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, [f"<token {i:06}>" for i in range(vocabulary)])),
        ("tokenizer.ggml.scores", ARRAY, (F32, [0.0] * vocabulary)),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [1] * vocabulary)),
    ]
    data = header(keys, tensors)
    path.write_bytes(data)
    os.truncate(path, len(data) + sum(padded(tensor_bytes(shape, kind)) for _, shape, kind in tensors))
    return len(data)


def write_small(path: Path, name: str, quantization: str) -> Path:
    """A Gemma 3 of a few KB in F16 or Q4_0, with a vocabulary of bytes that llama.cpp reads."""
    kind, file_type = {"F16": (TYPE_F16, 1), "Q4_0": (TYPE_Q4_0, 2)}[quantization]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581"]
    keys: list[Key] = [
        ("general.architecture", STRING, "gemma3"),
        ("general.name", STRING, name),
        ("general.file_type", U32, file_type),
        ("gemma3.block_count", U32, 1),
        ("gemma3.context_length", U32, 4096),
        ("gemma3.attention.layer_norm_rms_epsilon", F32, 1e-6),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
        ("tokenizer.ggml.scores", ARRAY, (F32, [0.0] * len(tokens))),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [2, 3, 3, *[6] * 256, 1])),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2),
    ]
    tensors: list[Tensor] = [("token_embd.weight", (64, len(tokens)), kind), ("blk.0.attn_q.weight", (64, 64), kind)]
    data = header(keys, tensors)
    path.write_bytes(data)
    os.truncate(path, len(data) + sum(padded(tensor_bytes(shape, kind)) for _, shape, kind in tensors))
    return path
