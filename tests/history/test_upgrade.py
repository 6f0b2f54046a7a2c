"""Histories of earlier versions, as the gemtop of that time wrote them, under this one.

`data/history_v1.duckdb` was recorded with DuckDB 1.5.5 by the gemtop of schema version 1: a session of two runs
with tokens and samples. `data/spool_v1.jsonl` is what another session of it left when it was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.history import schema
from gemtop.history.database import Database
from gemtop.history.ingest import take_in_dead
from gemtop.history.ledger import learned_overhead_bytes
from tests.history.rows import ask, ledger_row, put_in, run, session, tune_point

DATA = Path(__file__).parent / "data"
V1 = DATA / "history_v1.duckdb"
LAST = schema.MIGRATIONS[-1].version
VERSIONS = [(migration.version,) for migration in schema.MIGRATIONS]
BROKEN = (
    schema.MIGRATIONS[0],
    schema.Migration(2, "broken", (*schema.MIGRATIONS[1].statements, "SELECT nonsense")),
)


@pytest.fixture
def old(paths: Paths) -> Paths:
    """A history of version 1, and nothing beside it."""
    paths.history.parent.mkdir(parents=True)
    shutil.copy(V1, paths.history)
    paths.history.chmod(0o600)
    return paths


def _copy_of(paths: Paths, version: int) -> Path:
    return paths.history.with_name(f"history.duckdb.v{version}.bak")


def _everything(path: Path, columns: dict[str, list[str]] | None = None) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all views and tables, read by DuckDB alone; of the columns given, else of all there are."""
    with duckdb.connect(str(path), read_only=True) as con:
        names = columns or _columns(path)
        return {
            table: con.execute(f"SELECT {', '.join(chosen)} FROM {table} ORDER BY ALL").fetchall()
            for table, chosen in names.items()
        }


def _columns(path: Path) -> dict[str, list[str]]:
    with duckdb.connect(str(path), read_only=True) as con:
        found = con.execute(
            "SELECT schema_name || '.' || table_name, list('\"' || column_name || '\"' ORDER BY column_index)"
            " FROM duckdb_columns() WHERE NOT internal AND table_name <> 'migrations' GROUP BY 1"
        ).fetchall()
    return dict(found)


def test_the_history_of_version_1_is_one(old: Paths) -> None:
    with duckdb.connect(str(old.history), read_only=True) as con:
        assert schema.version(con) == 1
        counts = con.execute(
            "SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM runs), (SELECT count(*) FROM tokens),"
            " (SELECT count(*) FROM samples), (SELECT count(*) FROM store.reasons)"
        ).fetchone()
    assert counts == (1, 2, 15, 19, 1)


def test_a_history_of_version_1_is_brought_up_to_date_with_everything_in_it(old: Paths) -> None:
    columns, before = _columns(V1), _everything(V1)
    assert ask(old, "SELECT version FROM store.migrations ORDER BY 1") == VERSIONS
    assert _everything(old.history, columns) == before
    kept = [name.strip('"') for name in columns["main.runs"]]
    assert [row[0] for row in ask(old, "DESCRIBE runs")][: len(kept)] == kept
    assert ask(old, "FROM ledger") == []
    assert ask(old, "FROM tune") == []
    assert ask(old, "SELECT DISTINCT * EXCLUDE (run_id) FROM run_placement") == [(None, None, None, None, None)]
    bare = "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
    assert ask(old, bare) == []


def test_it_goes_on_being_written(old: Paths) -> None:
    later = "20261125-100000-cccc0001"
    records = [session(later), run(later, kind="apply", split_mode="row"), ledger_row(), tune_point(later)]
    put_in(old, records, later)
    assert ask(old, "SELECT kind, count(*) FROM runs GROUP BY 1 ORDER BY 1") == [
        ("generate", 1),
        ("tg", 1),
        ("apply", 1),
    ]
    assert ask(old, "SELECT split_mode FROM run_placement WHERE split_mode IS NOT NULL") == [("row",)]
    assert learned_overhead_bytes(old, "NVIDIA Test", "580.10") == 64 * 2**20
    assert ask(old, "SELECT tuning_id, session_id, n_ctx, on_front FROM tune") == [(later, later, 8192, True)]
    with Database(old.history).open() as con, pytest.raises(duckdb.ConstraintException):
        con.execute("INSERT INTO store.runs BY NAME SELECT * FROM store.runs")


def test_the_spool_of_a_killed_session_of_version_1_is_taken_in(old: Paths) -> None:
    old.spools.mkdir()
    shutil.copy(DATA / "spool_v1.jsonl", old.spools / "20261124-090000-dead0001.jsonl")
    found = take_in_dead(old)
    assert (found.sessions, found.notes) == (("20261124-090000-dead0001",), ())
    assert ask(old, "SELECT session_id[-8:], status FROM sessions ORDER BY 1") == [
        ("aaaa0001", "finished"),
        ("dead0001", "crashed"),
    ]
    assert ask(old, "SELECT count(*), count(DISTINCT run_id) FROM tokens") == [(30, 2)]


def test_the_copy_before_is_the_file_as_it_was_and_as_private(old: Paths) -> None:
    ask(old, "FROM runs")
    ask(old, "FROM runs")
    assert _copy_of(old, 1).read_bytes() == V1.read_bytes()
    assert _copy_of(old, 1).stat().st_mode & 0o777 == 0o600
    assert list(old.history.parent.glob("*.bak*")) == [_copy_of(old, 1)]


def test_only_the_last_copy_is_kept(old: Paths) -> None:
    ask(old, "FROM runs")
    later = (*schema.MIGRATIONS, schema.Migration(LAST + 1, "a test", ("CREATE TABLE store.x (a INT)",)))
    foreign = _copy_of(old, 0)
    foreign.write_text("someone else's tables")
    with Database(old.history, later).open():
        pass
    assert sorted(old.history.parent.glob("*.bak*")) == [foreign, _copy_of(old, LAST)]


def test_a_migration_that_fails_changes_nothing_and_copies_once(old: Paths) -> None:
    copies = set()
    for _ in range(2):
        with pytest.raises(HistoryError) as caught, Database(old.history, BROKEN).open():
            pass
        assert "\n" not in str(caught.value)
        assert old.history.read_bytes() == V1.read_bytes()
        assert _copy_of(old, 1).read_bytes() == V1.read_bytes()
        copies.add(_copy_of(old, 1).stat().st_ctime_ns)
    assert len(copies) == 1
    # The gemtop of before writes on, and the copy is made anew when the migration is tried again.
    with Database(old.history, schema.MIGRATIONS[:1]).open() as con:
        con.execute("UPDATE store.sessions SET host = 'renamed'")
    as_it_was = old.history.read_bytes()
    ask(old, "FROM runs")
    assert _copy_of(old, 1).read_bytes() == as_it_was


_DIE = """
import os, signal, sys
from pathlib import Path
from gemtop.history import schema
from gemtop.history.database import Database
history, reached = Path(sys.argv[1]), sys.argv[2]
migrations = schema.MIGRATIONS
if reached:
    endless = "SELECT count(*) FROM range(1000000000) AS a, range(1000) AS b WHERE (a.range + b.range) % 7 = 3"
    halfway = (*migrations[1].statements, f"COPY (SELECT 1) TO '{reached}'", endless)
    migrations = (migrations[0], schema.Migration(2, "endless", halfway))
with Database(history, migrations).open():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_after_the_first_migration_leaves_a_history(paths: Paths) -> None:
    paths.history.parent.mkdir(parents=True)
    assert subprocess.run([sys.executable, "-c", _DIE, str(paths.history), ""]).returncode == -signal.SIGKILL
    assert ask(paths, "SELECT version FROM store.migrations ORDER BY 1") == VERSIONS


@pytest.mark.parametrize("when", ["halfway", "before it is closed"])
def test_a_process_killed_during_a_migration_leaves_a_whole_history(old: Paths, tmp_path: Path, when: str) -> None:
    before = _everything(V1)
    reached = tmp_path / "reached"
    with subprocess.Popen(
        [sys.executable, "-c", _DIE, str(old.history), str(reached) if when == "halfway" else ""]
    ) as child:
        while child.poll() is None and not reached.exists():
            os.sched_yield()
        child.kill()
        assert child.wait(60) == -signal.SIGKILL
    assert reached.exists() is (when == "halfway")
    with Database(old.history).open() as con:
        assert schema.version(con) == LAST
        assert con.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    assert _everything(old.history, _columns(V1)) == before


def test_nothing_is_learned_from_a_history_without_a_ledger_and_it_is_left_alone(old: Paths) -> None:
    assert learned_overhead_bytes(old, "NVIDIA Test", "580.10") is None
    assert old.history.read_bytes() == V1.read_bytes()
    assert not _copy_of(old, 1).exists()
