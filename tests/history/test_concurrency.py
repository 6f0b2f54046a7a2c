"""Several recorders and several readers on one history at once, all in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys

from gemtop.config import Paths
from gemtop.history.ingest import take_in_dead
from tests.history.rows import ask

TOKENS = 1500


def test_two_recorders_and_two_readers_lose_nothing(paths: Paths) -> None:
    sessions = [f"20261123-10000{i}-aaaa000{i}" for i in range(2)]
    recorders = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.history.recording", s, str(TOKENS)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for s in sessions
    ]
    seen = 0
    while any(r.poll() is None for r in recorders):
        readers = [
            subprocess.Popen(
                [sys.executable, "-m", "gemtop", "query", "SELECT count(*) AS n FROM tokens", "--format", "json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for reader in readers:
            out, talk = reader.communicate(timeout=60)
            assert reader.returncode == 0, talk
            rows = json.loads(out)[0]["n"]
            assert 0 <= rows <= 2 * TOKENS
            seen = max(seen, rows)
    for recorder in recorders:
        _, talk = recorder.communicate(timeout=60)
        assert recorder.returncode == 0, talk
    assert seen > 0, "no reader saw a row of a live session"
    take_in_dead(paths, wait_s=10)  # of a recorder that met a reader when it closed
    found = ask(paths, 'SELECT run_id, count(*), count(DISTINCT "index") FROM tokens GROUP BY 1 ORDER BY 1')
    assert found == [(f"{s}.1", TOKENS, TOKENS) for s in sessions]
    assert ask(paths, "SELECT status, count(*) FROM sessions GROUP BY 1") == [("finished", 2)]
