"""Mending a history in which a write was broken off, and setting aside one that is damaged, so that one can be begun.

DuckDB writes a block of metadata again in its place to add to it. A process that is killed meanwhile leaves the block
in part as it was before, with a checksum of what it was to be: what the file refers to is whole all the same, since
only the part that was free has changed, and the log holds what was to be added.

Nothing is deleted. The write-ahead log goes first, since DuckDB deletes one that lies beside a new file; a process
that is killed in between leaves the file where it was, and the next one goes on from there.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from gemtop.domain.errors import HistoryError
from gemtop.history.database import IN_THIS_PROCESS, connect_reading, patiently
from gemtop.history.faults import DamagedHistoryError, HistoryLockedError, files_of, log_of, logs_of, real

_T = TypeVar("_T")
_TORN = re.compile(r"computed checksum (\d+) does not match stored checksum (\d+) in block at location (\d+)")
_CHECKSUM = struct.Struct("<Q")
_WAIT_S = 5.0
"""For others that have just found the damage too."""
_TRIES = 3
"""The log, the file, and what another process may have begun and damaged meanwhile."""


@dataclass(frozen=True, slots=True)
class _Torn:
    """A block that holds something else than its checksum says."""

    at: int
    """Where in the file the block begins, with its checksum."""
    stored: bytes
    computed: bytes

    def is_there(self, fd: int) -> bool:
        """Whether it still is so: another process may have mended it."""
        return os.pread(fd, len(self.stored), self.at) == self.stored


def _torn(error: DamagedHistoryError) -> _Torn | None:
    found = _TORN.search(error.why)
    if found is None:
        return None
    computed, stored, at = (int(number) for number in found.groups())
    return _Torn(at, _CHECKSUM.pack(stored), _CHECKSUM.pack(computed))


def mend(path: Path, error: DamagedHistoryError) -> str | None:
    """Give a block whose write was broken off the checksum of what it holds; returns a line that says so.

    None where that is not what is wrong: there is no log of what was being written, or not everything can be read
    afterwards, in which case the file is as it was. Raises HistoryLockedError, HistoryError.
    """
    torn = _torn(error)
    if torn is None or error.files.log is None:
        return None
    with _locked(path) as fd:
        if fd is None or files_of(path) != error.files or not torn.is_there(fd):
            return None
        os.pwrite(fd, torn.computed, torn.at)
        if not _is_whole(path):
            os.pwrite(fd, torn.stored, torn.at)
            return None
    return f"{path}: a process was killed while it wrote into it; it was mended, and all that is in it can be read"


def _is_whole(path: Path) -> bool:
    """Whether every value of every table can be read."""
    import duckdb

    try:
        with connect_reading(path) as con:
            for schema, table in con.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall():
                con.execute(f'SELECT count(hash(COLUMNS(*))) FROM "{schema}"."{table}"').fetchall()
    except (HistoryError, duckdb.Error):
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """The file's descriptor with DuckDB's own lock: nobody has it open, and two that found damage do not both act.

    None where there is no file any more. Raises HistoryLockedError, HistoryError.
    """
    with IN_THIS_PROCESS:
        try:
            fd = os.open(real(path), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        except OSError as reason:
            raise _stuck(path, reason) from reason
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield fd
        except (BlockingIOError, PermissionError) as reason:
            raise HistoryLockedError(f"{path} is in use by another process") from reason
        except OSError as reason:
            raise _stuck(path, reason) from reason
        finally:
            os.close(fd)


def set_aside(path: Path, error: DamagedHistoryError) -> str | None:
    """Give a damaged history, or its write-ahead log alone, another name beside it; returns a line that says which.

    None where the file is not the one any more that was found damaged, or was mended since. Raises
    HistoryLockedError, HistoryError.
    """
    torn = _torn(error)
    with _locked(path) as fd:
        now = files_of(path)
        if fd is None or now.file != error.files.file or (error.log_alone and now.log != error.files.log):
            return None
        if torn is not None and not torn.is_there(fd):
            return None
        return _move(real(path), error)


def _stuck(path: Path, reason: OSError) -> HistoryError:
    why = reason.strerror or str(reason)
    return HistoryError(f"{path} is damaged and cannot be renamed ({why}): choose another file with --db PATH")


def _move(file: Path, error: DamagedHistoryError) -> str:
    aside, log = _free_name(file), log_of(file)
    for one in logs_of(file):
        one.rename(file.with_name(one.name.replace(file.name, aside.name, 1)))
    if error.log_alone:
        return f"{log} was damaged ({error.why}): it is now {log_of(aside)}, and the history goes on without it"
    file.rename(aside)
    return f"{file} was damaged or no history ({error.why}): it is now {aside}, and a new history is begun"


def _free_name(file: Path) -> Path:
    base = f"{file.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    for number in range(1, 1000):
        aside = file.with_name(base if number == 1 else f"{base}-{number}")
        if not aside.exists() and not log_of(aside).exists():
            return aside
    raise FileExistsError(17, f"{base} is there a thousand times")


def renewing(path: Path, work: Callable[[], _T], say: Callable[[str], None]) -> _T:
    """`work` on the history; what it finds damaged is mended or set aside, `say` told, and the work done again.

    For what records: a reader begins no new history. Raises what `work` raises, and HistoryError where the damaged
    file cannot be renamed.
    """
    for _ in range(_TRIES):
        try:
            return work()
        except DamagedHistoryError as error:
            told = patiently(partial(mend, path, error), _WAIT_S) or patiently(partial(set_aside, path, error), _WAIT_S)
            if told:
                say(told)
    return work()
