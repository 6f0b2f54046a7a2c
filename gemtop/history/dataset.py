"""Tables of results as Parquet files, and SQL over them: what stands behind the figures of a report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.domain.records import RUN_FIELDS
from gemtop.domain.text import one_line, storable
from gemtop.history import schema
from gemtop.history.database import quoted
from gemtop.history.ingest import as_file
from gemtop.history.reader import Reader
from gemtop.history.tables import columns_of_version, quoted_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FOLDER = "data"
_LATENCIES = """
    SELECT run_id, token, itl_ms FROM (
        SELECT run_id, "index" AS token, (t_ns - lag(t_ns) OVER (PARTITION BY run_id ORDER BY "index")) / 1e6 AS itl_ms
        FROM store.tokens
        WHERE phase = 'decode' AND run_id IN (SELECT unnest($run_ids::VARCHAR[]))
    )
    WHERE itl_ms IS NOT NULL ORDER BY run_id, token
"""


def run_types() -> dict[str, str]:
    """DuckDB's types of the columns of the view `runs`; moments and names are text."""
    known = {column.name: column.plain_type for column in columns_of_version(schema.MIGRATIONS[-1].version)["runs"]}
    return {name: known.get(name, "VARCHAR") for name in RUN_FIELDS}


def latencies(paths: Paths, run_ids: Sequence[str], wait_s: float = 10.0) -> list[tuple[str, int, float]]:
    """Gaps between the generated tokens of these runs: run id, index of the token after the gap, milliseconds.

    Raises HistoryError.
    """
    with Reader.open(paths, wait_s=wait_s) as reader:
        return [(str(run), int(token), float(ms)) for run, token, ms in
                reader.run_sql(_LATENCIES, {"run_ids": list(run_ids)}).rows()]  # fmt: skip


class Dataset:
    """Tables that are written as Parquet and that SQL may ask by the names of their files: FROM 'data/runs.parquet'.

    The SQL works as it is in any duckdb shell beside the folder.
    """

    def __init__(self) -> None:
        import duckdb

        self._con: DuckDBPyConnection = duckdb.connect(config={"threads": 1})
        self.rows: dict[str, int] = {}
        """How many there are of each table."""

    def add(self, name: str, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
        """A table; `columns` is name to DuckDB's type. What a row lacks is NULL, and so is what is no number."""
        lines = [json.dumps({key: _value(row.get(key)) for key in columns}).encode("ascii") for row in rows]
        longest = max(map(len, lines), default=0)
        types = "{" + ", ".join(f"{quoted(column)}: {quoted(kind)}" for column, kind in columns.items()) + "}"
        table = quoted_name(f"{FOLDER}/{name}.parquet")
        names = ", ".join(f"{quoted_name(column)} {kind}" for column, kind in columns.items())
        self._con.execute(f"CREATE TABLE {table} ({names})")
        if lines:
            with as_file(lines) as path:
                self._con.execute(
                    f"INSERT INTO {table} SELECT * FROM read_json('{path}', format = 'newline_delimited',"
                    f" columns = {types}, maximum_object_size = {max(65536, longest * 2)})"
                )
        self.rows[name] = len(lines)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a SELECT of gemtop's own."""
        found = self._con.execute(sql)
        names = [str(column[0]) for column in found.description or []]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def write(self, folder: Path) -> None:
        """Every table as a file in `folder`. Raises HistoryError where there is no room."""
        import duckdb

        for name in self.rows:
            path = folder / f"{name}.parquet"
            try:
                self._con.execute(
                    f"COPY {quoted_name(f'{FOLDER}/{name}.parquet')} TO {quoted(str(path))} (FORMAT parquet)"
                )
            except duckdb.Error as error:
                first = one_line(str(error).splitlines()[0])
                raise HistoryError(f"{one_line(str(path))} could not be written: {first}") from error

    def close(self) -> None:
        self._con.close()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _value(value: Any) -> Any:
    """What JSON and DuckDB both can hold: no NaN, no half of a surrogate pair, no NUL."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return storable(value).replace("\0", "\u2400")
    if isinstance(value, (list, tuple)):
        return [_value(one) for one in value]
    return value
