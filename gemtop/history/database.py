"""Opening the history file, for as long as a batch takes, and saying plainly why it could not be opened."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gemtop.domain.errors import HistoryError
from gemtop.domain.text import one_line
from gemtop.history import schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_T = TypeVar("_T")

IN_THIS_PROCESS = threading.Lock()
"""Held while the file is open. DuckDB's lock is one of the process, not of the thread, and closing any
descriptor of the file lets go of it: two of our threads must never have the file open at once."""

STORAGE_VERSION = "v1.5.0"
"""Format of a new file: the oldest DuckDB that gemtop works with, and the shells beside it, can read it."""

_LOCKED = re.compile(r"Conflicting lock is held in (?P<program>.*?) \(PID (?P<pid>\d+)\)")
_POLL_S = 0.05


class HistoryLockedError(HistoryError):
    """Another process has the history open."""


def explain(path: Path, error: BaseException) -> HistoryError:
    """What a DuckDB or system error on the history file means, in one line that says what to do."""
    if isinstance(error, HistoryError):
        return error
    text = str(error)
    first = one_line(text.splitlines()[0]) if text else type(error).__name__
    held = _LOCKED.search(text)
    if held:
        program = held["program"].rsplit("/", 1)[-1]
        return HistoryLockedError(f"{path} is in use by {program} (PID {held['pid']})")
    if "Could not set lock" in text:
        return HistoryLockedError(f"{path} is in use by another process")
    elsewhere = "choose another file with --db PATH"
    if "newer version of DuckDB" in text or "with an newer version" in text:
        return HistoryError(f"{path} was written by a newer DuckDB: pip install -U duckdb, or {elsewhere}")
    if re.search(r"not a valid DuckDB database|[Cc]orrupt|checksum|Could not read enough bytes", text):
        return HistoryError(f"{path} is damaged or no history ({first}): move it away, or {elsewhere}")
    if re.search(r"No space left|File too large|Disk quota exceeded", text):
        return HistoryError(f"no room to write {path}: make room on that disk, or {elsewhere}")
    if re.search(r"Permission denied|Read-only file system|Operation not permitted", text):
        return HistoryError(f"{path} cannot be written ({first}): {elsewhere}")
    return HistoryError(f"{path} cannot be used ({first}): {elsewhere}")


def patiently(attempt: Callable[[], _T], wait_s: float, on_wait: Callable[[str], None] | None = None) -> _T:
    """`attempt`, again and again for `wait_s` seconds while another process has the history open.

    `on_wait` is called once, with who it is waiting for. Raises HistoryLockedError when the time is over.
    """
    deadline = time.monotonic() + wait_s
    said = False
    while True:
        try:
            return attempt()
        except HistoryLockedError as error:
            if time.monotonic() >= deadline:
                raise
            if on_wait and not said:
                on_wait(f"waiting: {error}")
                said = True
            time.sleep(_POLL_S)


def connect_reading(path: Path) -> DuckDBPyConnection:
    """The file itself, open for reading. Raises HistoryLockedError while it is open for writing, HistoryError."""
    import duckdb

    try:
        return duckdb.connect(str(path), read_only=True)
    except (duckdb.Error, OSError) as error:
        raise explain(path, error) from error


def quoted(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


class Database:
    """The history file, attached to an in-memory DuckDB for the length of a batch.

    A DuckDB instance takes 30 ms of CPU to make and a file 1 ms to attach, so the instance stays and the file
    does not. duckdb itself is imported at the first use.
    """

    def __init__(self, path: Path, migrations: Sequence[schema.Migration] = schema.MIGRATIONS) -> None:
        self.path = path
        self._migrations = migrations
        self._con: DuckDBPyConnection | None = None

    def _instance(self) -> DuckDBPyConnection:
        if self._con is None:
            import duckdb

            self._con = duckdb.connect(config={"threads": 1})
            # A commit goes into the file itself: the file is closed after a batch, which would empty its log at once.
            # And DuckDB 1.5 cannot replay a log that makes a schema and its tables.
            self._con.execute("SET wal_autocheckpoint = '1KB'")
        return self._con

    @contextmanager
    def open(self, wait_s: float = 0.0, on_wait: Callable[[str], None] | None = None) -> Iterator[DuckDBPyConnection]:
        """The history, open for writing and at the current schema, in use as the default database.

        Raises HistoryLockedError while another process has it open for longer than `wait_s`, HistoryError for
        everything else that is wrong with the file; errors inside the block come out as HistoryError too.
        """
        import duckdb

        if not IN_THIS_PROCESS.acquire(timeout=max(wait_s, 1.0)):
            raise HistoryLockedError(f"{self.path} is in use by another part of gemtop")
        try:
            patiently(self._attach, wait_s, on_wait)
            con = self._instance()
            self._migrate(con)
            yield con
            con.execute("USE memory; DETACH history")
        except (duckdb.Error, OSError) as error:
            self.forget()
            raise explain(self.path, error) from error
        except BaseException:
            self.forget()
            raise
        finally:
            IN_THIS_PROCESS.release()

    def _attach(self) -> None:
        import duckdb

        con = self._instance()
        new = not self.path.exists() or self.path.stat().st_size == 0
        options = f"(STORAGE_VERSION '{STORAGE_VERSION}')" if new else ""
        try:
            con.execute(f"ATTACH {quoted(str(self.path))} AS history {options}; USE history")
        except duckdb.Error as error:
            self.forget()
            raise explain(self.path, error) from error
        if new:  # prompts and outputs are in it
            with contextlib.suppress(OSError):
                self.path.chmod(0o600)

    def _migrate(self, con: DuckDBPyConnection) -> None:
        found = schema.version(con)
        if found == self._migrations[-1].version:
            return
        schema.refuse_newer(found, str(self.path), self._migrations)
        if not schema.is_empty(con):
            con.execute("CHECKPOINT history")
            self._back_up(found)
        schema.migrate(con, str(self.path), self._migrations)
        for version in range(1, found):  # the last copy stays, and what was there before gemtop's first table
            with contextlib.suppress(OSError):
                self._copy_of(version).unlink()

    def _copy_of(self, version: int) -> Path:
        return self.path.with_name(f"{self.path.name}.v{version}.bak")

    def _back_up(self, found: int) -> None:
        """A copy of the file as it is, unless a migration that failed has left one since it was last written.

        Made by another process: closing a descriptor of the file in this one would give up DuckDB's lock.
        """
        copy, now = self._copy_of(found), self.path.stat()
        with contextlib.suppress(FileNotFoundError):
            then = copy.stat()
            if (then.st_mtime_ns, then.st_size) == (now.st_mtime_ns, now.st_size):
                return
        import subprocess

        half = copy.with_name(f"{copy.name}.{os.getpid()}")
        command = ["cp", "-p", "--", str(self.path), str(half)]  # -p: its prompts stay as private as they were
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            half.unlink(missing_ok=True)
            raise OSError(done.stderr.strip() or "the copy before a migration failed")
        half.replace(copy)

    def interrupt(self) -> None:
        """Stop what another thread is executing."""
        if self._con is not None:
            self._con.interrupt()

    def forget(self) -> None:
        """Close the instance and with it the file; the next use makes a new one."""
        con, self._con = self._con, None
        if con is not None:
            con.close()
