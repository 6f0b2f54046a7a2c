"""A file that is arriving: its bytes on the disk as they come, its digest kept up, its progress told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Arrival:
    """How far a file has come."""

    name: str
    phase: Literal["checking", "pulling"]
    """`checking` reads what an earlier attempt left."""
    done_bytes: int
    total_bytes: int


class Incoming:
    """A context in which a file grows behind what an earlier attempt left. Raises OSError where the disk fails."""

    def __init__(self, path: Path, name: str, size_bytes: int, watch: Callable[[Arrival], None]) -> None:
        self._name = name
        self._size_bytes = size_bytes
        self._watch = watch
        self._out = path.open("a+b", buffering=0)  # what was written is there, however the program ends
        self._digest = hashlib.sha256()
        self.n_bytes = 0
        """How much is there."""

    def __enter__(self) -> Incoming:
        self._out.seek(0)
        while piece := self._out.read(_READ_BYTES):
            self._count(piece, "checking")
        if self.n_bytes > self._size_bytes:
            self.restart()
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def add(self, piece: bytes) -> None:
        """Append what arrived; what goes beyond the file's size is left out."""
        rest = memoryview(piece)[: self._size_bytes - self.n_bytes]
        while rest:  # an unbuffered write may take less than all
            written = self._out.write(rest) or 0
            self._count(rest[:written], "pulling")
            rest = rest[written:]

    def restart(self) -> None:
        """Throw away what is there."""
        self._out.truncate(0)
        self._digest = hashlib.sha256()
        self.n_bytes = 0

    def digest(self) -> str:
        """SHA-256 of all that is there, in hexadecimal."""
        return self._digest.hexdigest()

    def _count(self, piece: bytes | memoryview, phase: Literal["checking", "pulling"]) -> None:
        self._digest.update(piece)
        self.n_bytes += len(piece)
        self._watch(Arrival(self._name, phase, self.n_bytes, self._size_bytes))
