"""LoRA adapters as llama.cpp's converter writes them, with weights made up here."""

from __future__ import annotations

import ctypes
import os
import random
from pathlib import Path

from gemtop.engine import binding

_F32 = 0


def write_lora(
    path: Path,
    *,
    architecture: str = "gemma3",
    width: int = 640,
    n_out: int = 1024,
    rank: int = 4,
    scale: float = 0.2,
    layers: int = 4,
    kind: str = "adapter",
) -> Path:
    """An adapter of the query matrices of the demo model's first layers."""
    c, chance = binding.c, random.Random(7)
    context = c("ggml_init")(binding.GgmlInitParams(8 << 20, None, False))
    out = c("gguf_init_empty")()
    try:
        for key, text in (("general.type", kind), ("general.architecture", architecture), ("adapter.type", "lora")):
            c("gguf_set_val_str")(out, key.encode(), text.encode())
        c("gguf_set_val_f32")(out, b"adapter.lora.alpha", float(rank))
        for layer in range(layers):
            for side, columns, rows in (("a", width, rank), ("b", rank, n_out)):
                tensor = c("ggml_new_tensor_2d")(context, _F32, columns, rows)
                c("ggml_set_name")(tensor, f"blk.{layer}.attn_q.weight.lora_{side}".encode())
                n = columns * rows
                values = (ctypes.c_float * n)(*[chance.gauss(0, scale) for _ in range(n)])
                ctypes.memmove(c("ggml_get_data")(tensor), values, 4 * n)
                c("gguf_add_tensor")(out, tensor)
        assert c("gguf_write_to_file")(out, os.fsencode(path), False)
    finally:
        c("gguf_free")(out)
        c("ggml_free")(context)
    return path
