"""What a llama.cpp context takes, asked of llama.cpp itself: bytes by buffer type, and where each tensor lies.

llama.cpp has these answers behind C++ functions (src/llama-ext.h). One returns a std::map by value, another a
reference to a std::vector of pairs; both are read here by the layout that libstdc++ has kept for twenty years. Only
the planner's child process does this: should a build differ, the child dies and the program does not.
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
_PAIR_BYTES, _TENSOR_OFFSET = 40, 32
"""std::pair<std::string, ggml_tensor *>."""
_BUFFER_OFFSET = 8
"""Of ggml_tensor's buffer, after its type."""


class _StdMap(ctypes.Structure):
    """std::map: comparator, then the header node (colour, root, leftmost, rightmost), then the size."""

    _fields_ = (("words", ctypes.c_void_p * 6),)


@dataclass(frozen=True, slots=True)
class Place:
    """A type of buffers."""

    device: str | None
    """llama.cpp's name of the device that owns the memory; None is the host."""
    plain: bool
    """The host's memory with tensors as they are in the file, for which a mapped file can stand in."""


@dataclass(frozen=True, slots=True)
class BufferUse:
    """What lies in the buffers of one type."""

    place: Place
    model_bytes: int
    context_bytes: int
    compute_bytes: int


def buffer_use(context: int) -> tuple[BufferUse, ...]:
    """Memory of a context and its model by buffer type, exact, of a dry run as of a real load."""
    found = _function(_MEMORY, _StdMap, ctypes.c_void_p)(context)
    return tuple(BufferUse(_place(buffer), *sizes) for buffer, *sizes in _nodes(found.words[2]))


def tensor_places(model: int) -> Iterator[tuple[str, Place]]:
    """Where each tensor lies; tied weights come once for each copy."""
    vector = _function(_TENSORS, ctypes.c_void_p, ctypes.c_void_p)(model)
    begin, end, _ = (ctypes.c_void_p * 3).from_address(vector)
    places: dict[int, Place] = {}
    for address in range(begin or 0, end or 0, _PAIR_BYTES):
        tensor = ctypes.c_void_p.from_address(address + _TENSOR_OFFSET).value or 0
        kind = c("ggml_backend_buffer_get_type")(ctypes.c_void_p.from_address(tensor + _BUFFER_OFFSET).value)
        if kind not in places:
            places[kind] = _place(kind)
        yield text(c("ggml_get_name")(tensor)), places[kind]


def model_devices(model: int) -> tuple[int, ...]:
    """The devices a model may be offloaded to, as the C functions take them."""
    count = _function(_N_DEVICES, ctypes.c_int32, ctypes.c_void_p)(model)
    get = _function(_DEVICE, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
    return tuple(get(model, index) for index in range(count))


def _place(buffer_type: int) -> Place:
    device = c("ggml_backend_buft_get_device")(buffer_type)
    if c("ggml_backend_buft_is_host")(buffer_type):
        return Place(None, plain=True)
    if not device or c("ggml_backend_dev_type")(device) in _HOST_KINDS:
        return Place(None, plain=False)
    return Place(text(c("ggml_backend_dev_name")(device)), plain=False)


def _nodes(node: int | None) -> Iterator[tuple[int, int, int, int]]:
    """The values of a red-black tree in order: (buffer type, model, context, compute)."""
    if not node:
        return
    # colour, parent, left, right, then the key and the three sizes
    words = (ctypes.c_size_t * 8).from_address(node)
    yield from _nodes(words[2])
    yield words[4], words[5], words[6], words[7]
    yield from _nodes(words[3])


def _function(symbol: str, result: Any, *arguments: Any) -> Any:
    try:
        function = getattr(lib, symbol)
    except AttributeError:
        raise GemtopError(
            "this llama.cpp build does not say what memory it would take; planning needs llama-cpp-python 0.3.36, "
            "or a later one that still has llama_get_memory_breakdown"
        ) from None
    function.restype, function.argtypes = result, arguments
    return function
