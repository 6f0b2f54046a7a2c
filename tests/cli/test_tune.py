"""gemtop tune in a process of its own, on the real weights."""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gemtop.cli.main import build_parser
from gemtop.cli.tune_job import Tuning, forget, saved
from gemtop.config import Paths
from gemtop.domain.plan import GIB
from gemtop.domain.statistics import MeanSd
from gemtop.domain.tuning import Candidate, Point, front
from tests.cli.commands import LIMIT_S, command, end, gemtop, killed_afterwards, refused, rows, start
from tests.conftest import child_environment
from tests.rpc_server import rpc_server

TINY = ("-t", 1, "-n", 4, "-r", 1, "-p", 0)
ONE = (*TINY, "-c", 512, "--cache-types", "q8_0", "-ub", 128)
TWO = ("-t", 1, "-n", 10, "-r", 2, "-p", 0, "-c", "512,768", "--cache-types", "q8_0", "-ub", 128)
"""Two candidates, of which the second takes its time."""

pytestmark = pytest.mark.usefixtures("warm")


def _wait_for(process: subprocess.Popen[bytes], words: bytes) -> bytes:
    """Its stderr up to the line with these words."""
    assert process.stderr is not None
    seen = b""
    while words not in seen:
        line = process.stderr.readline()
        assert line, f"it ended after {seen!r}"
        seen += line
    return seen


def _as_point(data: dict[str, Any]) -> Point:
    candidate = Candidate(data["n_ctx"], data["type_k"], data["n_gpu_layers"], data["n_ubatch"])
    speed = MeanSd(**data["decode_tokens_per_s"])
    return Point(candidate, speed, None, data["planned_bytes"], data["measured_bytes"], "", "", 1)


def test_what_is_measured_is_printed_and_recorded(warm: Paths, model_path: str) -> None:
    flags = ("-t", 1, "-n", 4, "-p", 16, "-r", 2, "-c", "1000", "--cache-types", "f16,q4_0", "-ub", "256,128")
    done = gemtop("tune", model_path, *flags, "-o", "json")
    assert done.returncode == 0, done.stderr
    said = done.stderr.decode().splitlines()
    assert said[0] == "gemtop: 3 settings planned, 3 fit, 3 to measure"
    assert re.fullmatch(r"gemtop: 2 more to measure, \d+ s left", said[1])

    found = json.loads(done.stdout)
    tried = [(c["n_ctx"], c["type_k"], c["type_v"], c["n_ubatch"]) for c in found["candidates"]]
    assert tried == [(1024, "f16", "f16", 256), (1024, "q4_0", "q4_0", 256), (1024, "q4_0", "q4_0", 128)]
    for candidate in found["candidates"]:
        assert candidate["measured_bytes"] == pytest.approx(candidate["planned_bytes"], rel=1e-3)
        assert candidate["decode_tokens_per_s"]["n"] == candidate["prefill_tokens_per_s"]["n"] == 2
        assert candidate["depth"] == 0
    points = [_as_point(candidate) for candidate in found["candidates"]]
    assert [c["on_front"] for c in found["candidates"]] == [point in front(points) for point in points]
    assert found["skipped"] == {
        "planned": 3, "not_fitting": 0, "not_worthwhile": 0, "beyond_most": 0, "not_measured_yet": 0, "failed": [],
    }  # fmt: skip
    assert (found["model"]["quantization"], found["settings"]["n_threads"]) == ("Q4_K_M", 1)
    _parses(found["recommended"]["command"])

    assert rows(warm, "SELECT command, status FROM sessions") == [("tune", "finished")]
    assert rows(warm, "SELECT kind, count(*) FROM runs GROUP BY 1 ORDER BY 1") == [("pp", 6), ("tg", 6)]
    recorded = rows(warm, "SELECT tuning_id, n_ctx, type_v, n_ubatch, decode_tokens_per_s, on_front FROM tune")
    assert sorted(recorded) == sorted(
        (found["tuning_id"], c["n_ctx"], c["type_v"], c["n_ubatch"], c["decode_tokens_per_s"]["mean"], c["on_front"])
        for c in found["candidates"]
    )
    ((speed,),) = rows(
        warm,
        "SELECT avg(r.decode_tokens_per_s) - any_value(t.decode_tokens_per_s) FROM tune AS t JOIN runs AS r"
        " ON r.session_id = t.measured_in AND r.n_ctx = t.n_ctx AND r.type_k = t.type_k AND r.kind = 'tg'"
        " WHERE t.type_k = 'f16'",
    )
    assert speed == pytest.approx(0)
    assert not list(warm.state.glob("tune-*")), "what is done is not gone on with"


def _parses(start_command: str) -> None:
    program, name, *arguments = shlex.split(start_command)
    assert (program, name) == ("gemtop", "run")
    build_parser("run").parse_args(["run", *arguments])


def test_stopped_it_prints_what_it_has_and_goes_on_where_it_was(
    warm: Paths, model_path: str, request: pytest.FixtureRequest
) -> None:
    process = start("tune", model_path, *TWO)
    request.addfinalizer(killed_afterwards(process))
    _wait_for(process, b"more to measure")
    process.send_signal(signal.SIGINT)
    out, words = end(process)
    assert process.returncode == 130
    _check_table(out.decode(), model_path)
    assert words == "gemtop: 1 of 2 not measured yet; the same command goes on with them\n"
    ((tuning_id,),) = rows(warm, "SELECT DISTINCT tuning_id FROM tune")

    done = gemtop("tune", model_path, *TWO, "-o", "jsonl")
    assert done.returncode == 0
    said = done.stderr.decode()
    assert said == f"gemtop: going on with the tuning {tuning_id}: 1 of 2 measured (--fresh starts over)\n"
    assert [json.loads(line)["n_ctx"] for line in done.stdout.splitlines()] == [768, 512]
    assert rows(warm, "SELECT tuning_id, count(*), count(DISTINCT measured_in) FROM tune GROUP BY 1") == [
        (tuning_id, 2, 2)
    ]
    runs_of_points = (
        "SELECT count(*) FROM runs JOIN tune ON measured_in = runs.session_id AND runs.n_ctx = tune.n_ctx"
        " WHERE kind = 'tg'"
    )
    assert rows(warm, runs_of_points) == [(4,)], "nothing was measured twice"


def _check_table(text: str, model_path: str) -> None:
    *lines, start_command = text.splitlines()
    assert max(map(len, lines)) <= 80
    header, _, row = lines[:3]
    assert [cell.strip() for cell in header.strip("| ").split("|")] == [
        "front", "context", "cache", "ub", "decode t/s", "memory",
    ]  # fmt: skip
    cells = [cell.strip() for cell in row.strip("| ").split("|")]
    assert cells[:4] == ["*", "768", "q8_0", "128"], "the longest comes first"
    assert re.fullmatch(r"\d+\.\d\d ± \d+\.\d\d", cells[4])
    assert "at depth 0: decode over 10 tokens" in text
    assert start_command == f"gemtop run {model_path} -c 768 -ctk q8_0 -ctv q8_0 -ub 128 -t 1"


def test_killed_it_loses_only_the_candidate_at_hand(
    warm: Paths, model_path: str, request: pytest.FixtureRequest
) -> None:
    process = start("tune", model_path, *TWO, "-d", 20)
    request.addfinalizer(killed_afterwards(process))
    _wait_for(process, b"more to measure")
    process.kill()
    end(process)
    done = gemtop("tune", model_path, *TWO, "-d", 20, "-o", "csv")
    assert done.returncode == 0
    assert b"1 of 2 measured" in done.stderr
    table = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["n_ctx"] for row in table] == ["768", "512"]
    for row in table:
        assert (row["depth"], row["decode_tokens_per_s_n"], row["prefill_tokens_per_s_mean"]) == ("20", "2", "")
        assert float(row["decode_tokens_per_s_mean"]) > 0
    assert rows(warm, "SELECT status FROM sessions ORDER BY started_at") == [("crashed",), ("finished",)]
    assert rows(warm, "SELECT count(*) FROM tune WHERE decode_tokens_per_s > 0 AND n_depth = 20") == [(2,)]


def test_a_candidate_that_cannot_be_loaded_is_left_out(warm: Paths, model_path: str) -> None:
    flags = (*TINY, "-c", "512,131072", "--cache-types", "f32", "-ub", 128, "--swa-full", "-o", "json")
    done = subprocess.run(
        command("tune", model_path, *flags),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
        env=child_environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 * GIB, 3 * GIB)),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [c["n_ctx"] for c in found["candidates"]] == [512]
    (failed,) = found["skipped"]["failed"]
    assert failed["n_ctx"] == 131_072
    assert "insufficient memory" in failed["reason"]
    assert b"context 131,072, f32 cache, micro-batch 128 is left out: llama.cpp cannot make a context" in done.stderr
    assert rows(warm, "SELECT n_ctx, on_front, reason IS NULL FROM tune ORDER BY 1") == [
        (512, True, True),
        (131_072, False, False),
    ]


def test_llama_cpp_gives_up_in_the_midst_of_it(warm: Paths, model_path: str, request: pytest.FixtureRequest) -> None:
    with rpc_server() as (endpoint, server):
        flags = ("-t", 1, "-n", 20, "-r", 1, "-p", 0, "-c", "512,768", "--cache-types", "f16", "-ub", 128)
        process = start("tune", model_path, *flags, "--rpc", endpoint, "--memory", "800MiB", "-o", "jsonl")
        request.addfinalizer(killed_afterwards(process))
        _wait_for(process, b"more to measure")
        server.kill()
        out, words = end(process)
    assert process.returncode == 70
    (measured,) = map(json.loads, out.splitlines())
    assert (measured["n_ctx"], measured["n_gpu_layers"]) == (768, 19)
    assert "what was measured is kept; the same command goes on without the candidate at hand" in words
    assert "ggml-rpc.cpp" in words.splitlines()[-1]
    assert rows(warm, "SELECT status FROM sessions") == [("crashed",)]
    (file,) = warm.state.glob("tune-*.json")
    tuning = saved(warm, file.stem)
    assert tuning is not None
    assert tuning.left() == []
    assert [candidate.n_ctx for candidate in tuning.failed] == [512]
    forget(warm, file.stem)


def test_a_candidate_that_kills_the_process_again_is_not_tried_a_third_time(folders: Paths) -> None:
    candidates = {Candidate(n_ctx, "f16", 0, 512): n_ctx for n_ctx in (512, 1024)}
    deadly, other = candidates
    for deaths in (1, 2):
        tuning = Tuning(candidates, 2, 2, 2, "x", deaths=[deadly] * (deaths - 1), at_hand=deadly)
        tuning.save(folders, "tune-x")
        again = saved(folders, "tune-x")
        assert again is not None
        assert again.left() == ([deadly, other] if deaths == 1 else [other])
    assert again is not None
    assert "killed 2 times" in again.failed[deadly]
    (folders.state / "tune-x.json").write_text('{"tuning_id": "of another version"}')
    assert saved(folders, "tune-x") is None
    forget(folders, "tune-x")
    assert saved(folders, "tune-x") is None


def test_a_budget_is_kept_to(model_path: str) -> None:
    words = refused(gemtop("tune", model_path, *ONE, "--memory", "10MiB"), "nothing fits in 10 MiB", "512 tokens")
    assert re.search(r"takes \d+ MiB or more; see gemtop plan .* -c 512", words)
    refused(gemtop("tune", model_path, *ONE, "--memory", "1GiB,1GiB"), "2 sizes, but no device here")


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (("-n", 0), "at least 1 token"),
        (("-r", 0), "at least 1 repetition"),
        (("-c", 0), "-c 0: at least 1 token"),
        (("-ub", "512,0"), "-ub 0: at least 1 token"),
        (("--most", 0), "at least 1 candidate"),
        (("--memory", "much"), "no memory size"),
        (("--cache-types", "f16,q9"), "is none of"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(tmp_path: Path, flags: tuple[object, ...], hint: str) -> None:
    refused(gemtop("tune", tmp_path / "no.gguf", *flags), hint)


def test_what_cannot_be_planned(model_path: str) -> None:
    refused(gemtop("tune", model_path, "-c", 10**9), "trained for 32,768")
    refused(gemtop("tune", model_path, "-c", 512, "-d", 100), "the tests take 612 tokens")
    refused(gemtop("tune", model_path, "--max-context", 4096, "-d", 9000), "the tests take 9,512 tokens")
