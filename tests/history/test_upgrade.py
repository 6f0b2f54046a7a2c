"""Histories of earlier versions under this one; tests/history/old.py has them."""

from __future__ import annotations

import os
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
from tests.history.old import DEAD, LAST, OLD_VERSIONS, old_history, old_spool, put_old
from tests.history.rows import SESSION, ask, ledger_row, put_in, run, session, tune_point

VERSIONS = [(migration.version,) for migration in schema.MIGRATIONS]
BROKEN = (
    schema.MIGRATIONS[0],
    schema.Migration(2, "broken", (*schema.MIGRATIONS[1].statements, "SELECT nonsense")),
)
ROWS = {
    # sessions, runs, tokens, samples, store.reasons
    1: (1, 2, 15, 19, 1),
    2: (1, 2, 15, 11, 1),
    3: (1, 2, 15, 11, 1),
    4: (1, 2, 15, 11, 1),
}


@pytest.fixture
def old(paths: Paths) -> Paths:
    """A history of version 1, and nothing beside it."""
    return put_old(paths, 1)


@pytest.fixture(params=OLD_VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


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


def test_a_history_of_an_old_version_is_brought_up_to_date_with_everything_in_it(paths: Paths, version: int) -> None:
    put_old(paths, version)
    with duckdb.connect(str(paths.history), read_only=True) as con:
        assert schema.version(con) == version
        counts = con.execute(
            "SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM runs), (SELECT count(*) FROM tokens),"
            " (SELECT count(*) FROM samples), (SELECT count(*) FROM store.reasons)"
        ).fetchone()
    assert counts == ROWS.get(version, counts)
    columns, before = _columns(paths.history), _everything(paths.history)
    assert all(rows for table, rows in before.items() if table != "main.process_samples")
    assert ask(paths, "SELECT version FROM store.migrations ORDER BY 1") == VERSIONS
    assert _everything(paths.history, columns) == before
    assert _copy_of(paths, version).read_bytes() == old_history(version)
    for view in _views(columns):
        kept = [name.strip('"') for name in columns[f"main.{view}"]]
        assert [row[0] for row in ask(paths, f"DESCRIBE {view}")][: len(kept)] == kept
    bare = "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
    assert ask(paths, bare) == []


def _views(columns: dict[str, list[str]]) -> list[str]:
    return [name.removeprefix("main.") for name in columns if name.startswith("main.")]


def test_all_versions_come_to_the_same_schema(paths: Paths, tmp_path: Path, version: int) -> None:
    """Tables, views, columns, types, constraints and comments: as of a history that is begun today."""
    put_old(paths, version)
    new = tmp_path / "new.duckdb"
    for path in (paths.history, new):
        with Database(path).open():
            pass
    assert _schema(paths.history) == _schema(new)


def _schema(path: Path) -> list[list[tuple[Any, ...]]]:
    with duckdb.connect(str(path), read_only=True) as con:
        return [
            con.execute(f"SELECT {what} FROM duckdb_{kind}() WHERE NOT internal ORDER BY ALL").fetchall()
            for kind, what in (
                ("tables", "schema_name, table_name, comment"),
                ("views", "schema_name, view_name, comment, sql"),
                ("columns", "schema_name, table_name, column_name, column_index, data_type, is_nullable, comment"),
            )
        ]


def test_what_a_version_did_not_know_is_unknown(old: Paths) -> None:
    assert ask(old, "FROM ledger") == []
    assert ask(old, "FROM tune") == []
    assert ask(old, "SELECT DISTINCT * EXCLUDE (run_id) FROM run_placement") == [(None, None, None, None, None)]


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


def test_the_spool_of_a_killed_session_of_that_version_is_taken_in(paths: Paths, version: int) -> None:
    put_old(paths, version)
    paths.spools.mkdir()
    (paths.spools / f"{DEAD}.jsonl").write_bytes(old_spool(version))
    found = take_in_dead(paths)
    assert found.sessions == (DEAD,)
    assert len(found.notes) == (version > 1), "the later ones were killed in the middle of a line"
    assert ask(paths, "SELECT session_id, status FROM sessions ORDER BY 1") == [
        (SESSION, "finished"),
        (DEAD, "crashed"),
    ]
    assert ask(paths, "SELECT count(*), count(DISTINCT run_id) FROM tokens") == [(30, 2)]


def test_the_copy_before_is_the_file_as_it_was_and_as_private(old: Paths) -> None:
    ask(old, "FROM runs")
    ask(old, "FROM runs")
    assert _copy_of(old, 1).read_bytes() == old_history(1)
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
        assert old.history.read_bytes() == old_history(1)
        assert _copy_of(old, 1).read_bytes() == old_history(1)
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
    columns, before = _columns(old.history), _everything(old.history)
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
    assert _everything(old.history, columns) == before


def test_nothing_is_learned_from_a_history_without_a_ledger_and_it_is_left_alone(old: Paths) -> None:
    assert learned_overhead_bytes(old, "NVIDIA Test", "580.10") is None
    assert old.history.read_bytes() == old_history(1)
    assert not _copy_of(old, 1).exists()
