"""GGUF files whose headers ggml wrote and whose weights are a hole: models of any size that take some KB."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemtop.engine import binding

_SETTERS = {bool: ("bool", ctypes.c_bool), int: ("u32", ctypes.c_uint32), float: ("f32", ctypes.c_float)}
_TYPES = 42
_ALIGNMENT = 32

Tensor = tuple[str, str, int, int]
"""Name, ggml's name of the type, width and height; a height of 0 is a vector."""

GEMMA: Mapping[str, Any] = {
    "general.architecture": "gemma3",
    "gemma3.context_length": 131_072,
    "gemma3.block_count": 2,
    "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
}


def write_gguf(path: Path, keys: Mapping[str, Any], tensors: Sequence[Tensor] = ()) -> Path:
    """Write it, folders above it included. Keys that begin with `split.` have gguf-split's types."""
    c = binding.c
    path.parent.mkdir(parents=True, exist_ok=True)
    context = c("ggml_init")(binding.GgmlInitParams(1 << 22, None, True))
    gguf = c("gguf_init_empty")()
    size = 0
    try:
        for key, value in keys.items():
            _set(gguf, key, value)
        for name, kind, width, height in tensors:
            shape = (width, height) if height else (width,)
            tensor = c(f"ggml_new_tensor_{len(shape)}d")(context, type_ids()[kind], *shape)
            c("ggml_set_name")(tensor, name.encode())
            c("gguf_add_tensor")(gguf, tensor)
            size += -(-int(c("ggml_nbytes")(tensor)) // _ALIGNMENT) * _ALIGNMENT
        assert c("gguf_write_to_file")(gguf, os.fsencode(path), True)
    finally:
        c("gguf_free")(gguf)
        c("ggml_free")(context)
    os.truncate(path, path.stat().st_size + size)
    return path


def gemma(kind: str = "q4_0", embedding: str = "f16", width: int = 256) -> list[Tensor]:
    """Tensors of a Gemma 3 of two layers, these types."""
    tensors: list[Tensor] = [("token_embd.weight", embedding, width, 1024), ("output_norm.weight", "f32", width, 0)]
    for layer in range(2):
        tensors += [(f"blk.{layer}.{name}.weight", kind, width, 512) for name in ("attn_q", "ffn_up", "ffn_gate")]
        tensors.append((f"blk.{layer}.attn_norm.weight", "f32", width, 0))
    return tensors


def write_split(path: Path, keys: Mapping[str, Any], tensors: Sequence[Tensor], count: int) -> list[Path]:
    """The same model in parts as gguf-split writes them: keys in the first, tensors spread. `path` ends in .gguf."""
    parts = []
    for number in range(count):
        own = dict(keys) if number == 0 else {}
        own |= {"split.no": number, "split.count": count, "split.tensors.count": len(tensors)}
        part = path.with_name(f"{path.stem}-{number + 1:05}-of-{count:05}.gguf")
        parts.append(write_gguf(part, own, tensors[number::count]))
    return parts


def _set(gguf: int, key: str, value: Any) -> None:
    if isinstance(value, str):
        binding.c("gguf_set_val_str")(gguf, key.encode(), value.encode())
        return
    name, kind = _SETTERS[type(value)]
    if key in ("split.no", "split.count"):
        name, kind = "u16", ctypes.c_uint16
    elif key == "split.tensors.count":
        name, kind = "i32", ctypes.c_int32
    setter = getattr(binding.lib, f"gguf_set_val_{name}")
    setter.restype, setter.argtypes = None, [ctypes.c_void_p, ctypes.c_char_p, kind]
    setter(gguf, key.encode(), value)


def type_ids() -> dict[str, int]:
    return {binding.text(binding.c("ggml_type_name")(number)): number for number in range(_TYPES)}
