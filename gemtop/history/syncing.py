"""The sessions of a history, sent to the fleet: again and again, each there once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop import __version__
from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.domain.text import one_line
from gemtop.history import lake
from gemtop.history.database import quoted
from gemtop.history.interruptible import interruptible
from gemtop.history.lake import Address, Said
from gemtop.history.manage import WAIT_S
from gemtop.history.reader import Reader
from gemtop.history.scratch import scratch
from gemtop.history.tables import OF_RUNS, TABLES, Column, belonging, columns, deletions, quoted_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BATCH_ROWS = 1_000_000
BATCH_SESSIONS = 500
"""As much goes in one transaction: what a broken connection can lose, and how long the history is held."""
_TEXT = {("runs", "prompt"), ("runs", "output"), ("tokens", "token_id")}
"""What can be left out: the columns that a prompt or an output can be read from."""
_LAKE = "fleet"
_ATTEMPTS = 5
"""At a transaction that another machine's came into."""


@dataclass(frozen=True, slots=True)
class _Local:
    """A session of the history."""

    session_id: str
    host: str
    live: bool
    """It has no end yet."""
    signature: str
    """Changes when its rows, its note or its tags do."""
    rows: int


@dataclass(slots=True)
class Synced:
    """What came of sending."""

    sent: int = 0
    changed: int = 0
    """Of those sent: they were there, otherwise."""
    there: int = 0
    """Left out: the fleet has them as they are."""
    live: int = 0
    """Left out: they have no end yet."""
    rows: int = 0
    notes: tuple[str, ...] = ()
    compacted: lake.Compacted | None = None


def sync(
    paths: Paths, where: Address, *, text: bool = True, compact: bool = False, on_wait: Said = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Synced:  # fmt: skip
    """Send every session that has ended and that the fleet has not, or has otherwise.

    A batch is there whole or not at all; what was broken off goes on with the next call. Nothing is removed from the
    fleet because the history no longer has it. `text` false leaves prompts and outputs out. The history is held only
    while a batch is copied out of it. Raises BadInputError, HistoryError.
    """
    import duckdb

    if not paths.history.exists():
        raise HistoryError(f"there is no history yet at {one_line(str(paths.history))}: nothing to send")
    with scratch(paths.cache, "sync") as folder, duckdb.connect() as con:
        con.execute(f"SET temp_directory = {quoted(str(folder))}")
        progress("reaching the fleet")
        lake.prepare(con, s3=True)
        con.execute("SET ducklake_max_retry_count = 100")
        lake.ensure(con, where, _LAKE, on_wait)
        try:
            sending = _Sending(con, paths, where, text, folder, on_wait, progress)
            sending.send_all()
            if compact:
                sending.done.compacted = lake.compact(con, where, _LAKE, progress=progress)
        finally:
            lake.detach(con, _LAKE)
        return sending.done


def forget(where: Address, ids: Sequence[str], on_wait: Said = None) -> tuple[str, ...]:
    """Delete sessions from the fleet; returns those that it had. Older states of the lake keep them for a while.

    Raises HistoryError.
    """
    import duckdb

    with duckdb.connect() as con:
        lake.prepare(con, s3=True)
        lake.attach(con, where, _LAKE, writing=True)
        try:
            sql = f"SELECT session_id, host FROM store.synced WHERE {belonging('synced')} ORDER BY 1"
            found = con.execute(sql, {"ids": list(ids)}).fetchall()
            for host in sorted({host for _, host in found}):
                mine = [session_id for session_id, of_host in found if of_host == host]
                with lake.locked(con, where, f"host {host}", on_wait, f"another gemtop sends the sessions of {host}"):
                    con.execute("BEGIN")
                    _delete(con, mine)
                    con.execute("COMMIT")
        except duckdb.Error as error:
            raise lake.explain(where, error) from error
        finally:
            lake.detach(con, _LAKE)
    return tuple(session_id for session_id, _ in found)


def _delete(con: DuckDBPyConnection, ids: Sequence[str]) -> None:
    """Everything of these sessions from the lake in use, inside a transaction."""
    for sql in (*deletions(apart=False), f"DELETE FROM store.synced WHERE {belonging('synced')}"):
        interruptible(partial(con.execute, sql, {"ids": list(ids)}), con.interrupt)


class _Sending:
    """One call of `sync`, with the lake attached and in use."""

    def __init__(
        self, con: DuckDBPyConnection, paths: Paths, where: Address, text: bool, folder: Path, on_wait: Said,
        progress: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._con, self._paths, self._where, self._text, self._folder = con, paths, where, text, folder
        self._on_wait, self._progress = on_wait, progress
        self._columns = columns(con)
        """Of the lake's tables."""
        self.done = Synced()

    def send_all(self) -> None:
        """Raises HistoryError, with what is there already, where the rest cannot be sent."""
        import duckdb

        with Reader.open(self._paths, wait_s=WAIT_S, on_wait=self._on_wait) as reader:
            local = _sessions(reader, self._text)
        ended = [session for session in local if not session.live]
        self.done.live = len(local) - len(ended)
        try:
            there = self._there(ended)
            waiting = [s for s in ended if there.get(s.session_id, ("", ""))[1] != s.signature]
            self.done.there = len(ended) - len(waiting)
            for batch in _batches(waiting):
                count = f"{self.done.sent:,} of {len(waiting):,} sessions sent"
                self._progress(f"{count}; reading {len(batch):,} more")
                types = self._copy_out(batch)
                self._progress(f"{count}; sending {sum(s.rows for s in batch):,} rows")
                self._send(batch, types)
        except (duckdb.Error, HistoryError) as error:
            why = lake.explain(self._where, error)
            if not self.done.sent:
                raise why from error
            done, all_ = self.done.sent, len(waiting)
            raise HistoryError(
                f"{done:,} of {all_:,} sessions are in the fleet; the same command goes on: {why}"
            ) from error

    def _execute(self, sql: str, parameters: Any = None) -> DuckDBPyConnection:
        return interruptible(lambda: self._con.execute(sql, parameters), self._con.interrupt)

    def _there(self, sessions: Sequence[_Local]) -> dict[str, tuple[str, str]]:
        """Host and signature of those that the fleet has."""
        ids = [session.session_id for session in sessions]
        found = self._execute(
            "SELECT session_id, host, signature FROM store.synced WHERE session_id IN (SELECT unnest($ids::VARCHAR[]))",
            {"ids": ids},
        ).fetchall()
        return {session_id: (host, signature) for session_id, host, signature in found}

    def _copy_out(self, batch: Sequence[_Local]) -> dict[str, tuple[Column, ...]]:
        """The batch as a Parquet file a table; returns their columns."""
        ids = {"ids": [session.session_id for session in batch]}
        with Reader.open(self._paths, wait_s=WAIT_S, on_wait=self._on_wait) as reader:
            found = reader.tables()
            for table, wanted in found.items():
                values = ", ".join(_value(table, column, self._text) for column in wanted)
                order = "ORDER BY session_id, device, t_ns" if table == "samples" else ""  # like beside like is smaller
                sql = f"SELECT {values} FROM store.{table} WHERE {belonging(table)} {order}"
                reader.copy_to(sql, ids, self._file(table), "FORMAT parquet")
        return found

    def _file(self, table: str) -> Path:
        return self._folder / f"{table}.parquet"

    def _send(self, batch: Sequence[_Local], tables: dict[str, tuple[Column, ...]]) -> None:
        """One transaction, again where another machine's came into it."""
        import duckdb

        host = batch[0].host
        busy = f"another gemtop sends the sessions of {one_line(host) or 'an unknown host'}"
        with lake.locked(self._con, self._where, f"host {host}", self._on_wait, busy):
            for attempt in range(_ATTEMPTS):
                try:
                    self._send_once(batch, tables)
                    return
                except duckdb.TransactionException as error:
                    if attempt == _ATTEMPTS - 1 or "onflict" not in str(error):
                        raise

    def _send_once(self, batch: Sequence[_Local], tables: dict[str, tuple[Column, ...]]) -> None:
        self._execute("BEGIN")
        try:
            there = self._there(batch)  # anew: another sender of this host may just have ended
            others = [s for s in batch if s.session_id in there and there[s.session_id][0] != s.host]
            news = [s for s in batch if s not in others and there.get(s.session_id, ("", ""))[1] != s.signature]
            ids = [s.session_id for s in news]
            changed = [session_id for session_id in ids if session_id in there]
            if changed:
                _delete(self._con, changed)
            rows = sum(self._insert(table, tables[table], ids) for table in TABLES) if ids else 0
            self._note(news)
            self._execute("COMMIT")
        except BaseException:
            with suppress(Exception):
                self._con.execute("ROLLBACK")
            raise
        self.done.sent += len(news)
        self.done.changed += len(changed)
        self.done.there += len(batch) - len(news) - len(others)
        self.done.rows += rows
        self.done.notes += tuple(
            f"{s.session_id} was left out: the fleet has another session of that name, of host"
            f" {one_line(there[s.session_id][0]) or 'unknown'}"
            for s in others
        )

    def _note(self, sessions: Sequence[_Local]) -> None:
        """What these sessions are now that they are sent."""
        self._execute(
            "INSERT INTO store.synced SELECT unnest($ids::VARCHAR[]), unnest($hosts::VARCHAR[]),"
            " unnest($signatures::VARCHAR[]), unnest($rows::BIGINT[]), $version, now()",
            {
                "ids": [session.session_id for session in sessions],
                "hosts": [session.host for session in sessions],
                "signatures": [session.signature for session in sessions],
                "rows": [session.rows for session in sessions],
                "version": __version__,
            },
        )

    def _insert(self, table: str, wanted: Sequence[Column], ids: Sequence[str]) -> int:
        names = {column.name for column in self._columns[table]}
        mine = ", ".join(quoted_name(column.name) for column in wanted if column.name in names)
        row = self._execute(
            f"INSERT INTO store.{table} ({mine}) SELECT {mine} FROM {quoted(str(self._file(table)))}"
            f" WHERE {belonging(table)}",
            {"ids": list(ids)},
        ).fetchone()
        return int(row[0]) if row else 0


def _value(table: str, column: Column, text: bool) -> str:
    name = quoted_name(column.name)
    if not text and (table, column.name) in _TEXT:
        return f"NULL::{column.type} AS {name}"
    return f"{name}::VARCHAR AS {name}" if column.is_enum else name


_PARTS = {
    True: "SELECT session_id, '{0}', count(*) FROM store.{0} JOIN store.runs USING (run_id) GROUP BY session_id",
    False: "SELECT session_id, '{0}', count(*) FROM store.{0} GROUP BY session_id",
}
"""Rows of each session in a table, by whether the table's rows name their run."""
_SESSIONS = """
WITH counts(session_id, name, n) AS ({counts}),
parts AS (
    SELECT session_id, list(name || n ORDER BY name)::VARCHAR AS parts, sum(n)::BIGINT AS n
    FROM counts GROUP BY session_id
)
SELECT s.session_id, coalesce(s.host, ''), s.status IS NULL, md5(to_json([
    s.host, s.status::VARCHAR, s.end_ns::VARCHAR, s.end_reason, s.note, s.tags::VARCHAR, p.parts, $text::VARCHAR
])::VARCHAR), p.n
FROM store.sessions AS s JOIN parts AS p ON p.session_id = s.session_id
ORDER BY 2, 1
"""


def _sessions(reader: Reader, text: bool) -> list[_Local]:
    """The sessions of the history, those of a host together."""
    counts = " UNION ALL ".join(_PARTS[table in OF_RUNS].format(table) for table in TABLES)
    result = reader.run_sql(_SESSIONS.format(counts=counts), {"text": text})
    return [_Local(*row) for row in result.rows()]


def _batches(sessions: Sequence[_Local]) -> Iterator[list[_Local]]:
    """Sessions of one host each, as many as go together."""
    for _, group in groupby(sessions, key=lambda session: session.host):
        batch: list[_Local] = []
        for session in group:
            if batch and (len(batch) == BATCH_SESSIONS or sum(s.rows for s in batch) + session.rows > BATCH_ROWS):
                yield batch
                batch = []
            batch.append(session)
        yield batch
