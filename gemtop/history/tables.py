"""The tables of `store` that hold sessions: what belongs to one, and how its rows come from another place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from gemtop.history import schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TABLES = (
    "sessions", "runs", "tokens", "samples", "reasons", "ledger", "tune_points", "devices", "roofs", "costs",
    "fidelity", "tasks",
)  # fmt: skip
"""Every table with rows of sessions; one comes after those that its rows refer to."""
OF_RUNS = ("tokens", "roofs", "tasks")
"""Tables whose rows name their run and not their session."""
_PARTS = {"samples": {"device_samples": "device IS DISTINCT FROM 'host'", "host_samples": "device = 'host'"}}
"""Those that are views of several tables, and which rows are in which: one file of an export all the same."""

ALL_TAKEN = 2**62
"""Mark in store.spools: whatever is in this session's spool, nothing of it is to be taken in."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table in `store`."""

    name: str
    type: str
    """As DuckDB writes it: BIGINT, VARCHAR[], ENUM('finished', 'crashed')."""
    required: bool = False

    @property
    def is_enum(self) -> bool:
        return self.type.startswith("ENUM")

    @property
    def is_list(self) -> bool:
        return self.type.endswith("[]")

    @property
    def plain_type(self) -> str:
        """What it is in a file: an enum is text, a moment is one in ISO 8601."""
        return "VARCHAR" if self.is_enum or self.type.startswith("TIMESTAMP") else self.type


def _all_columns(con: DuckDBPyConnection, database: str | None = None) -> dict[str, list[Column]]:
    """The columns of each table and view in `store`; DuckDB does not say of a view's which are required."""
    rows = con.execute(
        "SELECT table_name, column_name, data_type, NOT is_nullable FROM duckdb_columns()"
        " WHERE database_name = coalesce(?, current_database()) AND schema_name = 'store' ORDER BY column_index",
        [database],
    ).fetchall()
    found: dict[str, list[Column]] = {}
    for table, name, kind, required in rows:
        found.setdefault(table, []).append(Column(name, kind, required))
    return found


def columns(con: DuckDBPyConnection, database: str | None = None) -> dict[str, tuple[Column, ...]]:
    """The columns of each of TABLES that is there, in order; of the database in use where none is named."""
    found = _all_columns(con, database)
    for view, parts in _PARTS.items():
        required = {column.name for part in parts for column in found.get(part, ()) if column.required}
        if required:
            found[view] = [replace(column, required=column.name in required) for column in found[view]]
    return {table: tuple(found[table]) for table in TABLES if table in found}


@cache
def columns_of_version(version: int) -> Mapping[str, tuple[Column, ...]]:
    """The same for a schema version that this gemtop knows."""
    import duckdb

    with duckdb.connect() as con:
        schema.migrate(con, "", [m for m in schema.MIGRATIONS if m.version <= version], comments=False)
        return columns(con)


_IDS = "session_id IN (SELECT unnest($ids::VARCHAR[]))"


def belonging(table: str) -> str:
    """A condition: the row belongs to one of the sessions in parameter `ids`."""
    if table in OF_RUNS:
        return f"run_id IN (SELECT run_id FROM store.runs WHERE {_IDS})"
    return _IDS


def quoted_name(name: str) -> str:
    """An SQL name."""
    return '"' + name.replace('"', '""') + '"'


def insert_from(
    con: DuckDBPyConnection,
    table: str,
    source: str,
    given: Collection[str],
    ids: Collection[str],
    casts: Mapping[str, Callable[[str], str]] | None = None,
) -> int:
    """Insert what belongs to these sessions from `source`, an SQL table expression with columns `given`.

    Columns that it lacks become NULL. The runs of the sessions must be in store.runs already where rows name their
    run. `casts` make the SQL of a value from that of its column. Returns how many rows there were.
    """
    total = 0
    theirs = _all_columns(con)
    for part, condition in _PARTS.get(table, {table: "true"}).items():
        mine = [column for column in theirs[part] if column.name in given]
        values = []
        for column in mine:
            name = quoted_name(column.name)
            cast = (casts or {}).get(column.name)
            values.append(cast(name) if cast else f"{name}::VARCHAR" if column.is_enum else name)
        names = ", ".join(quoted_name(column.name) for column in mine)
        row = con.execute(
            f"INSERT INTO store.{part} ({names}) SELECT {', '.join(values)} FROM {source}"
            f" WHERE {belonging(table)} AND {condition}",
            {"ids": list(ids)},
        ).fetchone()
        total += int(row[0]) if row else 0
    return total


def known(con: DuckDBPyConnection, ids: Collection[str]) -> set[str]:
    """Which of these sessions are in the history."""
    rows = con.execute(f"SELECT session_id FROM store.sessions WHERE {_IDS}", {"ids": list(ids)})
    return {str(row[0]) for row in rows.fetchall()}


def deletions(*, apart: bool = True) -> tuple[str, ...]:
    """Statements that delete everything of the sessions in parameter `ids`, those that refer to others first.

    Without `apart` for a database in which all of TABLES are tables, as in a fleet.
    """
    order = (*OF_RUNS, *(table for table in reversed(TABLES) if table not in OF_RUNS))
    return tuple(
        f"DELETE FROM store.{part} WHERE {belonging(table)}"
        for table in order
        for part in (_PARTS.get(table, (table,)) if apart else (table,))
    )


def delete_rows(con: DuckDBPyConnection, ids: Collection[str]) -> int:
    """Delete everything of these sessions, inside a transaction; returns how many rows there were."""
    count = 0
    for sql in deletions():
        row = con.execute(sql, {"ids": list(ids)}).fetchone()
        count += int(row[0]) if row else 0
    con.execute(f"DELETE FROM store.spools WHERE {_IDS}", {"ids": list(ids)})
    return count
