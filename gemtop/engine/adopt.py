"""Adoption: a copy of one of Ollama's own Gemma 3 files that llama.cpp loads.

The copy holds the text model alone, every tensor and every key of it byte for byte, and the keys that llama.cpp needs
and the file lacks (adopt_header.py, adopt_layout.py). It is written beside its place, checked by a child process that
runs it (adopt_check.py), and moved there when it works. Ollama's store is only read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.model import ModelHeader
from gemtop.domain.text import one_line
from gemtop.engine.adopt_check import Check, check
from gemtop.engine.adopt_header import CopyHeader, Piece
from gemtop.engine.files import show
from gemtop.engine.gguf import read_header
from gemtop.engine.output import SYNC_BYTES, FreeBytes, cannot_write, free_bytes, temporary
from gemtop.engine.stores.adopted import outdated

Stage = Literal["copying", "checking"]
Progress = Callable[[Stage, float], None]

_BLOCK_BYTES = 16 << 20
_OPTION = "--to"
"""Names another place."""


class Adoption:
    """One file and the header of its copy; nothing is written before `write`. A context manager.

    Raises BadInputError for a file that cannot be adopted, or needs not be.
    """

    def __init__(self, path: str | Path) -> None:
        self._copy = CopyHeader(read_header(path))
        self.header = self._copy.header
        self.filled = self._copy.filled
        """Keys that the copy has and the file has not."""
        self.left_out = self._copy.left_out
        """What of the file is not in the copy, in words."""
        self.size_bytes = self._copy.size_bytes
        """Of the copy."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_how: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the headers; safe to call twice."""
        self._copy.close()

    def write(self, descriptor: int, on_progress: Callable[[float], None]) -> None:
        """Write the copy to an open, empty file, and to the disk. Raises OSError, BadInputError for a cut source."""
        _write_all(descriptor, self._copy.meta())
        with open(self.header.path, "rb") as source:  # noqa: PTH123  (sendfile takes its number)
            done = unsynced = self._copy.meta_bytes
            for piece in self._copy.pieces:
                for n in _send(source.fileno(), descriptor, piece):
                    done += n
                    unsynced += n
                    if unsynced >= SYNC_BYTES:
                        os.fdatasync(descriptor)
                        unsynced = 0
                    on_progress(done / self.size_bytes)
                padding = self._copy.padded(piece.size_bytes) - piece.size_bytes
                _write_all(descriptor, memoryview(bytes(padding)))
                done += padding
        os.fsync(descriptor)


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
    with temporary(target, _OPTION) as (part, descriptor):
        try:
            adoption.write(descriptor, lambda fraction: on_progress("copying", fraction))
        except OSError as error:
            cannot_write(target, error, _OPTION)
        found = check(read_header(part), lambda fraction: on_progress("checking", fraction))
        if found.problem:
            raise GemtopError(f"the adopted file does not work and was removed: {found.problem}")
        part.replace(target)
    return found


def check_target(header: ModelHeader, target: Path, *, force: bool) -> None:
    """Raises BadInputError for a target that is there already, or cannot be one."""
    if os.path.isdir(target):  # noqa: PTH112  (pathlib's raises where a folder above may not be looked into)
        raise BadInputError(f"{show(target)} is a folder; give the name of a file in it")
    if os.path.lexists(target):
        if os.path.exists(target) and target.samefile(header.path):  # noqa: PTH110
            raise BadInputError(f"{show(target)} is the file that is to be adopted; give another place with --to")
        if not force:
            raise BadInputError(f"{show(target)} {_what_is_there(header, target)}")


def _what_is_there(header: ModelHeader, target: Path) -> str:
    if outdated(target, header.path):
        return f"is a copy of what Ollama had as {one_line(header.known_as or '')} before; make it anew with --force"
    return "is there already; use it, or write it again with --force"


def _check_space(adoption: Adoption, target: Path, free: FreeBytes) -> None:
    try:
        there = free(target.parent)
    except OSError as error:
        cannot_write(target, error, _OPTION)
    if there < adoption.size_bytes:
        raise BadInputError(
            f"the copy takes {adoption.size_bytes / 1e9:.2f} GB, and {show(target.parent)} has {there / 1e9:.2f} GB "
            "free; make room, or give another place with --to"
        )


def _send(source: int, target: int, piece: Piece) -> Iterator[int]:
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
