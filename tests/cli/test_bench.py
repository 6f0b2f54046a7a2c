"""gemtop bench in a process of its own, on the real weights."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from pathlib import Path

import pytest

from gemtop.cli.bench import comma_list
from gemtop.config import Paths
from gemtop.domain.records import RUN_FIELDS
from gemtop.domain.statistics import mean_sd
from tests.cli.commands import LIMIT_S, end, gemtop, killed_afterwards, refused, rows, start
from tests.rpc_server import rpc_server

SHORT = ("-p", 8, "-n", 4, "-r", 2, "-t", 1)

pytestmark = pytest.mark.usefixtures("warm")


def cells(line: str) -> list[str]:
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def test_the_table_is_llama_benchs(warm: Paths, model_path: str) -> None:
    done = gemtop("bench", model_path, *SHORT)
    doubts = "gemtop: pp8 is not valid: too few tokens: 8 prompt tokens, a speed needs 32\n"
    doubts += "gemtop: tg4 is not valid: too few tokens: 4 generated tokens, a speed needs 32\n"
    assert (done.returncode, done.stderr.decode()) == (0, doubts)
    header, ruler, pp, tg, blank, build = done.stdout.decode().splitlines()
    assert cells(header) == ["model", "size", "params", "backend", "threads", "test", "t/s"] or cells(header) == [
        "model", "size", "params", "backend", "ngl", "test", "t/s",
    ]  # fmt: skip
    assert re.fullmatch(r"\|( -+:? \|)+", ruler)
    assert len({len(line) for line in (header, ruler, pp, tg)}) == 1, "the columns are straight"
    assert cells(pp)[:3] == ["gemma3 270M Q4_K - Medium", "235.16 MiB", "268.10 M"]
    assert [cells(pp)[5], cells(tg)[5]] == ["pp8", "tg4"]
    for line in (pp, tg):
        assert re.fullmatch(r"\d+\.\d\d ± \d+\.\d\d", cells(line)[6])
    assert blank == ""
    assert build.startswith("build: llama.cpp ")
    found = rows(warm, "SELECT kind, status, prompt_tokens, generated_tokens FROM runs ORDER BY run_id")
    assert found == [("pp", "finished", 8, 0)] * 2 + [("tg", "finished", 0, 4)] * 2
    assert rows(warm, "SELECT command, status FROM sessions") == [("bench", "finished")]


def test_json_is_a_list_of_tests_with_mean_and_deviation(warm: Paths, model_path: str) -> None:
    done = gemtop("bench", model_path, *SHORT, "-o", "json")
    pp, tg = json.loads(done.stdout)
    assert [name for name in pp if name in RUN_FIELDS] == [name for name in RUN_FIELDS if name in pp]
    for test, kind, name in ((pp, "pp", "prefill_tokens_per_s"), (tg, "tg", "decode_tokens_per_s")):
        assert test["kind"] == kind
        assert test["quantization"] == "Q4_K_M"
        assert test["valid"] is False and test["invalid_reason"].startswith("too few tokens")
        assert (test["n_threads"], test["type_k"], test["n_depth"]) == (1, "f16", 0)
        speeds = [s for (s,) in rows(warm, f"SELECT {name} FROM runs WHERE kind = '{kind}' ORDER BY run_id")]
        expected = mean_sd(speeds)
        assert test[name] == {"mean": expected.mean, "sd": expected.sd, "n": 2}
    assert "decode_tokens_per_s" not in pp
    assert "prefill_tokens_per_s" not in tg
    assert (pp["n_prompt"], pp["n_gen"], tg["n_prompt"], tg["n_gen"]) == (8, 0, 0, 4)


def test_jsonl_and_csv_say_the_same(model_path: str) -> None:
    jsonl = gemtop("bench", model_path, *SHORT, "-o", "jsonl").stdout.decode().splitlines()
    assert [json.loads(line)["test"] for line in jsonl] == ["pp8", "tg4"]
    table = list(csv.DictReader(io.StringIO(gemtop("bench", model_path, *SHORT, "-o", "csv").stdout.decode())))
    assert [row["test"] for row in table] == ["pp8", "tg4"]
    for row, line in zip(table, jsonl, strict=True):
        assert float(row["tokens_per_s_mean"]) > 0
        assert float(row["tokens_per_s_sd"]) >= 0
        assert (row["n"], row["model_name"]) == ("2", json.loads(line)["model_name"])


def test_comma_lists_are_every_combination(warm: Paths, model_path: str) -> None:
    flags = ("-p", "4", "-n", "2", "-r", 1, "-t", 1, "-ctk", "f16,q8_0", "-d", "0,16", "-ngl", "99")
    tests = json.loads(gemtop("bench", model_path, *flags, "-o", "json").stdout)
    assert [(t["type_k"], t["n_depth"], t["test"]) for t in tests] == [
        (type_k, depth, test + (f" @ d{depth}" if depth else ""))
        for type_k in ("f16", "q8_0")
        for depth in (0, 16)
        for test in ("pp4", "tg2")
    ]
    assert {(t["n_gpu_layers"], t["n_gpu_layers_offloaded"]) for t in tests} == {(99, 0)}, "there is no device"
    assert rows(warm, "SELECT DISTINCT type_k FROM runs ORDER BY 1") == [("f16",), ("q8_0",)]
    assert rows(warm, "SELECT DISTINCT cached_tokens FROM store.runs ORDER BY 1") == [(0,), (16,)]


def test_settings_that_differ_have_columns(model_path: str) -> None:
    done = gemtop("bench", model_path, "-p", 4, "-n", 0, "-r", 1, "-t", 1, "-ub", "64,128", "-fa", "on", "-ctv", "q8_0")
    header, _, first, second, *_ = done.stdout.decode().splitlines()
    named = [dict(zip(cells(header), cells(line), strict=True)) for line in (first, second)]
    assert [row["n_ubatch"] for row in named] == ["64", "128"]
    assert (named[0]["type_v"], named[0]["fa"]) == ("q8_0", "on")
    assert "n_batch" not in named[0]


def test_two_models_in_one_table(model_path: str, tmp_path: Path) -> None:
    other = tmp_path / "gemma-3-270m-qat-Q4_K_M.gguf"
    other.symlink_to(model_path)
    flags = ("-p", 0, "-n", 2, "-r", 1, "-t", 1, "-o", "json")
    found = json.loads(gemtop("bench", model_path, "-m", other, *flags).stdout)
    assert [test["model_path"] for test in found] == [model_path, str(other)]
    assert [test["variant"] for test in found] == ["PTQ Q4_K_M", "QAT+PTQ Q4_K_M"]


def test_layers_on_another_device(model_path: str) -> None:
    with rpc_server() as (endpoint, _):
        flags = ("-p", 0, "-n", 2, "-r", 1, "-t", 1, "-ngl", "0,10,99", "--rpc", endpoint)
        done = gemtop("bench", model_path, *flags)
    assert done.returncode == 0, done.stderr
    header, _, *lines = done.stdout.decode().split("\n\n")[0].splitlines()
    named = [dict(zip(cells(header), cells(line), strict=True)) for line in lines]
    assert [row["ngl"] for row in named] == ["0", "10", "99"]
    assert {row["backend"] for row in named} == {"RPC"}


def test_llama_cpp_gives_up_in_a_test(warm: Paths, model_path: str, request: pytest.FixtureRequest) -> None:
    with rpc_server() as (endpoint, server):
        flags = ("-p", 0, "-n", "2,400", "-r", 1, "-t", 1, "--rpc", endpoint, "-o", "jsonl")
        process = start("bench", model_path, *flags)
        request.addfinalizer(killed_afterwards(process))
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["test"] == "tg2"
        server.kill()
        _, words = end(process)
    assert process.returncode == 70
    assert words.count("\n") == 1
    assert "ggml-rpc.cpp" in words
    assert rows(warm, "SELECT status FROM sessions") == [("crashed",)]
    assert rows(warm, "SELECT kind, status FROM runs") == [("tg", "finished")], "what was measured is kept"


def test_interrupted_it_keeps_what_it_has(warm: Paths, model_path: str, request: pytest.FixtureRequest) -> None:
    process = start("bench", model_path, "-p", 0, "-n", "2,500", "-r", 50, "-t", 1, "-o", "jsonl")
    request.addfinalizer(killed_afterwards(process))
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["test"] == "tg2"
    process.send_signal(signal.SIGINT)
    out, words = end(process)
    assert process.returncode == 130
    assert (out, words) == (b"", "")
    ((count,),) = rows(warm, "SELECT count(*) FROM runs WHERE generated_tokens = 2")
    assert count == 50


def test_a_reader_that_has_enough(warm: Paths, model_path: str) -> None:
    process = start("bench", model_path, "-p", 0, "-n", "2,3,4,5", "-r", 1, "-t", 1, "-o", "jsonl")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(LIMIT_S) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert 1 <= rows(warm, "SELECT count(*) FROM runs")[0][0] <= 4


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (("-r", "0"), "at least 1 repetition"),
        (("-p", "0", "-n", "0"), "nothing to measure"),
        (("-p", "-5"), "cannot be negative"),
        (("-p", "8,x"), "invalid list of int value"),
        (("-p", "9-3"), "empty range"),
        (("-p", "1-9*1"), "never ends"),
        (("-n", "4", "-d", "x"), "invalid list of int value"),
        (("-ctk", "f16,q9"), "is none of"),
        (("-o", "xml"), "invalid choice"),
        (("-t", "1,-1"), "between 1 and 512 threads"),
    ],
)
def test_what_cannot_be_measured(model_path: str, flags: tuple[str, ...], hint: str) -> None:
    few = {"-p": 4, "-n": 0, "-r": 1, "-t": 1, "-o": "json"} | dict(zip(flags[::2], flags[1::2], strict=True))
    done = gemtop("bench", model_path, *(word for pair in few.items() for word in pair))
    refused(done, hint)


def test_a_flag_that_is_repeated_adds_to_its_list(model_path: str) -> None:
    done = gemtop("bench", model_path, "-p", 4, "-p", 6, "-n", 0, "-r", 1, "-t", 1, "-o", "json", "-ngl", "all")
    assert [(test["n_prompt"], test["n_gpu_layers"]) for test in json.loads(done.stdout)] == [(4, -1), (6, -1)]


def test_what_was_measured_before_a_model_that_cannot_be_loaded_is_not_lost(model_path: str, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(Path(model_path).read_bytes()[:100_000_000])
    done = gemtop("bench", model_path, short, "-p", 4, "-n", 0, "-r", 1, "-t", 1, "-o", "json")
    assert done.returncode == 2
    assert b"is cut short" in done.stderr
    assert [test["test"] for test in json.loads(done.stdout)] == ["pp4"]


def test_models_that_are_none(model_path: str, tmp_path: Path) -> None:
    refused(gemtop("bench"), "no model is named")
    refused(gemtop("bench", tmp_path / "no.gguf", *SHORT), "does not exist")
    refused(gemtop("bench", model_path, *SHORT, "--db", tmp_path), "is a directory")


@pytest.mark.parametrize(
    ("text", "values"),
    [("5", [5]), ("1,2,3", [1, 2, 3]), ("1-4", [1, 2, 3, 4]), ("2-10+4", [2, 6, 10]), ("64-512*2", [64, 128, 256, 512]),
     ("7,1-2", [7, 1, 2]), ("-1", [-1])],
)  # fmt: skip
def test_lists_and_ranges_as_llama_bench_takes_them(text: str, values: list[int]) -> None:
    assert comma_list(int)(text) == values
