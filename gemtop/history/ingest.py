"""From spools into the tables: whole lines, in transactions that also note how far the spool was taken.

A crash at any point loses nothing and doubles nothing: rows and the offset behind them are committed together,
and a spool is deleted only when its end has been committed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.domain.records import (
    DeviceRow,
    FidelityRow,
    LedgerRow,
    RoofRow,
    RunBegin,
    RunEnd,
    SessionBegin,
    SessionEnd,
    TaskRow,
    TunePoint,
)
from gemtop.history.crashed import end_unfinished
from gemtop.history.database import Database, clear_up_unborn, quoted
from gemtop.history.faults import DamagedHistoryError, HistoryLockedError
from gemtop.history.lines import SAMPLE_COLUMNS, SAMPLE_KINDS
from gemtop.history.spool import FORMAT, SUFFIX, Spool, spools_in

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

CHUNK_BYTES = 32 * 2**20
"""Taken in one transaction at most; a longer line is taken whole."""

_TYPES = {
    "str": "VARCHAR",
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "tuple[str, ...]": ["VARCHAR"],
    "tuple[float, ...]": ["DOUBLE"],
}


def _type(annotation: object) -> Any:
    """DuckDB's type of a record's field; names of literals are text."""
    return _TYPES.get(str(annotation).removesuffix(" | None"), "VARCHAR")


def _structure(record: type) -> str:
    """A record's fields as DuckDB's from_json wants them."""
    structure = {field.name: _type(field.type) for field in fields(record)}
    return quoted(str(structure).replace("'", '"'))


def _columns_of(kind: str) -> str:
    """What DuckDB's JSON reader is to find in the lines of a kind."""
    if kind == "tokens":
        columns = {"run_id": "VARCHAR", "index": "INTEGER[]", "t_ns": "BIGINT[]", "token_id": "INTEGER[]"}
        columns["phase"] = "VARCHAR[]"
    elif kind in _SAMPLES:
        types = {field.name: _type(field.type) for field in fields(_SAMPLES[kind])}
        of_one = {name: types[name] for name in SAMPLE_COLUMNS[kind]}
        columns = {n: f"{t[0]}[][]" if isinstance(t, list) else f"{t}[]" for n, t in of_one.items()}
    else:
        columns = {"record": "JSON"}
    return "{" + ", ".join(f'"{name}": {quoted(of)}' for name, of in columns.items()) + "}"


_SAMPLES = {name: kind for kind, name in SAMPLE_KINDS.items()}


def _records(record: type) -> str:
    return f"(SELECT unnest(from_json(record, {_structure(record)})) FROM $lines)"


_SESSIONS = f"""
    INSERT OR IGNORE INTO store.sessions BY NAME
    SELECT * EXCLUDE (started_at_ms), make_timestamptz(started_at_ms * 1000) AS started_at
    FROM {_records(SessionBegin)}
"""
_RUNS = f"""
    INSERT OR IGNORE INTO store.runs BY NAME
    SELECT * EXCLUDE (started_at_ms) REPLACE (
            start_ns - $zero AS start_ns,
            TRY_CAST(kind AS store.run_kind) AS kind,
            TRY_CAST(training AS store.training) AS training
        ),
        $session AS session_id, make_timestamptz(started_at_ms * 1000) AS started_at
    FROM {_records(RunBegin)}
"""
_LEDGER = f"""
    INSERT INTO store.ledger BY NAME
    SELECT * REPLACE (t_ns - $zero AS t_ns), $session AS session_id
    FROM {_records(LedgerRow)}
    WHERE t_ns IS NOT NULL AND load_number IS NOT NULL AND device IS NOT NULL
"""
_TUNE_POINTS = f"""
    INSERT INTO store.tune_points BY NAME
    SELECT * REPLACE (t_ns - $zero AS t_ns), $session AS session_id
    FROM {_records(TunePoint)}
    WHERE t_ns IS NOT NULL AND tuning_id IS NOT NULL AND n_ctx IS NOT NULL
"""
_TOKENS = """
    INSERT INTO store.tokens
    SELECT run_id, "index", t_ns - $zero, token_id, TRY_CAST(phase AS store.phase) FROM (
        SELECT run_id, unnest("index") AS "index", unnest(t_ns) AS t_ns, unnest(token_id) AS token_id,
            unnest(phase) AS phase
        FROM $lines WHERE run_id IS NOT NULL
    ) WHERE t_ns IS NOT NULL AND "index" IS NOT NULL
"""


def _samples(kind: str, into: str) -> str:
    """Rows by columns."""
    unnested = ", ".join(f"unnest({name}) AS {name}" for name in SAMPLE_COLUMNS[kind])
    return f"""
        INSERT INTO {into} BY NAME
        SELECT * REPLACE (t_ns - $zero AS t_ns), $session AS session_id
        FROM (SELECT {unnested} FROM $lines)
        WHERE t_ns IS NOT NULL{_BY_DEVICE if "device" in SAMPLE_COLUMNS[kind] else ""}
    """


_BY_DEVICE = " AND device IS NOT NULL ORDER BY device, t_ns"
"""Readings of one card after the other take a tenth less room."""
_ROOFS = f"""
    INSERT INTO store.roofs BY NAME
    SELECT * FROM {_records(RoofRow)} WHERE run_id IS NOT NULL AND device IS NOT NULL
"""
_FIDELITY = f"""
    INSERT INTO store.fidelity BY NAME
    SELECT * REPLACE (t_ns - $zero AS t_ns), $session AS session_id
    FROM {_records(FidelityRow)} WHERE t_ns IS NOT NULL AND comparison_id IS NOT NULL
"""
_TASKS = f"""
    INSERT INTO store.tasks BY NAME
    SELECT * FROM {_records(TaskRow)} WHERE run_id IS NOT NULL AND comparison_id IS NOT NULL
"""
_GPUS = f"""
    MERGE INTO store.devices AS known
    USING (
        SELECT * EXCLUDE (nth), $session AS session_id
        FROM (SELECT *, row_number() OVER () AS nth FROM {_records(DeviceRow)}) WHERE device IS NOT NULL
        QUALIFY nth = max(nth) OVER (PARTITION BY device)
    ) AS told USING (session_id, device)
    WHEN MATCHED THEN UPDATE BY NAME
    WHEN NOT MATCHED THEN INSERT BY NAME
"""
"""What was told last of a card stands: one that was lost at first has no name until it comes back."""
_REASONS = """
    INSERT INTO store.reasons
    SELECT $session, r.t_ns - $zero, r.device,
        unnest(if(len(r.fields) = 0, [NULL], r.fields)), unnest(if(len(r.fields) = 0, [NULL], r.reasons))
    FROM (
        SELECT from_json(record,
            '{"t_ns":"BIGINT","device":"VARCHAR","fields":["VARCHAR"],"reasons":["VARCHAR"]}') AS r
        FROM $lines
    ) WHERE r.t_ns IS NOT NULL AND r.device IS NOT NULL
"""
_MEASURED = [f.name for f in fields(RunEnd) if f.name not in ("run_id", "end_ns", "status", "stop_reason")]
_RUN_ENDS = f"""
    UPDATE store.runs SET
        end_ns = e.end_ns - $zero,
        status = coalesce(TRY_CAST(e.status AS store.run_status), 'failed'),
        stop_reason = TRY_CAST(e.stop_reason AS store.stop_reason),
        {", ".join(f"{name} = e.{name}" for name in _MEASURED)}
    FROM {_records(RunEnd)} AS e
    WHERE runs.run_id = e.run_id
"""
_SESSION_ENDS = f"""
    UPDATE store.sessions SET
        end_ns = e.t_ns - $zero, end_reason = e.reason, status = if(e.crashed, 'crashed', 'finished')
    FROM {_records(SessionEnd)} AS e
    WHERE session_id = $session
"""
_BY_KIND = {
    "session_begin": _SESSIONS,
    "run_begin": _RUNS,
    "ledger": _LEDGER,
    "tune": _TUNE_POINTS,
    "fidelity": _FIDELITY,
    "task": _TASKS,
    "tokens": _TOKENS,
    "devices": _samples("devices", "store.device_samples"),
    "hosts": _samples("hosts", "store.host_samples"),
    "costs": _samples("costs", "store.costs"),
    "device": _GPUS,
    "roof": _ROOFS,
    "reasons": _REASONS,
    "run_end": _RUN_ENDS,
    "session_end": _SESSION_ENDS,
}


def _sql(kind: str) -> str:
    lines = (
        "read_json($path, format = 'newline_delimited', ignore_errors = true, maximum_object_size = $longest,"
        f" columns = {_columns_of(kind)})"
    )
    return _BY_KIND[kind].replace("$lines", lines)


_PARSED: dict[str, Statement] = {}


def _parsed(con: DuckDBPyConnection, kind: str) -> Statement:
    """The statement that takes in lines of a kind. Parsing it takes a quarter of the time of a live session's batch."""
    if kind not in _PARSED:
        (_PARSED[kind],) = con.extract_statements(_sql(kind))
    return _PARSED[kind]


class DamagedSpoolError(HistoryError):
    """A spool whose rows cannot be placed."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one transaction took out of a spool."""

    taken: int = 0
    """Offset behind it."""
    bytes: int = 0
    bad_lines: int = 0
    """Lines that were no JSON and were dropped."""
    ended: bool = False
    """The session's end was among it."""


@contextlib.contextmanager
def as_file(lines: list[bytes]) -> Iterator[str]:
    """The lines under a path, in memory: a full disk does not stop them, and no crash leaves them behind."""
    fd = os.memfd_create("gemtop-tail", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(b"\n".join(lines))
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


_LINE = b'{"kind":"'
_TOLD_APART = len(_LINE) + len("session_b")
"""Bytes by which lines of different kinds differ, `session_begin` and `session_end` too."""


def _by_kind(data: bytes) -> tuple[dict[str, list[bytes]], int]:
    """The lines of each kind, and how many are none: DuckDB is far quicker where it knows what a line holds."""
    alike: defaultdict[bytes, list[bytes]] = defaultdict(list)
    found: dict[str, list[bytes]] = {}
    bad = 0
    for line in data.split(b"\n"):
        if line[-1:] == b"}":
            alike[line[:_TOLD_APART]].append(line)
        elif line:
            bad += 1
    for start, lines in alike.items():
        kind, quote, _ = lines[0].removeprefix(_LINE).partition(b'"')
        if start.startswith(_LINE) and quote:
            found.setdefault(kind.decode("ascii", "replace"), []).extend(lines)
        else:
            bad += len(lines)
    return found, bad


def _started_ns(con: DuckDBPyConnection, session_id: str) -> int:
    row = con.execute("SELECT started_ns FROM store.sessions WHERE session_id = ?", [session_id]).fetchone()
    if row is None:
        raise DamagedSpoolError(f"the spool of session {session_id} does not say when it began")
    return int(row[0])


def _insert(con: DuckDBPyConnection, session_id: str, lines: dict[str, list[bytes]]) -> None:
    values: dict[str, Any] = {"session": session_id}
    for kind in _BY_KIND:
        if kind not in lines:
            continue
        statement = _parsed(con, kind)
        used = statement.named_parameters
        if "zero" in used and "zero" not in values:
            values["zero"] = _started_ns(con, session_id)
        values["longest"] = max(65536, 2 * max(map(len, lines[kind])))
        with as_file(lines[kind]) as values["path"]:
            con.execute(statement, {name: values[name] for name in used})


def taken_bytes(con: DuckDBPyConnection, session_id: str) -> int:
    """Offset up to which this session's spool is in the history."""
    row = con.execute("SELECT taken_bytes FROM store.spools WHERE session_id = ?", [session_id]).fetchone()
    return int(row[0]) if row else 0


def _note_taken(con: DuckDBPyConnection, session_id: str, taken: int) -> None:
    """Note the offset. Two statements, and mostly the first alone: one for both takes twice the time."""
    values = {"session": session_id, "taken": taken}
    sql = "UPDATE store.spools SET taken_bytes = $taken, taken_at = now() WHERE session_id = $session"
    if con.execute(sql, values).fetchone() == (0,):
        con.execute("INSERT INTO store.spools VALUES ($session, $taken, now())", values)


def take(con: DuckDBPyConnection, spool: Spool, limit_bytes: int = CHUNK_BYTES) -> Taken:
    """Take in the next lines of a spool, in one transaction. Nothing left gives `bytes` 0.

    Raises DamagedSpoolError where the session they belong to is not known, and duckdb.Error; nothing is
    changed then.
    """
    session_id = spool.header.session_id
    con.execute("BEGIN")
    try:
        before = max(taken_bytes(con, session_id), spool.header.base)
        data = spool.tail(before, limit_bytes)
        if not data:
            con.execute("ROLLBACK")
            return Taken(taken=before)
        lines, bad_lines = _by_kind(data)
        _insert(con, session_id, lines)
        ended = "session_end" in lines
        if ended:
            end_unfinished(con, session_id)
        after = before + len(data)
        _note_taken(con, session_id, after)
        con.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(Exception):
            con.execute("ROLLBACK")
        raise
    return Taken(after, len(data), bad_lines, ended)


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What was found of sessions whose process is gone."""

    sessions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What the user should know of: lines dropped, spools that could not be taken in."""


def _take_dead(
    database: Database,
    spool: Spool,
    patience: tuple[float, Callable[[str], None] | None],
    stop: Callable[[], bool],
) -> list[str]:
    """All of one dead spool; deletes it at the end. Returns notes."""
    session_id = spool.header.session_id
    bad_lines = 0
    while not stop():
        with database.open(*patience) as con:
            taken = take(con, spool)
            bad_lines += taken.bad_lines
            if taken.bytes:
                continue
            con.execute("BEGIN")
            end_unfinished(con, session_id)
            con.execute("COMMIT")
        torn = spool.torn_bytes()
        spool.remove()
        dropped = bad_lines + (1 if torn else 0)
        if not dropped:
            return []
        lines = "1 incomplete line" if dropped == 1 else f"{dropped} incomplete lines"
        return [f"session {session_id}: {lines} of its spool dropped"]
    return []


def take_in_dead(
    paths: Paths,
    *,
    database: Database | None = None,
    wait_s: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TakenIn:
    """Take in the spools of this history whose process is gone, and end what they left unfinished.

    Nothing is raised for a spool that cannot be taken in: it stays, or is set aside if it makes no sense, and a
    note says so. `stop` is asked between transactions; what is left then is for the next start. Raises
    DamagedHistoryError.
    """
    sessions: list[str] = []
    notes: list[str] = []
    _remove_stillborn(paths.spools)
    clear_up_unborn(paths.history)
    own = database or Database(paths.history)
    for path in spools_in(paths.spools):
        if stop():
            break
        try:
            spool = Spool.adopt(path)
        except OSError as error:
            notes.append(f"the spool {path} cannot be read ({error.strerror}); it is left where it is")
            continue
        if spool is None:
            continue
        try:
            if spool.header.format > FORMAT:
                notes.append(f"the spool {path} was written by a newer gemtop; it is left for that one")
                continue
            notes += _take_dead(own, spool, (wait_s, on_wait), stop)
            sessions.append(spool.header.session_id)
        except DamagedSpoolError as error:
            aside = path.with_name(f"{path.name}.damaged")
            path.rename(aside)
            notes.append(f"{error}; set aside as {aside}")
        except DamagedHistoryError:
            raise
        except HistoryLockedError as error:
            notes.append(f"{error}; sessions of processes that are gone are taken in at the next start")
            break
        except (HistoryError, OSError) as error:
            notes.append(f"{error}; the spool {path} is kept")
            break
        finally:
            spool.close()
    if database is None:
        own.forget()
    return TakenIn(tuple(sessions), tuple(notes))


def _remove_stillborn(folder: Path, age_s: float = 3600.0) -> None:
    """Delete spools whose process died before they had their name; nothing was recorded in them."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f".*{SUFFIX}.*"):
            if path.stat().st_mtime < time.time() - age_s:
                path.unlink()
