"""What goes wrong with a history file, told from DuckDB's messages in one line that says what to do."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gemtop.domain.errors import BadInputError, GemtopError, HistoryError
from gemtop.domain.text import one_line

_LOCKED = re.compile(r"Conflicting lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\)")
_NO_LOCK = re.compile(
    "No locks available|File locks are not supported|Function not implemented|Operation not supported"
    "|Input/output error"
)
_OF_FILE = re.compile(
    r"not a valid DuckDB database|orrupt database file|Corrupted \w+ segment|Could not read enough bytes"
    r"|Failed to deserialize"
)
_OF_LOG = re.compile(
    r"replaying WAL file.*(Corrupt WAL|may be corrupt|does not match|Failed to deserialize|enough bytes)"
)
_PLACE = re.compile(r'Failure while replaying WAL file "[^"]*": |The file "[^"]*" exists, but | from file "[^"]*"')
"""Words of the reason that name the file, which is named before."""


@dataclass(frozen=True, slots=True)
class Files:
    """Which files a history was: device and inode of the file and of its write-ahead log, None where there is none."""

    file: tuple[int, int] | None
    log: tuple[int, int] | None


class HistoryLockedError(HistoryError):
    """Another process has the history open."""


class DamagedHistoryError(HistoryError):
    """The file or its write-ahead log is damaged, or no DuckDB file at all."""

    def __init__(self, path: Path, why: str, *, log_alone: bool) -> None:
        what = log_of(path) if log_alone else path
        super().__init__(
            f"{what} is damaged or no history ({why}): the next session that is recorded mends it, or sets it aside"
            " and begins a new one; or choose another file with --db PATH"
        )
        self.why = why
        self.log_alone = log_alone
        """The file itself may be whole."""
        self.files = Files(None, None)
        """Which files were found damaged."""


def log_of(path: Path) -> Path:
    """Where DuckDB keeps what it has not brought into a file yet."""
    return path.with_name(f"{path.name}.wal")


def logs_of(path: Path) -> list[Path]:
    """The same, with those of a checkpoint that was broken off, as far as they are there."""
    log = log_of(path)
    found = (log, log.with_name(f"{log.name}.checkpoint"), log.with_name(f"{log.name}.recovery"))
    return [one for one in found if one.exists()]


def real(path: Path) -> Path:
    """The file behind links: DuckDB 1.5 keeps the log beside a link and 2.0 beside its target."""
    return Path(os.path.realpath(path))


def _damage(path: Path, text: str, why: str) -> DamagedHistoryError | None:
    """What DuckDB's message `text` tells of damage to a history; None where it tells of something else."""
    why = _PLACE.sub("", why)
    if _OF_LOG.search(text):
        return DamagedHistoryError(path, why, log_alone=True)
    return DamagedHistoryError(path, why, log_alone=False) if _OF_FILE.search(text) else None


def files_of(path: Path) -> Files:
    """Which files are there now."""
    where = real(path)
    return Files(_identity(where), _identity(log_of(where)))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def explain(path: Path, error: BaseException) -> HistoryError:
    """What a DuckDB or system error on the history file means, in one line that says what to do."""
    if isinstance(error, HistoryError):
        return error
    text = str(error)
    first = one_line(re.sub(r"\A[A-Z][\w ]*Error: ", "", text.splitlines()[0])) if text else type(error).__name__
    elsewhere = "choose another file with --db PATH"
    if "sqlite_scanner" in text:
        return HistoryError(f"{path} is an SQLite database and no history: {elsewhere}")
    if "Could not set lock" in text:
        return _not_locked(path, text)
    if "newer version of DuckDB" in text or "with an newer version" in text:
        return HistoryError(f"{path} was written by a newer DuckDB: pip install -U duckdb, or {elsewhere}")
    damaged = _damage(path, text, first)
    if damaged is not None:
        return damaged
    if re.search(r"No space left|File too large|Disk quota exceeded", text):
        return HistoryError(f"no room to write {path}: make room on that disk, or {elsewhere}")
    if re.search(r"Permission denied|Read-only file system|Operation not permitted", text):
        return HistoryError(f"{path} cannot be written ({first}): {elsewhere}")
    return HistoryError(f"{path} cannot be used ({first}): {elsewhere}")


def sql_error(error: Exception) -> GemtopError:
    """What is wrong with a query: DuckDB's own message, the marked place included, without the kind of exception.

    Where it met damage it is the history that is wrong; other queries may work, and sessions are recorded.
    """
    text = re.sub(r"\A[A-Z][\w ]*Error: ", "", str(error).strip())
    if _OF_FILE.search(text):
        return HistoryError(
            f"the history is damaged where this query reads ({one_line(text.splitlines()[0])}): docs/troubleshooting.md"
            " says how to save the rest"
        )
    return BadInputError(text)


def _not_locked(path: Path, text: str) -> HistoryError:
    """Why DuckDB's lock on the file could not be had: somebody has it, or there is none to be had on that disk."""
    held = _LOCKED.search(text)
    if held:
        program = held["program"].rsplit("/", 1)[-1]
        return HistoryLockedError(f"{path} is in use by {program} (PID {held['pid']})")
    reason = _NO_LOCK.search(text)
    if reason:
        return HistoryError(
            f"the disk of {path} has no file locks ({reason[0]}), as some network disks: choose a file on another with"
            " --db PATH"
        )
    return HistoryLockedError(f"{path} is in use by another process")
