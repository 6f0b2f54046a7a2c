"""The sessions of another history file, brought into this one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, HistoryError
from gemtop.domain.text import one_line
from gemtop.history import schema
from gemtop.history.crashed import end_unfinished
from gemtop.history.database import Database, connect_reading, patiently, quoted
from gemtop.history.faults import DamagedHistoryError, HistoryLockedError, explain, logs_of, real
from gemtop.history.ingest import take_in_dead
from gemtop.history.interruptible import interruptible
from gemtop.history.manage import WAIT_S, Said
from gemtop.history.recorder import prepare_folders
from gemtop.history.spool import Spool, spools_in
from gemtop.history.tables import TABLES, columns, insert_from, known

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Brought:
    """What came of bringing sessions in."""

    new: tuple[str, ...]
    there: tuple[str, ...]
    """Left out: the history has them already."""
    left: tuple[str, ...] = ()
    """Left out: they have no end, and may be going on."""
    notes: tuple[str, ...] = ()
    rows: int = 0


def _unreadable(path: Path, error: BaseException) -> HistoryError:
    """What is wrong with the other file, in one line."""
    found = explain(path, error)
    if isinstance(found, HistoryLockedError):
        return found
    if isinstance(found, DamagedHistoryError):
        return HistoryError(f"nothing was merged: {one_line(str(path))} is damaged or no history ({found.why})")
    if isinstance(error, BadInputError):
        return HistoryError(str(error))
    text = one_line(str(error).splitlines()[0]) if str(error) else type(error).__name__
    if isinstance(error, HistoryError):
        text = text.split(", or choose another")[0].split(": choose another")[0]
        return HistoryError(f"nothing was merged: {text}")
    return HistoryError(f"nothing was merged: {one_line(str(path))} cannot be read ({text})")


def _copy(path: Path, to: Path, on_wait: Said) -> None:
    """A copy of a history as it is on the disk; its DuckDB lock is held meanwhile, so that nobody writes."""
    con = patiently(lambda: connect_reading(path), WAIT_S, on_wait)
    try:
        found = schema.version(con)
        if found == 0:
            raise BadInputError(f"{one_line(str(path))} is a DuckDB file, but no history of gemtop's")
        if found > schema.MIGRATIONS[-1].version:
            raise BadInputError(
                f"{one_line(str(path))} was written by a newer gemtop (schema {found}, this one knows"
                f" {schema.MIGRATIONS[-1].version}): update gemtop"
            )
        file = real(path)
        pairs = [(file, to), *((log, to.with_name(log.name.replace(file.name, to.name, 1))) for log in logs_of(file))]
        for source, target in pairs:  # by another process: closing a descriptor of it here would give up the lock
            done = subprocess.run(
                ["cp", "--reflink=auto", "--", str(source), str(target)], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise HistoryError(f"{one_line(str(path))} cannot be copied ({one_line(done.stderr)})")
    finally:
        con.close()
    to.chmod(0o600)


def _copy_spools(path: Path, to: Paths) -> None:
    """What processes left beside it that are gone: it belongs to the sessions as well."""
    for spool_path in spools_in(path.with_name(f"{path.name}.spool")):
        with suppress(OSError):
            spool = Spool.adopt(spool_path)
            if spool is None:
                continue
            try:
                to.spools.mkdir(exist_ok=True, mode=0o700)
                shutil.copyfile(spool_path, to.spools / spool_path.name)
            finally:
                spool.close()


@contextmanager
def _current_copy(path: Path, beside: Path, on_wait: Said) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A copy of a history at the current schema, in a folder that is deleted afterwards, and notes."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix=".gemtop-merge-", dir=beside) as scratch:
        where = Paths(Path(scratch) / "other.duckdb", Path(scratch), Path(scratch))
        try:
            _copy(path, where.history, on_wait)
            _copy_spools(path, where)
            notes = take_in_dead(where).notes
            database = Database(where.history)
            try:
                with database.open():
                    pass  # opening brings it to the current schema
            finally:
                database.forget()
        except (duckdb.Error, OSError, HistoryError, BadInputError) as error:
            raise _unreadable(path, error) from error
        yield where.history, tuple(note.replace(scratch, str(path.parent)) for note in notes)


def merge(
    paths: Paths, file: Path, *, unfinished: bool = False, on_wait: Said = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Brought:  # fmt: skip
    """Bring the sessions of another history file in; those that are here already are left out.

    All of them come or none. The other file is not changed: a copy is brought to the current schema. A session
    without an end comes only where `unfinished` says so, as one that crashed. Raises HistoryError.
    """
    import duckdb

    if not file.is_file():
        name = one_line(str(file))
        raise BadInputError(f"{name} is no file" if file.exists() else f"there is no file {name}")
    prepare_folders(paths)
    if paths.history.exists() and file.samefile(paths.history):
        raise BadInputError(f"{one_line(str(file))} is the history itself")
    progress("copying")
    with _current_copy(file, paths.history.parent, on_wait) as (copy, notes):
        database = Database(paths.history)
        try:
            with database.open(WAIT_S, on_wait) as con:
                con.execute(f"ATTACH {quoted(str(copy))} AS other")
                try:
                    brought = interruptible(lambda: _bring(con, unfinished, progress), con.interrupt)
                except duckdb.ConstraintException as error:
                    raise HistoryError(f"nothing was merged from {one_line(str(file))}: {_first(error)}") from error
                con.execute("DETACH other")
        finally:
            database.forget()
    return Brought(brought.new, brought.there, brought.left, notes, brought.rows)


def _first(error: BaseException) -> str:
    return one_line(str(error).splitlines()[0])


def _bring(con: DuckDBPyConnection, unfinished: bool, progress: Callable[[str], None]) -> Brought:
    """Rows of the attached history `other` into the one in use, in one transaction."""
    found = con.execute("SELECT session_id, status IS NULL FROM other.store.sessions ORDER BY session_id").fetchall()
    there = known(con, [session_id for session_id, _ in found])
    open_ends = [session_id for session_id, open_end in found if open_end and session_id not in there]
    left = [] if unfinished else open_ends
    new = [session_id for session_id, _ in found if session_id not in there and session_id not in left]
    theirs = columns(con, "other")
    con.execute("BEGIN")
    try:
        rows = 0
        for table in TABLES:
            progress(table)
            rows += insert_from(con, table, f"other.store.{table}", [c.name for c in theirs[table]], new)
        con.execute(
            "INSERT INTO store.spools SELECT * FROM other.store.spools"
            " WHERE session_id IN (SELECT unnest($ids::VARCHAR[])) ON CONFLICT DO NOTHING",
            {"ids": new},
        )
        for session_id in open_ends if unfinished else ():
            end_unfinished(con, session_id)
        con.execute("COMMIT")
    except BaseException:
        with suppress(Exception):
            con.execute("ROLLBACK")
        raise
    return Brought(tuple(new), tuple(sorted(there)), tuple(left), rows=rows)
