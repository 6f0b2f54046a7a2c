"""Machines with histories, and the fleet they send them to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemtop.config import Paths
from gemtop.domain.records import SessionEnd
from gemtop.history import lake
from gemtop.history.ingest import take_in_dead
from gemtop.history.syncing import Synced, sync
from tests.fleet.servers import Postgres
from tests.history.rows import STARTED_NS, S, dead_spool, ledger_row, run, run_end, samples, session, tokens


@dataclass
class Fleet:
    postgres: Postgres
    database: str
    url: str
    data: Path

    @property
    def address(self) -> lake.Address:
        """With the data's place, so that the first who sends begins it."""
        return lake.address(self.url, str(self.data))

    def send(self, box: Paths, **options: Any) -> Synced:
        return sync(box, self.address, **options)

    def ask(self, sql: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with lake.open_reader(lake.address(self.url)) as reader:
            return list(reader.run_sql(sql, values).rows())

    def files(self) -> int:
        return sum(1 for path in self.data.rglob("*.parquet"))


def fill(box: Paths, numbers: Sequence[int], host: str = "box") -> None:
    """Put sessions of these numbers into the box's history: two runs, their tokens, readings and a load each."""
    for number in numbers:
        session_id = session_name(number)
        rows: list[Any] = [session(session_id, host=host), ledger_row()]
        for count in (1, 2):
            begin = run(session_id, count, prompt="a secret")
            rows += [begin, *tokens(begin.run_id, gaps_s=(0.1, 0.2, 0.1))]
            rows.append(run_end(begin.run_id, decode_tokens_per_s=float(number + count), output="told"))
        dead_spool(box, [*rows, *samples(), SessionEnd(STARTED_NS + 60 * S, None)], session_id)
    take_in_dead(box)


def session_name(number: int) -> str:
    return f"20261123-{number:06d}-aaaa0001"


def gemtop(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gemtop", *arguments], capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | environment,
    )  # fmt: skip


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gemtop", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def rows_of(text: str) -> list[dict[str, Any]]:
    found = json.loads(text)
    assert isinstance(found, list)
    return found
