"""A model's file without its vocabulary and its weights: what llama.cpp needs to say how much memory it would take.

Reading the 262,144 tokens of Gemma's vocabulary takes most of a load without weights. So the planner loads a copy
of the header that has none, with the weights as a hole in a sparse file.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gemtop.domain.errors import BadInputError
from gemtop.engine.binding import GgufInitParams, c, text
from gemtop.engine.files import show


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where a tensor's bytes are: in which part of the model, from where, how many."""

    part: int
    offset: int
    size_bytes: int


def write_skeleton(parts: Sequence[Path], target: Path) -> dict[str, FilePlace]:
    """Write the skeleton of a model to `target`; the place of each tensor in the real files.

    Raises BadInputError for a header that does not parse, OSError where the target cannot be written.
    """
    places: dict[str, FilePlace] = {}
    out = c("gguf_init_empty")()
    opened: list[tuple[int, ctypes.c_void_p]] = []
    try:
        for number, part in enumerate(parts):
            tensors = ctypes.c_void_p()
            header = c("gguf_init_from_file")(os.fsencode(part), GgufInitParams(True, ctypes.addressof(tensors)))
            if not header:
                raise BadInputError(f"{show(part)} is damaged or cut short: its GGUF header does not parse")
            opened.append((header, tensors))
            if number == 0:
                _copy_keys(header, out)
            places |= _add_tensors(header, tensors, number, out)
        _set_vocabulary_size(opened, out)
        if not c("gguf_write_to_file")(out, os.fsencode(target), True):
            raise OSError(f"cannot write {target}")
        os.truncate(target, target.stat().st_size + _data_size(out))
    finally:
        c("gguf_free")(out)
        for header, tensors in opened:
            c("gguf_free")(header)
            c("ggml_free")(tensors)
    return places


def _copy_keys(header: int, out: int) -> None:
    """Every key but the vocabulary's and the splitting's."""
    c("gguf_set_kv")(out, header)
    for index in reversed(range(c("gguf_get_n_kv")(out))):
        key = text(c("gguf_get_key")(out, index))
        if key.startswith(("tokenizer.", "split.")):
            c("gguf_remove_key")(out, key.encode())
    c("gguf_set_val_str")(out, b"tokenizer.ggml.model", b"no_vocab")


def _add_tensors(header: int, tensors: ctypes.c_void_p, part: int, out: int) -> dict[str, FilePlace]:
    places = {}
    data = int(c("gguf_get_data_offset")(header))
    for index in range(c("gguf_get_n_tensors")(header)):
        name = text(c("gguf_get_tensor_name")(header, index))
        offset = data + int(c("gguf_get_tensor_offset")(header, index))
        places[name] = FilePlace(part, offset, int(c("gguf_get_tensor_size")(header, index)))
    tensor = c("ggml_get_first_tensor")(tensors)
    while tensor:
        c("gguf_add_tensor")(out, tensor)
        tensor = c("ggml_get_next_tensor")(tensors, tensor)
    return places


def _set_vocabulary_size(opened: list[tuple[int, ctypes.c_void_p]], out: int) -> None:
    """A model without a vocabulary has to say how many tokens its embedding is for."""
    architecture = text(c("gguf_get_val_str")(out, c("gguf_find_key")(out, b"general.architecture")))
    for header, _ in opened:
        for index in range(c("gguf_get_n_tensors")(header)):
            if c("gguf_get_tensor_name")(header, index) == b"token_embd.weight":
                rows = c("gguf_get_tensor_ne")(header, index)[1]
                c("gguf_set_val_u32")(out, f"{architecture}.vocab_size".encode(), rows)


def _data_size(out: int) -> int:
    return max(
        (
            int(c("gguf_get_tensor_offset")(out, index)) + int(c("gguf_get_tensor_size")(out, index))
            for index in range(c("gguf_get_n_tensors")(out))
        ),
        default=0,
    )
