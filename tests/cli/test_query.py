"""gemtop query as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gemtop.config import Paths
from tests.history.rows import SESSION, dead_spool, put_in, run, session, whole_session

GEMTOP = [sys.executable, "-m", "gemtop", "query"]


def _query(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TZ": "UTC"}
    done = subprocess.run([*GEMTOP, *args], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def _on_a_terminal(*args: str, columns: int = 80) -> str:
    """What a terminal of that width receives."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "LINES": "24"}
    with subprocess.Popen([*GEMTOP, *args], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=env) as child:
        os.close(theirs)
        received = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not more:
                break
            received += more
        assert child.wait(60) in (0, 2)
    os.close(ours)
    return received.decode()


@pytest.fixture
def seeded(folders: Paths) -> Paths:
    put_in(folders, whole_session())
    return folders


def test_sql_in_every_format(seeded: Paths, tmp_path: Path) -> None:
    sql = "SELECT run_id, started_at, decode_tokens_per_s AS speed, valid FROM runs"
    assert _query(sql).stdout.splitlines()[2].split() == [
        f"{SESSION}.1",
        "2026-11-18",
        "11:06:41.000+00:00",
        "10",
        "NULL",
    ]
    assert json.loads(_query(sql, "--format", "json").stdout) == [
        {"run_id": f"{SESSION}.1", "started_at": "2026-11-18T11:06:41+00:00", "speed": 10.0, "valid": None}
    ]
    rows = list(csv.DictReader(io.StringIO(_query(sql, "--format", "csv").stdout)))
    assert rows[0]["speed"] == "10.0" and rows[0]["valid"] == ""
    assert _query(sql, "--format", "markdown").stdout.startswith("| run_id | started_at | speed | valid |\n")
    raw = subprocess.run([*GEMTOP, sql, "--format", "parquet"], capture_output=True, check=True).stdout
    (tmp_path / "a.parquet").write_bytes(raw)
    _query(sql, "--format", "parquet", "--output", str(tmp_path / "b.parquet"))
    both = f"SELECT count(*) AS n FROM read_parquet(['{tmp_path}/a.parquet', '{tmp_path}/b.parquet'])"
    assert json.loads(_query(both, "--format", "json").stdout) == [{"n": 2}]
    _query(sql, "--format", "csv", "--output", str(tmp_path / "c.csv"))
    assert (tmp_path / "c.csv").read_text().startswith("run_id,")


def test_named_queries_and_parameters(seeded: Paths) -> None:
    assert json.loads(_query("slowest_tokens", "n=3", "--format", "json").stdout)[0]["run_id"] == f"{SESSION}.1"
    assert len(json.loads(_query("slowest_tokens", "n=3", "--format", "json").stdout)) == 3
    assert "QAT Q4_0" in _query("variants").stdout
    assert json.loads(_query("SELECT $a + 1 AS b", "a=41", "--format", "json").stdout) == [{"b": 42}]
    listed = _query("--list").stdout
    for name in ("sessions", "variants", "slowest_tokens", "ledger"):
        assert f"{name}\n" in listed
    assert [r["name"] for r in json.loads(_query("--list", "--format", "json").stdout)][:1] == ["sessions"]


def test_your_own_queries(seeded: Paths) -> None:
    from gemtop.history.queries import your_folder

    folder = your_folder()
    folder.mkdir(parents=True)
    (folder / "fast.sql").write_text("-- Fast\n-- Runs.\n-- param: over number = 1  speed\nSELECT $over AS n FROM runs")
    (folder / "broken.sql").write_text("-- Title\nSELECT 1")
    assert json.loads(_query("fast", "over=3", "--format", "json").stdout) == [{"n": 3.0}]
    listed = _query("--list")
    assert "fast  (yours)\n    Fast. Runs.\n    over=1.0  speed\n" in listed.stdout and "sessions\n" in listed.stdout
    assert listed.stderr.count("\n") == 1 and f"{folder / 'broken.sql'}, line 2: " in listed.stderr
    whose = {r["name"]: r["whose"] for r in json.loads(_query("--list", "--format", "json").stdout)}
    assert (whose["fast"], whose["variants"], "broken" in whose) == ("yours", "gemtop", False)
    assert "line 2" in _query("broken", code=2).stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["sesions"], "did you mean sessions"),
        (["runs"], 'the view is "FROM runs"'),
        ([], "give SQL or the name of a query"),
        ([""], "the query is empty"),
        (["SELECT", "1"], "in quotes"),
        (["sessions", "m=1"], "it has n"),
        (["sessions", "n=many"], "n is integer"),
        (["SELECT frm FROM runs"], "LINE 1: SELECT frm FROM runs\n               ^"),
        (["SELEC 1"], "syntax error"),
        (["DROP VIEW runs"], "DROP is not possible here"),
        (["SELECT 1", "--output", "/proc/nowhere/x"], "cannot write /proc/nowhere/x"),
        (["SELECT 1", "--output", "/proc/nowhere/x", "--format", "parquet"], "/proc/nowhere/x"),
        (["SELECT 1", "--format", "xml"], "invalid choice"),
        (["SELECT 1", "--db", "/proc/version"], "/proc/version"),
    ],
)
def test_bad_input_is_exit_code_2(seeded: Paths, args: list[str], said: str) -> None:
    done = _query(*args, code=2)
    assert said in done.stderr
    assert done.stdout == ""


def test_the_help_names_every_view(seeded: Paths) -> None:
    named = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"
    views = _query(named, "--format", "csv").stdout.split()[1:]
    words = _query("--help").stdout
    assert "ledger" in views and all(re.search(rf"\b{view}\b", words) for view in views)


def test_no_history_yet(folders: Paths) -> None:
    done = _query("SELECT count(*) AS n FROM runs", "--format", "json")
    assert json.loads(done.stdout) == [{"n": 0}]
    assert "there is no history yet" in done.stderr
    assert not folders.history.parent.exists()


def test_a_corrupt_history_is_one_line_and_untouched(seeded: Paths) -> None:
    seeded.history.write_bytes(b"not a database" * 1000)
    done = _query("sessions", code=2)
    assert done.stderr.count("\n") == 1 and "damaged" in done.stderr
    assert seeded.history.read_bytes() == b"not a database" * 1000


def test_sessions_of_dead_processes_are_taken_in_first(folders: Paths) -> None:
    dead_spool(folders, [session(), run()], SESSION, torn=b'{"ki')
    done = _query("SELECT status FROM sessions", "--format", "json")
    assert json.loads(done.stdout) == [{"status": "crashed"}]
    assert "1 incomplete line" in done.stderr


def test_a_pipe_that_closes_early_is_quiet(seeded: Paths) -> None:
    with subprocess.Popen(
        [*GEMTOP, "SELECT * FROM range(2000000)", "--format", "csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 0


def test_escape_sequences_are_harmless_on_a_terminal_and_unchanged_in_a_pipe(seeded: Paths) -> None:
    sql = "SELECT chr(27) || ']0;x' || chr(7) AS evil"
    for form in ("table", "csv", "json", "markdown"):
        shown = _on_a_terminal(sql, "--format", form)
        assert "\x1b" not in shown and "\x07" not in shown
    assert "\x1b]0;x\x07" in _query(sql, "--format", "csv").stdout
    assert json.loads(_query(sql, "--format", "json").stdout) == [{"evil": "\x1b]0;x\x07"}]


def test_a_wide_table_fits_the_terminal(seeded: Paths) -> None:
    shown = _on_a_terminal("FROM runs", columns=80)
    assert re.search(r"decode_tokens_per_s +10\b", shown)
    assert "(1 row)" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_parquet_is_not_thrown_at_a_terminal(seeded: Paths) -> None:
    assert "is no text for a terminal" in _on_a_terminal("SELECT 1", "--format", "parquet")


@pytest.mark.parametrize(("args", "allowed"), [(["--help"], set()), (["--list"], set()), (["SELECT 1"], {"duckdb"})])
def test_nothing_heavy_is_imported(seeded: Paths, args: list[str], allowed: set[str]) -> None:
    code = (
        "import sys\nfrom gemtop.cli.main import main\n"
        "try:\n    main(['query', *sys.argv[1:]])\nexcept SystemExit:\n    pass\n"
        "heavy = {'textual', 'llama_cpp', 'plotext', 'pynvml', 'psutil', 'numpy', 'duckdb', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == str(sorted(allowed))
