"""Several recorders and several readers on one history at once, all in processes of their own."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gemtop.config import Paths
from gemtop.history.ingest import take_in_dead
from gemtop.history.recorder import Pace
from gemtop.history.spool import spools_in
from tests.history.recording import put_by, read, record, start
from tests.history.rows import S, ask

WRITERS, READERS = 4, 4
FOR_S = 60.0
EVERY_S = 0.02
VISIBLE_S = 5.0
"""A live session's rows are to be there for others after this."""


class Watch(threading.Thread):
    """Looks who holds DuckDB's lock for writing, and for how long without letting go."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._over = threading.Event()
        self.longest_s: dict[int, float] = {}
        self.holds: dict[int, int] = {}

    def run(self) -> None:
        while not self._path.exists():
            time.sleep(0.01)
        fd, holder, since_s = os.open(self._path, os.O_RDONLY), 0, 0.0
        while not self._over.wait(0.002):
            now_s, found = time.monotonic(), self._writer(fd)
            if found != holder:
                holder, since_s = found, now_s
                self.holds[found] = self.holds.get(found, 0) + 1
            elif found:
                self.longest_s[found] = max(self.longest_s.get(found, 0.0), now_s - since_s)
        os.close(fd)

    @staticmethod
    def _writer(fd: int) -> int:
        """The process that has the file open for writing; 0 where none has."""
        asked = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, asked))
        return int(pid) if kind == fcntl.F_WRLCK else 0

    def end(self) -> None:
        self._over.set()
        self.join()


def test_four_recorders_and_four_readers_for_a_minute(
    paths: Paths, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """At the pace of a real session: nothing is lost, nothing doubled, and what is live is seen."""
    ids = [f"20261123-10000{number}-aaaa0001" for number in range(WRITERS)]
    said = [tmp_path / f"said-{number}" for number in range(WRITERS)]
    answers = [tmp_path / f"answers-{number}" for number in range(READERS)]
    over = tmp_path / "over"
    watch = Watch(paths.history)
    watch.start()
    writers = [start(record, paths, Pace(), one, file, FOR_S, EVERY_S) for one, file in zip(ids, said, strict=True)]
    readers = [start(read, paths, file, over) for file in answers]
    for writer in writers:
        writer.join(FOR_S + 60)
    over.touch()
    for reader in readers:
        reader.join(60)
    watch.end()
    assert [process.exitcode for process in writers + readers] == [0] * (WRITERS + READERS)

    take_in_dead(paths, wait_s=10)  # of a recorder that met others when it closed
    assert spools_in(paths.spools) == []
    put = {one: put_by(file) for one, file in zip(ids, said, strict=True)}
    found = ask(paths, 'SELECT run_id, count(*), count(DISTINCT "index") FROM tokens GROUP BY 1 ORDER BY 1')
    assert found == [(f"{one}.1", len(put[one]), len(put[one])) for one in ids]
    assert ask(paths, "SELECT count(*), count(DISTINCT (session_id, t_ns)) FROM store.samples") == [
        (sum(map(len, put.values())),) * 2
    ]
    assert ask(paths, "SELECT status, count(*) FROM sessions GROUP BY 1") == [("finished", WRITERS)]

    lags_s: list[float] = []
    for file in answers:
        seen = [json.loads(line) for line in file.read_text().splitlines()]
        assert {one for answer in seen for one, live, *_ in answer["seen"] if live} == set(ids)
        for answer in seen:
            for one, live, rows, indices, newest_ns in answer["seen"]:
                assert rows == indices <= len(put[one]), "a row is there twice"
                assert newest_ns == put[one][rows - 1], "a row is missing in between"
                if live:
                    lags_s.append((answer["asked_ns"] - newest_ns) / S)
    lags_s.sort()
    record_property("lag_median_s", lags_s[len(lags_s) // 2])
    record_property("lag_max_s", lags_s[-1])
    record_property("longest_hold_s", max(watch.longest_s.values()))
    assert lags_s[len(lags_s) // 2] <= VISIBLE_S
    moves = [watch.holds[int(writer.pid or 0)] for writer in writers]
    assert min(moves) >= FOR_S / 10, "it is opened and let go of, over and over"
    assert max(watch.longest_s.values()) < VISIBLE_S, "and nobody keeps it"
