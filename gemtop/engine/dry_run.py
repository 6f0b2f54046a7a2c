"""What llama.cpp would take: a load without weights and a context without memory, for its own figures.

Runs in the planner's child process, since llama.cpp aborts on some inputs.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.model import ModelHeader
from gemtop.domain.plan import DryRunResult, MemoryUse
from gemtop.domain.settings import ContextSettings, OffloadSettings
from gemtop.domain.text import one_line
from gemtop.engine import binding
from gemtop.engine.adapters import read_adapter
from gemtop.engine.binding import llama
from gemtop.engine.breakdown import BufferUse, buffer_use, model_devices, tensor_places
from gemtop.engine.devices import properties
from gemtop.engine.log import EngineLog
from gemtop.engine.params import ModelParams, context_params
from gemtop.engine.skeleton import FilePlace, Skeleton

_OUTPUT = re.compile(r"output buffer size =\s*([\d.]+) MiB")
_CACHE = re.compile(r"creating\s+(SWA|non-SWA) KV cache")
_LAYER = re.compile(r"llama_kv_cache: layer\s+\d+: dev = (\S+)")
_CACHE_SIZE = re.compile(r"llama_kv_cache: size =\s*([\d.]+) MiB \(.*?(\d+) layers")

_ON_THE_HOST = OffloadSettings(n_gpu_layers=0, use_extra_bufts=False, devices=("none",))


class DryRun:
    """One model's file; its skeleton is loaded anew where the offload changes, else only a context is made."""

    def __init__(self, skeleton: Skeleton, log: EngineLog) -> None:
        """The skeleton is closed with it."""
        self._log = log
        self._skeleton = skeleton
        self._model: Any = None
        self._offload: OffloadSettings | None = None
        self._mapped: tuple[int, int] | None = None

    def close(self) -> None:
        self._free()
        self._skeleton.close()

    def measure(self, offload: OffloadSettings, context: ContextSettings) -> DryRunResult:
        """What these settings would take. Raises GemtopError with llama.cpp's own words where it refuses."""
        self._load(offload)
        self._log.start_capture()
        params = context_params(context, int(llama.llama_model_n_ctx_train(self._model)))
        made = llama.llama_init_from_model(self._model, params)
        if not made:
            raise GemtopError(f"llama.cpp refuses this: {self._log.last_error()}")
        try:
            return self._result(buffer_use(made), int(llama.llama_n_ctx(made)), context)
        finally:
            llama.llama_free(made)

    def check_adapter(self, path: str, header: ModelHeader) -> None:
        """Raises BadInputError, as a run does, for a file that is no adapter of this model, whose header it is.

        It is read into memory for that, and given back with the next load.
        """
        self._load(_ON_THE_HOST)
        read_adapter(path, self._model, header, self._log)

    def _load(self, offload: OffloadSettings) -> None:
        if self._model and self._offload == offload:
            return
        self._model = self._loaded(offload)
        if not self._model:
            refusal = f"llama.cpp refuses this: {self._log.last_error()}"
            self._check_overrides(offload)
            raise GemtopError(refusal)
        self._offload = offload
        self._mapped = self._mapped_bytes() if self._is_mapped() else None

    def _loaded(self, offload: OffloadSettings) -> Any:
        """The skeleton, in place of the one before; None where llama.cpp refuses."""
        self._free()
        holder = ModelParams(offload)
        params = holder.struct
        params.no_alloc = True
        params.load_mode = binding.LOAD_MODE_NONE  # any other aborts with no_alloc
        self._log.start_capture()
        paths = [path.encode() for path in self._skeleton.paths]
        array = (ctypes.c_char_p * len(paths))(*paths)
        return llama.llama_model_load_from_splits(array, len(paths), params)

    def _check_overrides(self, offload: OffloadSettings) -> None:
        """Raises BadInputError where llama.cpp refuses one of the patterns and would load the model without it."""
        for pattern, buffer in offload.override_tensor:
            self._model = self._loaded(replace(_ON_THE_HOST, override_tensor=((pattern, buffer),)))
            if not self._model:
                words = self._log.last_error().rpartition("error loading model: ")[2]
                self._model = self._loaded(_ON_THE_HOST)
                if self._model:
                    raise BadInputError(f"--override-tensor {one_line(pattern)}={buffer}: {words}")

    def _free(self) -> None:
        if self._model:
            llama.llama_model_free(self._model)
        self._model = self._offload = None

    def _result(self, uses: Sequence[BufferUse], n_ctx: int, context: ContextSettings) -> DryRunResult:
        lines = [line.text for line in self._log.captured()]
        swa = _sliding_window_bytes(lines)
        found: dict[str | None, MemoryUse] = {None: MemoryUse()}
        for device in dict.fromkeys(use.place.device for use in uses):
            mine = [use for use in uses if use.place.device == device]
            weights, reclaimable = self._weight_bytes(mine)
            kv = sum(use.context_bytes for use in mine)
            kv_swa = min(kv, swa.get(device, 0))
            found[device] = MemoryUse(
                weights_bytes=weights,
                kv_global_bytes=kv - kv_swa,
                kv_swa_bytes=kv_swa,
                compute_bytes=sum(use.compute_bytes for use in mine),
                output_bytes=_output_bytes(lines) if device is None else 0,
                reclaimable_bytes=reclaimable,
            )
        return DryRunResult(
            devices={name: use for name, use in found.items() if name is not None},
            host=found[None],
            n_ctx=n_ctx,
            flash_attn=self._log.flash_attention(context.flash_attn),
        )

    def _weight_bytes(self, uses: Sequence[BufferUse]) -> tuple[int, int]:
        """Weights in these buffers, and how much of them the kernel may take back."""
        in_file, used = self._mapped or (0, 0)
        plain = any(use.place.plain for use in uses)
        if self._mapped is None or not plain:
            return sum(use.model_bytes for use in uses), 0
        return in_file + sum(use.model_bytes for use in uses if not use.place.plain), in_file - used

    def _is_mapped(self) -> bool:
        """Whether the real load maps the file: llama.cpp does unless a device cannot load from a mapping."""
        assert self._offload is not None
        return self._offload.use_mmap and all(
            properties(device).caps.mmap_support for device in model_devices(self._model)
        )

    def _mapped_bytes(self) -> tuple[int, int]:
        """What stays mapped of the files, and how much of that are tensors used from there.

        As llama.cpp's get_mapping_range has it: in each file, from the first byte of such a tensor to the last.
        """
        ranges: dict[int, tuple[int, int]] = {}
        used = 0
        for name in {name for name, place in tensor_places(self._model) if place.plain}:
            found = self._skeleton.places.get(name)
            if found is not None:
                ranges[found.part] = _around(ranges.get(found.part), found)
                used += found.size_bytes
        return sum(end - begin for begin, end in ranges.values()), used


def _around(span: tuple[int, int] | None, place: FilePlace) -> tuple[int, int]:
    begin, end = place.offset, place.offset + place.size_bytes
    return (begin, end) if span is None else (min(begin, span[0]), max(end, span[1]))


def _sliding_window_bytes(lines: Sequence[str]) -> Mapping[str | None, int]:
    """Bytes of the sliding-window cache on each device, from how many of its layers llama.cpp puts there."""
    layers: dict[str, int] = {}
    inside = False
    for line in lines:
        if begun := _CACHE.search(line):
            inside = begun.group(1) == "SWA"
        elif inside and (layer := _LAYER.search(line)):
            layers[layer.group(1)] = layers.get(layer.group(1), 0) + 1
        elif inside and (size := _CACHE_SIZE.search(line)):
            a_layer = float(size.group(1)) * (1 << 20) / max(1, int(size.group(2)))
            return {None if name == "CPU" else name: round(a_layer * count) for name, count in layers.items()}
    return {}


def _output_bytes(lines: Sequence[str]) -> int:
    """The buffer of the logits handed to the program: in the host's memory, if pinned by a device's driver."""
    sizes = [match.group(1) for match in map(_OUTPUT.search, lines) if match]
    return round(sum(map(float, sizes)) * (1 << 20))
