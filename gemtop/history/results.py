"""A result that stays in DuckDB: pages of it, its order, the points of a plot, and files of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop.domain.errors import BadInputError
from gemtop.history.database import quoted
from gemtop.history.reader import Column

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from gemtop.history.workbench import Workbench

RESULTS = "gemtop_results"
FORMATS = ("csv", "parquet", "json")
PLOTTED_ROWS = 4_000
"""Up to so many rows each is a point of a plot; of more, the places where points lie."""
_GRID = (120, 60)
"""Places of a plot, across and up."""
CATEGORIES = 24
"""At most so many different texts are told apart on the axis of a plot."""


@dataclass(frozen=True, slots=True)
class Points:
    """Two columns of a result, for a plot."""

    points: tuple[tuple[float, float], ...]
    """x is seconds since 1970 where it is a time, the number of its name where it is text."""
    names: tuple[str, ...] = ()
    rising: bool = False
    """x never falls: the points are a curve."""
    left_out: int = 0
    """Rows without a value in either column, or with a text beyond the first few."""


def identifier(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


class StoredResult:
    """Rows in a table of their own. Pages are for the screen's thread; the rest may take long."""

    def __init__(self, bench: Workbench, table: str, seconds: float) -> None:
        self._bench, self._table = bench, table
        self.seconds = seconds
        """What the query took."""
        self._pages = bench.cursor()
        self._order: str | None = None
        described = self._pages.execute(f"FROM {table} LIMIT 0").description or []
        self.columns = tuple(Column(str(d[0]), str(d[1])) for d in described)
        row = self._pages.execute(f"SELECT count(*) FROM {table}").fetchone()
        self.count = int(row[0]) if row else 0
        self.extremes = self._extremes()
        """Smallest and largest value of each column of numbers, by the column's place: how wide it has to be."""

    def _extremes(self) -> dict[int, tuple[Any, ...]]:
        numbers = [(i, identifier(c.name)) for i, c in enumerate(self.columns) if c.numeric]
        if not numbers or not self.count:
            return {}
        wanted = ", ".join(f"min({name}), max({name})" for _, name in numbers)
        row = self._pages.execute(f"SELECT {wanted} FROM {self._table}").fetchone() or ()
        return {index: row[2 * at : 2 * at + 2] for at, (index, _) in enumerate(numbers)}

    def rows(self, first: int, count: int) -> list[tuple[Any, ...]]:
        """Rows from `first` on, in the order chosen."""
        import duckdb

        try:
            return self._fetch("*", first, count)
        except (duckdb.Error, ValueError, OverflowError, ImportError):
            # What Python has no value for, such as a year of 12,000, DuckDB can still write.
            return self._fetch("CAST(COLUMNS(*) AS VARCHAR)", first, count)

    def _fetch(self, what: str, first: int, count: int) -> list[tuple[Any, ...]]:
        con, table = self._pages, self._table
        where = f"rowid >= {first} AND rowid < {first + count}"
        if self._order is None:
            return con.execute(f"SELECT {what} FROM {table} WHERE {where} ORDER BY rowid").fetchall()
        wanted = [row[0] for row in con.execute(f"SELECT r FROM {self._order} WHERE {where} ORDER BY rowid").fetchall()]
        if not wanted:
            return []
        numbers = ", ".join(map(str, wanted))
        found = con.execute(f"SELECT rowid, {what} FROM {table} WHERE rowid IN ({numbers})")
        by_row = {row[0]: row[1:] for row in found.fetchall()}
        return [by_row[r] for r in wanted if r in by_row]

    @contextmanager
    def _work(self) -> Iterator[DuckDBPyConnection]:
        """A connection for what takes long; `Workbench.stop` ends it."""
        with self._bench.alone():
            con = self._bench.cursor()
            try:
                with self._bench.stoppable(con):
                    yield con
            finally:
                con.close()

    def sort(self, column: int | None, descending: bool = False) -> None:
        """Order rows by a column, NULL last; None is the order they came in. Raises QueryStoppedError."""
        held, order = self._order, None
        with self._work() as con:
            if column is not None:
                order = f"{self._table}_{'desc' if descending else 'asc'}_{column}"
                name = identifier(self.columns[column].name)
                way = "DESC" if descending else "ASC"
                con.execute(
                    f"CREATE TABLE IF NOT EXISTS {order} AS SELECT rowid AS r FROM {self._table}"
                    f" ORDER BY {name} {way} NULLS LAST, r"
                )
            self._order = order
            if held is not None and held != order:
                con.execute(f"DROP TABLE {held}")

    def points(self, x: int, y: int) -> Points:
        """Two columns as points. Raises BadInputError for a y that is no number, and for what has no rows."""
        across, up = self.columns[x], self.columns[y]
        if not up.numeric:
            raise BadInputError(f"{up.name} is {up.type.lower()}: the second column of a plot has to be a number")
        y_value = f"CAST({identifier(up.name)} AS DOUBLE)"
        with self._work() as con:
            names: tuple[str, ...] = ()
            source = self._table
            if across.numeric:
                x_value = f"CAST({identifier(across.name)} AS DOUBLE)"
            elif across.is_time:
                x_value = f"epoch({identifier(across.name)})"
            else:
                text = f"CAST({identifier(across.name)} AS VARCHAR)"
                found = con.execute(
                    f"SELECT {text} FROM {self._table} WHERE {text} IS NOT NULL AND isfinite({y_value})"
                    f" GROUP BY 1 ORDER BY min(rowid) LIMIT {CATEGORIES}"
                ).fetchall()
                names = tuple(str(row[0]) for row in found)
                wanted = "[" + ", ".join(map(quoted, names)) + "]::VARCHAR[]"
                x_value = f"CAST(nullif(list_position({wanted}, {text}), 0) - 1 AS DOUBLE)"
            picked = (
                f"FROM (SELECT rowid AS r, {x_value} AS x, {y_value} AS y FROM {source})"
                " WHERE isfinite(x) AND isfinite(y)"
            )
            return self._reduced(con, picked, names)

    def _reduced(self, con: DuckDBPyConnection, picked: str, names: tuple[str, ...]) -> Points:
        row = con.execute(f"SELECT count(*), min(x), max(x), min(y), max(y) {picked}").fetchone()
        assert row is not None
        count, left, right, low, high = row
        if count <= PLOTTED_ROWS:
            points = tuple((float(x), float(y)) for x, y in con.execute(f"SELECT x, y {picked} ORDER BY r").fetchall())
            xs = [x for x, _ in points]
            rising = not names and len(xs) > 1 and all(a <= b for a, b in pairwise(xs))
            return Points(points, names, rising, self.count - count)
        wide, tall = (right - left) or 1.0, (high - low) or 1.0
        cells = con.execute(
            f"SELECT avg(x), avg(y) {picked}"
            f" GROUP BY floor((x - ?) / ? * {_GRID[0]}), floor((y - ?) / ? * {_GRID[1]}) ORDER BY 1, 2",
            [left, wide, low, tall],
        ).fetchall()
        return Points(tuple((float(x), float(y)) for x, y in cells), names, False, self.count - count)

    def save(self, path: Path, kind: str) -> int:
        """Write all rows, in the order shown, as csv, parquet or json; what was there is replaced when all is written.

        Returns the size in bytes. Raises BadInputError, QueryStoppedError.
        """
        options = {"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet", "json": "FORMAT json, ARRAY true"}[kind]
        half = path.with_name(f".{path.name}.part")
        rows = f"SELECT {self._written(kind)} FROM {self._table} AS t"
        if self._order is not None:
            rows += f" JOIN {self._order} AS o ON t.rowid = o.r ORDER BY o.rowid"
        try:
            with self._work() as con:
                con.execute(f"COPY ({rows}) TO {quoted(str(half))} ({options})")
            half.replace(path)
            return path.stat().st_size
        except OSError as error:
            raise BadInputError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            with suppress(OSError):
                half.unlink()

    def _written(self, kind: str) -> str:
        """The columns of a file: JSON has no NaN and no infinities, they become null."""
        names = [(identifier(c.name), kind == "json" and c.type in ("DOUBLE", "FLOAT")) for c in self.columns]
        return ", ".join(
            f"CASE WHEN isfinite(t.{name}) THEN t.{name} END AS {name}" if finite else f"t.{name}"
            for name, finite in names
        )

    def drop(self) -> None:
        """Give its memory back."""
        with suppress(Exception), self._work() as con:
            for table in (self._order, self._table):
                if table is not None:
                    con.execute(f"DROP TABLE IF EXISTS {table}")
        self._pages.close()
