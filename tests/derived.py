"""The demo model in other formats, requantised in this process: derived, whatever they are called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gemtop.engine.binding import llama

FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q5_0": 8, "Q2_K": 10}


def derive(source: str, folder: Path, name: str, keys: Mapping[str, bool | int] | None = None) -> Path:
    """Write the model in another format, with some of its keys of GGUF set to something else."""
    target = folder / f"gemma-3-270m-derived-{name}.gguf"
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = FILE_TYPES[name], True, 2
    # The list ends with an empty key.
    overrides = (llama.llama_model_kv_override * (len(keys or {}) + 1))()
    for entry, (key, value) in zip(overrides, (keys or {}).items(), strict=False):
        entry.key = key.encode()
        if isinstance(value, bool):
            entry.tag, entry.value.val_bool = llama.LLAMA_KV_OVERRIDE_TYPE_BOOL, value
        else:
            entry.tag, entry.value.val_i64 = llama.LLAMA_KV_OVERRIDE_TYPE_INT, value
    params.kv_overrides = overrides
    silent = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(silent, None)
    assert llama.llama_model_quantize(os.fsencode(source), os.fsencode(target), params) == 0
    llama.llama_log_set(llama.llama_log_callback(), None)
    return target
