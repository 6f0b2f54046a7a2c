"""Results that stay in DuckDB."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, HistoryError, QueryStoppedError
from gemtop.history.database import IN_THIS_PROCESS, Database
from gemtop.history.own_queries import save
from gemtop.history.queries import Parameter, library
from gemtop.history.results import CATEGORIES, PLOTTED_ROWS
from gemtop.history.workbench import Workbench
from tests.history.rows import put_in, whole_session

LONG = "SELECT count(*) FROM range(10000000000) AS a(i), range(1000) AS b(j) WHERE hash(i) = hash(j) + 1"


@pytest.fixture
def bench(paths: Paths) -> Iterator[Workbench]:
    put_in(paths, whole_session())
    bench = Workbench(paths)
    yield bench
    bench.close()
    assert not list(paths.cache.glob("sql-*"))


@pytest.mark.parametrize(
    ("sql", "columns", "count"),
    [
        ("SELECT 1 AS a, 2 AS b", ["a", "b"], 1),
        ("SELECT 1; SELECT 2 AS b; -- the last", ["b"], 1),
        ("-- first\n/* and */ FROM runs SELECT variant;;", ["variant"], 1),
        ("WITH t AS (SELECT 3 AS c) FROM t -- to the end", ["c"], 1),
        ("VALUES (1), (2)", ["col0"], 2),
        ("EXPLAIN SELECT 1", ["explain_key", "explain_value"], 1),
        ("SELECT 1 AS a, 2 AS a", ["a", "a_1"], 1),
        ("PIVOT (SELECT kind, variant FROM runs) ON variant USING count(*)", ["kind", "QAT Q4_0"], 1),
        ("SELECT variant FROM runs WHERE n_ctx > $n", ["variant"], 1),
    ],
)
def test_whatever_reads(bench: Workbench, sql: str, columns: list[str], count: int) -> None:
    result = bench.run(sql, {"n": 1, "unused": 2})
    assert ([c.name for c in result.columns], result.count) == (columns, count)
    assert len(result.rows(0, 10)) == count


@pytest.mark.parametrize("sql", ["DESCRIBE runs", "SHOW TABLES", "SUMMARIZE runs"])
def test_what_tells_of_tables(bench: Workbench, sql: str) -> None:
    assert bench.run(sql).count > 5


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM store.runs", "DELETE is not possible here"),
        ("COPY runs TO '/tmp/x.csv'", "COPY is not possible here"),
        ("SET threads = 3", "SET is not possible here"),
        ("ATTACH 'x'", "ATTACH is not possible here"),
        ("EXPLAIN ANALYZE DELETE FROM store.runs", "DELETE is not possible here"),
        ("  -- nothing", "there is no SQL statement in it"),
        ("SELECT $n", "n"),
    ],
)
def test_what_writes_is_refused(bench: Workbench, sql: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        bench.run(sql)


def test_the_line_of_an_error_is_that_of_the_text(bench: Workbench) -> None:
    with pytest.raises(BadInputError) as raised:
        bench.run("SELECT 1;\n\n-- words\nSELECT\n  nope\nFROM runs;")
    lines = str(raised.value).split("\n")
    marked = lines.index("LINE 5:   nope")
    assert lines[marked + 1].index("^") == lines[marked].index("nope")


def test_pages_in_any_order_are_the_rows(bench: Workbench) -> None:
    result = bench.run("SELECT i, (i * 7919) % 300007 AS k FROM range(300000) AS r(i)")
    assert result.rows(123_456, 3) == [(i, i * 7919 % 300007) for i in range(123_456, 123_459)]
    result.sort(1, descending=True)
    keys = sorted((i * 7919 % 300007 for i in range(300_000)), reverse=True)
    assert [k for _, k in result.rows(200_000, 70)] == keys[200_000:200_070]
    result.sort(None)
    assert result.rows(299_999, 10) == [(299_999, 299_999 * 7919 % 300007)]
    assert result.rows(300_000, 10) == []


def test_null_is_last_whichever_way(bench: Workbench) -> None:
    result = bench.run("SELECT * FROM (VALUES (2), (NULL), (1)) AS t(n)")
    for descending, rows in ((False, [(1,), (2,), (None,)]), (True, [(2,), (1,), (None,)])):
        result.sort(0, descending)
        assert result.rows(0, 5) == rows


def test_values_that_python_does_not_have(bench: Workbench) -> None:
    result = bench.run("SELECT '290000-01-01 00:00:00'::TIMESTAMP AS t, 1 AS n")
    assert "290000-01-01" in str(result.rows(0, 1)[0][0])


def test_points_of_few_rows_and_of_many(bench: Workbench) -> None:
    few = bench.run("SELECT i, i * 2 AS y, NULL::DOUBLE AS n FROM range(10) AS r(i)")
    assert few.points(0, 1).points == tuple((float(i), 2.0 * i) for i in range(10))
    assert few.points(0, 1).rising
    assert few.points(0, 2).points == () and few.points(0, 2).left_out == 10
    many = bench.run("SELECT i, sin(i / 10000) AS y FROM range(200000) AS r(i)").points(0, 1)
    assert 100 < len(many.points) <= 2 * PLOTTED_ROWS and not many.rising
    assert min(y for _, y in many.points) < -0.98 and max(y for _, y in many.points) > 0.98


def test_points_by_time_and_by_name(bench: Workbench) -> None:
    result = bench.run(
        "SELECT TIMESTAMPTZ '2026-11-23 00:00:00+00' + to_seconds(i) AS t, i AS y, "
        "CASE WHEN i = 3 THEN NULL ELSE 'it''s ' || (i % 2) END AS name FROM range(4) AS r(i)"
    )
    assert [x for x, _ in result.points(0, 1).points] == [1795392000.0 + i for i in range(4)]
    named = result.points(2, 1)
    assert named.names == ("it's 0", "it's 1") and [x for x, _ in named.points] == [0.0, 1.0, 0.0]
    with pytest.raises(BadInputError, match="has to be a number"):
        result.points(1, 2)
    crowd = bench.run("SELECT 'n' || i AS name, i AS y FROM range(100) AS r(i)").points(0, 1)
    assert (len(crowd.names), crowd.left_out) == (CATEGORIES, 100 - CATEGORIES)


def test_files(bench: Workbench, tmp_path: Path) -> None:
    result = bench.run("SELECT * FROM (VALUES (1, 'nan'::DOUBLE, 'a\"b'), (2, 0.5, NULL)) AS t(n, x, \"w w\")")
    for kind in ("csv", "json", "parquet"):
        assert result.save(tmp_path / f"it's.{kind}", kind) > 0
    assert json.loads((tmp_path / "it's.json").read_text()) == [
        {"n": 1, "x": None, "w w": 'a"b'},
        {"n": 2, "x": 0.5, "w w": None},
    ]
    assert duckdb.read_parquet(str(tmp_path / "it's.parquet")).columns == ["n", "x", "w w"]
    with pytest.raises(BadInputError):
        result.save(tmp_path / "nowhere" / "x.csv", "csv")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".", "it"))) == [
        "it's.csv",
        "it's.json",
        "it's.parquet",
    ]


def test_stopping(bench: Workbench) -> None:
    for delay in (0.0, 0.05, 0.3):
        ended: list[BaseException] = []

        def work(ended: list[BaseException] = ended) -> None:
            try:
                bench.run(LONG)
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(delay)
        while thread.is_alive():  # as the screen does: what is stopped before it begins begins all the same
            bench.stop()
            thread.join(0.05)
        assert isinstance(ended[0], QueryStoppedError)
    assert bench.run("SELECT 1").count == 1
    assert not IN_THIS_PROCESS.locked()


def test_waiting_for_another_part_of_gemtop_can_be_given_up(bench: Workbench, paths: Paths) -> None:
    said: list[str] = []
    with Database(paths.history).open():
        thread = threading.Timer(0.2, bench.stop)
        thread.start()
        with pytest.raises(QueryStoppedError):
            bench.run("SELECT 1", on_wait=said.append)
        thread.join()
    assert bench.run("SELECT 1").count == 1


def test_a_damaged_history_is_said(paths: Paths) -> None:
    paths.history.parent.mkdir(parents=True)
    paths.history.write_bytes(b"no history" * 1000)
    bench = Workbench(paths)
    with pytest.raises(HistoryError, match="damaged"):
        bench.run("SELECT 1")
    assert not IN_THIS_PROCESS.locked()
    bench.close()


def test_writing_is_all_or_nothing(bench: Workbench) -> None:
    result = bench.run("UPDATE store.sessions SET note = $note; FROM sessions SELECT note", {"note": "a"}, writing=True)
    assert result.rows(0, 5) == [("a",)]
    with pytest.raises(BadInputError, match="nope"):
        bench.run("UPDATE store.sessions SET note = 'b'; SELECT nope", writing=True)
    assert bench.run("SELECT note FROM sessions").rows(0, 5) == [("a",)]
    assert bench.run("DELETE FROM store.device_samples", writing=True).count == 1
    bench.run("CHECKPOINT", writing=True)
    assert not IN_THIS_PROCESS.locked()


def test_views_come_with_what_they_mean(bench: Workbench) -> None:
    views = {view.name: view for view in bench.views()}
    column = next(c for c in views["runs"].columns if c.name == "decode_tokens_per_s")
    assert column.type == "DOUBLE" and column.comment
    assert [s.runs for s in bench.sessions()] == [1]


def test_own_queries(paths: Paths) -> None:
    given = (Parameter("n", "integer", 3, "how many"),)
    path = save("mine", "Title", "A sentence.", "-- old\nSELECT $n, $other", given)
    (query,) = (query for query in library().queries if query.yours)
    assert (query.name, query.title, query.sentence) == ("mine", "Title", "A sentence.")
    assert [(p.name, p.type, p.default) for p in query.parameters] == [("n", "integer", 3), ("other", "text", None)]
    assert query.sql.endswith("\nSELECT $n, $other\n")
    with pytest.raises(FileExistsError):
        save("mine", "Title", "A sentence.", "SELECT 2")
    save("mine", "Title", "A sentence.", "SELECT 2", replace=True)
    (path.parent / "broken.sql").write_text("SELECT 1")
    assert [q.name for q in library().queries][-1] == "mine"
    for name in ("../x", "A", "sessions", ""):
        with pytest.raises(BadInputError):
            save(name, "Title", "A sentence.", "SELECT 1")


def test_what_a_killed_process_left_is_cleared_up(paths: Paths) -> None:
    (paths.cache / "sql-999999999-x").mkdir(parents=True)
    bench = Workbench(paths)
    bench.run("SELECT 1")
    assert [p.name.startswith("sql-999") for p in paths.cache.glob("sql-*")] == [False]
    bench.close()
