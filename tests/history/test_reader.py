"""Reading: SQL that reads works, SQL that writes does not, and errors are DuckDB's own words."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, HistoryError
from gemtop.history.database import Database
from gemtop.history.faults import HistoryLockedError
from gemtop.history.reader import Reader
from tests.history.rows import ask, put_in, until, whole_session

_HOLD = (
    "import sys, duckdb\ncon = duckdb.connect(sys.argv[1])\nprint('held', flush=True)\n"
    "sys.stdin.readline()\ncon.close()\nprint('free', flush=True)"
)


@pytest.mark.parametrize("there_is_one", [True, False])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        "FROM runs",
        "/* a comment; */ -- and another\n SELECT 1;",
        "SELECT 1; SELECT 2",
        "DESCRIBE runs",
        "SUMMARIZE runs",
        "SHOW TABLES",
        "VALUES (1)",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "PIVOT (SELECT 'a' AS k, 2 AS v) ON k USING sum(v)",
    ],
)
def test_reading_works(paths: Paths, sql: str, there_is_one: bool) -> None:
    if there_is_one:
        put_in(paths, whole_session())
    with Reader.open(paths) as reader:
        result = reader.run_sql(sql)
        assert result.columns
        list(result.rows())
    assert paths.history.exists() is there_is_one


@pytest.mark.parametrize("there_is_one", [True, False])
@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO 'OUT/a.csv'",
        "COPY runs TO 'OUT/a.parquet' (FORMAT parquet)",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'OUT/a.csv'",
        "EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO 'OUT/a.csv'",
        "explain/**/analyze copy (SELECT 1) TO 'OUT/a.csv'",
        "EXPLAIN EXPLAIN ANALYZE COPY (SELECT 1) TO 'OUT/a.csv'",
        "SELECT 1; COPY (SELECT 1) TO 'OUT/a.csv'",
        "EXPORT DATABASE 'OUT/dump'",
        "IMPORT DATABASE 'OUT/dump'",
        "ATTACH 'OUT/other.duckdb' AS other",
        "PREPARE p AS COPY (SELECT 1) TO 'OUT/a.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET profiling_output = 'OUT/p.json'",
        "SET lock_configuration = false",
        "PRAGMA enable_profiling",
        "CALL enable_logging()",
        "CREATE TABLE x AS SELECT 1",
        "CREATE PERSISTENT SECRET s (TYPE http)",
        "DROP VIEW runs",
        "DELETE FROM store.runs",
        "UPDATE store.runs SET valid = true",
        "INSERT INTO store.tokens SELECT * FROM store.tokens",
        "TRUNCATE store.tokens",
        "ALTER TABLE store.runs DROP COLUMN valid",
        "CHECKPOINT",
        "VACUUM",
    ],
)
def test_writing_does_not(paths: Paths, tmp_path: Path, sql: str, there_is_one: bool) -> None:
    if there_is_one:
        put_in(paths, whole_session())
    before = paths.history.read_bytes() if there_is_one else None
    out = tmp_path / "out"
    out.mkdir()
    with Reader.open(paths) as reader, pytest.raises(BadInputError):
        list(reader.run_sql(sql.replace("OUT", str(out))).rows())
    assert list(out.iterdir()) == []
    assert (paths.history.read_bytes() if there_is_one else None) == before


def test_files_may_be_read(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with Reader.open(paths) as reader:
        reader.save_parquet("SELECT $x AS x ORDER BY 1; ", {"x": 7}, tmp_path / "a.parquet")
    assert ask(paths, f"SELECT x + y FROM '{tmp_path}/a.csv'") == [(3,)]
    assert ask(paths, f"SELECT x FROM '{tmp_path}/a.parquet'") == [(7,)]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT frm FROM runs", "LINE 1: SELECT frm FROM runs"),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("FROM runz", "runz"),
        ("SELECT 'a'::INTEGER", "Could not convert"),
        ("  -- nothing", "there is no SQL"),
        ("SELECT $a", "a"),
    ],
)
def test_errors_are_duckdbs_words(paths: Paths, sql: str, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        ask(paths, sql)
    assert said in str(caught.value)
    assert "Error:" not in str(caught.value).splitlines()[0]
    assert caught.value.exit_code == 2


def test_parameters_are_bound_by_name(paths: Paths) -> None:
    assert ask(paths, "SELECT $b, $a + 1", a=1, b="x'; DROP TABLE y") == [("x'; DROP TABLE y", 2)]
    with pytest.raises(BadInputError, match=r"no parameter \$z"):
        ask(paths, "SELECT $a", a=1, z=2)


def test_a_history_that_is_in_use_is_waited_for_and_its_holder_named(paths: Paths) -> None:
    put_in(paths, whole_session())
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(paths.history)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HistoryLockedError, match=rf"\(PID {holder.pid}\)"):
            Reader.open(paths, wait_s=0.1)
        said: list[str] = []

        def let_go(text: str) -> None:
            said.append(text)
            assert holder.stdin is not None
            holder.stdin.write("\n")
            holder.stdin.flush()

        with Reader.open(paths, wait_s=60, on_wait=let_go) as reader:
            assert list(reader.run_sql("SELECT count(*) FROM runs").rows()) == [(1,)]
        assert len(said) == 1 and f"(PID {holder.pid})" in said[0]


def test_two_of_our_threads_never_have_it_open_at_once(paths: Paths) -> None:
    put_in(paths, whole_session())
    with Reader.open(paths):
        failure: list[HistoryError] = []

        def write() -> None:
            try:
                with Database(paths.history).open():
                    pass
            except HistoryError as error:
                failure.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert isinstance(failure[0], HistoryLockedError)
    with Database(paths.history).open() as con:
        assert con.execute("SELECT count(*) FROM store.runs").fetchone() == (1,)


_ENDLESS = "SELECT count(*) FROM range(1000000000) AS a, range(1000) AS b WHERE (a.range + b.range) % 7 = 3"


def test_a_query_can_be_interrupted_from_another_thread(paths: Paths) -> None:
    with Reader.open(paths) as reader:
        failure: list[BaseException] = []

        def work() -> None:
            try:
                reader.run_sql(_ENDLESS)
            except BadInputError as error:
                failure.append(error)

        thread = threading.Thread(target=work)
        thread.start()

        def stopped() -> bool:
            reader.interrupt()
            return not thread.is_alive()

        until(stopped, "the query stops")
    assert "nterrupted" in str(failure[0])


_CTRL_C = """
import os, signal, sys, threading, time
from gemtop.config import paths
from gemtop.history.reader import Reader

signal.signal(signal.SIGINT, signal.default_int_handler)

def press():
    while not any(t.name == "gemtop-query" for t in threading.enumerate()):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

with Reader.open(paths()) as reader:
    threading.Thread(target=press).start()
    try:
        reader.run_sql(sys.argv[1])
    except KeyboardInterrupt:
        print("stopped")
    print(list(reader.run_sql("SELECT 1").rows()))
"""


def test_ctrl_c_stops_a_query(paths: Paths) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CTRL_C, _ENDLESS], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "stopped\n[(1,)]\n", done.stderr
