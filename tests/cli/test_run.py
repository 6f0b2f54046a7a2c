"""gemtop run in a process of its own, on the real weights."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
from pathlib import Path

import duckdb
import pytest

from gemtop.cli.headless import Headless
from gemtop.config import Paths
from gemtop.domain.records import RUN_FIELDS
from gemtop.domain.settings import ContextSettings, EngineSettings
from tests.cli.commands import LIMIT_S, QUICK, command, end, gemtop, killed_afterwards, read_some, refused, rows, start
from tests.conftest import child_environment
from tests.engine.test_gguf import write_gguf
from tests.rpc_server import rpc_server

CAPITAL = "The capital of France is"
CAPITAL_TEXT = " the capital of the country of France. It is the largest city in France."
WEEK = "Monday, Tuesday,"
WEEK_TEXT = " Wednesday, Thursday, Friday, Saturday, Sunday, and Monday, Tuesday, Wednesday"
"""A text of which the model is sure: kernels that differ in the last bit make no other of it."""
COLOURS = "\x1b[31mred\x1b[0m \x1b[32mgreen\x1b[0m \x1b[31mred\x1b[0m \x1b[32mgreen\x1b[0m \x1b[31m"
"""A pattern of escape sequences that the model goes on with."""

pytestmark = pytest.mark.usefixtures("warm")


# What it prints


def test_text_on_stdout_figures_in_one_line_on_stderr(warm: Paths, model_path: str) -> None:
    done = gemtop("run", model_path, "-p", CAPITAL, "-n", 16, *QUICK)
    assert done.returncode == 0
    assert done.stdout.decode() == CAPITAL_TEXT
    figures = done.stderr.decode()
    assert figures.count("\n") == 1
    for word in ("PTQ Q4_K_M", "prefill", "generated 16 tokens", "tokens/s", "TTFT", "p99", "stopped: length"):
        assert word in figures
    found = rows(warm, "SELECT kind, status, stop_reason, generated_tokens, n_threads, n_ctx FROM runs")
    assert found == [("generate", "finished", "length", 16, 1, 512)]
    assert rows(warm, "SELECT command, status, end_reason FROM sessions") == [("run", "finished", None)]


def test_json_has_the_names_of_runs_first(warm: Paths, model_path: str) -> None:
    done = gemtop("run", model_path, "-p", CAPITAL, "-n", 16, *QUICK, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout)
    assert tuple(found)[: len(RUN_FIELDS)] == RUN_FIELDS
    assert (found["prompt"], found["text"]) == (CAPITAL, CAPITAL_TEXT)
    assert (found["prompt_tokens"], found["generated_tokens"]) == (6, 16)
    assert found["decode_tokens_per_s"] > 0
    for name in ("vram_peak_bytes", "power_mean_w", "energy_j"):
        assert found[name] is None, "no GPU holds a part of it"
        assert found["reasons"][name]
    (recorded,) = rows(warm, "SELECT decode_tokens_per_s, itl_p99_ms, ram_peak_bytes FROM runs")
    assert recorded == (found["decode_tokens_per_s"], found["itl_p99_ms"], found["ram_peak_bytes"])


@pytest.mark.parametrize("flags", [(), ("-p", "-")])
def test_the_prompt_from_a_pipe(model_path: str, flags: tuple[str, ...]) -> None:
    done = gemtop("run", model_path, *flags, "-n", 16, *QUICK, stdin=CAPITAL.encode())
    assert (done.returncode, done.stdout.decode()) == (0, CAPITAL_TEXT)


def test_a_pipe_may_hold_anything(model_path: str) -> None:
    """Bytes that are no text, in a locale that knows no more than ASCII."""
    done = gemtop(
        "run", model_path, "--json", "-n", 2, *QUICK, stdin=b"na\xc3\xafve \xff\xfe", PYTHONIOENCODING="ascii"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode("utf-8"))["prompt"].startswith("naïve ")


def test_the_model_by_its_flag_and_the_demo(model_path: str) -> None:
    by_flag = gemtop("run", "-m", model_path, "-p", CAPITAL, "-n", 4, *QUICK)
    demo = gemtop("run", "--demo", "-p", CAPITAL, "-n", 4, *QUICK)
    assert by_flag.stdout == demo.stdout == b" the capital of the"


def test_verbose_brings_llama_cpps_log_to_stderr(model_path: str) -> None:
    done = gemtop("run", model_path, "-p", CAPITAL, "-n", 2, *QUICK, "-v")
    assert done.stdout == b" the capital"
    assert b"llama_model_loader" in done.stderr


def test_a_reader_that_has_enough(warm: Paths, model_path: str) -> None:
    """... | head -c 10"""
    process = start("run", model_path, "-p", "Once upon a time", *QUICK)
    assert process.stdout is not None
    assert len(process.stdout.read(10)) == 10
    process.stdout.close()
    assert process.wait(LIMIT_S) == 0
    assert process.stderr is not None
    words = process.stderr.read().decode()
    process.stderr.close()
    assert "Traceback" not in words
    assert words.count("\n") == 1
    assert rows(warm, "SELECT status, stop_reason FROM runs") == [("cancelled", "cancelled")]


def test_streams_that_are_closed_lead_nowhere(warm: Paths, model_path: str) -> None:
    line = f'exec "$0" -m gemtop run "{model_path}" -p Hi -n 2 {" ".join(QUICK)} <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", line, command()[0]], env=child_environment(), timeout=LIMIT_S, check=False)
    assert done.returncode == 0
    assert rows(warm, "SELECT status FROM runs") == [("finished",)]


def test_escape_sequences_of_the_model_go_unchanged_into_a_pipe(model_path: str) -> None:
    done = gemtop("run", model_path, "-p", COLOURS, "-n", 24, *QUICK)
    assert done.returncode == 0
    assert done.stdout.startswith(b"red\x1b[0m \x1b[32mgreen\x1b[0m")


def test_escape_sequences_of_the_model_are_harmless_on_a_terminal(model_path: str) -> None:
    main, side = pty.openpty()
    try:
        arguments = command("run", model_path, "-p", COLOURS, "-n", 24, *QUICK)
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=side, stderr=subprocess.DEVNULL, env=child_environment()
        )
        assert process.wait(LIMIT_S) == 0
        os.set_blocking(main, False)
        shown = os.read(main, 65536).decode()
    finally:
        os.close(side)
        os.close(main)
    assert "\x1b" not in shown
    assert shown.startswith("red\u241b[0m \u241b[32mgreen\u241b[0m")
    assert shown.endswith("\n"), "the shell's prompt gets a line of its own"


# What cannot be used


def test_paths_that_hold_no_model(model_path: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes.gguf"
    notes.write_text("not a model")
    evil = tmp_path / "a\x1b]0;owned\x07\nb.gguf"
    projector = write_gguf(tmp_path / "mmproj.gguf", "clip", "mmproj")
    embedding = write_gguf(tmp_path / "embed.gguf", "gemma-embedding")
    for path, hint in (
        (tmp_path / "no.gguf", "does not exist"),
        (tmp_path, "is a folder"),
        (notes, "is not a GGUF file"),
        (evil, "does not exist"),
        (projector, "vision projector"),
        (embedding, "embedding model"),
        (write_gguf(tmp_path / "bare.gguf", "gemma3"), "llama.cpp cannot load"),
        (write_gguf(tmp_path / "new.gguf", "gemma9"), "unknown model architecture"),
    ):
        refused(gemtop("run", path, "-p", "Hi", *QUICK), hint)


@pytest.mark.parametrize("kept", [0, 20, 3_000_000, 100_000_000])
def test_a_file_cut_short(model_path: str, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.gguf"
    with Path(model_path).open("rb") as whole:
        cut.write_bytes(whole.read(kept))
    refused(gemtop("run", cut, "-p", "Hi", *QUICK), str(cut), "fetch it again")


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (("-c", "-1"), "cannot be negative"),
        (("-c", "99999999"), "trained for 32,768"),
        (("-c", "many"), "invalid int value"),
        (("-t", "0"), "between 1 and 512 threads"),
        (("-b", "0"), "at least 1 token"),
        (("-ub", "-3"), "at least 1 token"),
        (("-ctk", "q9"), "is none of"),
        (("-ctv", "q8_0", "-fa", "off"), "needs flash attention"),
        (("-fa", "maybe"), "is none of on, off, auto"),
        (("--temp", "nan"), "nan is not between"),
        (("--top-k", "-3"), "is negative"),
        (("--top-p", "1.5"), "is not between 0 and 1"),
        (("--min-p", "inf"), "is not between 0 and 1"),
        (("--rpc", "nowhere"), "HOST:PORT"),
        (("--rpc", "127.0.0.1:1"), "no RPC server at 127.0.0.1:1"),
        (("--unknown",), "unrecognized arguments"),
    ],
)
def test_settings_that_cannot_be(model_path: str, flags: tuple[str, ...], hint: str) -> None:
    refused(gemtop("run", model_path, "-p", "Hi", "-t", "1", *flags), hint)


def test_prompts_that_cannot_be(model_path: str) -> None:
    refused(gemtop("run", model_path, "-p", "", *QUICK), "the prompt is empty")
    refused(gemtop("run", model_path, *QUICK, stdin=b" \n"), "the prompt is empty")
    refused(gemtop("run", model_path, *QUICK), "the prompt is empty")
    refused(gemtop("run", "-p", "Hi"), "no model is named")
    refused(gemtop("run", model_path, "-m", "other.gguf", "-p", "Hi"), "two models are named")


def test_a_prompt_longer_than_the_context(warm: Paths, model_path: str) -> None:
    words = refused(gemtop("run", model_path, "-p", "word " * 600, *QUICK), "too long", "raise -c")
    assert "of 512" in words
    assert rows(warm, "SELECT * FROM runs") == [], "what never began is no run"
    assert rows(warm, "SELECT status FROM sessions") == [("finished",)]


def test_a_context_beyond_the_trained_one_works_with_a_warning(model_path: str) -> None:
    flags = ("-t", 1, "--temp", 0, "-ub", 64, "-c", 33_000)
    done = gemtop("run", model_path, "-p", CAPITAL, "-n", 2, *flags)
    assert (done.returncode, done.stdout) == (0, b" the capital")
    warning, _figures = done.stderr.decode().splitlines()
    assert warning.startswith("gemtop: warning: context of 33,")
    assert "32,768" in warning


def test_numbers_beyond_what_c_holds_mean_all(model_path: str) -> None:
    huge = 2**32
    done = gemtop("run", model_path, "-p", CAPITAL, "-n", 2, *QUICK, "-b", huge, "-ub", huge + 1, "-ngl", huge)
    assert (done.returncode, done.stdout) == (0, b" the capital"), done.stderr


# A history that cannot be had


def test_a_data_folder_that_cannot_be_made(model_path: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "folder" / "history.duckdb"
    refused(gemtop("run", model_path, "-p", "Hi", *QUICK, "--db", below), "Not a directory", "--db PATH")
    refused(gemtop("run", model_path, "-p", "Hi", *QUICK, GEMTOP_DB=str(below)), "Not a directory")
    refused(gemtop("run", model_path, "-p", "Hi", *QUICK, "--db", tmp_path), "is a directory")


def test_a_history_of_a_newer_version_is_left_alone(warm: Paths, model_path: str) -> None:
    assert gemtop("run", model_path, "-p", "Hi", "-n", 1, *QUICK).returncode == 0
    with duckdb.connect(str(warm.history)) as con:
        con.execute("INSERT INTO store.migrations VALUES (99, 'from the future', now(), '9.9')")
    before = warm.history.read_bytes()
    refused(gemtop("run", model_path, "-p", "Hi", *QUICK), "newer gemtop")
    assert warm.history.read_bytes() == before


def test_a_history_that_is_something_else_is_set_aside_and_named(warm: Paths, model_path: str) -> None:
    warm.history.parent.mkdir(parents=True)
    warm.history.write_bytes(b"my diary, not to be written over" * 1000)
    refused(gemtop("query", "FROM runs"), str(warm.history), "--db PATH")
    done = gemtop("run", model_path, "-p", "Hi", "-n", 1, *QUICK)
    assert done.returncode == 0
    (aside,) = warm.history.parent.glob("history.duckdb.damaged-*")
    assert str(aside) in done.stderr.decode().splitlines()[0]
    assert aside.read_bytes() == b"my diary, not to be written over" * 1000
    assert rows(warm, "SELECT count(*) FROM runs") == [(1,)]


# Ended from outside


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_in_mid_generation(
    warm: Paths, model_path: str, number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    process = start("run", model_path, "-p", "Once upon a time", *QUICK)
    request.addfinalizer(killed_afterwards(process))
    text = read_some(process)
    process.send_signal(number)
    rest, words = end(process)
    assert process.returncode == 130
    assert "Traceback" not in words
    ((status, stop_reason, generated, output),) = rows(
        warm, "SELECT status, stop_reason, generated_tokens, output FROM store.runs"
    )
    assert (status, stop_reason) == ("cancelled", "cancelled")
    assert 1 <= generated < 500
    assert output.startswith((text + rest).decode("utf-8", "ignore")), "what was printed is recorded"
    assert rows(warm, "SELECT status, end_reason FROM sessions") == [("finished", "interrupted")]


def test_a_key_that_repeats_interrupts_once(warm: Paths, model_path: str, request: pytest.FixtureRequest) -> None:
    """Ctrl-C held down: what was measured is written down all the same."""
    process = start("run", model_path, "-p", "Once upon a time", *QUICK)
    request.addfinalizer(killed_afterwards(process))
    read_some(process)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    _, words = end(process)
    assert (process.returncode, "Traceback" in words) == (130, False)
    assert rows(warm, "SELECT status, end_reason FROM sessions") == [("finished", "interrupted")]
    assert rows(warm, "SELECT status FROM runs") == [("cancelled",)]


@pytest.mark.parametrize("arguments", [("run", "-p", "Hi", "-n", "3"), ("run", "-p", "Hi", "-n", "3", "--json")])
def test_a_full_disk_behind_stdout(warm: Paths, model_path: str, arguments: tuple[str, ...]) -> None:
    name, *flags = arguments
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(name, model_path, *flags, *QUICK),
            stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=False,
        )  # fmt: skip
    words = done.stderr.decode()
    assert done.returncode == 2
    assert "No space left on device" in words and "Traceback" not in words


def test_a_path_that_is_no_text(warm: Paths) -> None:
    done = gemtop("run", os.fsdecode(b"bad/no\xffsuch.gguf"), "-p", "Hi")
    refused(done, "no")


def test_an_rpc_server_that_does_not_answer(warm: Paths, model_path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"127.0.0.1:{mute.getsockname()[1]}"
        refused(gemtop("run", model_path, "-p", "Hi", "--rpc", endpoint, *QUICK), "one program at a time")


def test_memory_that_is_gone_when_it_is_asked_for(warm: Paths, model_path: str) -> None:
    """The plan fitted; then something else took the memory. A limit on this process stands in for the other one."""
    large = ("-c", 32_768, "-ctk", "f32", "-ctv", "f32", "--swa-full", "--no-mmap", "-t", 1)
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v 1500000; exec "$@"', "bash", *command("run", model_path, "-p", "Hi", *large)],
        capture_output=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    refused(done, "insufficient memory")


def test_interrupted_while_loading(warm: Paths, model_path: str, request: pytest.FixtureRequest) -> None:
    process = start("run", model_path, "-p", "Hi", *QUICK, "-v")
    request.addfinalizer(killed_afterwards(process))
    assert process.stderr is not None
    assert b"llama_model_loader" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, words = end(process)
    assert (process.returncode, out) == (130, b"")
    assert "Traceback" not in words
    assert rows(warm, "SELECT * FROM runs") == []


def test_an_interrupt_that_comes_too_late_for_the_loading_is_not_lost(warm: Paths, model_path: str) -> None:
    run = Headless("run", warm)
    run.session.start()
    run.interrupted = True
    try:
        with pytest.raises(KeyboardInterrupt):
            run.load(model_path, EngineSettings(context=ContextSettings(n_ctx=512, n_threads=1)))
    finally:
        assert run.close()


# On a second device


def test_layers_on_another_device_give_the_same_text(warm: Paths, model_path: str) -> None:
    assert gemtop("run", model_path, "-p", WEEK, "-n", 16, *QUICK).stdout.decode() == WEEK_TEXT
    with rpc_server() as (endpoint, _server):
        for asked, offloaded in ((0, 0), (10, 10), (99, 19)):
            flags = ("--rpc", endpoint, "-ngl", asked)
            done = gemtop("run", model_path, "-p", WEEK, "-n", 16, *QUICK, "--json", *flags)
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout)
            assert found["text"] == WEEK_TEXT
            assert found["n_gpu_layers"] == offloaded
            assert (found["gpu_name"] is None) == (offloaded == 0)
    assert rows(warm, "SELECT list(n_gpu_layers ORDER BY run_id) FROM runs") == [([0, 0, 10, 19],)]


def test_llama_cpp_gives_up_in_mid_generation(warm: Paths, model_path: str, request: pytest.FixtureRequest) -> None:
    with rpc_server() as (endpoint, server):
        process = start("run", model_path, "-p", "Once upon a time", *QUICK, "--rpc", endpoint)
        request.addfinalizer(killed_afterwards(process))
        text = read_some(process)
        server.kill()
        rest, words = end(process)
    assert process.returncode == 70
    assert words.count("\n") == 1
    assert "llama.cpp gave up" in words
    assert "ggml-rpc.cpp" in words
    ((status, stop_reason, message, output, generated),) = rows(
        warm, "SELECT status, stop_reason, message, output, generated_tokens FROM store.runs"
    )
    assert (status, stop_reason) == ("crashed", "crashed")
    assert "ggml-rpc.cpp" in message
    assert output == (text + rest).decode()
    assert generated >= 1
    assert rows(warm, "SELECT count(*) FROM tokens WHERE phase = 'decode'") == [(generated,)]
    ((session_status, reason),) = rows(warm, "SELECT status, end_reason FROM sessions")
    assert session_status == "crashed"
    assert "ggml-rpc.cpp" in reason
