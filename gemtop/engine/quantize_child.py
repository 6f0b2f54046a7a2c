"""The child of quantize.py: runs llama.cpp's quantiser, or has it say what it would do.

`python -m gemtop.engine.quantize_child`. llama_model_quantize cannot be interrupted, and aborts on some files.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gemtop.domain.errors import BadInputError
from gemtop.domain.log_line import LogLine
from gemtop.domain.quantization import EMBEDDINGS, OUTPUT
from gemtop.domain.text import one_line
from gemtop.engine import abort
from gemtop.engine.binding import c, llama, text
from gemtop.engine.child import answer, asked, gave_up
from gemtop.engine.gguf import read_header
from gemtop.engine.imatrix import Imatrix, as_pointers, read_imatrix
from gemtop.engine.log import EngineLog
from gemtop.engine.output import SYNC_BYTES

_BEGIN = re.compile(r"\[ *\d+/ *\d+\] (?P<name>.+?) - \[ *(?P<shape>[\d, ]+)\], type = (?P<type>\S+),")
_AFTER = re.compile(r"converting to (\S+) \.\.|-> [\d.]+ MiB \((\S+)\)")
_END = re.compile(r"size = [\d.]+ MiB")
_FALLBACK = re.compile(r"not divisible by (\d+) \(required for type (\S+)\).*-> falling back to (\S+)")
_FAILED = re.compile(r"failed to quantize: (.*)")
_NOT_WRITTEN = re.compile(r"iostream|basic_ios|ofstream")
"""What the C++ library says where a file cannot be written: never why."""

_BUFFER_BYTES = 1 << 30
"""Of the rows of a tensor at once, before and after: the embedding of a 27B would take 9 GB. The result is the same."""
_LONGEST_VALUE = 127
"""Bytes of a text that llama_model_kv_override has room for."""
_INT, _BOOL, _STR = 0, 2, 3
"""Of enum llama_model_kv_override_type."""
_NEED_IMPORTANCE = ("iq2_xxs", "iq2_xs", "iq1_s")
"""ggml aborts where it is to quantise to these without (ggml_quantize_requires_imatrix)."""
_PROBE_BYTES = 1 << 16


class Parameters:
    """llama_model_quantize_params, and what its pointers lead to."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        """Raises BadInputError for an importance matrix that cannot be used, and for types that tensors cannot have."""
        self.struct = llama.llama_model_quantize_default_params()
        self.type_ids = {text(c("ggml_type_name")(number)): number for number in range(self.struct.output_tensor_type)}
        self._imatrix = read_imatrix(request["imatrix"]) if request["imatrix"] else None
        self._check_tensors(request)
        self.struct.nthread = request["n_threads"]
        self.struct.ftype = request["file_type"]
        self.struct.allow_requantize = request["allow_requantize"]
        self.struct.quantize_output_tensor = not request["leave_output_tensor"]
        self.struct.pure = request["pure"]
        self.struct.dry_run = request["target"] is None
        self.struct.max_buf_size = _BUFFER_BYTES
        for field in ("token_embedding_type", "output_tensor_type"):
            if request[field] is not None:
                setattr(self.struct, field, self.type_ids[request[field]])
        if self._imatrix is not None:
            self._pointers = as_pointers(self._imatrix, llama.llama_model_imatrix_data, ctypes.POINTER(ctypes.c_float))
            self.struct.imatrix = self._pointers
        self._overrides = _overrides([*request["keys"], *_imatrix_keys(request["imatrix"], self._imatrix)])
        self.struct.kv_overrides = self._overrides

    def _check_tensors(self, request: Mapping[str, Any]) -> None:
        widths: dict[str, int] = {}
        header = read_header(request["source"], lambda context: widths.update(_widths(context)))
        if self._imatrix is not None and not self._imatrix.values.keys() & widths.keys():
            raise BadInputError(
                f"{one_line(request['imatrix'])} is of another model: it has nothing for any tensor of "
                f"{one_line(header.name)}"
            )
        for field, names in (("token_embedding_type", EMBEDDINGS), ("output_tensor_type", (OUTPUT,))):
            for name in names:
                if request[field] is not None and name in widths:
                    self._check_type(request[field], name, widths[name])

    def _check_type(self, type_name: str, tensor: str, width: int) -> None:
        """llama.cpp makes a tensor what it is told to, and aborts where that cannot be."""
        block = int(c("ggml_blck_size")(self.type_ids[type_name]))
        if width % block:
            raise BadInputError(
                f"{tensor} cannot be {type_name}: its rows of {width:,} weights do not divide into blocks of {block}"
            )
        if type_name in _NEED_IMPORTANCE and (self._imatrix is None or tensor not in self._imatrix.values):
            raise BadInputError(f"{tensor} can be {type_name} only with an importance matrix that has it")


class Reader:
    """Reads llama.cpp's log of a quantisation, tensor by tensor."""

    def __init__(self, type_ids: Mapping[str, int], on_tensor: Callable[[dict[str, Any]], None]) -> None:
        self._type_ids = type_ids
        self._on_tensor = on_tensor
        self._begun: re.Match[str] | None = None
        self._after: str | None = None
        self.fallbacks: dict[tuple[str, int, str], int] = {}
        """By the type that was wanted, its block and what the tensor became: how many."""
        self.n_without_imatrix = 0
        self.needs_imatrix = False
        self.failure: str | None = None

    def __call__(self, line: LogLine) -> None:
        words = line.text
        begun = _BEGIN.search(words)
        if begun:
            self._begun, self._after = begun, None
        if self._begun is not None:
            after = _AFTER.search(words)
            self._after = (after[1] or after[2]) if after else self._after
            if _END.search(words):
                self._on_tensor(self._tensor(self._begun))
                self._begun = None
        fallback = _FALLBACK.search(words)
        if fallback:
            key = (fallback[2], int(fallback[1]), fallback[3])
            self.fallbacks[key] = self.fallbacks.get(key, 0) + 1
        self.n_without_imatrix += "did not find weights for" in words
        self.needs_imatrix |= "will require an imatrix" in words
        failed = _FAILED.search(words)
        if failed:
            self.failure = failed[1]

    def _tensor(self, begun: re.Match[str]) -> dict[str, Any]:
        width, *others = (int(length) for length in begun["shape"].split(","))
        after = self._after or begun["type"]
        size = int(c("ggml_row_size")(self._type_ids[after], width))
        for length in others:
            size *= length
        return {"name": begun["name"], "before": begun["type"], "after": after, "size_bytes": size}


class Syncer:
    """Brings what is written to the disk while it grows, and finds out why it cannot be written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsynced = 0
        self._problem: OSError | None = None

    def wrote(self, n_bytes: int) -> None:
        self._unsynced += n_bytes
        if self._unsynced >= SYNC_BYTES:
            self._unsynced = 0
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                self._problem = error

    def finish(self) -> None:
        """Raises OSError where something did not reach the disk."""
        if self._problem is not None:
            raise self._problem
        os.fsync(self._descriptor)

    def why_not_written(self) -> OSError | None:
        """What the system says to a few more bytes."""
        try:
            os.pwrite(self._descriptor, bytes(_PROBE_BYTES), os.fstat(self._descriptor).st_size)
        except OSError as error:
            return error
        return None


def main() -> None:
    target: str | None = None

    def forget() -> None:
        if target is not None:
            with contextlib.suppress(OSError):
                Path(target).unlink()

    request = asked(forget)
    target = request["target"]
    abort.install(gave_up)
    try:
        parameters = Parameters(request)
    except BadInputError as error:
        answer(error=str(error), bad_input=True)
        return
    syncer = Syncer(request["descriptor"]) if target is not None else None

    def on_tensor(tensor: dict[str, Any]) -> None:
        answer(tensor=tensor)
        if syncer is not None:
            syncer.wrote(tensor["size_bytes"])

    reader = Reader(parameters.type_ids, on_tensor)
    log = EngineLog(reader)
    log.install()
    llama.llama_backend_init()
    code = llama.llama_model_quantize(
        os.fsencode(request["source"]), os.fsencode(target or ""), ctypes.byref(parameters.struct)
    )
    if code:
        _say_why(reader.failure or log.last_error(), syncer)
        return
    if syncer is not None:
        try:
            syncer.finish()
        except OSError as error:
            answer(errno=error.errno, error=error.strerror)
            return
    fallbacks = [[*key, count] for key, count in reader.fallbacks.items()]
    answer(
        done=True, fallbacks=fallbacks, needs_imatrix=reader.needs_imatrix, n_without_imatrix=reader.n_without_imatrix
    )


def _say_why(failure: str, syncer: Syncer | None) -> None:
    cause = syncer.why_not_written() if syncer is not None and _NOT_WRITTEN.search(failure) else None
    if cause is not None:
        answer(errno=cause.errno, error=cause.strerror)
    else:
        answer(error=f"llama.cpp cannot quantise it: {failure}")


def _widths(context: int) -> dict[str, int]:
    """By tensor, the weights in a row."""
    return {
        text(c("gguf_get_tensor_name")(context, index)): int(c("gguf_get_tensor_ne")(context, index)[0])
        for index in range(c("gguf_get_n_tensors")(context))
    }


def _imatrix_keys(path: str | None, imatrix: Imatrix | None) -> list[tuple[str, str | int]]:
    """What llama-quantize writes of an importance matrix; of its path only the name."""
    if path is None or imatrix is None:
        return []
    keys: list[tuple[str, str | int]] = [("quantize.imatrix.file", os.path.basename(path))]  # noqa: PTH119
    if imatrix.dataset:
        keys.append(("quantize.imatrix.dataset", imatrix.dataset))
    keys.append(("quantize.imatrix.entries_count", len(imatrix.values)))
    if imatrix.n_chunks:
        keys.append(("quantize.imatrix.chunks_count", imatrix.n_chunks))
    return keys


def _overrides(keys: Sequence[tuple[str, str | int | bool]]) -> Any:
    """Keys for the file's metadata, as an array that ends with an empty one."""
    array = (llama.llama_model_kv_override * (len(keys) + 1))()
    for override, (key, value) in zip(array, keys, strict=False):
        override.key = key.encode()
        if isinstance(value, bool):
            override.tag, override.value.val_bool = _BOOL, value
        elif isinstance(value, int):
            override.tag, override.value.val_i64 = _INT, value
        else:
            override.tag, override.value.val_str = _STR, _cut(value)
    return array


def _cut(value: str) -> bytes:
    """As much of a text as there is room for: its beginning and its end, which tell names apart."""
    data = value.encode("utf-8", "replace")
    if len(data) <= _LONGEST_VALUE:
        return data
    ellipsis = "…".encode()
    half = (_LONGEST_VALUE - len(ellipsis)) // 2
    begin, end = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return begin.encode() + ellipsis + end.encode()


if __name__ == "__main__":
    main()
