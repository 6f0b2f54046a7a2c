"""The history at ten million samples: bytes a sample, each shipped query beside the best SQL for it, and the start.

python -m tests.benchmarks.history [--folder DIR] [--runs 5] [--small]

The history (10,000 runs, a million tokens) is made once, in DIR or in a temporary folder. A query is timed with a
connection of its own, files in the page cache, parameters at their defaults.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
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
    """Size of the file, and what of it is the table of samples, by a count of its blocks."""
    with Reader.open(_paths(history)) as reader:
        sql = """
            SELECT count(DISTINCT block_id) * (SELECT block_size FROM pragma_database_size() LIMIT 1)
            FROM pragma_storage_info('store.samples') WHERE block_id >= 0
        """
        (row,) = reader.run_sql(sql).rows()
    return history.stat().st_size, float(row[0])


def _paths(history: Path) -> Paths:
    return Paths(history=history, state=history.parent / "state", cache=history.parent / "cache")


def seconds(history: Path, sql: str, values: dict[str, Any]) -> tuple[float, int]:
    """One run of a query on a new connection, and how many rows it gave."""
    with Reader.open(_paths(history)) as reader:
        begun = time.perf_counter()
        rows = len(list(reader.run_sql(sql, values).rows()))
        return time.perf_counter() - begun, rows


def in_turn(runs: int, first: Callable[[], float], second: Callable[[], float] | None) -> tuple[float, float | None]:
    """Medians of two, measured by turns."""
    firsts, seconds_ = [], []
    for _ in range(runs):
        firsts.append(first())
        if second is not None:
            seconds_.append(second())
    return statistics.median(firsts), statistics.median(seconds_) if seconds_ else None


def table(history: Path, runs: int) -> bool:
    """Print each query's time; whether all are within the goals."""
    good = True
    say("\n| query | rows | s | best SQL, s | ratio |\n|---|---|---|---|---|")
    for query in queries.all_queries():
        values = query.bind({})
        best = BEST.get(query.name)
        _, rows = seconds(history, query.sql, values)
        mine, other = in_turn(
            runs,
            lambda query=query, values=values: seconds(history, query.sql, values)[0],  # type: ignore[misc]
            (lambda best=best: seconds(history, best, {})[0]) if best else None,  # type: ignore[misc]
        )
        ratio = mine / other if other else None
        good = good and mine <= GOAL_QUERY_S and (ratio is None or ratio <= GOAL_RATIO)
        shown = f"{other:.3f} | {ratio:.2f}" if other and ratio else "itself | "
        say(f"| {query.name} | {rows:,} | {mine:.3f} | {shown} |")
    return good


def start_s(history: Path, runs: int) -> float:
    """`gemtop query sessions`, start to end."""
    found = []
    for _ in range(runs):
        begun = time.perf_counter()
        rows = json.loads(gemtop("query", "sessions", "--db", str(history), "--format", "json"))
        found.append(time.perf_counter() - begun)
        assert len(rows) == 20
    return statistics.median(found)


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
        say(f"{per_sample:.1f} bytes a sample with everything else, {samples / scale.samples:.1f} of the table alone")
        good = table(history, args.runs)
        start = start_s(history, args.runs)
        say(f"\ngemtop query sessions, start to end: {start:.3f} s")
        good = good and start <= GOAL_START_S and (args.small or per_sample <= GOAL_BYTES)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
