"""The spool: one append-only file a session, held by its owner's lock, until its rows are in DuckDB.

A line is a JSON object that ends in a newline. The first is a header; the others are batches of rows, by
columns, or single records (gemtop.history.lines). Offsets are counted over the life of the session: `base` in
the header is where this file begins, so that a spool can be begun anew without counting from 0 again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

FORMAT = 2
"""Version of the lines, 2 with the ledger; a spool of a higher one is left to the gemtop that wrote it."""
SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a spool."""

    session_id: str
    base: int
    """Offset of the first byte of this file, in bytes since the session began."""
    format: int = FORMAT

    def line(self) -> bytes:
        fields = {
            "kind": "spool",
            "format": self.format,
            "session_id": self.session_id,
            "base": self.base,
        }
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _read_header(fd: int, path: Path) -> Header:
    """The header of an open spool; what a torn or foreign first line does not say comes from the file's name."""
    first, newline, _ = os.pread(fd, 4096, 0).partition(b"\n")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        fields = json.loads(first) if newline else {}
        return Header(str(fields["session_id"]), int(fields["base"]), int(fields["format"]))
    return Header(path.name.removesuffix(SUFFIX), 0)


class Spool:
    """An open spool whose lock this process holds. Not safe for several threads at once."""

    def __init__(self, path: Path, fd: int, header: Header) -> None:
        self.path = path
        self.header = header
        self._fd = fd
        self._size_bytes = os.fstat(fd).st_size
        self._unwritten = b""

    @classmethod
    def create(cls, folder: Path, session_id: str) -> Spool:
        """A new spool, locked before anyone else can see it. Raises OSError."""
        return cls._create(folder / f"{session_id}{SUFFIX}", Header(session_id, 0), b"")

    @classmethod
    def _create(cls, path: Path, header: Header, more: bytes) -> Spool:
        hidden = path.with_name(f".{path.name}.{os.getpid()}")
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            spool = cls(path, fd, header)
            spool.append(header.line() + more)
            hidden.rename(path)
        except BaseException:
            os.close(fd)
            hidden.unlink(missing_ok=True)
            raise
        return spool

    @classmethod
    def adopt(cls, path: Path) -> Spool | None:
        """The spool of a process that is gone; None while its owner, or another adopter, holds it."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been taken in and removed, or begun anew, between the opening and the lock.
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return cls(path, fd, _read_header(fd, path))
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    @property
    def end(self) -> int:
        """Offset behind the last byte that is in the file."""
        return self.header.base + self._size_bytes

    @property
    def unwritten_bytes(self) -> int:
        """Bytes handed to `append` that could not be written yet."""
        return len(self._unwritten)

    def append(self, lines: bytes = b"") -> None:
        """Hand whole lines to the kernel. Raises OSError.

        What could not be written is kept, and the next call goes on at the very byte where this one stopped:
        a full disk neither tears nor doubles a line.
        """
        self._unwritten += lines
        while self._unwritten:
            written = os.pwrite(self._fd, self._unwritten, self._size_bytes)
            self._size_bytes += written
            self._unwritten = self._unwritten[written:]

    def sync(self) -> None:
        """Bring it to the disk. Raises OSError."""
        os.fdatasync(self._fd)

    def tail(self, taken: int, limit_bytes: int) -> bytes:
        """Whole lines from offset `taken` on: at most `limit_bytes`, but at least one line where there is one."""
        position = max(0, taken - self.header.base)
        data = b""
        while True:
            more = os.pread(self._fd, limit_bytes, position + len(data))
            data += more
            cut = data.rfind(b"\n") + 1
            if cut or not more:
                return data[:cut]

    def torn_bytes(self) -> int:
        """Bytes after the last newline: the line its owner died in."""
        position = self._size_bytes
        while position > 0:
            start = max(0, position - 65536)
            cut = os.pread(self._fd, position - start, start).rfind(b"\n")
            if cut >= 0:
                return self._size_bytes - (start + cut + 1)
            position = start
        return self._size_bytes

    def begin_anew(self, lines: bytes, taken: int) -> None:
        """Put a new file in the place of this one, without what was taken in: up to offset `taken`. Raises OSError.

        `lines` is what a reader needs to make sense of the rest: the session and the runs that are going on.
        """
        if self._unwritten:
            return
        rest = os.pread(self._fd, self.end - taken, taken - self.header.base)
        fresh = self._create(self.path, Header(self.header.session_id, taken), lines + rest)
        os.close(self._fd)
        self.header, self._fd, self._size_bytes = fresh.header, fresh._fd, fresh._size_bytes

    def remove(self) -> None:
        """Delete the file and let go of it."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of it; from now on it counts as dead."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def spools_in(folder: Path) -> list[Path]:
    """The spools of a history, the oldest session first; live ones too."""
    try:
        return sorted(p for p in folder.iterdir() if p.suffix == SUFFIX and not p.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
