"""Cards that are not in this machine: devices on paper, for llama.cpp to plan on.

A backend of ggml is a table of functions. The one made here owns no memory and computes nothing; it answers what
llama.cpp asks while it plans a load without allocating: how much memory there is, which operations run here, how
buffers are aligned and padded. The answers are those of ggml's CUDA backend (ggml/src/ggml-cuda/ggml-cuda.cu),
for a card with matrix cores. Used only in the planner's child process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from gemtop.domain.errors import GemtopError
from gemtop.engine.binding import DeviceProps, c

_API_VERSION = 2
"""GGML_BACKEND_API_VERSION of the tables below (ggml/src/ggml-backend-impl.h)."""
_GPU = 1
_ALIGNMENT = 128
_ROW_PADDING = 512
_OFFLOAD_MIN_BATCH = 32
_F16 = 1
_OPERATIONS = 96
"""Operations whose names may be asked for; there are a few more."""

_P, _S, _SZ = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
_SIZES = ctypes.POINTER(ctypes.c_size_t)


# Tables of function pointers; a slot that stays empty is an optional function that is not there.
_BufferTypeTable, _DeviceTable, _BackendTable, _RegistryTable = _P * 6, _P * 15, _P * 16, _P * 4


class _BufferType(ctypes.Structure):
    _fields_ = (("table", _BufferTypeTable), ("device", _P), ("context", _P))


class _Device(ctypes.Structure):
    _fields_ = (("table", _DeviceTable), ("registry", _P), ("context", _P))


class _Backend(ctypes.Structure):
    _fields_ = (("guid", _P), ("table", _BackendTable), ("device", _P), ("context", _P))


class _Event(ctypes.Structure):
    _fields_ = (("device", _P), ("context", _P))


class _Registry(ctypes.Structure):
    _fields_ = (("api_version", ctypes.c_int), ("table", _RegistryTable), ("context", _P))


class _Tensor(ctypes.Structure):
    """The first fields of ggml_tensor."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", _P),
        ("ne", ctypes.c_int64 * 4),
        ("nb", _SZ * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", _P * 10),
    )


_kept: list[Any] = []
"""The registry in force and all it points to: ggml keeps the pointers for good."""


def add_paper_devices(memory_bytes: Sequence[int]) -> tuple[str, ...]:
    """Put a device of each of these sizes into ggml's registry; their names. Once a process."""
    known = c("ggml_backend_reg_get")(0)
    if not known or ctypes.c_int.from_address(known).value != _API_VERSION:
        raise GemtopError("--gpu-memory: gemtop does not know the backend interface of this llama.cpp build")
    registry = _Registry(api_version=_API_VERSION)
    devices = [_PaperDevice(f"GPU{index}", size, registry) for index, size in enumerate(memory_bytes)]
    addresses = [ctypes.addressof(device.device) for device in devices]
    _fill(
        registry.table,
        {
            0: _function(_S, lambda _reg: b"Paper", _P),
            1: _function(_SZ, lambda _reg: len(devices), _P),
            2: _function(_P, lambda _reg, index: addresses[index], _P, _SZ),
            3: _function(_P, lambda _reg, _name: None, _P, _S),
        },
    )
    _kept.extend((registry, devices))
    c("ggml_backend_register")(ctypes.addressof(registry))
    return tuple(device.name for device in devices)


class _PaperDevice:
    """One card: its device, buffer type and backend tables."""

    def __init__(self, name: str, memory_bytes: int, registry: _Registry) -> None:
        self.name = name
        self._memory_bytes = memory_bytes
        self._flash_attention = _operation(b"FLASH_ATTN_EXT")
        self._get_rows, self._mul_mat = _operation(b"GET_ROWS"), _operation(b"MUL_MAT")
        self.device = _Device(registry=ctypes.addressof(registry))
        address = ctypes.addressof(self.device)
        self._buffer_type = _BufferType(device=address)
        self._backend = _Backend(device=address)
        self._guid = ctypes.create_string_buffer(name.encode(), 16)
        self._backend.guid = ctypes.addressof(self._guid)
        self._event = _Event(device=address)
        self._fill_tables()

    def _fill_tables(self) -> None:
        encoded = self.name.encode()
        _fill(
            self._buffer_type.table,
            {
                0: _function(_S, lambda _type: encoded, _P),
                2: _function(_SZ, lambda _type: _ALIGNMENT, _P),
                4: _function(_SZ, lambda _type, tensor: self._allocated_size(tensor), _P, _P),
            },
        )
        _fill(
            self._backend.table,
            {
                0: _function(_S, lambda _backend: encoded, _P),
                1: _function(None, lambda _backend: None, _P),
                7: _function(None, lambda _backend: None, _P),  # synchronize
            },
        )
        type_address = ctypes.addressof(self._buffer_type)
        _fill(
            self.device.table,
            {
                0: _function(_S, lambda _dev: encoded, _P),
                1: _function(_S, lambda _dev: b"a card on paper", _P),
                2: _function(None, self._memory, _P, _SIZES, _SIZES),
                3: _function(ctypes.c_int, lambda _dev: _GPU, _P),
                4: _function(None, self._properties, _P, ctypes.POINTER(DeviceProps)),
                5: _function(_P, lambda _dev, _params: ctypes.addressof(self._backend), _P, _S),
                6: _function(_P, lambda _dev: type_address, _P),
                9: _function(ctypes.c_bool, lambda _dev, _op: True, _P, _P),
                10: _function(ctypes.c_bool, lambda _dev, kind: kind == type_address, _P, _P),
                11: _function(ctypes.c_bool, lambda _dev, op: self._takes_over(op), _P, _P),
                12: _function(_P, lambda _dev: ctypes.addressof(self._event), _P),
                13: _function(None, lambda _dev, _event: None, _P, _P),
                14: _function(None, lambda _dev, _event: None, _P, _P),
            },
        )

    def _memory(self, _device: int, free: Any, total: Any) -> None:
        free[0] = total[0] = self._memory_bytes

    def _properties(self, _device: int, properties: Any) -> None:
        found = properties.contents
        found.name = self.name.encode()
        found.description = b"a card on paper"
        found.memory_free = found.memory_total = self._memory_bytes
        found.type = _GPU
        found.device_id = None
        for able in ("async_", "host_buffer", "events", "mmap_support"):
            setattr(found.caps, able, True)
        found.caps.buffer_from_host_ptr = False

    def _allocated_size(self, address: int) -> int:
        """Rows of quantised tensors are padded; flash attention converts a quantised cache to f16 beside it."""
        tensor = _Tensor.from_address(address)
        size = int(c("ggml_nbytes")(address))
        if tensor.op == self._flash_attention:
            for source in (tensor.src[1], tensor.src[2]):
                cache = _Tensor.from_address(source)
                if cache.type != _F16:
                    values = cache.ne[0] * cache.ne[1] * cache.ne[2] * cache.ne[3]
                    size += 2 * values + _ALIGNMENT
        over = tensor.ne[0] % _ROW_PADDING
        if over and c("ggml_is_quantized")(tensor.type):
            size += int(c("ggml_row_size")(tensor.type, _ROW_PADDING - over))
        return size

    def _takes_over(self, address: int) -> bool:
        """Large batches are worth moving weights of the CPU's layers here for."""
        tensor = _Tensor.from_address(address)
        if tensor.op == self._get_rows:
            return False
        rows = tensor.ne[1] if tensor.op == self._mul_mat else tensor.ne[1] * tensor.ne[2] * tensor.ne[3]
        return bool(rows >= _OFFLOAD_MIN_BATCH)


def _function(result: Any, body: Callable[..., Any], *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(result, *arguments)(body)


def _fill(table: Any, functions: dict[int, Any]) -> None:
    for slot, function in functions.items():
        _kept.append(function)
        table[slot] = ctypes.cast(function, _P).value


def _operation(name: bytes) -> int:
    """The number ggml gives an operation in this build."""
    for number in range(_OPERATIONS):
        if c("ggml_op_name")(number) == name:
            return number
    raise GemtopError(f"--gpu-memory: this llama.cpp build has no operation {name.decode()}")
