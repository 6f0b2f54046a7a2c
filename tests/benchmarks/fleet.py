"""A fleet of many boxes, simulated: what sending, asking and compacting cost.

python -m tests.benchmarks.fleet --boxes 1000 --folder /var/tmp/fleet

Needs `pip install '.[fleet]'` and PostgreSQL's server, which it starts for itself. Every box has a history of a month:
30 sessions, one a night, of ten runs of 120 tokens each, and readings of two cards and the machine. The histories are
made one after the other, sent, and deleted.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path

from gemtop.config import Paths
from gemtop.history import lake, queries
from gemtop.history.database import Database, quoted
from gemtop.history.syncing import sync
from tests.benchmarks.history_rows import Scale, fill
from tests.benchmarks.pairs import machine, say
from tests.fleet.servers import Postgres

MONTH = Scale(sessions=30, tokens_per_run=100, samples=90_000)


def month(template: Path, box: Path, number: int) -> None:
    """The history of one box: that of the template under other names."""
    with Database(box).open() as con:
        con.execute(f"ATTACH {quoted(str(template))} AS template (READ_ONLY)")
        tables = con.execute(
            "SELECT t.table_name, list(c.column_name) FROM duckdb_tables() AS t JOIN duckdb_columns() AS c"
            " USING (database_name, schema_name, table_name) WHERE database_name = 'template' GROUP BY 1"
        ).fetchall()
        for table, names in tables:
            if table in ("migrations", "spools"):
                continue
            renamed = {
                name: f"regexp_replace({name}, '-[0-9a-f]{{8}}', '-{number:08x}')"
                for name in ("session_id", "run_id")
                if name in names
            }
            if table == "sessions":
                renamed["host"] = f"'box{number:04d}'"
            replaced = ", ".join(f"{sql} AS {name}" for name, sql in renamed.items())
            con.execute(f"INSERT INTO store.{table} BY NAME SELECT * REPLACE ({replaced}) FROM template.store.{table}")
        con.execute("DETACH template")


def measure(server: Postgres, where: lake.Address, database: str, data: Path, boxes: int) -> None:
    """One line of what is there, and a table of what the queries take."""
    files = list(data.rglob("*.parquet"))
    catalogue = int(server.sql(f"SELECT pg_database_size('{database}')", database))
    size = sum(path.stat().st_size for path in files)
    say(
        f"  {boxes} boxes: catalogue {catalogue / 2**20:.0f} MiB, {len(files)} files of {size / 2**20:.0f} MiB together"
    )
    for query in queries.all_queries():
        begun = time.perf_counter()
        with lake.open_reader(where) as reader:
            open_s = time.perf_counter() - begun
            count = sum(1 for _ in reader.run_sql(query.sql, query.bind({})).rows())
        took_s = time.perf_counter() - begun - open_s
        say(f"    {query.name:<24} {took_s:6.2f} s  {count:>6} rows  (opened in {open_s:.2f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    say(machine())
    args.folder.mkdir(parents=True)
    server = Postgres()
    try:
        url = server.new_database("fleet")
        data = args.folder / "data"
        template = args.folder / "template.duckdb"
        with Database(template).open() as con:
            fill(con, MONTH)
        took: list[float] = []
        for number in range(args.boxes):
            box = args.folder / "box"
            where = Paths(box / "history.duckdb", box, box)
            box.mkdir()
            month(template, where.history, number)
            begun = time.perf_counter()
            done = sync(where, lake.address(url, str(data)))
            took.append(time.perf_counter() - begun)
            assert done.sent == MONTH.sessions, done
            if number + 1 in (1, 10, 100, 300, args.boxes):
                last = took[-10:]
                say(
                    f"box {number + 1}: {done.rows:,} rows sent in {statistics.median(last):.2f} s"
                    f" ({min(last):.2f} to {max(last):.2f}, the last {len(last)})"
                )
                measure(server, lake.address(url), "fleet", data, number + 1)
            if number + 1 == args.boxes:
                begun = time.perf_counter()
                assert sync(where, lake.address(url)).sent == 0
                say(f"the same again, nothing to send: {time.perf_counter() - begun:.2f} s")
                begun = time.perf_counter()
                small = sync(where, lake.address(url), compact=True).compacted
                say(f"compaction: {time.perf_counter() - begun:.1f} s, {small}")
                measure(server, lake.address(url), "fleet", data, number + 1)
            shutil.rmtree(box)
    finally:
        server.close()
        shutil.rmtree(args.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
