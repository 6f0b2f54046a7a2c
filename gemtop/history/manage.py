"""Sessions as things to find, label and delete."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.history import schema
from gemtop.history.database import Database
from gemtop.history.ingest import DamagedSpoolError, take
from gemtop.history.named import pick
from gemtop.history.reader import Reader
from gemtop.history.spool import SUFFIX, Header, Spool, spools_in
from gemtop.history.tables import ALL_TAKEN, delete_rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Said = Callable[[str], None] | None
WAIT_S = 10.0
"""For another process that has the history open."""
LONGEST_NOTE = 100_000
LONGEST_TAG = 64
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_ORDER = {
    "sessions": "session_id",
    "runs": "len(run_id), run_id",  # by their counter: the wall clock may have been set in between
    "ledger": "load_number, device",
    "devices": "device",
}
"""Views that a session is told from."""
_AGE = re.compile(r"([0-9]{1,6})([hdw])\Z")

_LIST = """
    SELECT s.session_id, s.started_at, s.duration_s, s.command, s.status::VARCHAR AS status, s.host, s.pid,
        coalesce(r.models, []) AS models, coalesce(r.runs, 0) AS runs, coalesce(s.tags, []) AS tags, s.note,
        s.imported_from
    FROM sessions AS s
    LEFT JOIN (
        SELECT session_id, count(*) AS runs, list_sort(list(DISTINCT concat_ws(' ', model_name, variant))) AS models
        FROM runs GROUP BY session_id
    ) AS r ON r.session_id = s.session_id
    WHERE $tag IS NULL OR list_contains(s.tags, $tag)
    ORDER BY s.started_at DESC, s.session_id DESC
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A session as a list shows it."""

    session_id: str
    started_at: datetime
    duration_s: float | None
    command: str | None
    status: str
    """live, finished or crashed."""
    host: str | None
    pid: int | None
    models: tuple[str, ...]
    runs: int
    tags: tuple[str, ...]
    note: str | None
    imported_from: str | None


def live_spools(paths: Paths) -> dict[str, Path]:
    """The spools that a process holds: session id to file."""
    held = {}
    for path in spools_in(paths.spools):
        with suppress(OSError):
            spool = Spool.adopt(path)
            if spool is not None:
                spool.close()
            elif path.exists():
                held[path.name.removesuffix(SUFFIX)] = path
    return held


def _spooled(paths: Iterable[Path]) -> Reader:
    """What is in spools of live sessions, read without their owners' lock, as a history in memory."""
    import duckdb

    con = duckdb.connect(config={"threads": 1})
    schema.migrate(con, "", comments=False)
    for path in paths:
        with suppress(OSError, DamagedSpoolError, duckdb.Error):
            # None of it has been moved into the history, so that it begins where the session did.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            spool = Spool(path, fd, Header(path.name.removesuffix(SUFFIX), 0))
            try:
                while take(con, spool).bytes:
                    pass
            finally:
                spool.close()
    return Reader(con, None)


class Sessions:
    """All sessions: those of the history, and live ones of which nothing is in it yet. Close it soon."""

    def __init__(self, paths: Paths, on_wait: Said = None) -> None:
        self._stack = ExitStack()
        self._live = live_spools(paths)
        self._reader = self._stack.enter_context(Reader.open(paths, wait_s=WAIT_S, on_wait=on_wait))
        self.is_there = self._reader.path is not None
        """Whether there is a history file."""
        self._fresh: Reader | None = None
        try:
            known = {row[0] for row in self._reader.run_sql("SELECT session_id FROM sessions").rows()}
            unknown = [path for session_id, path in self._live.items() if session_id not in known]
            if unknown:
                self._fresh = self._stack.enter_context(_spooled(unknown))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def all(self, tag: str | None = None) -> list[Session]:
        """The sessions, newest first; only those with a tag if one is given."""
        found = [self._session(row) for reader in self._readers() for row in reader.run_sql(_LIST, {"tag": tag}).rows()]
        return sorted(found, key=lambda session: (session.started_at, session.session_id), reverse=True)

    def _readers(self) -> list[Reader]:
        return [self._reader] if self._fresh is None else [self._reader, self._fresh]

    def _session(self, row: Sequence[Any]) -> Session:
        session_id, started_at, duration_s, command, status, host, pid, models, runs, tags, note, source = row
        # A status is written when a session ends, or when the spool of a process that died is taken in.
        status = "live" if session_id in self._live else status or "crashed"
        return Session(
            session_id, started_at, duration_s, command, status, host, pid, tuple(models), runs, tuple(tags), note,
            source,
        )  # fmt: skip

    def find(self, name: str) -> Session:
        """The session of that id, or of a prefix or suffix that only it has, or the newest for `last`.

        Raises BadInputError with what to do.
        """
        by_id = {session.session_id: session for session in self.all()}
        return by_id[pick(name, list(by_id))]

    def find_all(self, names: Iterable[str]) -> list[Session]:
        """The same for several, each once."""
        return list({session.session_id: session for session in map(self.find, names)}.values())

    def view(self, name: str, session_id: str) -> list[dict[str, Any]]:
        """The rows of a session in one of the views, as they would be told."""
        for reader in reversed(self._readers()):
            order = _ORDER[name]
            result = reader.run_sql(f"FROM {name} WHERE session_id = $id ORDER BY {order}", {"id": session_id})
            names = [column.name for column in result.columns]
            rows = [dict(zip(names, row, strict=True)) for row in result.rows()]
            if rows:
                return rows
        return []

    def row_in_spool(self, session_id: str) -> dict[str, Any] | None:
        """The row that a live session will have in the history; None where it has one already."""
        if self._fresh is None:
            return None
        result = self._fresh.run_sql("FROM store.sessions WHERE session_id = $id", {"id": session_id})
        names = [column.name for column in result.columns]
        rows = [dict(zip(names, row, strict=True)) for row in result.rows()]
        return rows[0] if rows else None


def _set(
    database: Database, session_id: str, early: Mapping[str, Any] | None, column: str, value: Any, on_wait: Said
) -> None:
    """Set one column of a session; `early` is its row where the history has none yet."""
    with database.open(WAIT_S, on_wait) as con:
        con.execute("BEGIN")
        if early is not None:  # what is moved in later leaves a row that is there as it is
            names = ", ".join(early)
            marks = ", ".join("?" for _ in early)
            con.execute(f"INSERT OR IGNORE INTO store.sessions ({names}) VALUES ({marks})", list(early.values()))
        con.execute(f"UPDATE store.sessions SET {column} = $value WHERE session_id = $id",
                    {"value": value, "id": session_id})  # fmt: skip
        con.execute("COMMIT")


def checked_tags(words: Iterable[str]) -> tuple[str, ...]:
    """Words as tags: each once, in the order of the alphabet. Raises BadInputError for one that is none."""
    tags = set()
    for word in words:
        if not word or word.split() != [word] or word != one_line(word) or "," in word or len(word) > LONGEST_TAG:
            raise BadInputError(
                f"'{one_line(word)[:80]}' is no tag: one word of at most {LONGEST_TAG} characters, without a comma"
            )
        tags.add(word.encode("utf-8", "replace").decode())
    return tuple(sorted(tags))


def set_tags(
    database: Database, session: Session, early: Mapping[str, Any] | None, tags: Collection[str], on_wait: Said = None
) -> None:
    """Give a session these tags, in the place of those it had."""
    value = sorted(set(tags)) or None
    if tuple(value or ()) != session.tags:
        _set(database, session.session_id, early, "tags", value, on_wait)


def set_note(
    database: Database, session: Session, early: Mapping[str, Any] | None, text: str, on_wait: Said = None
) -> None:
    """Write a note of a session, in the place of the one it had; an empty one removes it. Raises BadInputError."""
    text = text.replace("\0", "\u2400").encode("utf-8", "replace").decode().strip()
    if len(text) > LONGEST_NOTE:
        raise BadInputError(f"the note has {len(text):,} characters; at most {LONGEST_NOTE:,} are kept")
    _set(database, session.session_id, early, "note", text or None, on_wait)


def refuse_live(sessions: Iterable[Session], verb: str) -> None:
    """Raises BadInputError where one of these is still being recorded, with who does it."""
    for session in sessions:
        if session.status == "live":
            who = f"gemtop {session.command or ''}".strip()
            raise BadInputError(
                f"session {one_line(session.session_id)} is live, {one_line(who)} (PID {session.pid}) is recording it:"
                f" {verb} it when that has ended"
            )


def delete(paths: Paths, database: Database, ids: Sequence[str], on_wait: Said = None) -> int:
    """Delete sessions with all their rows, in one transaction, and what is left of their spools.

    Returns how many rows there were. Raises BadInputError for one that went live meanwhile, and HistoryError.
    """
    files = [paths.spools / f"{session_id}{SUFFIX}" for session_id in ids]
    with ExitStack() as stack:
        spools: list[Spool] = []
        for path in files:
            spool = Spool.adopt(path)
            if spool is not None:
                stack.callback(spool.close)
                spools.append(spool)
            elif path.exists():
                raise BadInputError(f"session {one_line(path.stem)} is live: delete it when its program has ended")
        marked = [spool.header.session_id for spool in spools]
        with database.open(WAIT_S, on_wait) as con:
            con.execute("BEGIN")
            count = delete_rows(con, ids)
            # Were this process killed before the spool is gone, the next start would take it in.
            for session_id in marked:
                con.execute("INSERT INTO store.spools VALUES (?, ?, now())", [session_id, ALL_TAKEN])
            con.execute("COMMIT")
        for spool in spools:
            spool.remove()
        for path in files:
            path.with_name(f"{path.name}.damaged").unlink(missing_ok=True)
        if marked:
            with database.open(WAIT_S, on_wait) as con:
                _unmark(con, marked)
    return count


def _unmark(con: DuckDBPyConnection, ids: Collection[str]) -> None:
    con.execute(
        "DELETE FROM store.spools WHERE session_id IN (SELECT unnest($ids::VARCHAR[])) AND taken_bytes = $all",
        {"ids": list(ids), "all": ALL_TAKEN},
    )


def age(text: str) -> timedelta:
    """90d, 12h or 4w. Raises BadInputError."""
    match = _AGE.match(text)
    if match is None:
        raise BadInputError(f"'{one_line(text)}' is no age: a number and h, d or w, as in 12h, 90d or 4w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def to_prune(sessions: Iterable[Session], older_than: timedelta, *, tagged_too: bool = False) -> list[Session]:
    """Those that began longer ago than that; neither live ones nor, unless asked, those with a tag."""
    now = datetime.now(UTC)
    return [
        session
        for session in sessions
        if session.status != "live" and now - session.started_at > older_than and (tagged_too or not session.tags)
    ]
