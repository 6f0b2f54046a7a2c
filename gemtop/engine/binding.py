"""The one door to llama.cpp: llama-cpp-python's C API, and ggml's through the same library handle.

Nothing else imports llama_cpp. Every C function, those of ggml and gguf included, is called through
`llama_cpp.llama_cpp._lib`: a second CDLL of the same library would be a second, empty registry of devices.
Importing this module loads the library (about 0.1 s), so callers import it on the engine thread.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any


def _c_api() -> Any:
    """The module llama_cpp.llama_cpp alone.

    The package around it imports numpy, jinja2 and a dozen more that gemtop does not use, and that takes longer than
    loading the library. So the package's own code is not run; whoever imports llama_cpp later gets it whole.
    """
    spec = None if "llama_cpp" in sys.modules else find_spec("llama_cpp")
    if spec is not None:
        sys.modules["llama_cpp"] = module_from_spec(spec)
    try:
        import llama_cpp.llama_cpp as api
    finally:
        if spec is not None:
            del sys.modules["llama_cpp"]
    return api


llama: Any = _c_api()
lib: Any = llama._lib

LOAD_MODE_NONE = 0
LOAD_MODE_AUTO = -1

CACHE_TYPE_IDS = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30,
}  # fmt: skip
"""enum ggml_type of the KV cache types in domain.settings.CACHE_TYPES."""

FLASH_ATTN_IDS = {"auto": -1, "off": 0, "on": 1}

DEVICE_KINDS = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accel"}


class GgufInitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


class DeviceCaps(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_bool) for name in ("async_", "host_buffer", "buffer_from_host_ptr", "events", "mmap_support")
    )


class DeviceProps(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("caps", DeviceCaps),
    )


class BackendFeature(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p))


class GgmlInitParams(ctypes.Structure):
    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


AbortMessageCallback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)

_P, _S, _I, _I64, _SZ = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t

_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_set_abort_callback": (_P, [AbortMessageCallback]),
    "ggml_version": (_S, []),
    "ggml_commit": (_S, []),
    "ggml_type_name": (_S, [_I]),
    "ggml_backend_dev_count": (_SZ, []),
    "ggml_backend_dev_get": (_P, [_SZ]),
    "ggml_backend_dev_get_props": (None, [_P, ctypes.POINTER(DeviceProps)]),
    "ggml_backend_dev_backend_reg": (_P, [_P]),
    "ggml_backend_dev_buffer_type": (_P, [_P]),
    "ggml_backend_dev_name": (_S, [_P]),
    "ggml_backend_dev_type": (_I, [_P]),
    "ggml_backend_buft_name": (_S, [_P]),
    "ggml_backend_buft_get_alignment": (_SZ, [_P]),
    "ggml_backend_buft_get_alloc_size": (_SZ, [_P, _P]),
    "ggml_backend_reg_dev_get": (_P, [_P, _SZ]),
    "ggml_backend_buft_get_device": (_P, [_P]),
    "ggml_backend_buft_is_host": (ctypes.c_bool, [_P]),
    "ggml_backend_buffer_get_type": (_P, [_P]),
    "ggml_op_name": (_S, [_I]),
    "ggml_backend_reg_count": (_SZ, []),
    "ggml_backend_reg_get": (_P, [_SZ]),
    "ggml_backend_reg_name": (_S, [_P]),
    "ggml_backend_reg_dev_count": (_SZ, [_P]),
    "ggml_backend_reg_get_proc_address": (_P, [_P, _S]),
    "ggml_backend_register": (None, [_P]),
    "gguf_init_from_file": (_P, [_S, GgufInitParams]),
    "gguf_init_empty": (_P, []),
    "gguf_free": (None, [_P]),
    "gguf_get_data_offset": (_SZ, [_P]),
    "gguf_get_n_kv": (_I64, [_P]),
    "gguf_get_key": (_S, [_P, _I64]),
    "gguf_get_kv_type": (_I, [_P, _I64]),
    "gguf_get_arr_type": (_I, [_P, _I64]),
    "gguf_get_arr_n": (_SZ, [_P, _I64]),
    "gguf_get_arr_str": (_S, [_P, _I64, _SZ]),
    "gguf_get_val_str": (_S, [_P, _I64]),
    "gguf_get_val_bool": (ctypes.c_bool, [_P, _I64]),
    "gguf_get_val_data": (_P, [_P, _I64]),
    "gguf_get_n_tensors": (_I64, [_P]),
    "gguf_get_tensor_name": (_S, [_P, _I64]),
    "gguf_get_tensor_type": (_I, [_P, _I64]),
    "gguf_get_tensor_size": (_SZ, [_P, _I64]),
    "gguf_get_tensor_offset": (_SZ, [_P, _I64]),
    "gguf_get_tensor_ne": (ctypes.POINTER(_I64), [_P, _I64]),
    "gguf_set_val_u32": (None, [_P, _S, ctypes.c_uint32]),
    "gguf_set_val_f32": (None, [_P, _S, ctypes.c_float]),
    "gguf_set_val_str": (None, [_P, _S, _S]),
    "gguf_add_tensor": (None, [_P, _P]),
    "gguf_write_to_file": (ctypes.c_bool, [_P, _S, ctypes.c_bool]),
    "ggml_init": (_P, [GgmlInitParams]),
    "ggml_free": (None, [_P]),
    "ggml_new_tensor_2d": (_P, [_P, _I, _I64, _I64]),
    "ggml_new_tensor_1d": (_P, [_P, _I, _I64]),
    "ggml_set_name": (_P, [_P, _S]),
    "ggml_get_data": (_P, [_P]),
    "ggml_nbytes": (_SZ, [_P]),
    "ggml_row_size": (_SZ, [_I, _I64]),
    "ggml_blck_size": (_I64, [_I]),
    "ggml_is_quantized": (ctypes.c_bool, [_I]),
    "ggml_get_first_tensor": (_P, [_P]),
    "ggml_get_next_tensor": (_P, [_P, _P]),
    "gguf_set_kv": (None, [_P, _P]),
    "gguf_remove_key": (_I64, [_P, _S]),
    "gguf_find_key": (_I64, [_P, _S]),
    "ggml_get_name": (_S, [_P]),
    "ggml_n_dims": (_I, [_P]),
    "ggml_get_tensor": (_P, [_P, _S]),
    "gguf_get_alignment": (_SZ, [_P]),
    "gguf_get_arr_data": (_P, [_P, _I64]),
    "gguf_set_val_bool": (None, [_P, _S, ctypes.c_bool]),
    "gguf_set_arr_data": (None, [_P, _S, _I, _P, _SZ]),
    "gguf_set_arr_str": (None, [_P, _S, ctypes.POINTER(_S), _SZ]),
    "ggml_backend_dev_init": (_P, [_P, _S]),
    "ggml_backend_dev_supports_op": (ctypes.c_bool, [_P, _P]),
    "ggml_backend_free": (None, [_P]),
    "ggml_backend_alloc_ctx_tensors": (_P, [_P, _P]),
    "ggml_backend_buffer_clear": (None, [_P, ctypes.c_uint8]),
    "ggml_backend_buffer_free": (None, [_P]),
    "ggml_backend_graph_compute": (_I, [_P, _P]),
    "ggml_backend_tensor_get": (None, [_P, _P, _SZ, _SZ]),
    "ggml_new_graph_custom": (_P, [_P, _SZ, ctypes.c_bool]),
    "ggml_build_forward_expand": (None, [_P, _P]),
    "ggml_graph_overhead_custom": (_SZ, [_SZ, ctypes.c_bool]),
    "ggml_tensor_overhead": (_SZ, []),
    "ggml_mul_mat": (_P, [_P, _P, _P]),
    "gguf_get_meta_size": (_SZ, [_P]),
    "gguf_get_meta_data": (None, [_P, _P]),
}


@cache
def c(name: str) -> Callable[..., Any]:
    """A C function that llama-cpp-python does not bind, with its prototype set."""
    function = getattr(lib, name)
    function.restype, function.argtypes = _PROTOTYPES[name]
    return function  # type: ignore[no-any-return]


def text(value: bytes | None) -> str:
    return value.decode("utf-8", "replace") if value else ""


@cache
def llama_build() -> str:
    """The llama.cpp build of this process: its version and the wheel that carries it."""
    commit = text(c("ggml_commit")())
    known = f" {commit}" if commit and commit != "unknown" else ""
    return f"llama.cpp {text(llama.llama_version())}{known} (llama-cpp-python {_wheel_version()})"


def _wheel_version() -> str:
    """As llama_cpp/__init__.py has it: importing importlib.metadata for it would take 50 ms."""
    code = Path(llama.__file__).with_name("__init__.py").read_text(encoding="utf-8")
    found = re.search(r"""__version__ = ["'](.+?)["']""", code)
    return found[1] if found else "unknown"


def library_folder() -> Path:
    """Where the libraries of this build lie."""
    return Path(str(llama._base_path))


@cache
def stop_flag_callback() -> Any:
    """An abort callback for llama_decode that reads a flag without entering Python.

    ggml asks it before every node of the graph, hundreds of times a token; a Python function there would
    take the interpreter's lock each time. strlen over a one-character buffer is the same question: 0 for
    "" (go on), 1 for "x" (stop), and a C caller that expects bool reads just that byte.
    """
    return ctypes.cast(ctypes.CDLL(None).strlen, llama.ggml_abort_callback)


class StopFlag:
    """A flag that llama_decode sees within one graph node; `data` goes with stop_flag_callback()."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2)

    @property
    def data(self) -> ctypes.c_void_p:
        return ctypes.cast(self._buffer, ctypes.c_void_p)

    def set(self) -> None:
        self._buffer[0] = b"x"

    def clear(self) -> None:
        self._buffer[0] = b"\0"

    def is_set(self) -> bool:
        return self._buffer[0] != b"\0"


def token_array(tokens: Sequence[int]) -> Any:
    return (llama.llama_token * len(tokens))(*tokens)
