"""Processes that record, read, take in and migrate, for tests that kill them or set them against each other.

They are forked by a server that has imported everything, so that one starts in a hundredth of a second.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from gemtop.config import Paths
from gemtop.domain.records import SessionEnd, TokenRow
from gemtop.domain.telemetry import HostSample
from gemtop.history.database import Database
from gemtop.history.ingest import take_in_dead
from gemtop.history.reader import Reader
from gemtop.history.recorder import Pace, Recorder
from tests.history.rows import run, run_end, session

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["duckdb", __name__])


def start(work: Any, *args: Any) -> BaseProcess:
    """One of the functions below in a process of its own."""
    process = _CONTEXT.Process(target=work, args=args, daemon=True)
    process.start()
    return process


def record(paths: Paths, pace: Pace, session_id: str, said: Path, for_s: float, every_s: float) -> None:
    """Record a token and a reading every so often, and end the session in the ordinary way.

    What was put goes to the file `said` at once: the index of the token and when, a line each.
    """
    fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    recorder = Recorder(paths, pace)
    started_ns = time.monotonic_ns()
    recorder.open(session(session_id, started_ns=started_ns, pid=os.getpid()))
    begin = run(session_id, start_ns=started_ns)
    recorder.put(begin)
    index = 0
    while (now_ns := time.monotonic_ns()) < started_ns + for_s * 1e9:
        recorder.put(TokenRow(begin.run_id, index, now_ns, index % 1000, "decode"))
        recorder.put(HostSample(now_ns, ram_used_bytes=index))
        os.write(fd, b"%d %d\n" % (index, now_ns))
        index += 1
        time.sleep(every_s)
    recorder.put(run_end(begin.run_id, end_ns=time.monotonic_ns(), generated_tokens=index))
    recorder.close(SessionEnd(time.monotonic_ns(), None))
    sys.exit(recorder.problem)


def put_by(said: Path) -> list[int]:
    """When each token was put, in nanoseconds; the line the process was killed in is left out."""
    lines = said.read_bytes().split(b"\n")[:-1] if said.exists() else []
    return [int(line.split()[1]) for line in lines]


def read(paths: Paths, answers: Path, until_there: Path) -> None:
    """Ask for what is there of each session, over and over, until a file is there; an answer is a line of JSON."""
    with answers.open("w") as out:
        while not until_there.exists():
            with Reader.open(paths, wait_s=60) as reader:
                asked_ns = time.monotonic_ns()
                rows = list(reader.run_sql(_SEEN).rows())
            out.write(json.dumps({"asked_ns": asked_ns, "seen": rows}) + "\n")
            out.flush()
            time.sleep(0.2)


_SEEN = """
    SELECT s.session_id, s.status IS NULL AS live, t.rows, t.indices, s.started_ns + t.newest_ns
    FROM store.sessions AS s JOIN (
        SELECT run_id, count(*) AS rows, count(DISTINCT "index") AS indices, max(t_ns) AS newest_ns
        FROM store.tokens GROUP BY run_id
    ) AS t ON t.run_id = s.session_id || '.1'
"""


def take_in(paths: Paths) -> None:
    """Take in what processes left that are gone."""
    take_in_dead(paths, wait_s=10)


def migrate(paths: Paths) -> None:
    """Bring a history to the current schema."""
    with Database(paths.history).open(wait_s=10):
        pass
