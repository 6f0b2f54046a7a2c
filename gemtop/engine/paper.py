"""Devices on paper, for llama.cpp to plan on: cards that are not in this machine, and those of busy RPC servers.

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
from gemtop.engine.binding import CACHE_TYPE_IDS, DeviceProps, c
from gemtop.engine.stand_ins import StandIn

_API_VERSION = 2
"""GGML_BACKEND_API_VERSION of the tables below (ggml/src/ggml-backend-impl.h)."""
_GPU = 1
_PADDING = 128
"""Of what is put behind a tensor."""
_ROW_PADDING = 512
_OFFLOAD_MIN_BATCH = 32
_F16 = CACHE_TYPE_IDS["f16"]
_FLASH_TYPES = {CACHE_TYPE_IDS[name] for name in ("f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0")}
_FLASH_HEADS = (40, 64, 72, 80, 96, 112, 128, 256, 512)
"""Caches and sizes of a head that CUDA's flash attention takes (ggml_cuda_get_best_fattn_kernel in fattn.cu)."""
_OPERATIONS = 96
"""Operations whose names may be asked for; there are a few more."""

_P, _SZ = ctypes.c_void_p, ctypes.c_size_t
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


_OP, _NE = _Tensor.op.offset, _Tensor.ne.offset

_kept: list[Any] = []
"""The registry in force and all it points to: ggml keeps the pointers for good."""


def add_devices(stand_ins: Sequence[StandIn], registry_name: str) -> None:
    """Put these devices into ggml's registry, for good. `registry_name` is "RPC" for those llama.cpp takes first."""
    known = c("ggml_backend_reg_get")(0)
    if not known or ctypes.c_int.from_address(known).value != _API_VERSION:
        raise GemtopError("gemtop does not know the backend interface of this llama.cpp build, to plan on it")
    registry = _Registry(api_version=_API_VERSION)
    devices = [_PaperDevice(stand_in, registry) for stand_in in stand_ins]
    name = _c_text(registry_name)
    addresses = [ctypes.addressof(device.device) for device in devices]
    _fill(
        registry.table,
        {
            0: _function(_P, lambda _reg: name, _P),
            1: _function(_SZ, lambda _reg: len(devices), _P),
            2: _function(_P, lambda _reg, index: addresses[index], _P, _SZ),
            3: _function(_P, lambda _reg, _name: None, _P, _P),
        },
    )
    _kept.extend((registry, devices))
    c("ggml_backend_register")(ctypes.addressof(registry))


class _PaperDevice:
    """One card: its device, buffer type and backend tables."""

    def __init__(self, stand_in: StandIn, registry: _Registry) -> None:
        self._is = stand_in
        self._name, self._description = _c_text(stand_in.name), _c_text(stand_in.description)
        self._flash_attention = _operation(b"FLASH_ATTN_EXT")
        self._get_rows, self._mul_mat = _operation(b"GET_ROWS"), _operation(b"MUL_MAT")
        self._by_third_size = {_operation(b"MUL_MAT_ID"), _operation(b"ROPE")}
        self.device = _Device(registry=ctypes.addressof(registry))
        address = ctypes.addressof(self.device)
        self._buffer_type = _BufferType(device=address)
        self._backend = _Backend(device=address)
        self._guid = ctypes.create_string_buffer(stand_in.name.encode()[:15], 16)
        self._backend.guid = ctypes.addressof(self._guid)
        self._event = _Event(device=address)
        self._fill_tables()

    def _fill_tables(self) -> None:
        name, description, stand_in = self._name, self._description, self._is
        _fill(
            self._buffer_type.table,
            {0: _function(_P, lambda _type: name, _P), 2: _function(_SZ, lambda _type: stand_in.alignment, _P)},
        )
        if stand_in.pads_rows:
            _fill(self._buffer_type.table, {4: _function(_SZ, self._allocated_size(), _P, _P)})
        _fill(
            self._backend.table,
            {
                0: _function(_P, lambda _backend: name, _P),
                1: _function(None, lambda _backend: None, _P),
                7: _function(None, lambda _backend: None, _P),  # synchronize
            },
        )
        type_address = ctypes.addressof(self._buffer_type)
        _fill(
            self.device.table,
            {
                0: _function(_P, lambda _dev: name, _P),
                1: _function(_P, lambda _dev: description, _P),
                2: _function(None, self._memory, _P, _SIZES, _SIZES),
                3: _function(ctypes.c_int, lambda _dev: _GPU, _P),
                4: _function(None, self._properties, _P, ctypes.POINTER(DeviceProps)),
                5: _function(_P, lambda _dev, _params: ctypes.addressof(self._backend), _P, _P),
                6: _function(_P, lambda _dev: type_address, _P),
                9: _function(ctypes.c_bool, self._computes(), _P, _P),
                10: _function(ctypes.c_bool, lambda _dev, kind: kind == type_address, _P, _P),
                12: _function(_P, lambda _dev: ctypes.addressof(self._event), _P),
                13: _function(None, lambda _dev, _event: None, _P, _P),
                14: _function(None, lambda _dev, _event: None, _P, _P),
            },
        )
        if not stand_in.remote:
            _fill(self.device.table, {11: _function(ctypes.c_bool, self._takes_over, _P, _P)})

    def _memory(self, _device: int, free: Any, total: Any) -> None:
        free[0], total[0] = self._is.free_bytes, self._is.total_bytes

    def _properties(self, _device: int, properties: Any) -> None:
        found = properties.contents
        found.name, found.description = self._is.name.encode(), self._is.description.encode()
        self._read_last = found.name, found.description  # what is pointed to has to stay
        found.memory_free, found.memory_total = self._is.free_bytes, self._is.total_bytes
        found.type = _GPU
        found.device_id = None
        for able in ("async_", "events", "mmap_support"):
            setattr(found.caps, able, True)
        found.caps.host_buffer, found.caps.buffer_from_host_ptr = not self._is.remote, False

    def _computes(self) -> Callable[[int, int], bool]:
        """Whether an operation runs here; those of Gemma all do, but for flash attention over some caches.

        Asked twenty thousand times a context, so all it needs is bound to it.
        """
        flash_attention, remote, integer = self._flash_attention, self._is.remote, ctypes.c_int.from_address

        def computes(_device: int, address: int) -> bool:
            if integer(address + _OP).value != flash_attention or remote:
                return True
            k, v = (_Tensor.from_address(source) for source in _Tensor.from_address(address).src[1:3])
            return {k.type, v.type} <= _FLASH_TYPES and k.ne[0] == v.ne[0] and k.ne[0] in _FLASH_HEADS

        return computes

    def _allocated_size(self) -> Callable[[int, int], int]:
        """With CUDA, rows of quantised tensors are padded, and flash attention puts a cache of another type by as f16.

        Asked ten thousand times a context, so it looks at few fields.
        """
        flash_attention, n_bytes, quantised = self._flash_attention, c("ggml_nbytes"), c("ggml_is_quantized")
        integer, long = ctypes.c_int.from_address, ctypes.c_int64.from_address

        def allocated_size(_type: int, address: int) -> int:
            size: int = n_bytes(address)
            if integer(address + _OP).value == flash_attention:
                for source in _Tensor.from_address(address).src[1:3]:
                    cache = _Tensor.from_address(source)
                    if cache.type != _F16:
                        size = -(-size // _PADDING) * _PADDING
                        size += 2 * cache.ne[0] * cache.ne[1] * cache.ne[2] * cache.ne[3]
            over = long(address + _NE).value % _ROW_PADDING
            if over:
                kind = integer(address).value
                if kind > _F16 and quantised(kind):
                    size += int(c("ggml_row_size")(kind, _ROW_PADDING - over))
            return size

        return allocated_size

    def _takes_over(self, _device: int, address: int) -> bool:
        """Large batches are worth moving weights of the CPU's layers here for."""
        tensor = _Tensor.from_address(address)
        if tensor.op == self._get_rows:
            return False
        if tensor.op == self._mul_mat:
            rows = tensor.ne[1]
        elif tensor.op in self._by_third_size:
            rows = tensor.ne[2]
        else:
            rows = tensor.ne[1] * tensor.ne[2] * tensor.ne[3]
        return bool(rows >= _OFFLOAD_MIN_BATCH)


def _function(result: Any, body: Callable[..., Any], *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(result, *arguments)(body)


def _fill(table: Any, functions: dict[int, Any]) -> None:
    for slot, function in functions.items():
        _kept.append(function)
        table[slot] = ctypes.cast(function, _P).value


def _c_text(words: str) -> int:
    """The address of a text that stays."""
    _kept.append(ctypes.create_string_buffer(words.encode()))
    return ctypes.addressof(_kept[-1])


def _operation(name: bytes) -> int:
    """The number ggml gives an operation in this build."""
    for number in range(_OPERATIONS):
        if c("ggml_op_name")(number) == name:
            return number
    raise GemtopError(f"this llama.cpp build has no operation {name.decode()}, to plan on it")
