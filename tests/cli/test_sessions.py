"""gemtop sessions, export and import as a user meets them: processes, their output, their exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from gemtop.config import Paths
from gemtop.history.lines import Encoder
from gemtop.history.spool import Spool
from tests.cli.commands import command, gemtop, refused, rows, start
from tests.conftest import child_environment
from tests.history.rows import (
    SESSION,
    STARTED_AT_MS,
    dead_spool,
    ledger_row,
    put_in,
    run,
    session,
    whole_session,
)

OTHER = "20261124-100000-bbbb0002"
DATA = Path(__file__).parents[1] / "history" / "data"


@pytest.fixture
def two(folders: Paths) -> Paths:
    """A history of two sessions; the second is newer."""
    put_in(folders, whole_session())
    begin = session(OTHER, started_at_ms=STARTED_AT_MS + 86_400_000)
    put_in(folders, [begin, *whole_session(OTHER)[1:-1], ledger_row(), whole_session()[-1]], OTHER)
    return folders


def said(*arguments: object, stdin: bytes | None = None) -> tuple[str, str]:
    """stdout and stderr of a command that does what it is asked."""
    done = gemtop(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


def answered(answer: bytes, *arguments: object) -> tuple[int, str]:
    """Exit code and output on a terminal where the question is answered so."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=child_environment()
    ) as child:
        os.close(theirs)
        text = b""
        while b"[y/N]" not in text:
            text += os.read(ours, 4096)
        os.write(ours, answer)
        try:
            while piece := os.read(ours, 4096):
                text += piece
        except OSError:
            pass  # its end was closed
        child.wait(60)
    os.close(ours)
    return child.returncode, text.decode()


def test_list_is_what_sessions_does(two: Paths) -> None:
    out, err = said("sessions")
    lines = out.splitlines()
    assert (lines[0].split(), err) == (["session", "when", "command", "status", "models", "runs", "tags", "note"], "")
    assert [line.split()[0] for line in lines[2:]] == [OTHER, SESSION]
    assert said("sessions", "list") == (out, err)
    assert len(said("sessions", "--limit", "1")[0].splitlines()) == 3
    (first, second) = json.loads(said("sessions", "list", "--json")[0])
    assert (first["session_id"], second["models"], second["tags"]) == (OTHER, ["Gemma 3 270M QAT Q4_0"], [])
    assert json.loads(said("sessions", "list", "--json", "--tag", "none")[0]) == []
    refused(gemtop("sessions", "--limit", "-1"), "cannot be negative")
    refused(gemtop("sessions", "dance"), "invalid choice")


def test_without_a_history(folders: Paths) -> None:
    assert said("sessions") == ("", f"gemtop sessions: there is no history yet at {folders.history}\n")
    refused(gemtop("sessions", "show", "last"), "the history holds no session yet")
    refused(gemtop("sessions", "tag", "last", "x"), "the history holds no session yet")
    refused(gemtop("export", "--all", "--to", folders.history.parent.parent / "x"), "no sessions to export")
    assert not folders.history.exists()


def test_show_tells_all(two: Paths) -> None:
    out, _ = said("sessions", "show", "last")
    assert out.startswith(OTHER + "\n")
    for word in ("Loads", "CUDA0", "Runs", "QAT Q4_0", "finished", "580.10", "J/token"):
        assert word in out
    data = json.loads(said("sessions", "show", SESSION, "--json")[0])
    assert (data["session_id"], data["status"], data["devices"], data["loads"]) == (SESSION, "finished", [], [])
    assert data["runs"][0]["decode_tokens_per_s"] == 10.0
    assert data["started_at"].startswith("2026-")


def test_text_of_others_is_harmless(folders: Paths) -> None:
    put_in(folders, [session(host="a\x1b[31m"), run(model_name="m\x1b]0;x\x07\n")])
    said("sessions", "note", "last", "note\x1b[2J")
    for arguments in (("sessions",), ("sessions", "show", "last")):
        assert not {"\x1b", "\x07"} & set(said(*arguments)[0])


def test_labels(two: Paths) -> None:
    assert "has the tags a, b" in said("sessions", "tag", "last", "b", "a")[1]
    assert "has the tags a" in said("sessions", "tag", "last", "b", "--remove")[1]
    assert "a new note" in said("sessions", "note", OTHER, "two", "words")[1]
    said("sessions", "note", SESSION, "-", stdin="é from\nstdin\n".encode())
    assert rows(two, "SELECT tags, note FROM sessions ORDER BY session_id") == [
        (None, "é from\nstdin"),
        (["a"], "two words"),
    ]
    assert "no note" in said("sessions", "note", OTHER, "")[1]
    refused(gemtop("sessions", "tag", "last", "b", "--remove"), "has no tag b")
    refused(gemtop("sessions", "tag", "last", "a,b"), "is no tag")
    refused(gemtop("sessions", "tag", "2026", "x"), "stands for 2 sessions")
    refused(gemtop("sessions", "note", "nobody", "x"), "there is no session 'nobody'")


def test_delete_asks(two: Paths) -> None:
    refused(gemtop("sessions", "delete", "last"), "--yes is needed")
    code, text = answered(b"n\n", "sessions", "delete", "last", SESSION)
    assert code == 0 and "nothing was deleted" in text and OTHER in text
    assert len(rows(two, "FROM sessions")) == 2
    code, text = answered(b"y\n", "sessions", "delete", "last")
    assert code == 0 and "1 session deleted" in text
    assert rows(two, "SELECT session_id FROM sessions") == [(SESSION,)]
    assert "1 session deleted" in said("sessions", "delete", SESSION, SESSION, "--yes")[1]
    assert rows(two, "FROM sessions") == rows(two, "FROM store.runs") == rows(two, "FROM store.samples") == []


def test_a_live_session_is_not_deleted_and_says_who_has_it(two: Paths) -> None:
    two.spools.mkdir(exist_ok=True)
    live = "20261125-100000-cccc0003"
    spool = Spool.create(two.spools, live)
    spool.append(Encoder().lines([session(live, pid=os.getpid(), started_at_ms=STARTED_AT_MS * 2), run(live)]))
    refused(gemtop("sessions", "delete", "last", "--yes"), f"gemtop run (PID {os.getpid()}) is recording it")
    refused(gemtop("export", "last", "--to", two.history.parent / "out"), "is live")
    assert " live " in said("sessions")[0]
    assert "left out" in said("export", "--all", "--to", two.history.parent / "out")[1]
    assert "3 sessions" not in said("sessions", "prune", "--older-than", "0h", "--tagged-too", "--dry-run")[1]
    spool.close()
    said("sessions", "delete", "last", "--yes")  # its process has gone
    assert len(rows(two, "FROM sessions")) == 2


def test_prune(two: Paths) -> None:
    said("sessions", "tag", OTHER, "keep")
    put_in(two, [session("20200101-000000-dddd0004", started_at_ms=1_577_836_800_000)], "20200101-000000-dddd0004")
    _, err = said("sessions", "prune", "--older-than", "52w", "--dry-run")
    assert "20200101-000000-dddd0004" in err and "1 session would be deleted" in err
    said("sessions", "prune", "--older-than", "52w")
    assert rows(two, "SELECT session_id FROM sessions ORDER BY 1") == [(SESSION,), (OTHER,)]
    assert "no session goes" in said("sessions", "prune", "--older-than", "52w")[1]
    refused(gemtop("sessions", "prune"), "--older-than")
    refused(gemtop("sessions", "prune", "--older-than", "soon"), "is no age")


def test_merge(two: Paths, tmp_path: Path) -> None:
    new = tmp_path / "new" / "h.duckdb"
    assert said("sessions", "merge", two.history, "--db", new)[0].split() == [SESSION, OTHER]
    out, err = said("sessions", "merge", two.history, "--db", new)
    assert out == "" and "2 sessions there already" in err
    refused(gemtop("sessions", "merge", two.history), "is the history itself")
    refused(gemtop("sessions", "merge", tmp_path / "none"), "there is no file")


def test_out_and_in_again(two: Paths, tmp_path: Path) -> None:
    dead_spool(two, whole_session("20261126-100000-eeee0005")[:-1], "20261126-100000-eeee0005")
    for form in ("parquet", "csv", "json"):
        folder = tmp_path / form
        out, err = said("export", "--all", "--to", folder, "--format", form)
        assert out == f"{folder}\n" and "3 sessions" in err
        db = tmp_path / f"{form}.duckdb"
        assert len(said("import", folder, "--db", db)[0].split()) == 3
        again, err = said("import", folder / "manifest.json", "--db", db)
        assert again == "" and "3 sessions there already" in err
        refused(gemtop("export", "last", "--to", folder), "is not empty")
    said("export", "last", "--to", tmp_path / "csv", "--force")
    refused(gemtop("export", "--to", tmp_path / "x"), "name sessions or give --all")
    refused(gemtop("export", "last", "--all", "--to", tmp_path / "x"), "name sessions or give --all")
    refused(gemtop("export", "last", "--to", tmp_path / "x", "--format", "xml"), "invalid choice")


def test_llama_benchs_results(folders: Paths, tmp_path: Path) -> None:
    files = [DATA / f"llama_bench.{form}" for form in ("jsonl", "json", "sql")]
    assert len(said("import", *files, "--host", "box")[0].split()) == 3
    assert "1 session there already" in said("import", "-", stdin=files[0].read_bytes())[1]
    assert rows(folders, "SELECT DISTINCT host, command FROM sessions") == [("box", "import")]
    assert rows(folders, "SELECT count(*) FROM runs") == [(10,)]
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes((DATA / "llama_bench_depth.jsonl").read_bytes() + b'{"n_prompt": 1}\n')
    refused(gemtop("import", DATA / "llama_bench_depth.jsonl", bad), "bad.jsonl, line 7: ", "nothing was imported")
    refused(gemtop("import", tmp_path / "none"), "cannot be read: No such file")
    refused(gemtop("import", tmp_path), "has no manifest.json")
    refused(gemtop("import", files[0], "--host", " "), "--host names a machine")
    assert rows(folders, "SELECT count(*) FROM runs") == [(10,)]


def test_ctrl_c_leaves_no_half_export(folders: Paths, tmp_path: Path) -> None:
    put_in(folders, whole_session())
    import duckdb

    with duckdb.connect(str(folders.history)) as con:
        con.execute(
            "INSERT INTO store.device_samples (session_id, t_ns, device, power_w)"
            f" SELECT '{SESSION}', i, '0', random() FROM range(6000000) AS r(i)"
        )
    process = start("export", "--all", "--to", tmp_path / "out", "--format", "csv")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.*.part/samples.csv")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")
    assert not [path.name for path in tmp_path.iterdir() if "out" in path.name]
