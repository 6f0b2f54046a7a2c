"""kill -9 at random moments of recording, taking in and migrating: every row older than a second is there, once."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gemtop.config import Paths
from gemtop.history import schema
from gemtop.history.ingest import take_in_dead
from gemtop.history.spool import spools_in
from tests.history.old import LAST, OLD_VERSIONS, old_history, put_old
from tests.history.recording import migrate, put_by, record, start, take_in
from tests.history.rows import FAST, ask

KILLS = 100
AT_ONCE = 10
OLD_NS = 1_000_000_000


def _kill_after(child: BaseProcess, after_s: float) -> bool:
    """Whether it was killed; False where it had ended before."""
    child.join(after_s)
    alive = child.is_alive()
    child.kill()
    child.join()
    return alive


def _took_s(child: BaseProcess) -> float:
    """How long it takes undisturbed, on this machine as busy as it is."""
    began_s = time.monotonic()
    child.join(60)
    assert child.exitcode == 0
    return time.monotonic() - began_s


def test_killed_while_recording_and_while_taking_in(paths: Paths, tmp_path: Path) -> None:
    """As many at once on one history; those that take in are killed at moments of their own."""
    rng = random.Random(20261123)
    older: dict[str, int] = {}

    def kill(number: int, live_s: float) -> None:
        session_id, said = f"20261123-10{number // 60:02d}{number % 60:02d}-aaaa0001", tmp_path / f"said-{number}"
        child = start(record, paths, FAST, session_id, said, 3600.0, 0.002)
        deadline = time.monotonic() + 60
        while not put_by(said) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert _kill_after(child, live_s)
        killed_ns = time.monotonic_ns()
        older[session_id] = sum(put_ns < killed_ns - OLD_NS for put_ns in put_by(said))

    taking_s, killed_takers = 0.3, 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for first in range(0, KILLS, AT_ONCE):
            waits = [(number, rng.uniform(0.0, 1.4)) for number in range(first, first + AT_ONCE)]
            for done in [pool.submit(kill, *wait) for wait in waits]:
                done.result()
            for _ in range(3):
                takers = [(start(take_in, paths), rng.uniform(0.0, taking_s)) for _ in range(4)]
                killed_takers += sum(pool.map(lambda taker: _kill_after(*taker), takers))
            taking_s = max(0.1, _took_s(start(take_in, paths)))
    assert killed_takers > KILLS / 2
    assert len(older) == KILLS and sum(older.values()) > 0
    both = [start(take_in, paths) for _ in range(2)]  # unhurried: each spool is taken in by one of them, once
    for child in both:
        _took_s(child)
    notes = take_in_dead(paths, wait_s=10).notes
    _each_row_once(paths, older, notes)


def _each_row_once(paths: Paths, older: dict[str, int], notes: Sequence[str] = ()) -> None:
    assert spools_in(paths.spools) == [], notes
    assert sorted(path.name for path in paths.history.parent.iterdir()) == ["history.duckdb", "history.duckdb.spool"], [
        _why(path) for path in paths.history.parent.glob("*.damaged*")
    ]
    found = ask(
        paths,
        'SELECT run_id.split(\'.\')[1], count(*), count(DISTINCT "index"), max("index") + 1 FROM tokens GROUP BY 1',
    )
    kept = {session_id: rows for session_id, rows, _, _ in found}
    for session_id, rows, distinct, last in found:
        assert rows == distinct == last, f"{session_id}: a row is missing or there twice"
    for session_id, count in older.items():
        assert kept.get(session_id, 0) >= count, f"{session_id}: {count} were older than a second"
    doubled = ask(paths, "SELECT session_id, t_ns, count(*) FROM store.samples GROUP BY ALL HAVING count(*) > 1")
    assert doubled == []
    assert ask(paths, "SELECT DISTINCT status FROM sessions") == [("crashed",)]
    assert ask(paths, "SELECT count(*) FROM runs WHERE status IS NULL") == [(0,)]


def _why(path: Path) -> str:
    """What DuckDB says of a file that was set aside."""
    try:
        duckdb.connect(str(path)).close()
    except duckdb.Error as error:
        return f"{path}: {error}"
    return f"{path}: can be opened"


def _rows(path: Path, like: dict[str, list[str]]) -> dict[str, list[tuple[Any, ...]]]:
    with duckdb.connect(str(path), read_only=True) as con:
        return {t: con.execute(f"SELECT {', '.join(c)} FROM {t} ORDER BY ALL").fetchall() for t, c in like.items()}


def _version(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as con:
        return schema.version(con)


def _tables(path: Path) -> dict[str, list[str]]:
    with duckdb.connect(str(path), read_only=True) as con:
        found = con.execute(
            "SELECT schema_name || '.' || table_name, list('\"' || column_name || '\"' ORDER BY column_index)"
            " FROM duckdb_columns() WHERE schema_name = 'store' AND table_name <> 'migrations' GROUP BY 1"
        ).fetchall()
    return dict(found)


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_killed_while_migrating(tmp_path: Path, version: int) -> None:
    """Several histories, each killed in its migration again and again: it opens, all is there, and so is the copy."""
    rng = random.Random(version)
    kills = -(-KILLS // len(OLD_VERSIONS))

    def history(name: str) -> Paths:
        folder = tmp_path / name
        return put_old(Paths(folder / "history" / "history.duckdb", folder, folder), version)

    whole_s = _took_s(start(migrate, history("undisturbed")))
    whole = tmp_path / "undisturbed" / "history" / "history.duckdb"
    like = _tables(_as_file(tmp_path / "old.duckdb", version))
    rows = _rows(tmp_path / "old.duckdb", like)
    assert _rows(whole, like) == rows

    def kill(number: int) -> int:
        """Kill it until it comes through, or often enough; how often that was."""
        paths = history(f"killed-{number}")
        copy = paths.history.with_name(f"history.duckdb.v{version}.bak")
        killed = 0
        while killed < 5 and _kill_after(start(migrate, paths), rng.uniform(0.0, whole_s)):
            killed += 1
        _took_s(start(migrate, paths))
        assert (_version(copy), _rows(copy, like)) == (version, rows)
        assert (_version(paths.history), _rows(paths.history, like)) == (LAST, rows)
        return killed

    killed, number = 0, 0
    with ThreadPoolExecutor(4) as pool:
        while killed < kills:
            killed += sum(pool.map(kill, range(number, number + 4)))
            number += 4


def _as_file(path: Path, version: int) -> Path:
    path.write_bytes(old_history(version))
    return path
