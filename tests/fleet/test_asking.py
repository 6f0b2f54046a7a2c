"""The fleet, asked as a history is; and what cannot be asked or sent."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, HistoryError
from gemtop.history import lake, queries
from gemtop.history.database import Database
from gemtop.history.reader import Reader
from gemtop.history.workbench import Workbench
from tests.benchmarks.history_rows import Scale, fill
from tests.fleet.boxes import Fleet, gemtop
from tests.fleet.boxes import fill as fill_box
from tests.fleet.servers import s3_server
from tests.history.rows import ask


@pytest.fixture
def large(box: Paths) -> Paths:
    """A history in which every query that ships finds something."""
    box.history.parent.mkdir(parents=True)
    with Database(box.history).open() as con:
        fill(con, Scale(sessions=60, tokens_per_run=12, samples=6000))
    return box


def test_every_query_answers_as_on_the_history(fleet: Fleet, large: Paths) -> None:
    fleet.send(large)
    names = queries.all_queries()
    assert len(names) >= 15
    for query in names:
        with Reader.open(large) as reader:
            wanted = _sorted(reader.run_sql(query.sql, query.bind({})).rows())
        assert _sorted(fleet.ask(query.sql, query.bind({}))) == wanted, query.name


def _sorted(rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Rows in an order, floats to ten digits: a sum depends on the order it was added up in."""
    return sorted(str([f"{value:.10g}" if isinstance(value, float) else value for value in row]) for row in rows)


def test_the_command_asks_the_fleet(fleet: Fleet, box: Paths, tmp_path: Path) -> None:
    fill_box(box, range(3))
    fleet.send(box)
    done = gemtop("query", "--fleet", fleet.url, "SELECT count(*) AS n FROM runs", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [{"n": 6}]
    done = gemtop("query", "--fleet", fleet.url, "sessions", "--format", "json")
    assert len(json.loads(done.stdout)) == 3
    file = tmp_path / "runs.parquet"
    done = gemtop("query", "--fleet", fleet.url, "FROM runs", "--format", "parquet", "--output", str(file))
    assert done.returncode == 0, done.stderr
    assert ask(box, f"SELECT count(*) FROM '{file}'") == [(6,)]


def test_the_examples_of_the_guide_run(fleet: Fleet, box: Paths) -> None:
    fill_box(box, [1])
    fleet.send(box)
    guide = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text(encoding="utf-8")
    examples = [line for line in guide.splitlines() if line.startswith("gemtop query --fleet postgresql://gemtop@")]
    assert len(examples) >= 2
    for example in examples:
        _, command, flag, _, *rest = shlex.split(example)
        done = gemtop(command, flag, fleet.url, *rest)
        assert done.returncode == 0, (example, done.stderr)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM store.runs",
        "SELECT * FROM ducklake_expire_snapshots('fleet', older_than => now())",
        "SELECT * FROM ducklake_cleanup_old_files('fleet', cleanup_all => true)",
        "SELECT * FROM postgres_execute('__ducklake_metadata_fleet', 'DROP TABLE ducklake_snapshot')",
        "CALL postgres_execute('__ducklake_metadata_fleet', 'DROP TABLE ducklake_snapshot')",
        "ATTACH 'x.duckdb'",
    ],
)
def test_nothing_is_changed_by_asking(fleet: Fleet, box: Paths, sql: str) -> None:
    fill_box(box, [1])
    fleet.send(box)
    with pytest.raises(BadInputError, match="not possible here"):
        fleet.ask(sql)
    assert fleet.ask("SELECT count(*) FROM runs") == [(2,)]


def test_the_workbench_asks_the_fleet_and_the_history_again(fleet: Fleet, box: Paths, large: Paths) -> None:
    fleet.send(large)
    here = Paths(box.history.with_name("here.duckdb"), box.state, box.cache)
    fill_box(here, [7])
    bench = Workbench(here)
    try:
        bench.fleet = lake.address(fleet.url)
        result = bench.run("SELECT count(*) AS n FROM sessions")
        assert result.rows(0, 10) == [(60,)]
        assert len(bench.sessions()) == 60
        views = {view.name: view for view in bench.views()}
        assert views["runs"].comment == "One row for each run"
        assert {c.name: c.comment for c in views["runs"].columns}["ttft_s"].startswith("Time to first token")
        with pytest.raises(BadInputError, match="read here, not written"):
            bench.run("DELETE FROM store.runs", writing=True)
        bench.fleet = None
        assert bench.run("SELECT count(*) AS n FROM sessions").rows(0, 10) == [(1,)]
    finally:
        bench.close()


def test_data_in_s3(fleet: Fleet, box: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_box(box, range(2))
    with s3_server() as url:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        done = gemtop("sync", "--to", fleet.url, "--data", "s3://gemtop/fleet", "--db", str(box.history))
        assert done.returncode == 0, done.stderr
        assert fleet.ask("SELECT count(*) FROM samples") == ask(box, "SELECT count(*) FROM samples")
        assert not fleet.data.exists()
        fill_box(box, [5])
        done = gemtop("sync", "--to", fleet.url, "--compact", "--db", str(box.history))
        assert done.returncode == 0, done.stderr
        assert fleet.ask("SELECT count(*) FROM sessions") == [(3,)]


# What is wrong


def test_a_database_without_a_fleet(fleet: Fleet, box: Paths) -> None:
    fill_box(box, [1])
    done = gemtop("sync", "--to", fleet.url, "--db", str(box.history))
    assert done.returncode == 2
    assert done.stderr == (
        f"gemtop sync: {fleet.url} holds no fleet yet: gemtop sync --to URL --data FOLDER (or s3://BUCKET/PREFIX)"
        " begins one\n"
    )
    assert gemtop("query", "--fleet", fleet.url, "sessions").returncode == 2


def test_another_place_for_the_data_is_refused(fleet: Fleet, box: Paths, tmp_path: Path) -> None:
    fill_box(box, [1])
    fleet.send(box)
    done = gemtop("sync", "--to", fleet.url, "--data", str(tmp_path / "x"), "--db", str(box.history))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"the fleet's data is at {fleet.data}/: leave --data out" in done.stderr


def test_a_data_folder_that_is_not_mounted(fleet: Fleet, box: Paths) -> None:
    fill_box(box, [1])
    fleet.send(box)
    fleet.data.rename(fleet.data.with_name("elsewhere"))
    with pytest.raises(HistoryError, match="is not here: mount it on this machine"):
        fleet.ask("FROM runs")


def test_a_data_folder_that_cannot_be_made(fleet: Fleet, box: Paths, tmp_path: Path) -> None:
    fill_box(box, [1])
    (tmp_path / "file").touch()
    done = gemtop("sync", "--to", fleet.url, "--data", str(tmp_path / "file" / "x"), "--db", str(box.history))
    assert done.returncode == 2
    assert "cannot be made" in done.stderr
    fleet.send(box)  # and nothing of it is in the way


def test_a_lake_of_somebody_else(fleet: Fleet, box: Paths, tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect() as con:
        lake.prepare(con, s3=False)
        con.execute(f"ATTACH 'ducklake:postgres:{fleet.url}' AS theirs (DATA_PATH '{fleet.data}')")
        con.execute("CREATE TABLE theirs.main.t(i INTEGER); INSERT INTO theirs.main.t SELECT range FROM range(100)")
    fill_box(box, [1])
    with pytest.raises(HistoryError, match="holds a DuckLake, but no fleet of gemtop's"):
        fleet.send(box)


def test_a_server_that_is_not_there_and_a_password_that_is_not_shown(box: Paths) -> None:
    fill_box(box, [1])
    for url in ("postgresql://me:hush@127.0.0.1:1/fleet", "ducklake:postgres:host=127.0.0.1 port=1 password=hush"):
        for command in (("sync", "--db", str(box.history), "--to"), ("query", "sessions", "--fleet")):
            done = gemtop(*command, url)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.count("\n") == 1
            assert "cannot be reached" in done.stderr
            assert "hush" not in done.stderr


def test_no_history_yet(fleet: Fleet, box: Paths) -> None:
    done = gemtop("sync", "--to", fleet.url, "--data", str(fleet.data), "--db", str(box.history))
    assert done.returncode == 2
    assert "there is no history yet" in done.stderr
