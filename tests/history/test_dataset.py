"""Tables of results as Parquet: the SQL that asks them in memory asks the files."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.domain.records import RUN_FIELDS
from gemtop.history.dataset import Dataset, latencies, run_types
from tests.history.rows import put_in, run, session, tokens, whole_session

SQL = "SELECT name, sum(value) AS total FROM 'data/one.parquet' GROUP BY name ORDER BY name"


def test_sql_means_the_same_in_memory_and_in_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"name": "a", "value": 1.5, "tags": ["x", "y"]}, {"name": "b'\";\ud800\0\n"}, {"value": float("nan")}]
    with Dataset() as data:
        data.add("one", {"name": "VARCHAR", "value": "DOUBLE", "tags": "VARCHAR[]"}, rows)
        data.add("none", {"name": "VARCHAR"}, [])
        answer = data.ask(SQL)
        (tmp_path / "data").mkdir()
        data.write(tmp_path / "data")
        assert data.rows == {"one": 3, "none": 0}
    assert answer == [
        {"name": "a", "total": 1.5}, {"name": "b'\";\\ud800\u2400\n", "total": None}, {"name": None, "total": None},
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as con:
        assert con.execute(SQL).fetchall() == [tuple(row.values()) for row in answer]
        assert con.execute("SELECT tags FROM 'data/one.parquet' WHERE name = 'a'").fetchall() == [(["x", "y"],)]
        assert con.execute("SELECT count(*) FROM 'data/none.parquet'").fetchall() == [(0,)]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with Dataset() as data:
        data.add("one", {"name": "VARCHAR"}, [])
        with pytest.raises(HistoryError, match=r"one\.parquet could not be written"):
            data.write(tmp_path / "nowhere")


def test_long_texts_are_taken_whole() -> None:
    with Dataset() as data:
        data.add("one", {"name": "VARCHAR"}, [{"name": "\u6a21\x01" * 400_000}])
        assert data.ask("SELECT length(name) AS n FROM 'data/one.parquet'") == [{"n": 800_000}]


def test_latencies_are_gaps_between_generated_tokens(folders: Paths) -> None:
    begin = run(number=2)
    records = [*whole_session()[:-1], begin, *tokens(begin.run_id, gaps_s=(0.2, 0.05)), whole_session()[-1]]
    put_in(folders, records)
    assert latencies(folders, [begin.run_id]) == [
        (begin.run_id, 5, pytest.approx(200.0)), (begin.run_id, 6, pytest.approx(50.0)),
    ]  # fmt: skip
    assert latencies(folders, []) == []
    assert len(latencies(folders, [begin.run_id, f"{session().session_id}.1"])) == 12


def test_types_of_runs() -> None:
    types = run_types()
    assert tuple(types) == RUN_FIELDS
    assert (types["throttle_reasons"], types["valid"], types["size_bytes"], types["host"]) == (
        "VARCHAR[]", "BOOLEAN", "BIGINT", "VARCHAR",
    )  # fmt: skip
