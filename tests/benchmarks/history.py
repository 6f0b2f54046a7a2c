"""The history at ten million samples: bytes a sample, each shipped query beside the best SQL for it, and the start.

python -m tests.benchmarks.history [--folder DIR] [--runs 5] [--small]

The history (10,000 runs, a million tokens) is made once, in DIR or in a temporary folder. A query is timed with a
connection of its own, files in the page cache, parameters at their defaults. Given is the lowest of the runs: what
others on the machine take of it can only add. The ratio is that of CPU times, which others disturb least.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemtop.config import Paths
from gemtop.history import queries
from gemtop.history.database import Database
from gemtop.history.reader import Reader
from tests.benchmarks.history_best import BEST
from tests.benchmarks.history_rows import Scale, fill
from tests.benchmarks.pairs import gemtop, machine, say

GOAL_BYTES, GOAL_QUERY_S, GOAL_RATIO, GOAL_START_S = 40, 0.5, 1.2, 0.4


def make(history: Path, scale: Scale) -> None:
    """The history, unless it is there already."""
    if history.exists():
        return
    history.parent.mkdir(parents=True, exist_ok=True)
    half = history.with_name("half.duckdb")
    half.unlink(missing_ok=True)
    begun = time.perf_counter()
    with Database(half).open() as con:
        con.execute("SET threads = 2; SET preserve_insertion_order = true")
        fill(con, scale)
    half.replace(history)
    say(f"made in {time.perf_counter() - begun:.0f} s")


def bytes_of(history: Path) -> tuple[int, float]:
    """Size of the file, and what of it are the tables of samples, by a count of their blocks."""
    with Reader.open(_paths(history)) as reader:
        sql = """
            SELECT count(DISTINCT block_id) * (SELECT block_size FROM pragma_database_size() LIMIT 1) FROM (
                FROM pragma_storage_info('store.device_samples')
                UNION ALL FROM pragma_storage_info('store.host_samples')
            ) WHERE block_id >= 0
        """
        (row,) = reader.run_sql(sql).rows()
    return history.stat().st_size, float(row[0])


def _paths(history: Path) -> Paths:
    return Paths(history=history, state=history.parent / "state", cache=history.parent / "cache")


@dataclass(frozen=True, slots=True)
class Took:
    wall_s: float
    cpu_s: float
    rows: int


def ask(history: Path, sql: str, values: dict[str, Any]) -> Took:
    """One run of a query on a new connection."""
    with Reader.open(_paths(history)) as reader:
        cpu, wall = time.process_time(), time.perf_counter()
        rows = len(list(reader.run_sql(sql, values).rows()))
        return Took(time.perf_counter() - wall, time.process_time() - cpu, rows)


def table(history: Path, runs: int) -> bool:
    """Print each query's time; whether all are within the goals."""
    good = True
    say("\n| query | rows | s | CPU s | CPU s of the best SQL | ratio |\n|---|---|---|---|---|---|")
    for query in queries.all_queries():
        values, best = query.bind({}), BEST.get(query.name)
        mine: list[Took] = []
        others: list[Took] = []
        for _ in range(runs):  # by turns
            mine.append(ask(history, query.sql, values))
            if best is not None:
                others.append(ask(history, best, {}))
                assert others[-1].rows == mine[-1].rows, f"{query.name}: the best SQL answers another question"
        wall, cpu = min(t.wall_s for t in mine), min(t.cpu_s for t in mine)
        good = good and wall <= GOAL_QUERY_S
        shown = "itself | "
        if others:
            least = min(t.cpu_s for t in others)
            good = good and cpu / least <= GOAL_RATIO
            shown = f"{least:.3f} | {cpu / least:.2f}"
        say(f"| {query.name} | {mine[0].rows:,} | {wall:.3f} | {cpu:.3f} | {shown} |")
    return good


def start_s(history: Path, runs: int) -> tuple[float, float, float]:
    """`gemtop query sessions`, start to end: lowest and median, and its CPU time."""
    found = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(runs):
        begun = time.perf_counter()
        rows = json.loads(gemtop("query", "sessions", "--db", str(history), "--format", "json"))
        found.append(time.perf_counter() - begun)
        assert len(rows) == 20
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs
    return min(found), statistics.median(found), cpu


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a hundredth of it, to see that everything runs")
    args = parser.parse_args()
    scale = Scale(sessions=100, samples=100_000) if args.small else Scale()
    with tempfile.TemporaryDirectory(prefix="gemtop-history-") as scratch:
        history = (args.folder or Path(scratch)) / ("small.duckdb" if args.small else "history.duckdb")
        make(history, scale)
        say(machine())
        size, samples = bytes_of(history)
        per_sample = size / scale.samples
        say(f"{scale.samples:,} samples, {scale.tokens:,} tokens, {scale.runs:,} runs: {size / 1e6:.0f} MB,")
        say(f"{per_sample:.1f} bytes a sample with everything else, {samples / scale.samples:.1f} of the samples alone")
        good = table(history, args.runs)
        start, middle, cpu = start_s(history, max(args.runs, 5))
        say(f"\ngemtop query sessions, start to end: {start:.3f} s at best, {middle:.3f} median, {cpu:.3f} of CPU")
        good = good and start <= GOAL_START_S and (args.small or per_sample <= GOAL_BYTES)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
