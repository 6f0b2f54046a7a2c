"""LoRA adapters of a loaded model: read once each, switched on and off without loading anything again."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemtop.domain.errors import BadInputError
from gemtop.domain.model import ModelHeader
from gemtop.domain.settings import LoraAdapter
from gemtop.domain.text import one_line
from gemtop.engine.binding import llama
from gemtop.engine.files import show
from gemtop.engine.gguf import read_header
from gemtop.engine.log import EngineLog


class Adapters:
    """The adapters read for one model; llama.cpp frees them with it."""

    def __init__(self, model: Any, header: ModelHeader, log: EngineLog) -> None:
        self._model, self._header, self._log = model, header, log
        self._read: dict[str, Any] = {}

    def use(self, context: Any, lora: Sequence[LoraAdapter]) -> None:
        """Put these in force on a context, in place of those before; a scale of 0 is off.

        Raises BadInputError for a file that is no adapter of this model.
        """
        handles = [(self._handle(adapter.path), adapter.scale) for adapter in lora]
        active = [(handle, scale) for handle, scale in handles if scale]
        array = (llama.llama_adapter_lora_p_ctypes * len(active))(*[handle for handle, _ in active])
        scales = (ctypes.c_float * len(active))(*[scale for _, scale in active])
        if llama.llama_set_adapters_lora(context, array, len(active), scales):
            raise BadInputError(f"llama.cpp does not take these adapters: {self._log.last_error()}")

    def _handle(self, path: str) -> Any:
        known = str(Path(path).resolve())
        if known not in self._read:
            self._read[known] = read_adapter(path, self._model, self._header, self._log)
        return self._read[known]


def read_adapter(path: str, model: Any, header: ModelHeader, log: EngineLog) -> Any:
    """llama.cpp's handle of an adapter, freed with the model. Raises BadInputError for what is none of this model."""
    _check(path, header)
    log.start_capture()
    handle = llama.llama_adapter_lora_init(model, os.fsencode(path))
    if not handle:
        raise BadInputError(f"{show(Path(path))} is no LoRA adapter of {one_line(header.name)}: {log.last_error()}")
    return handle


def _check(path: str, model: ModelHeader) -> None:
    """What llama.cpp would say less clearly."""
    header = read_header(path)
    if header.metadata.get("general.type") != "adapter":
        raise BadInputError(f"{show(Path(path))} is not a LoRA adapter; give one in llama.cpp's GGUF format")
    if header.architecture != model.architecture:
        raise BadInputError(
            f"{show(Path(path))} is an adapter for {one_line(header.architecture)}, and the model is "
            f"{one_line(model.architecture)}; give one that was trained on this model"
        )
