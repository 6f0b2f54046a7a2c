"""Opening the history file, for as long as a batch takes."""

from __future__ import annotations

import contextlib
import glob
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gemtop.domain.errors import HistoryError
from gemtop.history import schema
from gemtop.history.faults import DamagedHistoryError, HistoryLockedError, explain, files_of, real

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_T = TypeVar("_T")

IN_THIS_PROCESS = threading.Lock()
"""Held while the file is open. DuckDB's lock is one of the process, not of the thread, and closing any
descriptor of the file lets go of it: two of our threads must never have the file open at once."""

STORAGE_VERSION = "v1.5.0"
"""Format of a new file: the oldest DuckDB that gemtop works with, and the shells beside it, can read it."""

_POLL_S = 0.05
_NOTHING_INSTALLED: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
"""For a file of another database DuckDB would load an extension from the network."""


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
        return duckdb.connect(str(real(path)), read_only=True, config=_NOTHING_INSTALLED)
    except (duckdb.Error, OSError) as error:
        raise explain(path, error) from error


def bring_up_to_date(path: Path, wait_s: float, on_wait: Callable[[str], None] | None = None) -> None:
    """Bring a history of an earlier gemtop to the current schema. Raises HistoryError where it cannot be written."""
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise HistoryError(
            f"{path} is of an earlier gemtop and cannot be written, so it is not brought up to date:"
            f" gemtop sessions merge {path} --db NEW reads it into another"
        )
    with Database(path).open(wait_s, on_wait):
        pass  # opening does it


def _unborn(file: Path, what: str) -> Path:
    """Where this process makes a file that belongs beside the history."""
    return file.with_name(f".{file.name}.{os.getpid()}.{what}")


def clear_up_unborn(path: Path) -> None:
    """Delete new histories and copies whose process was killed before it could put them in place."""
    file = real(path)
    for left in file.parent.glob(f".{glob.escape(file.name)}.*.*"):
        try:
            os.kill(int(left.name.removeprefix(f".{file.name}.").split(".")[0]), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except (ValueError, OSError):
            continue


def put_in_place(whole: Path, file: Path) -> None:
    """Give a file its name, in one step. Raises FileExistsError where there is one of that name."""
    try:
        os.link(whole, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if file.exists():
            raise FileExistsError(file) from None
        whole.rename(file)


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
        self._files = files_of(path)

    def _instance(self) -> DuckDBPyConnection:
        if self._con is None:
            import duckdb

            config = {"threads": 1, "storage_compatibility_version": STORAGE_VERSION, **_NOTHING_INSTALLED}
            self._con = duckdb.connect(config=config)
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
            raise self._explained(error) from error
        except HistoryLockedError:
            raise
        except BaseException:
            self.forget()
            raise
        finally:
            IN_THIS_PROCESS.release()

    def _explained(self, error: BaseException) -> HistoryError:
        found = explain(self.path, error)
        if isinstance(found, DamagedHistoryError):
            found.files = self._files
        return found

    def _attach(self) -> None:
        import duckdb

        file = real(self.path)
        try:
            if not file.exists():
                self._begin(file)
            self._files = files_of(self.path)
            self._attach_file(file)
        except (duckdb.Error, OSError) as error:
            found = self._explained(error)
            if not isinstance(found, HistoryLockedError):  # it is tried again soon, and an instance is dear
                self.forget()
            raise found from error

    def _attach_file(self, file: Path) -> None:
        self._instance().execute(f"ATTACH {quoted(str(file))} AS history; USE history")

    def _begin(self, file: Path) -> None:
        """Make a new history beside its place, and put it there whole.

        A process that is killed while DuckDB makes a file leaves one that nobody can open, and of two that make
        it at once the second begins it anew under the first.
        """
        unborn = _unborn(file, "new")
        try:
            self._attach_file(unborn)
            unborn.chmod(0o600)  # prompts and outputs will be in it
            con = self._instance()
            schema.migrate(con, str(self.path), self._migrations)
            con.execute("USE memory; DETACH history")
            with contextlib.suppress(FileExistsError):  # another process was quicker
                put_in_place(unborn, file)
        finally:
            unborn.unlink(missing_ok=True)

    def _migrate(self, con: DuckDBPyConnection) -> None:
        found = schema.version(con)
        if found == self._migrations[-1].version:
            return
        schema.refuse_newer(found, str(self.path), self._migrations)
        if not schema.is_empty(con):
            con.execute("CHECKPOINT history")
            self._back_up(found)
        # The commit goes into the file at once: DuckDB 1.5 cannot replay a WAL that makes a schema and its tables.
        con.execute("SET wal_autocheckpoint = '1KB'")
        schema.migrate(con, str(self.path), self._migrations)
        con.execute("RESET wal_autocheckpoint")
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

        half = _unborn(self.path, "bak")
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
