"""Where the header of a GGUF file ends, found while its bytes arrive; and the headers kept without their weights.

ggml's own reader needs the file. This one only skips: it keeps no key but the alignment, and refuses counts and
lengths that no model has before it acts on them.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.engine.files import MAGIC

LONGEST_HEADER_BYTES = 64 << 20
"""Gemma 3's is 7 MB; the largest vocabularies in use make some 20."""

_MOST_TENSORS = _MOST_KEYS = 1 << 16
_LONGEST_KEY = (1 << 16) - 1
_LONGEST_NAME = 63
_MOST_DIMENSIONS = 4
_LARGEST_ALIGNMENT = 1 << 16
_DEFAULT_ALIGNMENT = 32

_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""enum gguf_type to the size of a value."""
_UINT32, _STRING, _ARRAY = 4, 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


def headers_folder(paths: Paths) -> Path:
    """Where headers without weights are kept: files of the full size of the model, all of it a hole but the header."""
    return paths.cache / "headers"


def is_header_only(path: str | Path, paths: Paths) -> bool:
    """Whether this file is a header whose weights were never fetched: it can be planned with, not run."""
    return Path(path).resolve().is_relative_to(headers_folder(paths).resolve())


def check_has_weights(path: str, paths: Paths) -> None:
    """Raises BadInputError for a header whose weights were never fetched."""
    if is_header_only(path, paths):
        raise BadInputError(f"{one_line(path)} is a header for planning, without weights; gemtop pull the model")


def header_bytes(pieces: Iterator[bytes], name: str, size_bytes: int) -> bytes:
    """The header at the beginning of these pieces of a file, up to where its weights begin.

    No more pieces are asked for than that takes. `size_bytes` is the size of the whole file, `name` is for messages.
    Raises BadInputError for what is no GGUF header.
    """
    return _Scan(pieces, name, size_bytes).run()


class _Scan:
    def __init__(self, pieces: Iterator[bytes], name: str, size_bytes: int) -> None:
        self._pieces = pieces
        self._name = name
        self._limit = min(size_bytes, LONGEST_HEADER_BYTES)
        self._data = bytearray()
        self._at = 0
        self._alignment = _DEFAULT_ALIGNMENT

    def run(self) -> bytes:
        if self._take(4) != MAGIC:
            raise BadInputError(f"{self._name} is not a GGUF file")
        version = self._u32()
        if version not in (2, 3):
            raise self._damaged(f"its GGUF version reads {version}; 2 and 3 are known")
        n_tensors = self._count(_MOST_TENSORS, "tensors")
        for _ in range(self._count(_MOST_KEYS, "keys")):
            self._key_and_value()
        for _ in range(n_tensors):
            self._tensor()
        end = -(-self._at // self._alignment) * self._alignment
        end = min(end, self._limit)  # a file without tensors may end unpadded
        self._need(end)
        return bytes(self._data[:end])

    def _key_and_value(self) -> None:
        key = self._take(self._count(_LONGEST_KEY, "bytes in a key"))
        kind = self._u32()
        if key == b"general.alignment":
            if kind != _UINT32:
                raise self._damaged("its alignment is no number")
            self._alignment = self._u32()
            if self._alignment & (self._alignment - 1) or not 0 < self._alignment <= _LARGEST_ALIGNMENT:
                raise self._damaged(f"its alignment reads {self._alignment}")
        elif kind == _STRING:
            self._strings(1)
        elif kind == _ARRAY:
            kind = self._u32()
            if kind == _STRING:
                self._strings(self._count(self._limit // _U64.size, "strings in a list"))
            else:
                self._skip(self._count(self._limit, "values in a list") * self._scalar_bytes(kind))
        else:
            self._skip(self._scalar_bytes(kind))

    def _strings(self, count: int) -> None:
        """Skip strings. A vocabulary has 262,144, so the loop is kept tight."""
        at, data, size, unpack = self._at, self._data, _U64.size, _U64.unpack_from
        for _ in range(count):
            if len(data) < at + size:
                self._need(at + size)
            length = unpack(data, at)[0]
            at += size + length
            if at > self._limit:
                raise self._damaged(f"a text in it is {length:,} bytes long")
        self._need(at)
        self._at = at

    def _tensor(self) -> None:
        self._skip(self._count(_LONGEST_NAME, "bytes in a tensor's name"))
        dimensions = self._u32()
        if dimensions > _MOST_DIMENSIONS:
            raise self._damaged(f"a tensor has {dimensions:,} dimensions")
        self._skip(dimensions * _U64.size + _U32.size + _U64.size)  # shape, type, offset

    def _scalar_bytes(self, kind: int) -> int:
        if kind not in _SCALAR_BYTES:
            raise self._damaged(f"a value has the type {kind}, which does not exist")
        return _SCALAR_BYTES[kind]

    def _count(self, most: int, what: str) -> int:
        count = int(_U64.unpack(self._take(_U64.size))[0])
        if count > most:
            raise self._damaged(f"{count:,} {what} are more than any model has")
        return count

    def _u32(self) -> int:
        return int(_U32.unpack(self._take(_U32.size))[0])

    def _take(self, n_bytes: int) -> bytes:
        self._need(self._at + n_bytes)
        self._at += n_bytes
        return bytes(self._data[self._at - n_bytes : self._at])

    def _skip(self, n_bytes: int) -> None:
        self._need(self._at + n_bytes)
        self._at += n_bytes

    def _need(self, end: int) -> None:
        """Take in pieces until this many bytes are there."""
        if end > self._limit:
            raise self._damaged(f"it is longer than {'the file' if self._limit < LONGEST_HEADER_BYTES else '64 MiB'}")
        while len(self._data) < end:
            piece = next(self._pieces, b"")
            if not piece:
                raise self._damaged("it ends too early")
            self._data += piece

    def _damaged(self, reason: str) -> BadInputError:
        return BadInputError(f"{self._name} has a damaged GGUF header: {reason}")
