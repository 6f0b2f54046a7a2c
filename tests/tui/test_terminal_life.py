"""The whole program on a real pseudo-terminal and the real weights: start, stop, die, leave."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import duckdb
import psutil
import pytest

from gemtop.cli.main import main
from gemtop.config import Paths
from tests.rpc_server import rpc_server
from tests.tui.program import GemtopTerminal

QUICK = ("-t", "1", "-c", "1024", "--temp", "0")


def rows(folders: Paths, sql: str) -> list[tuple[object, ...]]:
    """What the history says once a next start has taken everything in."""
    assert main(["query", "SELECT 1", "--format", "csv"]) == 0
    with duckdb.connect(str(folders.history), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_one_run_and_out(folders: Paths, model_path: str) -> None:
    arguments = [model_path, *QUICK, "--prompt", "The capital of France is", "-n", "24", "--quit-when-done"]
    with GemtopTerminal(arguments) as terminal:
        assert terminal.wait() == 0
        assert terminal.is_restored()
        assert "1 run recorded" in terminal.text
    assert rows(folders, "SELECT status, stop_reason, generated_tokens FROM runs") == [("finished", "length", 24)]
    assert rows(folders, "SELECT count(*) FROM tokens WHERE phase = 'decode'") == [(24,)]
    assert rows(folders, "SELECT count(*) > 0 FROM samples WHERE device = 'host'") == [(True,)]


def test_a_person_types_runs_stops_and_leaves(folders: Paths, model_path: str) -> None:
    with GemtopTerminal([model_path, *QUICK]) as terminal:
        terminal.wait_for_text("ctx 1024")
        terminal.type("Once upon a time\r")
        terminal.wait_for_text("> Once upon a time", "running", "ITL p50")
        terminal.type("\x1b")
        terminal.wait_for_text("stopped")
        terminal.type("r")
        terminal.wait_for_text("run 2")
        terminal.type("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()
    found = rows(folders, "SELECT status FROM runs ORDER BY run_id")
    assert found == [("cancelled",), ("cancelled",)]
    assert rows(folders, "SELECT count(DISTINCT session_id) FROM runs") == [(1,)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_death_gives_the_terminal_back(folders: Paths, model_path: str, number: signal.Signals) -> None:
    with GemtopTerminal([model_path, *QUICK, "--prompt", "Once upon a time"]) as terminal:
        terminal.wait_until(lambda: generated(terminal) >= 60, "a run that is older than a second")
        terminal.kill_program(number)
        assert terminal.wait() == 70
        assert terminal.is_restored()
        assert f"ended by {number.name}".encode() in terminal.raw
        assert b"comes into the history at the next start" in terminal.raw
    assert rows(folders, "SELECT status FROM runs") == [("crashed",)]


def test_killed_twenty_times_nothing_older_than_a_second_is_lost(folders: Paths, model_path: str) -> None:
    shown = 0
    for attempt in range(20):
        with GemtopTerminal([model_path, *QUICK, "--prompt", "Once upon a time"], rows=24, columns=80) as terminal:
            terminal.wait_for_text("running")
            # Each time a little further into the run, between the moments at which it is written down.
            wanted = 10 + attempt * 2
            terminal.wait_until(lambda wanted=wanted: generated(terminal) >= wanted, f"{wanted} tokens")
            shown += max(generated(terminal) - 60, 0)  # a second of tokens, at most, may be missing
            terminal.kill_program()
            assert terminal.wait() == 70
            assert terminal.is_restored()
    assert rows(folders, "SELECT count(*), count(DISTINCT run_id), any_value(status) FROM runs") == [
        (20, 20, "crashed")
    ]
    per_run = rows(folders, "SELECT run_id, count(*), count(DISTINCT index) FROM tokens GROUP BY run_id")
    assert len(per_run) == 20
    assert all(count == distinct for _, count, distinct in per_run), "no row twice"
    assert sum(int(str(count)) for _, count, _ in per_run) >= shown
    assert not list(folders.spools.glob("*.jsonl")), "every spool was taken in"


def generated(terminal: GemtopTerminal) -> int:
    """Tokens the screen says it has generated."""
    text = terminal.text
    if "generated" not in text:
        return 0
    digits = text.split("generated", 1)[1].split("context")[0].replace(",", "").split()
    return int(digits[0]) if digits and digits[0].isdigit() else 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_asked_to_end_it_closes_well(folders: Paths, model_path: str, number: signal.Signals) -> None:
    with GemtopTerminal([model_path, *QUICK, "--prompt", "Once upon a time"]) as terminal:
        terminal.wait_for_text("running")
        terminal.kill_program(number)
        terminal.wait()
        assert terminal.is_restored()
    assert rows(folders, "SELECT status FROM runs") == [("cancelled",)]


def test_llama_cpp_gives_up_and_one_key_starts_anew(folders: Paths, model_path: str) -> None:
    with rpc_server() as (endpoint, server):
        arguments = [model_path, *QUICK, "--rpc", endpoint, "--prompt", "Once upon a time"]
        with GemtopTerminal(arguments) as terminal:
            terminal.wait_for_text("running", "ngl 19/19")
            server.kill()
            terminal.wait_for_text("llama.cpp gave up", "ggml-rpc.cpp")
            before = terminal.program.pid
            terminal.type("r")
            terminal.wait_until(
                lambda: [c.pid for c in terminal.children()] not in ([], [before]), "the program starts anew"
            )
            terminal.wait_for_text("could not be loaded", f"No RPC server answers at {endpoint}: w goes on without")
            terminal.type("w")
            terminal.wait_for_text("Gemma 3 270m", "ngl 0/19", "Once upon a time")
            terminal.type("q")
            assert terminal.wait() == 0
            assert terminal.is_restored()
    assert rows(folders, "SELECT status, stop_reason FROM runs") == [("crashed", "crashed")]


def test_suspended_and_brought_back(folders: Paths, model_path: str) -> None:
    """As Ctrl-Z and the shell's fg do it."""
    with GemtopTerminal([model_path, *QUICK]) as terminal:
        terminal.wait_for_text("ctx 1024")
        terminal.type("\x1a")
        parent = psutil.Process(terminal.pid)
        terminal.wait_until(
            lambda: parent.status() == psutil.STATUS_STOPPED and terminal.is_restored(), "the shell has its prompt"
        )
        os.killpg(terminal.pid, signal.SIGCONT)
        terminal.kill_program(signal.SIGCONT)  # told twice, it comes back once
        terminal.wait_until(terminal.hands_on_keys, "the screen is back")
        terminal.type("Hello\r")
        terminal.wait_for_text("> Hello")
        terminal.type("\x1b")
        terminal.wait_for_text("stopped")
        terminal.type("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()


def test_a_paste_with_escape_sequences(folders: Paths, model_path: str) -> None:
    with GemtopTerminal([model_path, *QUICK, "-n", "2"]) as terminal:
        terminal.wait_for_text("ctx 1024")
        terminal.type("\x1b[200~one \x1b[31m two\x1b[201~")
        terminal.wait_for_text("one ␛[31m two")
        terminal.type("\r")
        terminal.wait_for_text("> one ␛[31m two", "-n reached")
        terminal.type("q")
        assert terminal.wait() == 0
    assert rows(folders, "SELECT prompt FROM store.runs") == [("one ␛[31m two",)]


def test_no_terminal_is_said_so(model_path: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([model_path]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "gemtop run" in err
    assert err.count("\n") == 1


def test_a_tiny_terminal_says_what_it_needs(model_path: str) -> None:
    with GemtopTerminal([model_path, *QUICK], columns=20, rows=5) as terminal:
        terminal.wait_for_text("gemtop needs")
        terminal.resize(120, 40)
        terminal.wait_for_text("tokens/s", "ctx 1024")
        terminal.type("q")
        assert terminal.wait() == 0


def test_escape_sequences_of_a_model_are_harmless_on_the_screen(model_path: str) -> None:
    with GemtopTerminal([model_path, *QUICK, "--prompt", "a \x1b]0;owned\x07 b", "-n", "4"]) as terminal:
        terminal.wait_for_text("> a ", "-n reached")
        assert b"\x1b]0;owned" not in terminal.raw
        terminal.type("q")
        assert terminal.wait() == 0


def test_the_model_last_used_is_opened_again(folders: Paths, model_path: str, tmp_path: Path) -> None:
    with GemtopTerminal([model_path, *QUICK, "--prompt", "One", "-n", "2", "--quit-when-done"]) as terminal:
        assert terminal.wait() == 0
    with GemtopTerminal([*QUICK]) as terminal:
        terminal.wait_for_text("Gemma 3 270m", "ctx 1024")
        terminal.type("q")
        assert terminal.wait() == 0
