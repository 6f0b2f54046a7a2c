"""--no-text: prompts and outputs are nowhere on the disk, in any form that gives them back."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from gemtop.cli import live, main
from gemtop.config import Paths
from gemtop.domain.settings import ContextSettings, EngineSettings, SamplingSettings
from gemtop.tui.startup import Resume, save_resume
from tests.cli.commands import QUICK, end, gemtop, killed_afterwards, read_some, rows, start
from tests.rpc_server import rpc_server
from tests.tui.program import GemtopTerminal

PROMPT = "Monday, Tuesday,"
OUTPUT = "Wednesday"

pytestmark = pytest.mark.usefixtures("warm")


def traces(*folders: Path) -> list[str]:
    """Files below these folders in which the prompt or the output stands."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    words = (PROMPT.encode(), OUTPUT.encode())
    return [str(file) for file in files if any(word in file.read_bytes() for word in words)]


def text_kept(where: Paths) -> list[tuple[object, ...]]:
    """Of each run: prompt, output, how many tokens it has and how many ids of them."""
    return rows(
        where,
        "SELECT prompt, output, count(t.t_ns), count(t.token_id) FROM store.runs LEFT JOIN store.tokens AS t"
        " USING (run_id) GROUP BY ALL ORDER BY ALL",
    )


def test_a_run_leaves_no_text(warm: Paths, model_path: str, tmp_path: Path) -> None:
    done = gemtop("run", model_path, "-p", PROMPT, "-n", 8, *QUICK, "--no-text", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["prompt"] == PROMPT and OUTPUT in printed["text"], "it is printed all the same"
    assert text_kept(warm) == [(None, None, printed["prompt_tokens"] + 8, 0)]
    assert traces(tmp_path, warm.state) == []


def test_by_default_text_is_kept(warm: Paths, model_path: str) -> None:
    assert gemtop("run", model_path, "-p", PROMPT, "-n", 8, *QUICK).returncode == 0
    ((prompt, output, tokens, ids),) = text_kept(warm)
    assert prompt == PROMPT and OUTPUT in str(output) and tokens == ids != 0


def test_the_configuration_can_say_so_for_good(warm: Paths, model_path: str, tmp_path: Path) -> None:
    file = tmp_path / "config" / "gemtop" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[history]\ntext = false\n")
    assert gemtop("run", model_path, "-p", PROMPT, "-n", 8, *QUICK).returncode == 0
    ((prompt, output, tokens, ids),) = text_kept(warm)
    assert (prompt, output, ids) == (None, None, 0) and tokens


def test_a_run_that_is_killed_leaves_none_in_its_spool(
    warm: Paths, model_path: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    process = start("run", model_path, "-p", PROMPT, "-n", 400, *QUICK, "--no-text")
    request.addfinalizer(killed_afterwards(process))
    read_some(process, at_least=200)
    process.send_signal(signal.SIGKILL)
    end(process)
    (spool,) = warm.spools.glob("*.jsonl")
    assert b'"tokens"' in spool.read_bytes() and b"token_id" not in spool.read_bytes()
    assert traces(tmp_path, warm.state) == []
    assert gemtop("query", "sessions").returncode == 0
    ((prompt, output, tokens, ids),) = text_kept(warm)
    assert (prompt, output, ids) == (None, None, 0) and tokens


def test_the_screen_leaves_none(warm: Paths, model_path: str, tmp_path: Path) -> None:
    arguments = [model_path, "-p", PROMPT, "-n", "8", "--quit-when-done", *QUICK, "--no-text"]
    with GemtopTerminal(arguments) as terminal:
        assert terminal.wait() == 0
    ((prompt, output, tokens, ids),) = text_kept(warm)
    assert (prompt, output, ids) == (None, None, 0) and tokens
    assert traces(tmp_path, warm.state) == []


def test_a_conversation_handed_over_after_a_crash_is_gone_in_the_end(
    warm: Paths, model_path: str, tmp_path: Path
) -> None:
    with rpc_server() as (endpoint, server):
        arguments = [model_path, *QUICK, "--rpc", endpoint, "--prompt", PROMPT, "--no-text"]
        with GemtopTerminal(arguments) as terminal:
            terminal.wait_for_text("running", "ngl 19/19")
            server.kill()
            terminal.wait_for_text("llama.cpp gave up")
            assert traces(tmp_path, warm.state) == []
            terminal.type("r")
            terminal.wait_for_text("could not be loaded")
            assert traces(tmp_path, warm.state) == [], "it was read and deleted"
            terminal.type("w")
            terminal.wait_for_text("ngl 0/19", PROMPT)
            terminal.type("q")
            assert terminal.wait() == 0
    assert rows(warm, "SELECT status, prompt, output FROM store.runs") == [("crashed", None, None)]
    assert traces(tmp_path, warm.state) == []


def test_a_conversation_nobody_came_for_does_not_stay(
    warm: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The screen handed its conversation over to be started anew, and the new one died before it took it."""
    settings = EngineSettings(context=ContextSettings(n_ctx=512))
    left = Resume("m.gguf", settings, SamplingSettings(), -1, ((PROMPT, OUTPUT),), PROMPT)

    def supervise(*_: object) -> int:
        monkeypatch.setattr("os.getppid", lambda: __import__("os").getpid())  # the child's parent is this process
        save_resume(warm, left)
        assert traces(warm.state)
        return 70

    monkeypatch.setattr(live, "supervise", supervise)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    args = main.build_parser(None).parse_args(["--no-text"])
    assert args.func(args) == 70
    assert traces(warm.state, tmp_path) == []
