"""The schema as Markdown, from the comments in it: `python -m gemtop.history.document` for docs/history.md."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gemtop.history import VIEWS, schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def _section(con: DuckDBPyConnection, name: str, kind: str) -> list[str]:
    schema_name, _, table = name.rpartition(".")
    where = [schema_name or "main", table]
    listed = con.execute(
        "SELECT comment FROM duckdb_tables() WHERE schema_name = $1 AND table_name = $2"
        " UNION ALL SELECT comment FROM duckdb_views() WHERE schema_name = $1 AND view_name = $2",
        where,
    ).fetchone()
    columns = con.execute(
        "SELECT column_name, data_type, comment FROM duckdb_columns()"
        " WHERE schema_name = $1 AND table_name = $2 ORDER BY column_index",
        where,
    ).fetchall()
    lines = [f"### {kind} `{name}`", "", f"{listed[0] if listed else ''}.", "", "| column | type | |", "|---|---|---|"]
    for column, data_type, comment in columns:
        shown = "ENUM" if data_type.startswith("ENUM") else data_type
        lines.append(f"| `{column}` | {shown} | {comment} |")
    return [*lines, ""]


def tables() -> str:
    """All views, then all tables, with their columns."""
    import duckdb

    with duckdb.connect() as con:
        schema.migrate(con, "memory")
        found = con.execute(
            "SELECT table_name, 'Table' FROM duckdb_tables() WHERE schema_name = 'store'"
            " UNION ALL SELECT view_name, 'View' FROM duckdb_views() WHERE schema_name = 'store' ORDER BY 1"
        ).fetchall()
        lines: list[str] = []
        for view in VIEWS:
            lines += _section(con, view, "View")
        for name, kind in found:
            lines += _section(con, f"store.{name}", kind)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(tables())
