"""Adoption: a copy of one of Ollama's own Gemma 3 files that llama.cpp loads.

The copy holds the text model alone, every tensor and every key of it byte for byte, and the keys that llama.cpp needs
and the file lacks (adopt_layout.py). It is written beside its place, checked by a child process that runs it
(adopt_check.py), and moved there when it works. Ollama's store is only read.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

from gemtop import __version__
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.model import ModelHeader
from gemtop.domain.text import one_line
from gemtop.engine.adopt_check import Check, check
from gemtop.engine.adopt_layout import VISION, VISION_KEYS, Contents, Filled, missing_keys, needs_adoption
from gemtop.engine.binding import GgufInitParams, c, text
from gemtop.engine.files import show
from gemtop.engine.gguf import check_language_model, read_header

Stage = Literal["copying", "checking"]
Progress = Callable[[Stage, float], None]
FreeBytes = Callable[[Path], int]

_BLOCK_BYTES = 16 << 20
_SYNC_BYTES = 512 << 20
"""Written to the disk in portions: one great flush at the end could not be interrupted and would show no progress."""

_TOKENS = "tokenizer.ggml.tokens"
_TOKEN_LISTS = (_TOKENS, "tokenizer.ggml.scores", "tokenizer.ggml.token_type")
_FIRST_TOKENS = 256
"""Gemma's special tokens are among the first of its vocabulary."""
_STRING, _ARRAY = 8, 9
"""Of enum gguf_type."""


def free_bytes(folder: Path) -> int:
    """What the disk has for this user."""
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class _Piece:
    """A tensor's bytes in the file that is adopted."""

    offset: int
    size_bytes: int


class Adoption:
    """One file and the header of its copy; nothing is written before `write`. A context manager.

    Raises BadInputError for a file that cannot be adopted, or needs not be.
    """

    filled: tuple[Filled, ...]
    """Keys that the copy has and the file has not."""
    left_out: str
    """What of the file is not in the copy, in words."""
    size_bytes: int
    """Of the copy."""

    def __init__(self, path: str | Path) -> None:
        self.header = _adoptable(path)
        self._tensors = ctypes.c_void_p()
        self._copy = c("gguf_init_empty")()
        parameters = GgufInitParams(True, ctypes.addressof(self._tensors))
        self._source = c("gguf_init_from_file")(os.fsencode(path), parameters)
        try:
            if not self._source:
                raise BadInputError(f"{show(Path(path))} is damaged: its GGUF header does not parse; fetch it again")
            self._pieces = self._add_tensors()
            self.filled = self._fill_keys()
            self._set_provenance()
        except BaseException:
            self.close()
            raise
        self._meta_bytes = int(c("gguf_get_meta_size")(self._copy))
        self._alignment = int(c("gguf_get_alignment")(self._copy))
        self.size_bytes = self._meta_bytes + sum(self._padded(piece.size_bytes) for piece in self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_how: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the headers; safe to call twice."""
        for context in (self._source, self._copy):
            c("gguf_free")(context)
        c("ggml_free")(self._tensors)
        self._source = self._copy = None
        self._tensors = ctypes.c_void_p()

    def write(self, descriptor: int, on_progress: Callable[[float], None]) -> None:
        """Write the copy to an open, empty file, and to the disk. Raises OSError, BadInputError for a cut source."""
        meta = ctypes.create_string_buffer(self._meta_bytes)
        c("gguf_get_meta_data")(self._copy, meta)
        _write_all(descriptor, memoryview(meta))
        with open(self.header.path, "rb") as source:  # noqa: PTH123  (sendfile takes its number)
            done = unsynced = self._meta_bytes
            for piece in self._pieces:
                for n in _send(source.fileno(), descriptor, piece):
                    done += n
                    unsynced += n
                    if unsynced >= _SYNC_BYTES:
                        os.fdatasync(descriptor)
                        unsynced = 0
                    on_progress(done / self.size_bytes)
                padding = self._padded(piece.size_bytes) - piece.size_bytes
                _write_all(descriptor, memoryview(bytes(padding)))
                done += padding
        os.fsync(descriptor)

    def _padded(self, size_bytes: int) -> int:
        return -(-size_bytes // self._alignment) * self._alignment

    # The copy's header

    def _add_tensors(self) -> list[_Piece]:
        """Add the text model's tensors to the copy, whose offsets ggml counts; where their bytes are in the file."""
        pieces, n_left_out, bytes_left_out = [], 0, 0
        data = int(c("gguf_get_data_offset")(self._source))
        for index in range(c("gguf_get_n_tensors")(self._source)):
            name = c("gguf_get_tensor_name")(self._source, index)
            size = int(c("gguf_get_tensor_size")(self._source, index))
            if name.startswith(tuple(prefix.encode() for prefix in VISION)):
                n_left_out, bytes_left_out = n_left_out + 1, bytes_left_out + size
                continue
            c("gguf_add_tensor")(self._copy, c("ggml_get_tensor")(self._tensors, name))
            pieces.append(_Piece(data + int(c("gguf_get_tensor_offset")(self._source, index)), size))
        self.left_out = f"{n_left_out} vision tensors ({bytes_left_out / 1e9:.2f} GB)" if n_left_out else "nothing"
        return pieces

    def _fill_keys(self) -> tuple[Filled, ...]:
        """Give the copy the file's keys, but for those of the vision model, and the missing ones."""
        source, copy = self._source, self._copy
        keys = [text(c("gguf_get_key")(source, index)) for index in range(c("gguf_get_n_kv")(source))]
        shapes = self._shapes()
        contents = Contents(self.header.metadata, frozenset(keys), shapes, self._token_id, self.header.known_as)
        filled = missing_keys(contents)
        c("gguf_set_kv")(copy, source)
        for key in keys:
            # The copy has ggml's own alignment, whatever the file had.
            if key.startswith(VISION_KEYS) or key == "general.alignment":
                c("gguf_remove_key")(copy, key.encode())
        self._cut_vocabulary(shapes["token_embd.weight"][1])
        for item in filled:
            value = item.value.encode() if isinstance(item.value, str) else item.value
            c(f"gguf_set_val_{item.kind}")(copy, item.key.encode(), value)
        return filled

    def _cut_vocabulary(self, n_rows: int) -> None:
        """Leave out tokens the embedding has no row for: Ollama lists the image's, llama.cpp wants as many as rows."""
        for key in _TOKEN_LISTS:
            index = self._array(key)
            if index is None:
                continue
            n = int(c("gguf_get_arr_n")(self._source, index))
            if n < n_rows:
                raise self._odd(f"{n:,} entries in {key} for the {n_rows:,} rows of its embedding")
            if n > n_rows:
                self._cut(key, index, n_rows)
                if key == _TOKENS:
                    self.left_out += f", {n - n_rows} of {n:,} tokens, which the embedding has no row for"

    def _array(self, key: str) -> int | None:
        """The index of an array, None where there is none; ggml would end the process over one of another type."""
        index = int(c("gguf_find_key")(self._source, key.encode()))
        if index < 0:
            return None
        if int(c("gguf_get_kv_type")(self._source, index)) != _ARRAY:
            raise self._odd(f"no list in {key}")
        if key == _TOKENS and int(c("gguf_get_arr_type")(self._source, index)) != _STRING:
            raise self._odd(f"no texts in {key}")
        return index

    def _odd(self, what: str) -> BadInputError:
        return BadInputError(f"{show(Path(self.header.path))} has {what}; that is not Ollama's layout of Gemma 3")

    def _cut(self, key: str, index: int, n: int) -> None:
        kind = int(c("gguf_get_arr_type")(self._source, index))
        if kind == _STRING:
            values = (ctypes.c_char_p * n)(*(c("gguf_get_arr_str")(self._source, index, i) for i in range(n)))
            c("gguf_set_arr_str")(self._copy, key.encode(), values, n)
        else:
            data = c("gguf_get_arr_data")(self._source, index)
            c("gguf_set_arr_data")(self._copy, key.encode(), kind, data, n)

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        shapes = {}
        for index in range(c("gguf_get_n_tensors")(self._copy)):
            ne = c("gguf_get_tensor_ne")(self._copy, index)
            shapes[text(c("gguf_get_tensor_name")(self._copy, index))] = (ne[0], ne[1], ne[2], ne[3])
        return shapes

    def _token_id(self, token: str) -> int | None:
        index = self._array(_TOKENS)
        if index is None:
            return None
        n = min(int(c("gguf_get_arr_n")(self._source, index)), _FIRST_TOKENS)
        wanted = token.encode()
        return next((i for i in range(n) if c("gguf_get_arr_str")(self._source, index, i) == wanted), None)

    def _set_provenance(self) -> None:
        """Where the copy is from and what was done, in keys of gemtop's own."""
        origin = self.header.known_as or self.header.path.rpartition("/")[2]
        for key, value in (("from", origin), ("by", f"gemtop {__version__}"), ("left_out", self.left_out)):
            c("gguf_set_val_str")(self._copy, f"gemtop.adopted.{key}".encode(), value.encode("utf-8", "replace"))
        words = [str(item).encode() for item in self.filled]
        array = (ctypes.c_char_p * len(words))(*words)
        c("gguf_set_arr_str")(self._copy, b"gemtop.adopted.filled", array, len(words))


def adopt(
    adoption: Adoption,
    target: Path,
    *,
    force: bool,
    on_progress: Progress,
    free: FreeBytes = free_bytes,
) -> Check:
    """Write the copy, check that it works, and move it to `target`. Whatever stops this leaves nothing behind.

    Raises BadInputError where the target cannot be written, GemtopError where the copy does not work.
    """
    check_target(adoption.header, target, force=force)
    _check_space(adoption, target, free)
    with _temporary(target) as (temporary, descriptor):
        try:
            adoption.write(descriptor, lambda fraction: on_progress("copying", fraction))
        except OSError as error:
            _cannot_write(target, error)
        found = check(read_header(temporary), lambda fraction: on_progress("checking", fraction))
        if found.problem:
            raise GemtopError(f"the adopted file does not work and was removed: {found.problem}")
        temporary.replace(target)
    return found


def check_target(header: ModelHeader, target: Path, *, force: bool) -> None:
    """Raises BadInputError for a target that is there already, or cannot be one."""
    if os.path.isdir(target):  # noqa: PTH112  (pathlib's raises where a folder above may not be looked into)
        raise BadInputError(f"{show(target)} is a folder; give the name of a file in it")
    if os.path.lexists(target):
        if os.path.exists(target) and target.samefile(header.path):  # noqa: PTH110
            raise BadInputError(f"{show(target)} is the file that is to be adopted; give another place with --to")
        if not force:
            raise BadInputError(f"{show(target)} is there already; use it, or write it again with --force")


def _adoptable(path: str | Path) -> ModelHeader:
    header = read_header(path)
    check_language_model(header)
    name = one_line(header.known_as or str(path))
    if header.architecture != "gemma3":
        raise BadInputError(f"{name} is {one_line(header.architecture)}; adopt is for Ollama's own layout of Gemma 3")
    if header.metadata.get("split.count", 1) != 1:
        raise BadInputError(f"{name} is split into parts, as Ollama's models are not; join them, or fetch a whole one")
    if not needs_adoption(header):
        raise BadInputError(f"{name} needs no adoption: llama.cpp loads it as it is")
    return header


def _check_space(adoption: Adoption, target: Path, free: FreeBytes) -> None:
    try:
        there = free(target.parent)
    except OSError as error:
        _cannot_write(target, error)
    if there < adoption.size_bytes:
        raise BadInputError(
            f"the copy takes {adoption.size_bytes / 1e9:.2f} GB, and {show(target.parent)} has {there / 1e9:.2f} GB "
            "free; make room, or give another place with --to"
        )


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[Path, int]]:
    """An empty file beside the target, locked, and removed where it was not moved away.

    Its name is always the same, so what a killed program left behind is written over by the next.
    """
    temporary = target.with_name(f"{target.name}.part")
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        _cannot_write(target, error)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInputError(f"{show(target)} is being written by another gemtop; wait for it") from None
        try:
            os.ftruncate(descriptor, 0)
            yield temporary, descriptor
        finally:
            temporary.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _cannot_write(target: Path, error: OSError) -> NoReturn:
    if error.errno == errno.ENOSPC:
        raise BadInputError(f"the disk of {show(target.parent)} is full; nothing was left there") from None
    raise BadInputError(f"{show(target)} cannot be written: {error.strerror}; give another place with --to") from None


def _send(source: int, target: int, piece: _Piece) -> Iterator[int]:
    """Copy a piece inside the kernel; yields the bytes of each block."""
    offset, end = piece.offset, piece.offset + piece.size_bytes
    while offset < end:
        n = os.sendfile(target, source, offset, min(_BLOCK_BYTES, end - offset))
        if n == 0:
            raise BadInputError("the file became shorter while it was copied; fetch it again")
        offset += n
        yield n


def _write_all(descriptor: int, data: memoryview[Any]) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
