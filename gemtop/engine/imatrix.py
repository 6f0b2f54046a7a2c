"""Importance matrices: how much each column of a model's tensors counts, as llama-imatrix measured it.

Both formats are read as llama-quantize does (common/imatrix-loader.cpp, tools/quantize/quantize.cpp): GGUF, with sums
of squares and counts as tensors, and the .dat files of before.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gemtop.domain.errors import BadInputError
from gemtop.engine.binding import c, text
from gemtop.engine.files import MAGIC, read_beginning, show
from gemtop.engine.gguf import read_header

Values = npt.NDArray[np.float32]

_SUMS, _COUNTS = ".in_sum2", ".counts"
_DATASETS, _CHUNK_COUNT, _CHUNK_SIZE = (f"imatrix.{key}" for key in ("datasets", "chunk_count", "chunk_size"))
_I32 = struct.Struct("<i")
_LONGEST_NAME, _LONGEST_DATASET = 1 << 10, 1 << 16
_F32 = 0
"""Of enum ggml_type."""


@dataclass(frozen=True, slots=True)
class Imatrix:
    values: Mapping[str, Values]
    """By tensor: the mean square of each input column, of one expert after the other."""
    dataset: str | None
    """The text it was measured on, as the file has it; the first where there were several."""
    n_chunks: int
    """Chunks of that text; 0 where the file does not say."""


def read_imatrix(path: str) -> Imatrix:
    """Raises BadInputError for what is no importance matrix, or a damaged one."""
    file = Path(path)
    found = _read_gguf(file) if read_beginning(file).startswith(MAGIC) else _read_legacy(file)
    if not found.values:
        raise BadInputError(f"{show(file)} holds no importance matrix; llama-imatrix makes one")
    return found


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor of the file: its values as they are, and the number of its experts."""

    offset: int
    n_values: int
    is_f32: bool


def _read_gguf(file: Path) -> Imatrix:
    stored: dict[str, _Stored] = {}
    present: set[str] = set()
    header = read_header(file, lambda context: _look(context, stored, present))
    names = sorted(name.removesuffix(_SUMS) for name in stored if name.endswith(_SUMS))
    if not names:
        raise BadInputError(f"{show(file)} holds no importance matrix; llama-imatrix makes one")
    if not {_DATASETS, _CHUNK_COUNT, _CHUNK_SIZE} <= present:
        raise BadInputError(f"{show(file)} does not say what text it was measured on, which llama.cpp asks for")
    values = {}
    for name in names:
        sums, counts = stored[name + _SUMS], stored.get(name + _COUNTS)
        if not (counts and counts.n_values and sums.is_f32 and counts.is_f32) or sums.n_values % counts.n_values:
            raise BadInputError(f"{show(file)} is damaged: its sums and counts of {show(Path(name))} do not match")
        values[name] = _means(_floats(file, sums), _floats(file, counts))
    datasets = header.metadata.get(_DATASETS)
    chunks = header.metadata.get(_CHUNK_COUNT)
    return Imatrix(
        values,
        datasets[0] if isinstance(datasets, tuple) and datasets else None,
        chunks if isinstance(chunks, int) else 0,
    )


def _look(context: int, stored: dict[str, _Stored], present: set[str]) -> None:
    """Note where a file's tensors lie, and which keys it has."""
    data = int(c("gguf_get_data_offset")(context))
    for index in range(c("gguf_get_n_tensors")(context)):
        shape = c("gguf_get_tensor_ne")(context, index)
        stored[text(c("gguf_get_tensor_name")(context, index))] = _Stored(
            data + int(c("gguf_get_tensor_offset")(context, index)),
            shape[0] * shape[1] * shape[2] * shape[3],
            int(c("gguf_get_tensor_type")(context, index)) == _F32,
        )
    present.update(text(c("gguf_get_key")(context, index)) for index in range(c("gguf_get_n_kv")(context)))


def _floats(file: Path, stored: _Stored) -> Values:
    return np.fromfile(file, np.float32, stored.n_values, offset=stored.offset)


def _means(sums: Values, counts: Values) -> Values:
    """Sums by their counts; an expert that was never asked counts everything alike."""
    experts = sums.reshape(len(counts), -1)
    rounded = np.rint(counts).astype(np.float32)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        means: Values = np.where(rounded > 0, experts / rounded, np.float32(1))
    return np.ascontiguousarray(means.reshape(-1), dtype=np.float32)


class _Legacy:
    """Reads a .dat file, with every length held against what there is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._data = file.read_bytes()
        except OSError as error:
            raise BadInputError(f"{show(file)} cannot be read: {error.strerror}") from None
        self._at = 0

    def read(self) -> Imatrix:
        values = {}
        for _ in range(self._number(1, len(self._data))):
            name = self._text(_LONGEST_NAME)
            n_calls = self._number(-(1 << 31), 1 << 31)
            sums = np.frombuffer(self._take(4 * self._number(1, len(self._data))), "<f4").astype(np.float32)
            values[name] = sums / np.float32(n_calls) if n_calls > 0 else sums
        n_chunks, dataset = 0, None
        if self._at < len(self._data):  # files of before it was kept end here
            n_chunks = max(self._number(-(1 << 31), 1 << 31), 0)
            dataset = self._text(_LONGEST_DATASET) or None if self._at < len(self._data) else None
        return Imatrix(values, dataset, n_chunks)

    def _text(self, longest: int) -> str:
        return self._take(self._number(0, longest)).split(b"\0", 1)[0].decode("utf-8", "replace")

    def _number(self, least: int, most: int) -> int:
        number = int(_I32.unpack(self._take(_I32.size))[0])
        if not least <= number <= most:
            raise self._damaged()
        return number

    def _take(self, n_bytes: int) -> bytes:
        end = self._at + n_bytes
        if end > len(self._data):
            raise self._damaged()
        taken, self._at = self._data[self._at : end], end
        return taken

    def _damaged(self) -> BadInputError:
        return BadInputError(f"{show(self._file)} is no importance matrix, or it is cut short; llama-imatrix makes one")


def _read_legacy(file: Path) -> Imatrix:
    return _Legacy(file).read()


def as_pointers(imatrix: Imatrix, struct_type: Any, float_pointer: Any) -> Any:
    """The array of llama_model_imatrix_data that llama_model_quantize takes; the values must outlive it."""
    array = (struct_type * (len(imatrix.values) + 1))()  # the last one, zeros, ends it
    for entry, (name, values) in zip(array, imatrix.values.items(), strict=False):
        entry.name, entry.size = name.encode(), values.size
        entry.data = values.ctypes.data_as(float_pointer)
    return array
