"""Gemma 3 files laid out as Ollama's converter does, made of files that llama.cpp loads."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from gemtop.engine import binding
from tests.stores import Machine, ollama_layer

c = binding.c
_F32 = 0

LACKING = (
    "gemma3.attention.layer_norm_rms_epsilon",
    "gemma3.rope.freq_base",
    "gemma3.attention.key_length",
    "gemma3.attention.value_length",
    "tokenizer.ggml.add_space_prefix",
)
VISION_KEYS = {"gemma3.vision.block_count": 27, "gemma3.vision.image_size": 896, "gemma3.mm.tokens_per_image": 256}
_VISION = (("v.patch_embedding.weight", 3, 1152), ("v.blk.0.attn_q.weight", 64, 33), ("v.blk.0.layer_norm1.bias", 7, 1))
_PROJECTOR = (("mm.mm_input_projection.weight", 64, 65), ("mm.mm_soft_emb_norm.weight", 5, 1))
_FIRST, _AMID = 0, 100

_STRING, _ARRAY = 8, 9
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""enum gguf_type to the bytes of a value."""


def make(
    source: str | Path,
    target: Path,
    *,
    without: Iterable[str] = LACKING,
    also: Mapping[str, int | float | str] = VISION_KEYS,
    vision: bool = True,
    extra_tokens: int = 1,
    sparse: bool = False,
) -> Path:
    """A copy without some keys, with others, with vision tensors before and amid its own, and with more tokens.

    The weights of a sparse one are a hole.
    """
    tensors = ctypes.c_void_p()
    model = c("gguf_init_from_file")(os.fsencode(source), binding.GgufInitParams(sparse, ctypes.addressof(tensors)))
    extra = c("ggml_init")(binding.GgmlInitParams(8 << 20, None, False))
    out = c("gguf_init_empty")()
    c("gguf_set_kv")(out, model)
    for key in without:
        assert c("gguf_remove_key")(out, key.encode()) >= 0, key
    _set_keys(out, also)
    if extra_tokens:
        _lengthen_vocabulary(model, out, extra_tokens)
    for index in range(c("gguf_get_n_tensors")(model)):
        if vision and index in (_FIRST, _AMID):
            for name, width, height in _VISION if index == _FIRST else _PROJECTOR:
                c("gguf_add_tensor")(out, _tensor(extra, name, width, height))
        c("gguf_add_tensor")(out, c("ggml_get_tensor")(tensors, c("gguf_get_tensor_name")(model, index)))
    assert c("gguf_write_to_file")(out, os.fsencode(target), sparse)
    if sparse:
        last = c("gguf_get_n_tensors")(out) - 1
        end = c("gguf_get_tensor_offset")(out, last) + c("gguf_get_tensor_size")(out, last)
        os.truncate(target, target.stat().st_size + end)
    for header in (out, model):
        c("gguf_free")(header)
    for context in (tensors, extra):
        c("ggml_free")(context)
    return target


def pull(machine: Machine, file: Path, model: str, tag: str) -> Path:
    """Put a file into the machine's store as `ollama pull` does; the blob."""
    digest = hashlib.sha256(f"{model}:{tag}".encode()).hexdigest()
    blob = machine.ollama_root / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.hardlink_to(file)
    layer = ollama_layer("model", digest, file.stat().st_size)
    machine.manifest(f"registry.ollama.ai/library/{model}:{tag}", [layer])
    return blob


def _set_keys(out: int, keys: Mapping[str, int | float | str]) -> None:
    for key, value in keys.items():
        if isinstance(value, str):
            c("gguf_set_val_str")(out, key.encode(), value.encode())
        elif isinstance(value, float):
            c("gguf_set_val_f32")(out, key.encode(), value)
        else:
            c("gguf_set_val_u32")(out, key.encode(), value)


def _lengthen_vocabulary(model: int, out: int, n_more: int) -> None:
    """Tokens that the embedding has no row for, at the end, as <image_soft_token> is; or some less, if negative."""
    index = c("gguf_find_key")(model, b"tokenizer.ggml.tokens")
    n = c("gguf_get_arr_n")(model, index)
    tokens = [c("gguf_get_arr_str")(model, index, i) for i in range(min(n, n + n_more))]
    tokens += [b"<image_soft_token_%d>" % i for i in range(n_more)]
    c("gguf_set_arr_str")(out, b"tokenizer.ggml.tokens", (ctypes.c_char_p * len(tokens))(*tokens), len(tokens))
    for key, kind in ((b"tokenizer.ggml.scores", ctypes.c_float), (b"tokenizer.ggml.token_type", ctypes.c_int32)):
        index = c("gguf_find_key")(model, key)
        array = (kind * len(tokens))(*[4] * len(tokens))
        ctypes.memmove(array, c("gguf_get_arr_data")(model, index), ctypes.sizeof(kind) * min(n, len(tokens)))
        c("gguf_set_arr_data")(out, key, c("gguf_get_arr_type")(model, index), array, len(tokens))


def _tensor(context: int, name: str, width: int, height: int) -> int:
    tensor = c("ggml_new_tensor_2d")(context, _F32, width, height)
    c("ggml_set_name")(tensor, name.encode())
    ctypes.memset(c("ggml_get_data")(tensor), 0x5A, c("ggml_nbytes")(tensor))
    return int(tensor)


def facts(path: str | Path) -> tuple[dict[str, str], dict[str, str]]:
    """Hashes of a file's keys, their types and values, and of its tensors, their types, shapes and bytes."""
    header = c("gguf_init_from_file")(os.fsencode(path), binding.GgufInitParams(True, None))
    keys = {binding.text(c("gguf_get_key")(header, i)): _key_hash(header, i) for i in range(c("gguf_get_n_kv")(header))}
    tensors = {}
    data = c("gguf_get_data_offset")(header)
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as bytes_of_file:
        for i in range(c("gguf_get_n_tensors")(header)):
            begin = data + c("gguf_get_tensor_offset")(header, i)
            content = hashlib.sha256(bytes_of_file[begin : begin + c("gguf_get_tensor_size")(header, i)])
            shape = tuple(c("gguf_get_tensor_ne")(header, i)[:4])
            name = binding.text(c("gguf_get_tensor_name")(header, i))
            tensors[name] = f"{c('gguf_get_tensor_type')(header, i)} {shape} {content.hexdigest()}"
    c("gguf_free")(header)
    return keys, tensors


def _key_hash(header: int, index: int) -> str:
    kind = c("gguf_get_kv_type")(header, index)
    if kind == _STRING:
        return f"{kind} {c('gguf_get_val_str')(header, index)}"
    if kind != _ARRAY:
        value = ctypes.string_at(c("gguf_get_val_data")(header, index), _WIDTHS[kind])
        return f"{kind} {value.hex()}"
    kind, n = c("gguf_get_arr_type")(header, index), c("gguf_get_arr_n")(header, index)
    if kind == _STRING:
        content = b"\n".join(c("gguf_get_arr_str")(header, index, i) for i in range(n))
    else:
        content = ctypes.string_at(c("gguf_get_arr_data")(header, index), n * _WIDTHS[kind])
    return f"array {kind} {n} {hashlib.sha256(content).hexdigest()}"
