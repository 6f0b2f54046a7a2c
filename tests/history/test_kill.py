"""kill -9 at random moments of recording and of taking in: every row older than a second is there, once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

from gemtop.config import Paths
from gemtop.history.ingest import take_in_dead
from gemtop.history.spool import spools_in
from tests.history.rows import ask

KILLS = 15
_TAKE_IN = (
    "from gemtop.config import paths; from gemtop.history.ingest import take_in_dead; take_in_dead(paths(), wait_s=10)"
)


def _record_and_kill(session_id: str, after_s: float) -> int:
    """Returns how many tokens had been put a second before the kill."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.history.recording", session_id], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(after_s)  # the moment is the test's random variable
        child.send_signal(signal.SIGKILL)
        killed_ns = time.monotonic_ns()
        said = [line.split() for line in child.stdout.read().splitlines() if line.count(b" ") == 1]
    return sum(1 for _, t_ns in said if int(t_ns) < killed_ns - 1_000_000_000)


def _take_in_and_kill(after_s: float) -> None:
    child = subprocess.Popen([sys.executable, "-c", _TAKE_IN])
    try:
        child.wait(after_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def test_killed_while_recording_and_while_taking_in(paths: Paths) -> None:
    rng = random.Random(20261123)
    older: dict[str, int] = {}
    for i in range(KILLS):
        session_id = f"20261123-1000{i:02d}-aaaa0001"
        older[session_id] = _record_and_kill(session_id, rng.uniform(0.0, 1.4))
        for _ in range(2):
            _take_in_and_kill(rng.uniform(0.05, 0.5))
    # Two at once, unhurried: each spool is taken in by one of them, once.
    both = [subprocess.Popen([sys.executable, "-c", _TAKE_IN]) for _ in range(2)]
    assert [child.wait(60) for child in both] == [0, 0]
    notes = take_in_dead(paths, wait_s=10).notes
    assert spools_in(paths.spools) == [], notes
    found = ask(
        paths,
        'SELECT run_id.split(\'.\')[1], count(*), count(DISTINCT "index"), max("index") + 1 FROM tokens GROUP BY 1',
    )
    kept = {session_id: rows for session_id, rows, _, _ in found}
    for session_id, rows, distinct, last in found:
        assert rows == distinct == last, f"{session_id}: a row is missing or there twice"
    for session_id, count in older.items():
        assert kept.get(session_id, 0) >= count, f"{session_id}: {count} were older than a second"
    assert sum(older.values()) > 0
    doubled = ask(paths, "SELECT session_id, t_ns, count(*) FROM store.samples GROUP BY ALL HAVING count(*) > 1")
    assert doubled == []
    assert ask(paths, "SELECT DISTINCT status FROM sessions") == [("crashed",)]
    assert ask(paths, "SELECT count(*) FROM runs WHERE status IS NULL") == [(0,)]
