"""Reading the history with SQL. What is read cannot be written through here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, HistoryError
from gemtop.domain.text import one_line
from gemtop.history import schema, tables
from gemtop.history.database import IN_THIS_PROCESS, bring_up_to_date, connect_reading, patiently, quoted
from gemtop.history.faults import HistoryLockedError, explain, sql_error
from gemtop.history.interruptible import interruptible

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

_T = TypeVar("_T")
_READING = {"SELECT", "EXPLAIN", "MULTI", "CREATE"}
COMMENTS = re.compile(r"\A(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/|;)+", re.DOTALL)
_EXPLAIN = re.compile(r"\Aexplain\s*(?:\([^)]*\)|analyze\b)?", re.IGNORECASE)
RESTRICTIONS = "SET autoinstall_known_extensions = false; SET lock_configuration = true"
"""Reading CSV and Parquet files in SQL is welcome; installing extensions and other settings are not."""
_FETCH_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result."""

    name: str
    type: str
    """DuckDB's name of the type."""

    @property
    def numeric(self) -> bool:
        return bool(re.match(r"(U?(TINY|SMALL|BIG|HUGE)?INT|INTEGER|UINTEGER|DOUBLE|FLOAT|DECIMAL)", self.type))

    @property
    def is_time(self) -> bool:
        """A moment or a day."""
        return bool(re.match(r"(TIMESTAMP|DATE)", self.type))


class Result:
    """Columns, and rows that are fetched as they are asked for."""

    def __init__(self, reader: Reader, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self._reader = reader

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, once. Raises BadInputError where the query fails only while it runs."""
        while batch := self._reader._fetch(_FETCH_ROWS):
            yield from batch


_KEEPING = re.compile(
    r"\b(ducklake_(?:add_data_files|cleanup\w*|commit|delete\w*|expire\w*|flush\w*|merge\w*|rewrite\w*|set\w*)"
    r"|postgres_execute)\W",
    re.IGNORECASE,
)
"""Table functions that change a fleet, though the statement is a SELECT."""


def refuse_writes(statement: Statement, con: DuckDBPyConnection) -> None:
    """Raises BadInputError for a statement that could change anything: the history, or a file beside it."""
    text = COMMENTS.sub("", statement.query)
    kind = statement.type.name
    if kind == "EXPLAIN":  # EXPLAIN ANALYZE executes what it explains
        for inner in con.extract_statements(_EXPLAIN.sub("", text)):
            refuse_writes(inner, con)
        return
    # A PIVOT comes apart into a temporary type and a SELECT; what the user wrote does not begin with CREATE.
    if kind not in _READING or (kind == "CREATE" and re.match(r"create\b", text, re.IGNORECASE)):
        word = (text.split(None, 1) or [kind])[0].upper()
        raise BadInputError(
            f"{word} is not possible here: the history is open for reading (SELECT, WITH, FROM, DESCRIBE,"
            " SUMMARIZE, SHOW, PIVOT, EXPLAIN)"
        )
    changing = _KEEPING.search(text)
    if changing:
        raise BadInputError(f"{changing[1]} is not possible here: the fleet is open for reading")


class Reader:
    """The history, open for reading. While it is open no gemtop can write to it: close it soon."""

    def __init__(self, con: DuckDBPyConnection, path: Path | None) -> None:
        self._con = con
        self.path = path
        """The file; None where there is no history yet and an empty one in memory stands in."""

    @classmethod
    def open(cls, paths: Paths, *, wait_s: float = 5.0, on_wait: Callable[[str], None] | None = None) -> Reader:
        """Open it, waiting up to `wait_s` seconds for another process that has it open for writing.

        `on_wait` is told for whom, once. Raises HistoryError.
        """
        import duckdb

        if not paths.history.exists():
            con = duckdb.connect()
            schema.migrate(con, str(paths.history), comments=False)
            con.execute(RESTRICTIONS)
            return cls(con, None)
        if not IN_THIS_PROCESS.acquire(timeout=max(wait_s, 1.0)):
            raise HistoryLockedError(f"{paths.history} is in use by another part of gemtop")
        try:
            con = patiently(lambda: connect_reading(paths.history), wait_s, on_wait)
        except BaseException:
            IN_THIS_PROCESS.release()
            raise
        reader = cls(con, paths.history)
        try:
            found = schema.version(con)
            schema.refuse_newer(found, str(paths.history))
            con.execute(RESTRICTIONS)
        except BaseException as error:
            reader.close()
            raise explain(paths.history, error) from error
        if found == schema.MIGRATIONS[-1].version:
            return reader
        reader.close()
        bring_up_to_date(paths.history, wait_s, on_wait)
        return cls.open(paths, wait_s=wait_s, on_wait=on_wait)

    def run_sql(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run statements that read; the result is that of the last one.

        `parameters` are bound by name ($name). Raises BadInputError with DuckDB's message. May be interrupted
        by Ctrl-C, and by `interrupt` from another thread.
        """
        import duckdb

        try:
            statements = self._con.extract_statements(sql)
            if not statements:
                raise BadInputError("there is no SQL statement in it")
            for statement in statements:
                refuse_writes(statement, self._con)
            bound = dict(parameters or {})
            unknown = set(bound) - {name for s in statements for name in s.named_parameters}
            if unknown:
                raise BadInputError(f"the SQL has no parameter ${', $'.join(sorted(unknown))}")
            for statement in statements:
                mine = {name: bound[name] for name in statement.named_parameters if name in bound}
                self._interruptible(partial(self._con.execute, statement, mine or None))
        except duckdb.Error as error:
            raise sql_error(error) from error
        described = self._con.description or []
        return Result(self, tuple(Column(str(d[0]), str(d[1])) for d in described))

    def save_parquet(self, sql: str, parameters: Mapping[str, Any] | None, path: Path) -> None:
        """Run one SELECT and write its rows to a Parquet file. Raises BadInputError."""
        import duckdb

        try:
            statements = self._con.extract_statements(sql)
            for statement in statements:
                refuse_writes(statement, self._con)
            if len(statements) != 1:
                raise BadInputError("Parquet needs exactly one SELECT")
            text = statements[0].query.strip().rstrip(";")
            copy = f"COPY (\n{text}\n) TO {quoted(str(path))} (FORMAT parquet)"
            self._interruptible(lambda: self._con.execute(copy, dict(parameters or {}) or None))
        except duckdb.Error as error:
            raise sql_error(error) from error

    def _fetch(self, count: int) -> list[tuple[Any, ...]]:
        import duckdb

        try:
            return self._interruptible(lambda: self._con.fetchmany(count))
        except duckdb.Error as error:
            raise sql_error(error) from error

    def _interruptible(self, call: Callable[[], _T]) -> _T:
        return interruptible(call, self._con.interrupt)

    def copy_to(self, sql: str, parameters: Mapping[str, Any], path: Path, options: str) -> int:
        """Write the rows of one SELECT of gemtop's own to a file, by DuckDB's COPY; returns how many there were.

        Raises HistoryError.
        """
        import duckdb

        copy = f"COPY ({sql}) TO {quoted(str(path))} ({options})"
        try:
            done = self._interruptible(lambda: self._con.execute(copy, dict(parameters) or None).fetchone())
            return int(done[0]) if done else 0
        except duckdb.Error as error:
            found = sql_error(error)
            if isinstance(found, HistoryError):
                raise found from error
            first = one_line(str(error).splitlines()[0])
            raise HistoryError(f"{one_line(str(path))} could not be written: {first}") from error

    def tables(self) -> dict[str, tuple[tables.Column, ...]]:
        """The columns of each table of `store`."""
        return tables.columns(self._con)

    def interrupt(self) -> None:
        """Stop the query that another thread is running."""
        self._con.interrupt()

    def close(self) -> None:
        """Let go of the history."""
        self._con.close()
        if self.path is not None:
            IN_THIS_PROCESS.release()
            self.path = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
