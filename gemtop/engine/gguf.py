"""GGUF headers through ggml's own reader, and what can be said of a file before it is loaded."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemtop.domain.classify import kind_of
from gemtop.domain.errors import BadInputError
from gemtop.domain.model import ModelHeader, TensorInfo
from gemtop.domain.text import one_line
from gemtop.engine.binding import GgufInitParams, c, text
from gemtop.engine.files import check_file, show
from gemtop.engine.stores import ollama
from gemtop.engine.stores.stored import exists, part_name, split_part

_SCALARS: dict[int, Any] = {
    0: ctypes.c_uint8, 1: ctypes.c_int8, 2: ctypes.c_uint16, 3: ctypes.c_int16, 4: ctypes.c_uint32,
    5: ctypes.c_int32, 6: ctypes.c_float, 10: ctypes.c_uint64, 11: ctypes.c_int64, 12: ctypes.c_double,
}  # fmt: skip
"""enum gguf_type to the C type of a scalar value."""
_BOOL, _STRING, _ARRAY = 7, 8, 9

_LONGEST_LIST = 64
"""String arrays up to this length are kept (tags, languages); the vocabulary is not."""

_SAMPLE_BYTES = 64 * 1024
_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class _Part:
    """One file: a whole model, or a part of a split one."""

    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]
    parameters: int
    size_bytes: int
    fingerprint: str


def read_header(path: str | Path, visit: Callable[[int], None] = lambda _: None) -> ModelHeader:
    """The header of a GGUF file, in some tens of milliseconds even for a 27B; of a split one, all parts together.

    `visit` is given the gguf_context of each part, to read or to use up. Raises BadInputError with one line for what
    is not a whole, readable GGUF file, or not the first of its parts.
    """
    file = Path(path)
    first = _read(file, visit)
    parts = [first, *(_read(part, visit) for part in _further_parts(file, first))]
    promised = first.metadata.get("split.tensors.count")
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    if len(parts) > 1 and isinstance(promised, int) and promised != len(tensors):
        raise BadInputError(
            f"the parts of {show(file)} do not belong together: {len(tensors)} of {promised} tensors are in them"
        )
    prints = [part.fingerprint for part in parts]
    return ModelHeader(
        path=str(file),
        size_bytes=sum(part.size_bytes for part in parts),
        metadata=first.metadata,
        tensors=tensors,
        parameters=sum(part.parameters for part in parts),
        fingerprint=prints[0] if len(prints) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest(),
        known_as=ollama.name_of(file),
    )


def header_in(context: int, file: ModelHeader, size_bytes: int) -> ModelHeader:
    """What a gguf_context says of a model that is yet to be written, with so many bytes, of this file.

    It has the path, the fingerprint and the name of the file that is there.
    """
    tensors, parameters, _ = _tensors(context)
    return replace(
        file,
        size_bytes=size_bytes,
        metadata=_metadata(context),
        tensors=tensors,
        parameters=parameters,
        as_adopted=True,
    )


def check_language_model(header: ModelHeader) -> None:
    """Raises BadInputError where the file holds something that does not generate text."""
    kind = kind_of(header)
    if kind:
        raise BadInputError(
            f"{show(Path(header.path))} is {one_line(kind)} ({one_line(header.architecture)}), not a language model; "
            "give the GGUF of the model itself"
        )


def _further_parts(file: Path, first: _Part) -> list[Path]:
    """The other files of a split model, by the names llama.cpp looks for (llama_split_path)."""
    count, number = (first.metadata.get(f"split.{key}", 0) for key in ("count", "no"))
    if not isinstance(count, int) or count < 2:
        return []
    named = split_part(file.name)
    if number != 0:
        hint = f"give the first: {show(file.with_name(part_name(named[0], 1, count)))}" if named else "give the first"
        raise BadInputError(f"{show(file)} is part {number + 1} of {count} of a split model; {hint}")
    if not named or named[1:] != (1, count):
        raise BadInputError(
            f"{show(file)} is the first of {count} parts of a split model, which llama.cpp finds by their names; "
            f"call it NAME-00001-of-{count:05}.gguf again"
        )
    parts = [file.with_name(part_name(named[0], n, count)) for n in range(2, count + 1)]
    missing = [part for part in parts if not exists(part)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInputError(f"{show(file)} lacks part {missing[0].name}{more} beside it; fetch what is missing")
    return parts


def _read(file: Path, visit: Callable[[int], None]) -> _Part:
    check_file(file)
    context = c("gguf_init_from_file")(os.fsencode(file), GgufInitParams(True, None))
    if not context:
        raise BadInputError(f"{show(file)} is damaged or cut short: its GGUF header does not parse; fetch it again")
    try:
        metadata = _metadata(context)
        tensors, parameters, end = _tensors(context)
        data_offset = int(c("gguf_get_data_offset")(context))
        visit(context)
    finally:
        c("gguf_free")(context)
    size = file.stat().st_size
    if data_offset + end > size:
        missing = data_offset + end - size
        raise BadInputError(
            f"{show(file)} is cut short: {missing:,} of {data_offset + end:,} bytes are missing; fetch it again"
        )
    return _Part(metadata, tensors, parameters, size, _fingerprint(file, size, data_offset))


def _value(context: int, index: int) -> Any:
    kind = int(c("gguf_get_kv_type")(context, index))
    if kind == _STRING:
        return text(c("gguf_get_val_str")(context, index))
    if kind == _BOOL:
        return bool(c("gguf_get_val_bool")(context, index))
    if kind in _SCALARS:
        return _SCALARS[kind].from_address(c("gguf_get_val_data")(context, index)).value
    if kind == _ARRAY and int(c("gguf_get_arr_type")(context, index)) == _STRING:
        n = int(c("gguf_get_arr_n")(context, index))
        if n <= _LONGEST_LIST:
            return tuple(text(c("gguf_get_arr_str")(context, index, i)) for i in range(n))
    return None


def _metadata(context: int) -> dict[str, Any]:
    found = {}
    for index in range(c("gguf_get_n_kv")(context)):
        value = _value(context, index)
        if value is not None:
            found[text(c("gguf_get_key")(context, index))] = value
    return found


def _tensors(context: int) -> tuple[tuple[TensorInfo, ...], int, int]:
    """The tensors, the number of weights in them, and where the last one ends in the data section."""
    tensors, parameters, end = [], 0, 0
    for index in range(c("gguf_get_n_tensors")(context)):
        size = int(c("gguf_get_tensor_size")(context, index))
        shape = c("gguf_get_tensor_ne")(context, index)
        parameters += shape[0] * shape[1] * shape[2] * shape[3]
        end = max(end, int(c("gguf_get_tensor_offset")(context, index)) + size)
        type_name = text(c("ggml_type_name")(c("gguf_get_tensor_type")(context, index)))
        tensors.append(TensorInfo(text(c("gguf_get_tensor_name")(context, index)), type_name, size))
    return tuple(tensors), parameters, end


def _fingerprint(file: Path, size: int, data_offset: int) -> str:
    """SHA-256 over the size, the header and evenly spaced samples of the data, in hexadecimal.

    A whole 17 GB file would take half a minute; variants differ all over their data.
    """
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(data_offset))
        span = max(size - data_offset - _SAMPLE_BYTES, 0)
        for i in range(_SAMPLES):
            stream.seek(data_offset + span * i // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def part_paths(header: ModelHeader) -> tuple[Path, ...]:
    """The files of a model whose header was read: one, or the parts of a split one in order."""
    file = Path(header.path)
    count, named = header.metadata.get("split.count", 0), split_part(file.name)
    if not named or not isinstance(count, int) or count < 2:
        return (file,)
    return tuple(file.with_name(part_name(named[0], number, count)) for number in range(1, count + 1))
