"""What can go wrong around a history: disks that cannot be written or locked or are full, and a clock that jumps."""

from __future__ import annotations

import ctypes
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from gemtop.config import Paths
from gemtop.domain.records import Record, SessionEnd
from gemtop.history.faults import HistoryLockedError, explain
from gemtop.history.manage import Sessions
from gemtop.history.merging import merge
from gemtop.history.recorder import Recorder
from gemtop.history.replaying import SessionReader
from gemtop.history.spool import spools_in
from tests.history.old import put_old
from tests.history.rows import (
    FAST,
    SESSION,
    STARTED_AT_MS,
    STARTED_NS,
    S,
    ask,
    dead_spool,
    put_in,
    run,
    run_end,
    session,
    tokens,
    whole_session,
)

DEAD = "20261124-090000-dead0001"
DAY_MS = 86_400_000


# Disks ------------------------------------------------------------------------------------------------------------

_TRY = """
from gemtop.config import paths
from gemtop.domain.errors import HistoryError
from gemtop.history.ingest import take_in_dead
from gemtop.history.recorder import Recorder, check_history
from gemtop.history.workbench import Workbench
from tests.history.rows import ask, session

def ask_on_the_screen():
    bench = Workbench(paths())
    try:
        bench.run("SELECT count(*) FROM runs")
    finally:
        bench.close()

for what in (
    lambda: check_history(paths()),
    lambda: Recorder(paths()).open(session()),
    lambda: take_in_dead(paths()).notes,
    lambda: ask(paths(), "SELECT count(*) FROM runs"),
    ask_on_the_screen,
):
    try:
        print(what())
    except HistoryError as error:
        print(f"refused: {error}")
"""
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _PR_CAPBSET_DROP = 1, 2, 24
_LIBC = ctypes.CDLL(None)


def _as_everybody() -> None:
    """Permissions hold for the child even where it is root's."""
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def _tried() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _TRY], capture_output=True, text=True, preexec_fn=_as_everybody, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def read_only(paths: Paths) -> Iterator[Paths]:
    """A folder that nothing can be written in, once `close` was called with what is in it."""
    yield paths
    for folder in (paths.history.parent, paths.spools):
        folder.chmod(0o700)


def _close(paths: Paths) -> None:
    for path in (*paths.history.parent.iterdir(), *paths.spools.iterdir()):
        path.chmod(0o500 if path.is_dir() else 0o400)
    paths.history.parent.chmod(0o500)


def test_a_history_that_cannot_be_written_is_read_and_nothing_is_recorded(read_only: Paths) -> None:
    put_in(read_only, whole_session())
    dead_spool(read_only, whole_session(DEAD), DEAD)
    _close(read_only)
    check, recorder, taking, asked, screen = _tried()
    assert check == recorder == f"refused: {read_only.history} cannot be written: choose another file with --db PATH"
    assert "(Permission denied); it is left where it is" in taking
    assert asked == "[(1,)]" and not screen.startswith("refused")
    assert [path.stem for path in spools_in(read_only.spools)] == [DEAD]


def test_an_old_history_that_cannot_be_written_is_merged_instead(read_only: Paths, tmp_path: Path) -> None:
    put_old(read_only, 2)
    read_only.spools.mkdir()
    _close(read_only)
    *_, asked, screen = _tried()
    assert asked == screen and asked.startswith("refused: ")
    assert f"gemtop sessions merge {read_only.history} --db NEW reads it into another" in asked
    other = Paths(tmp_path / "new" / "history.duckdb", tmp_path, tmp_path)
    assert merge(other, read_only.history).new == (SESSION,)


def test_a_history_that_may_not_be_read_is_left(read_only: Paths) -> None:
    put_in(read_only, whole_session())
    read_only.history.chmod(0)
    for line in _tried():
        assert (line.startswith("refused: ") and "cannot be" in line) or line in ("()", "None")
    assert not list(read_only.history.parent.glob("*damaged*"))
    read_only.history.chmod(0o600)
    assert ask(read_only, "SELECT count(*) FROM runs") == [(1,)]


LOCK = 'IO Error: Could not set lock on file "/net/h.duckdb": {}. See also https://duckdb.org/docs'


@pytest.mark.parametrize(
    "reason",
    [
        "No locks available",
        "Function not implemented",
        "Input/output error",
        "File locks are not supported for this file system, cannot open the file in read-write mode. Try opening the"
        " file in read-only mode",
    ],
)
def test_a_network_disk_without_locks_is_not_waited_for(paths: Paths, reason: str) -> None:
    """The words are those of DuckDB 1.5.5 and 2.0.1 where fcntl fails with ENOLCK, ENOSYS, EIO and ENOTSUP."""
    found = explain(paths.history, duckdb.IOException(LOCK.format(reason)))
    assert not isinstance(found, HistoryLockedError)
    assert "has no file locks" in str(found) and "--db PATH" in str(found) and "\n" not in str(found)


def test_an_sqlite_database_is_called_one_and_left(paths: Paths) -> None:
    """DuckDB would ask the network for what reads it."""
    paths.history.parent.mkdir(parents=True)
    with closing(sqlite3.connect(paths.history)) as con:
        con.execute("CREATE TABLE mine (a)")
        con.commit()
    before = paths.history.read_bytes()
    check, _, taking, asked, screen = _tried()
    words = f"refused: {paths.history} is an SQLite database and no history: choose another file with --db PATH"
    assert (check, asked, screen) == (words, words, words)
    assert taking in ("()", words)
    assert paths.history.read_bytes() == before
    assert not list(paths.history.parent.glob("*damaged*"))


@pytest.mark.parametrize("reason", ["Resource temporarily unavailable", "Permission denied"])
def test_a_lock_of_another_machine_is_waited_for(paths: Paths, reason: str) -> None:
    found = explain(paths.history, duckdb.IOException(LOCK.format(reason)))
    assert isinstance(found, HistoryLockedError)


# A clock that jumps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True])
def test_a_clock_that_jumps_by_days_spoils_nothing(paths: Paths, killed: bool) -> None:
    """Back by three days after the first run, and on by a year after the second."""
    walls = [STARTED_AT_MS, STARTED_AT_MS - 3 * DAY_MS, STARTED_AT_MS + 365 * DAY_MS]
    records: list[Record] = [session()]
    for number, wall_ms in enumerate(walls, start=1):
        start_ns = STARTED_NS + number * 10 * S
        begin = run(SESSION, number, start_ns=start_ns, started_at_ms=wall_ms)
        shift = start_ns - STARTED_NS - S
        records += [begin, *(replace(token, t_ns=token.t_ns + shift) for token in tokens(begin.run_id))]
        if not (killed and number == len(walls)):
            records.append(run_end(begin.run_id, end_ns=start_ns + 2 * S))
    put_in(paths, records if killed else [*records, SessionEnd(STARTED_NS + 40 * S, None)])
    ids = [f"{SESSION}.{number}" for number in (1, 2, 3)]
    with Sessions(paths) as found:
        assert [row["run_id"] for row in found.view("runs", SESSION)] == ids
        (one,) = found.all()
    assert (one.status, one.duration_s) == (("crashed", 31.5) if killed else ("finished", 40.0))
    recording = SessionReader(paths, SESSION).recording()
    assert [recorded.begin.run_id for recorded in recording.runs] == ids
    assert [recorded.begin.start_ns for recorded in recording.runs] == [STARTED_NS + n * 10 * S for n in (1, 2, 3)]
    rates = ask(paths, "SELECT DISTINCT ttft_s, decode_tokens_per_s FROM runs")
    assert rates == [(0.5, 10.0)]
    assert ask(paths, "SELECT min(t_s), max(t_s) FROM tokens") == [(10.5, 31.5)]


def test_the_wall_clock_is_not_asked_while_recording(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(paths, FAST)
    recorder.open(session())
    monkeypatch.setattr(time, "time", lambda: -1e9)
    monkeypatch.setattr(time, "time_ns", lambda: -(10**18))
    for record in whole_session()[1:-1]:
        recorder.put(record)
    recorder.close(SessionEnd(STARTED_NS + 5 * S, None))
    assert recorder.problem is None
    assert ask(paths, "SELECT count(*) FROM tokens") == [(15,)]
