"""gemtop's settings as llama.cpp's parameters: one place for the engine and for the planner's dry run."""

from __future__ import annotations

import ctypes
from typing import Any

from gemtop.domain.errors import BadInputError
from gemtop.domain.settings import ContextSettings, OffloadSettings
from gemtop.engine import binding, stand_ins
from gemtop.engine.binding import DEVICE_KINDS, c, llama, text
from gemtop.engine.cpu import physical_cores
from gemtop.engine.devices import backend_handles

_INT_MAX = 2**31 - 1
"""What llama.cpp's parameters hold; ctypes would silently cut off what is beyond."""

_SPLIT_MODES = {"none": 0, "layer": 1, "row": 2}


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


class ModelParams:
    """llama_model_params with the arrays it points to; keep it until the model is loaded."""

    def __init__(self, offload: OffloadSettings) -> None:
        """Raises BadInputError for devices and buffer types that are not there."""
        self.struct = llama.llama_model_default_params()
        self.struct.n_gpu_layers = min(offload.n_gpu_layers, _INT_MAX)
        self.struct.load_mode = binding.LOAD_MODE_AUTO if offload.use_mmap else binding.LOAD_MODE_NONE
        self.struct.use_extra_bufts = offload.use_extra_bufts
        self.struct.split_mode = _SPLIT_MODES[offload.split_mode]
        handles = backend_handles()
        self._set_devices(offload, handles)
        self._set_tensor_split(offload)
        self._set_overrides(offload, handles)

    def _point(self, field: str, array: ctypes.Array[Any]) -> None:
        setattr(self.struct, field, ctypes.cast(array, dict(self.struct._fields_)[field]))

    def _set_devices(self, offload: OffloadSettings, handles: dict[str, int]) -> None:
        offered = {name: handle for name, handle in handles.items() if name != "CPU"}
        chosen = [name for name in offload.devices if name.lower() != "none"]
        for name in chosen:
            if name not in offered:
                there = ", ".join(offered) or "none but the CPU"
                raise BadInputError(f"there is no device {name!r}; there are: {there} (gemtop devices lists them)")
        twice = {name for name in chosen if chosen.count(name) > 1}
        if twice:
            raise BadInputError(f"--device names {', '.join(sorted(twice))} more than once")
        if not offload.devices and stand_ins.not_in_use:
            chosen = _chosen_by_llama(offered)  # left to itself it would take those that are not in use as well
        if offload.devices or stand_ins.not_in_use:
            self._devices = (ctypes.c_void_p * (len(chosen) + 1))(*[offered[name] for name in chosen], None)
            self._point("devices", self._devices)
        n_devices = len(chosen) if offload.devices else len(offered)
        if offload.main_gpu and not 0 <= offload.main_gpu < max(n_devices, 1):
            raise BadInputError(f"--main-gpu {offload.main_gpu}: there are {n_devices} devices, counted from 0")
        self.struct.main_gpu = offload.main_gpu

    def _set_tensor_split(self, offload: OffloadSettings) -> None:
        if not offload.tensor_split:
            return
        most = int(llama.llama_max_devices())
        if len(offload.tensor_split) > most:
            raise BadInputError(f"--tensor-split has {len(offload.tensor_split)} shares; at most {most} devices")
        self._split = (ctypes.c_float * most)(*offload.tensor_split)
        self._point("tensor_split", self._split)

    def _set_overrides(self, offload: OffloadSettings, handles: dict[str, int]) -> None:
        if not offload.override_tensor:
            return
        types = {}
        for handle in handles.values():
            kind = c("ggml_backend_dev_buffer_type")(handle)
            types[text(c("ggml_backend_buft_name")(kind))] = kind
        entries = []
        for pattern, buffer in offload.override_tensor:
            if buffer not in types:
                raise BadInputError(f"--override-tensor {pattern}={buffer}: buffer types here are {', '.join(types)}")
            entries.append(_Override(pattern.encode(), types[buffer]))
        self._overrides = (_Override * (len(entries) + 1))(*entries)  # the last one stays empty
        self._point("tensor_buft_overrides", self._overrides)


def _chosen_by_llama(offered: dict[str, int]) -> list[str]:
    """The devices llama.cpp takes by default: remote ones first, then GPUs, integrated ones only without any."""
    kinds = {name: DEVICE_KINDS.get(c("ggml_backend_dev_type")(handle)) for name, handle in offered.items()}
    remote = [name for name in offered if name.startswith("RPC")]
    local = [name for name in offered if kinds[name] == "gpu" and name not in remote]
    return [*remote, *(local or [name for name in offered if kinds[name] == "igpu" and not remote])]


def context_params(wanted: ContextSettings, trained: int) -> Any:
    """llama_context_params for a model trained for this many tokens."""
    n_threads = wanted.n_threads or physical_cores()
    params = llama.llama_context_default_params()
    params.n_ctx = wanted.tokens(trained)
    params.n_batch = min(wanted.n_batch, _INT_MAX)
    params.n_ubatch = min(wanted.n_ubatch, _INT_MAX)
    params.n_threads = n_threads
    params.n_threads_batch = wanted.n_threads_batch or n_threads
    params.flash_attn_type = binding.FLASH_ATTN_IDS[wanted.flash_attn]
    params.type_k = binding.CACHE_TYPE_IDS[wanted.type_k]
    params.type_v = binding.CACHE_TYPE_IDS[wanted.type_v]
    params.swa_full = wanted.swa_full
    return params
