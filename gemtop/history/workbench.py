"""SQL for a screen: results stay in DuckDB and are looked at in part, the history is held only while a query runs.

The history is attached to an in-memory DuckDB, the rows of the query become a table of that, and the history is let
go. A million rows are paged, sorted, reduced to a plot and saved where they are; Python sees those on the screen.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, GemtopError, QueryStoppedError
from gemtop.domain.sql_text import bare
from gemtop.history import lake, schema
from gemtop.history.database import IN_THIS_PROCESS, Database, bring_up_to_date, patiently, quoted
from gemtop.history.faults import explain, real, sql_error
from gemtop.history.reader import RESTRICTIONS, refuse_writes
from gemtop.history.results import RESULTS, StoredResult, identifier
from gemtop.history.scratch import new_scratch

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

_POLL_S = 0.05
_MEMORY = "1GB"
"""For results and what queries need; beyond that they go to disk. The rest of the memory is the model's."""
_ALONE = {"TRANSACTION", "VACUUM", "ATTACH", "DETACH"}
"""Statements that cannot be, or need not be, inside a transaction."""
_TABLES = {"SELECT", "MULTI", "CREATE"}
"""What a statement may be that a table can be made of; a PIVOT is CREATE or MULTI."""
_WRITTEN = "gemtop_result"
"""The table that holds the rows of statements that were allowed to write."""
_UNSTORED_ROWS = 20_000
"""As many rows are kept of a result that DuckDB cannot make a table of, such as that of EXPLAIN."""


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a view or table, as DESCRIBE has it."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class View:
    """A view or table that queries can name."""

    name: str
    comment: str
    columns: tuple[ViewColumn, ...]


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A session for a list."""

    session_id: str
    started: str
    """Local time, to the minute."""
    runs: int
    models: str


class Workbench:
    """Runs SQL, one query at a time, and keeps the last result.

    `run` may take long and is for a thread of its own; `stop` is for any other.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.fleet: lake.Address | None = None
        """What is asked in place of the history."""
        self._con: DuckDBPyConnection | None = None
        self._scratch: Path | None = None
        self._guard = threading.Lock()
        self._one = threading.Lock()
        self._stopping = threading.Event()
        self._executing: list[DuckDBPyConnection] = []
        self._writing: Database | None = None
        self._numbers = 0

    # The instance

    def _instance(self) -> DuckDBPyConnection:
        with self._guard:
            if self._con is None:
                self._con = self._connect()
            return self._con

    def _connect(self) -> DuckDBPyConnection:
        import duckdb

        # Half of the cores: a query must not take the engine's.
        con = duckdb.connect(config={"threads": max(1, (os.cpu_count() or 2) // 2), "memory_limit": _MEMORY})
        with suppress(OSError):
            self._scratch = new_scratch(self._paths.cache, "sql")
            con.execute(f"SET temp_directory = {quoted(str(self._scratch))}")
        con.execute(f"CREATE SCHEMA memory.{RESULTS}; {RESTRICTIONS}")
        return con

    def cursor(self) -> DuckDBPyConnection:
        """A connection of its own to the results."""
        return self._instance().cursor()

    def close(self, wait_s: float = 2.0) -> None:
        """Stop what runs, waiting so long for its end, and forget the results."""
        deadline = time.monotonic() + wait_s
        ended = False
        while not ended and time.monotonic() < deadline:
            self.stop()
            ended = self._one.acquire(timeout=_POLL_S)
        with self._guard:
            con, self._con = self._con, None
            scratch, self._scratch = self._scratch, None
        if con is not None and ended:
            con.close()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if ended:
            self._one.release()

    # Stopping

    def stop(self) -> None:
        """Stop what other threads execute or wait for. Call it again until that has ended."""
        self._stopping.set()
        with self._guard:
            executing, writing = list(self._executing), self._writing
        for con in executing:
            con.interrupt()
        if writing is not None:
            writing.interrupt()

    @contextmanager
    def stoppable(self, con: DuckDBPyConnection) -> Iterator[None]:
        """What is executed in here ends by `stop`; DuckDB's errors come out as BadInputError."""
        import duckdb

        with self._guard:
            self._executing.append(con)
        try:
            yield
        except duckdb.InterruptException as error:
            raise QueryStoppedError("stopped") from error
        except duckdb.Error as error:
            if self._stopping.is_set() and "nterrupt" in str(error):
                raise QueryStoppedError("stopped") from error
            raise sql_error(error) from error
        finally:
            with self._guard:
                self._executing.remove(con)

    def check_stopped(self) -> None:
        """Raises QueryStoppedError once `stop` was called."""
        if self._stopping.is_set():
            raise QueryStoppedError("stopped")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The one piece of work that goes on; what was stopped before is over."""
        with self._one:
            self._stopping.clear()
            yield

    # The history

    @contextmanager
    def _history(self, con: DuckDBPyConnection, on_wait: Callable[[str], None] | None) -> Iterator[None]:
        """The history or the fleet, attached for reading as `history` and the default database of `con`.

        Waits for others until stopped.
        """
        if self.fleet is not None:
            lake.prepare(con, s3=True)
            lake.attach(con, self.fleet, "history")
            try:
                yield
            finally:
                lake.detach(con, "history")
            return
        if not self._paths.history.exists():
            con.execute("ATTACH ':memory:' AS history; USE history")
            schema.migrate(con, str(self._paths.history))
            try:
                yield
            finally:
                con.execute("USE memory; DETACH history")
            return
        self._take_lock()
        try:
            self._attach(con, on_wait)
            try:
                yield
            finally:
                con.execute("USE memory; DETACH history")
        finally:
            IN_THIS_PROCESS.release()

    def _take_lock(self) -> None:
        while not IN_THIS_PROCESS.acquire(timeout=_POLL_S):
            self.check_stopped()

    def _attach(self, con: DuckDBPyConnection, on_wait: Callable[[str], None] | None) -> None:
        """Attach the file; one of an older gemtop is brought to the current schema first. Holds the lock."""
        path = self._paths.history
        self._patiently(con, on_wait)
        try:
            con.execute("USE history")
            found = schema.version(con)
            schema.refuse_newer(found, str(path))
            if found == schema.MIGRATIONS[-1].version:
                return
        except BaseException:
            con.execute("USE memory; DETACH history")
            raise
        con.execute("USE memory; DETACH history")
        IN_THIS_PROCESS.release()
        try:
            bring_up_to_date(path, 5.0, on_wait)
        finally:
            IN_THIS_PROCESS.acquire()
        self._patiently(con, on_wait)
        con.execute("USE history")

    def _patiently(self, con: DuckDBPyConnection, on_wait: Callable[[str], None] | None) -> None:
        import duckdb

        path = self._paths.history

        def attach() -> None:
            self.check_stopped()
            try:
                con.execute(f"ATTACH {quoted(str(real(path)))} AS history (READ_ONLY)")
            except (duckdb.Error, OSError) as error:
                raise explain(path, error) from error

        patiently(attach, math.inf, on_wait)

    # Queries

    def run(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        writing: bool = False,
        on_wait: Callable[[str], None] | None = None,
    ) -> StoredResult:
        """Run statements; the result is that of the last one.

        `parameters` are bound by name; those the SQL does not name are left out. `on_wait` is told for whom it
        waits. Raises BadInputError with DuckDB's message, HistoryError, QueryStoppedError.
        """
        bound = dict(parameters or {})
        with self.alone():
            began = time.monotonic()
            self._numbers += 1
            name = f"memory.{RESULTS}.result_{self._numbers}"
            con = self.cursor()
            try:
                if writing:
                    self._write(con, sql, bound, name, on_wait)
                else:
                    with self.stoppable(con):
                        statements = _statements(con, sql)
                        for statement in statements:
                            refuse_writes(statement, con)
                        with self._history(con, on_wait):
                            self._execute_all(con, sql, statements, bound, name)
                return StoredResult(self, name, time.monotonic() - began)
            except BaseException:
                with suppress(Exception):
                    con.execute(f"DROP TABLE IF EXISTS {name}")
                raise
            finally:
                con.close()

    def _execute_all(
        self, con: DuckDBPyConnection, sql: str, statements: list[Statement], bound: Mapping[str, Any], name: str
    ) -> None:
        """All statements in turn, the rows of the last one into a table."""
        for statement in statements[:-1]:
            self.check_stopped()
            con.execute(statement, _named(statement, bound))
        self.check_stopped()
        _store(con, sql, statements[-1], bound, name)

    def _write(
        self,
        con: DuckDBPyConnection,
        sql: str,
        bound: Mapping[str, Any],
        name: str,
        on_wait: Callable[[str], None] | None,
    ) -> None:
        """The statements on the file itself, all of them or none; their rows come over as Parquet."""
        if self.fleet is not None:
            raise BadInputError("the fleet is read here, not written")
        database = Database(self._paths.history)
        with self._guard:
            self._writing = database
        scratch = Path(mkdtemp(prefix="gemtop-"))
        try:
            failure: GemtopError | None = None
            with database.open(60.0, on_wait) as history:
                try:
                    with self.stoppable(history):
                        self._write_all(history, sql, bound, scratch / "rows.parquet")
                except GemtopError as error:
                    failure = error  # Database would take it for something wrong with the file
            if failure is not None:
                raise failure
            with self.stoppable(con):
                con.execute(f"CREATE TABLE {name} AS FROM {quoted(str(scratch / 'rows.parquet'))}")
        finally:
            with self._guard:
                self._writing = None
            database.forget()
            shutil.rmtree(scratch, ignore_errors=True)

    def _write_all(self, con: DuckDBPyConnection, sql: str, bound: Mapping[str, Any], rows: Path) -> None:
        statements = _statements(con, sql)
        whole = not any(s.type.name in _ALONE or re.match(r"\s*checkpoint\b", s.query, re.I) for s in statements)
        if whole:
            con.execute("BEGIN")
        try:
            self._execute_all(con, sql, statements, bound, _WRITTEN)
            if whole:
                con.execute("COMMIT")
        except BaseException:
            with suppress(Exception):  # a commit that failed has rolled back already
                con.execute("ROLLBACK")
            raise
        con.execute(f"COPY {_WRITTEN} TO {quoted(str(rows))} (FORMAT parquet)")

    # What there is

    def views(self, on_wait: Callable[[str], None] | None = None) -> tuple[View, ...]:
        """The views of the history, gemtop's and the user's own, with their columns and what those mean."""
        with self.alone():
            con = self.cursor()
            try:
                with self.stoppable(con):
                    with self._history(con, on_wait):
                        found = _views(con)
                    return found if self.fleet is None else _with_comments(con, found)
            finally:
                con.close()

    def sessions(self, on_wait: Callable[[str], None] | None = None, limit: int = 500) -> tuple[SessionLine, ...]:
        """The sessions, the newest first."""
        with self.alone():
            con = self.cursor()
            try:
                with self.stoppable(con), self._history(con, on_wait):
                    rows = con.execute(_SESSIONS, [limit]).fetchall()
            finally:
                con.close()
        return tuple(SessionLine(str(r[0]), str(r[1]), int(r[2]), str(r[3] or "")) for r in rows)


_SESSIONS = """
SELECT s.session_id, strftime(s.started_at, '%Y-%m-%d %H:%M'), count(r.run_id),
    string_agg(DISTINCT r.model_name || ' ' || r.variant, ', ' ORDER BY r.model_name || ' ' || r.variant)
FROM (FROM sessions ORDER BY started_at DESC, session_id DESC LIMIT ?) AS s LEFT JOIN runs AS r USING (session_id)
GROUP BY s.session_id, s.started_at ORDER BY s.started_at DESC, s.session_id DESC
"""


def _views(con: DuckDBPyConnection) -> tuple[View, ...]:
    here = "database_name = 'history' AND schema_name = 'main' AND NOT internal"
    comments: dict[str, str] = {}
    for kind in ("table", "view"):
        found = con.execute(f"SELECT {kind}_name, comment FROM duckdb_{kind}s() WHERE {here} ORDER BY 1").fetchall()
        comments.update({str(name): str(comment or "") for name, comment in found})
    columns: dict[str, list[ViewColumn]] = {name: [] for name in comments}
    rows = con.execute(
        f"SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE {here}"
        " ORDER BY table_name, column_index"
    ).fetchall()
    for table, name, kind, comment in rows:
        if table in columns:
            columns[table].append(ViewColumn(str(name), str(kind), str(comment or "")))
    return tuple(View(name, comments[name], tuple(columns[name])) for name in comments)


def _with_comments(con: DuckDBPyConnection, views: tuple[View, ...]) -> tuple[View, ...]:
    """With what columns mean, taken from an empty history: a lake keeps no comments on columns of views."""
    con.execute("ATTACH ':memory:' AS history; USE history")
    try:
        schema.migrate(con, "")
        known = {(view.name, c.name): c.comment for view in _views(con) for c in view.columns}
    finally:
        con.execute("USE memory; DETACH history")
    return tuple(
        replace(view, columns=tuple(replace(c, comment=known.get((view.name, c.name), "")) for c in view.columns))
        for view in views
    )


def _statements(con: DuckDBPyConnection, sql: str) -> list[Statement]:
    found = list(con.extract_statements(sql))
    if not found:
        raise BadInputError("there is no SQL statement in it")
    return found


def _named(statement: Statement, bound: Mapping[str, Any]) -> dict[str, Any] | None:
    return {name: bound[name] for name in statement.named_parameters if name in bound} or None


def _store(con: DuckDBPyConnection, sql: str, statement: Statement, bound: Mapping[str, Any], name: str) -> None:
    """The rows of a statement as table `name`."""
    import duckdb

    text = bare(statement.query)
    table = f"TEMP TABLE {name}" if "." not in name else f"TABLE {name}"
    if statement.type.name in _TABLES and not re.match(r"create\b", text, re.IGNORECASE):
        try:
            con.execute(f"CREATE {table} AS (\n{text}\n)", _named(statement, bound))
            return
        except duckdb.InterruptException:
            raise
        except duckdb.ParserException:
            pass  # DuckDB 1.5 makes no table of DESCRIBE and the like, nor of a PIVOT, which it takes apart
        except duckdb.Error as error:
            found = sql_error(error)
            raise type(found)(_in_place(str(found), sql, text)) from error
    con.execute(statement, _named(statement, bound))
    described = [(str(d[0]), str(d[1])) for d in con.description or []] or [("done", "BOOLEAN")]
    rows = con.fetchmany(_UNSTORED_ROWS) if con.description else [(True,)]
    columns = ", ".join(f"{identifier(column)} {_type(kind)}" for column, kind in described)
    con.execute(f"CREATE {table} ({columns})")
    if rows:
        con.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(described))})", rows)


def _type(name: str) -> str:
    """A column type for values in hand: enums and nested ones are kept as text."""
    return name if re.fullmatch(r"[A-Z]+( WITH TIME ZONE)?|DECIMAL\(\d+,\d+\)", name) else "VARCHAR"


def _in_place(message: str, sql: str, text: str) -> str:
    """DuckDB's message with the number of the line in what the user wrote, not in what it was wrapped in."""
    before = sql.find(text)
    shift = (sql.count("\n", 0, before) if before > 0 else 0) - 1

    def moved(match: re.Match[str]) -> str:
        number = f"{max(1, int(match[1]) + shift)}:"
        return f"LINE {number}" + " " * max(0, len(match[0]) - len(f"LINE {number}"))

    return re.sub(r"LINE (\d+):", moved, message)
