"""What a llama.cpp context takes, asked of llama.cpp itself: bytes by buffer type, and where each tensor lies.

llama.cpp has these answers behind two C++ functions (src/llama-ext.h). The first returns a std::map by value, the
second a reference to a std::vector of pairs; both are read here by the layout that libstdc++ has kept for twenty
years. Only the planner's child process does this: should a build differ, the child dies and the program does not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gemtop.domain.errors import GemtopError
from gemtop.engine.binding import c, lib, text

_MEMORY = "_Z26llama_get_memory_breakdownPK13llama_context"
_TENSORS = "_Z29llama_internal_get_tensor_mapB5cxx11PK11llama_model"
_N_DEVICES = "_Z21llama_model_n_devicesPK11llama_model"
_DEVICE = "_Z22llama_model_get_devicePK11llama_modeli"
_HOST_KINDS = (0, 3)
"""Devices whose memory is the host's: the CPU and accelerators beside it."""


class _StdMap(ctypes.Structure):
    """std::map: comparator, then the header node (colour, root, leftmost, rightmost), then the size."""

    _fields_ = (("words", ctypes.c_void_p * 6),)


@dataclass(frozen=True, slots=True)
class BufferUse:
    """What lies in the buffers of one type."""

    device: str | None
    """The device that owns the memory; None is the host."""
    buffer: str
    model_bytes: int
    context_bytes: int
    compute_bytes: int


def buffer_use(context: int) -> tuple[BufferUse, ...]:
    """Memory of a context and its model by buffer type, exact, of a dry run as of a real load."""
    function = _function(_MEMORY)
    function.restype, function.argtypes = _StdMap, [ctypes.c_void_p]
    found = function(context)
    return tuple(
        BufferUse(device_of(buffer), text(c("ggml_backend_buft_name")(buffer)), *sizes)
        for buffer, *sizes in _nodes(found.words[2])
    )


def tensor_buffers(model: int) -> Iterator[tuple[str, str, str | None]]:
    """(tensor, buffer type, device or None for the host) of every tensor; tied weights come once for each copy."""
    function = _function(_TENSORS)
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    begin, end, _ = (ctypes.c_void_p * 3).from_address(function(model))
    # std::pair<std::string, ggml_tensor *> is 32 + 8 bytes; a tensor's buffer follows its type.
    for address in range(begin or 0, end or 0, 40):
        tensor = ctypes.c_void_p.from_address(address + 32).value or 0
        buffer = ctypes.c_void_p.from_address(tensor + 8).value
        kind = c("ggml_backend_buffer_get_type")(buffer)
        yield text(c("ggml_get_name")(tensor)), text(c("ggml_backend_buft_name")(kind)), device_of(kind)


def model_devices(model: int) -> tuple[int, ...]:
    """The devices a model may be offloaded to, as the C functions take them."""
    count, get = _function(_N_DEVICES), _function(_DEVICE)
    count.restype, count.argtypes = ctypes.c_int32, [ctypes.c_void_p]
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]
    return tuple(get(model, index) for index in range(count(model)))


def device_of(buffer_type: int) -> str | None:
    """llama.cpp's name of the device that owns a buffer type's memory; None is the host."""
    device = c("ggml_backend_buft_get_device")(buffer_type)
    if not device or c("ggml_backend_buft_is_host")(buffer_type) or c("ggml_backend_dev_type")(device) in _HOST_KINDS:
        return None
    return text(c("ggml_backend_dev_name")(device))


def _nodes(node: int | None) -> Iterator[tuple[int, int, int, int]]:
    """The values of a red-black tree in order: (buffer type, model, context, compute)."""
    if not node:
        return
    # colour, parent, left, right, then the key and the three sizes
    words = (ctypes.c_size_t * 8).from_address(node)
    yield from _nodes(words[2])
    yield words[4], words[5], words[6], words[7]
    yield from _nodes(words[3])


def _function(symbol: str) -> Any:
    try:
        return getattr(lib, symbol)
    except AttributeError:
        raise GemtopError(
            "this llama.cpp build does not say what memory it would take; planning needs llama-cpp-python 0.3.36, "
            "or a later one that still has llama_get_memory_breakdown"
        ) from None
