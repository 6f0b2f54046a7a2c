"""The recorder: what it is given reaches the history, whatever stands in its way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from gemtop.config import Paths
from gemtop.config import paths as paths_of
from gemtop.domain.errors import HistoryError
from gemtop.domain.records import SessionEnd, TokenRow
from gemtop.history import recorder as recorder_module
from gemtop.history.database import Database
from gemtop.history.ingest import take_in_dead
from gemtop.history.recorder import Recorder, check_history
from gemtop.history.spool import spools_in
from tests.history.rows import (
    FAST,
    FAST_MOVES,
    STARTED_NS,
    S,
    ask,
    dead_spool,
    run,
    run_end,
    session,
    until,
    whole_session,
)

SESSION = "20261123-100000-aaaa0001"
RUN = f"{SESSION}.1"
END = SessionEnd(STARTED_NS + 5 * S, None)


def _count(paths: Paths, table: str = "tokens") -> int:
    return int(ask(paths, f"SELECT count(*) FROM {table}")[0][0]) if paths.history.exists() else 0


def _no_thread() -> bool:
    return not any(t.name in ("gemtop-recorder", "gemtop-mover") for t in threading.enumerate())


def test_a_session_is_recorded_while_it_runs(paths: Paths) -> None:
    recorder = Recorder(paths, FAST)
    first, *rest = whole_session()
    recorder.open(first)  # type: ignore[arg-type]
    for record in rest[:10]:
        recorder.put(record)
    until(lambda: _count(paths) == 9, "the first tokens are in the history of a live session")
    assert ask(paths, "SELECT status FROM runs") == [(None,)]
    for record in rest[10:-1]:
        recorder.put(record)
    recorder.close(END)
    assert recorder.problem is None
    assert _no_thread()
    assert spools_in(paths.spools) == [] and recorder.spool_path is None
    assert ask(paths, "SELECT status FROM sessions") == [("finished",)]
    assert _count(paths) == 15
    assert _count(paths, "samples") == 18


def test_closing_at_once_records_all_of_it(paths: Paths) -> None:
    recorder = Recorder(paths)
    first, *rest = whole_session()
    recorder.open(first)  # type: ignore[arg-type]
    for record in rest[:-1]:
        recorder.put(record)
    recorder.close(END)
    recorder.close(END)
    assert ask(paths, "SELECT status, generated_tokens FROM runs") == [("finished", 11)]


def test_the_end_of_a_run_is_moved_without_waiting_for_the_next_move(paths: Paths) -> None:
    recorder = Recorder(paths, replace(FAST, move=replace(FAST_MOVES, every_s=3600.0)))
    recorder.open(session())
    until(lambda: _count(paths, "sessions") == 1, "the first move")
    recorder.put(run())
    recorder.put(run_end(RUN))
    until(lambda: ask(paths, "SELECT status FROM runs") == [("finished",)], "the run has ended")
    recorder.close(END)


def test_dead_spools_are_taken_in_by_the_next_session(paths: Paths) -> None:
    dead_spool(paths, whole_session("20261122-090000-dead0001")[:-1], "20261122-090000-dead0001", torn=b"{")
    recorder = Recorder(paths, FAST)
    recorder.open(session())
    until(lambda: bool(recorder.notes), "the note about the torn line")
    recorder.close(END)
    assert "incomplete line" in recorder.notes[0]
    assert ask(paths, "SELECT status FROM sessions ORDER BY session_id") == [("crashed",), ("finished",)]


def test_a_history_in_use_is_waited_for_without_loss(paths: Paths) -> None:
    recorder = Recorder(paths, FAST)
    recorder.open(session())
    until(lambda: _count(paths, "sessions") == 1, "the first move")
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(paths.history)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    recorder.put(run())
    for index in range(500):
        recorder.put(TokenRow(RUN, index, STARTED_NS + index, 1, "decode"))
    until(lambda: recorder.waiting is not None, "the recorder waits")
    assert f"(PID {holder.pid})" in str(recorder.waiting)
    assert recorder.problem is None
    recorder.close(END)  # bounded: the spool is left
    assert [p.stem for p in spools_in(paths.spools)] == [SESSION]
    assert _no_thread()
    holder.communicate()
    assert _count(paths) == 0
    other = Recorder(paths, FAST)
    other.open(session("20261123-110000-bbbb0001"))
    other.close(END)
    take_in_dead(paths)
    assert _count(paths) == 500
    assert ask(paths, "SELECT status FROM sessions ORDER BY session_id") == [("finished",), ("finished",)]


_HOLD = """
import sys, time, duckdb
while True:
    try:
        con = duckdb.connect(sys.argv[1])
        break
    except duckdb.IOException:
        time.sleep(0.005)
print("held", flush=True)
sys.stdin.read()
"""

_NO_ROOM = """
import resource, sys
from gemtop.config import paths
from gemtop.domain.records import TokenRow
from gemtop.history import recorder as module
from gemtop.history.recorder import Recorder
from tests.history.rows import FAST, FAST_MOVES, STARTED_NS, ask, run, session, until
from gemtop.domain.records import SessionEnd

module.MEMORY_LIMIT_ROWS = 20_000
recorder = Recorder(paths(), FAST)
recorder.open(session())
begin = run()
recorder.put(begin)
until(lambda: paths().history.exists() and ask(paths(), "FROM sessions") != [], "the first move")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
kept = int(sys.argv[1])
for i in range(kept):
    recorder.put(TokenRow(begin.run_id, i, STARTED_NS + i, 1, "decode"))
until(lambda: recorder.problem is not None, "the user is told")
assert "\\n" not in recorder.problem
print(recorder.problem)
if sys.argv[2] == "more":
    until(lambda: "cannot be written" in (recorder.problem or ""), "the spool is full")
    for i in range(30_000):
        recorder.put(TokenRow(begin.run_id, kept + i, STARTED_NS + i, 1, "decode"))
    print(recorder.problem)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
until(lambda: recorder.problem is None, "it is written when there is room")
recorder.close(SessionEnd(STARTED_NS + 10**9, None))
assert recorder.problem is None, recorder.problem
print(*recorder.notes)
"""


def test_a_full_disk_is_told_and_survived(paths: Paths) -> None:
    """In a process that may write no file beyond 20,000 bytes for a while."""
    child = subprocess.run([sys.executable, "-c", _NO_ROOM, "8000", "no"], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert "File too large" in child.stdout or "no room" in child.stdout
    assert ask(paths, 'SELECT count(*), count(DISTINCT "index") FROM tokens') == [(8000, 8000)]


def test_rows_beyond_the_bound_are_dropped_and_counted(paths: Paths) -> None:
    child = subprocess.run([sys.executable, "-c", _NO_ROOM, "12000", "more"], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert "at most 20,000" in child.stdout and "dropped" in child.stdout
    assert " rows were dropped while " in child.stdout.splitlines()[-1]
    ((rows, distinct, last),) = ask(paths, 'SELECT count(*), count(DISTINCT "index"), max("index") + 1 FROM tokens')
    assert 12_000 < rows == distinct == last < 42_000
    assert ask(paths, "SELECT status FROM sessions") == [("finished",)]


def test_putting_never_raises_and_never_waits_for_the_disk(paths: Paths) -> None:
    recorder = Recorder(paths, FAST)
    recorder.put(run())  # before it is open
    for index in range(recorder_module.MEMORY_LIMIT_ROWS + 10):
        recorder.put(TokenRow(RUN, index, 0, 1, "decode"))
    recorder.put(run_end(RUN))
    assert len(recorder._incoming) <= recorder_module.MEMORY_LIMIT_ROWS + 1


@pytest.mark.parametrize("use", [lambda p: Recorder(p).open(session()), check_history])
@pytest.mark.parametrize("kind", ["below a file", "a directory", "cannot be made"])
def test_a_history_that_cannot_be_is_one_clear_line(tmp_path: Path, use: object, kind: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    db = {
        "below a file": str(tmp_path / "file" / "history.duckdb"),
        "a directory": str(tmp_path / "folder"),
        "cannot be made": "/proc/gemtop/history.duckdb",
    }[kind]
    with pytest.raises(HistoryError, match="--db PATH") as caught:
        use(paths_of(db))  # type: ignore[operator]
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert _no_thread()


def test_a_history_of_a_newer_gemtop_is_a_problem_and_keeps_the_spool(paths: Paths) -> None:
    check_history(paths)
    dead_spool(paths, whole_session(), SESSION)
    take_in_dead(paths)
    with duckdb.connect(str(paths.history)) as con:
        con.execute("INSERT INTO store.migrations VALUES (99, 'from the future', now(), '9.0')")
    recorder = Recorder(paths, FAST)
    recorder.open(session("20261123-120000-cccc0001"))
    until(lambda: recorder.problem is not None, "the user is told")
    assert "newer gemtop" in str(recorder.problem) and "is kept in" in str(recorder.problem)
    recorder.close(END)
    assert [p.stem for p in spools_in(paths.spools)] == ["20261123-120000-cccc0001"]


def test_a_long_session_begins_its_spool_anew(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "SPOOL_LIMIT_BYTES", 20_000)
    recorder = Recorder(paths, FAST)
    recorder.open(session())
    recorder.put(run())
    sizes: list[int] = []

    def base() -> int:
        spool = recorder._spool
        assert spool is not None
        sizes.append(spool.path.stat().st_size)
        return spool.header.base

    index = 0
    deadline = time.monotonic() + 60
    while base() < 100_000:
        assert time.monotonic() < deadline
        recorder.put(TokenRow(RUN, index, STARTED_NS + index, 1, "decode"))
        index += 1
        if index % 50 == 0:
            time.sleep(0.001)
    recorder.close(END)
    assert ask(paths, 'SELECT count(*), count(DISTINCT "index") FROM tokens') == [(index, index)]
    assert ask(paths, "SELECT count(*) FROM runs") == [(1,)]


def test_a_history_deleted_in_mid_session_comes_back(paths: Paths) -> None:
    recorder = Recorder(paths, FAST)
    recorder.open(session())
    recorder.put(run())
    recorder.put(TokenRow(RUN, 0, STARTED_NS, 1, "decode"))
    until(lambda: _count(paths) == 1, "the first token")
    with Database(paths.history).open():
        paths.history.unlink()
    recorder.put(TokenRow(RUN, 1, STARTED_NS, 1, "decode"))
    recorder.close(END)
    assert _count(paths) == 2
