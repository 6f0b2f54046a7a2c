"""What llama-bench printed, as runs. The files in data/ are its own output."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.history.importing import take_all
from gemtop.history.llama_bench import Results, parse, quantization_of
from tests.history.rows import ask

DATA = Path(__file__).parent / "data"
FORMS = ("jsonl", "json", "sql")


def results(form: str, **more: Any) -> Results:
    name = f"llama_bench.{form}"
    return parse((DATA / name).read_bytes(), name, **more)


def line(**changes: Any) -> bytes:
    """A test of the real file with some fields changed; None takes one out."""
    fields = json.loads((DATA / "llama_bench.jsonl").read_text().splitlines()[1]) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def one(**changes: Any) -> dict[str, Any]:
    return parse(line(**changes), "old.jsonl").runs[0]


@pytest.mark.parametrize("form", FORMS)
def test_a_session_with_a_run_for_each_repetition(paths: Paths, form: str) -> None:
    (brought,) = take_all(paths, [results(form, host="box")])
    assert len(brought.new) == 1
    assert ask(paths, "SELECT session_id, command, status, host, imported_from, platform FROM sessions") == [
        (brought.new[0], "import", "finished", "box", f"llama_bench.{form}", "AMD EPYC")
    ]
    each = 1 if form == "sql" else 2
    assert ask(paths, "SELECT kind, count(*) FROM runs GROUP BY ALL ORDER BY 1") == [("pp", each), ("tg", each)]
    shared = (
        "llama_build, gpu_name, model_name, model_path, architecture, parameters, quantization, training, variant,"
        " size_bytes, n_gpu_layers, type_k, type_v, flash_attn, n_batch, n_ubatch, n_threads, status, valid,"
        " invalid_reason, host"
    )
    assert ask(paths, f"SELECT DISTINCT {shared} FROM runs") == [
        ("0c1e570 (1)", None, "gemma-3-270m-q4_k_m", "/models/gemma-3-270m-q4_k_m.gguf", "gemma3", 268098176, "Q4_K_M",
         "unknown", "Q4_K_M", 246587904, 0, "f16", "f16", "auto", 2048, 512, 1, "finished", None,
         "imported: not judged", "box")
    ]  # fmt: skip
    assert ask(paths, "SELECT DISTINCT kind, n_ctx, prompt_tokens, generated_tokens FROM runs ORDER BY kind") == [
        ("pp", 8, 8, 0),
        ("tg", 4, 0, 4),
    ]
    (again,) = take_all(paths, [results(form)])
    assert (again.new, again.there) == ((), brought.new)
    assert ask(paths, "SELECT count(*) FROM runs") == [(2 * each,)]


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_mean_and_spread_are_llama_benchs(paths: Paths, form: str) -> None:
    take_all(paths, [results(form)])
    text = (DATA / f"llama_bench.{form}").read_text()
    tests = json.loads(text) if form == "json" else [json.loads(row) for row in text.splitlines()]
    for kind, column, test in zip(("pp", "tg"), ("prefill", "decode"), tests, strict=True):
        speed = f"{column}_tokens_per_s"
        ((mean, sd),) = ask(paths, f"SELECT avg({speed}), stddev_samp({speed}) FROM runs WHERE kind = '{kind}'")
        assert math.isclose(mean, test["avg_ts"], rel_tol=1e-6)
        assert math.isclose(sd, test["stddev_ts"], rel_tol=1e-5)


def test_sql_has_the_mean_alone_and_says_so(paths: Paths) -> None:
    take_all(paths, [results("sql")])
    assert ask(paths, "SELECT decode_tokens_per_s, message FROM store.runs WHERE kind = 'tg'") == [
        (37.057427, "mean of llama-bench's repetitions; their standard deviation was 2.93808 tokens/s")
    ]


def test_depth_is_kept_and_mixed_tests_are_left_out() -> None:
    name = "llama_bench_depth.jsonl"
    found = parse((DATA / name).read_bytes(), name)
    assert {(run["kind"], run["cached_tokens"], run["n_ctx"]) for run in found.runs} == {
        ("pp", 0, 8), ("tg", 0, 4), ("pp", 16, 24), ("tg", 16, 20),
    }  # fmt: skip
    assert found.notes == (f"{name}: 2 tests of prompt and generation together (-pg) left out, a speed of neither",)
    with pytest.raises(BadInputError, match="left out"):
        parse(line(n_prompt=8), "mixed.jsonl")


def test_the_id_is_of_the_content() -> None:
    ids = {parse(line(**changes), "a.jsonl").session["session_id"] for changes in ({}, {"n_batch": 1}, {"n_gen": 5})}
    assert len(ids) == 3
    assert all(session_id.startswith("20261126-232906-") for session_id in ids)
    assert parse(line(), "b.jsonl").session["session_id"] in ids
    assert parse(b"[\n" + line() + b"\n]", "c.json").session["session_id"] in ids


@pytest.mark.parametrize(
    ("path", "described", "training", "variant"),
    [
        ("/m/gemma-3-27b-it-qat-Q4_0.gguf", "gemma3 27B Q4_0", "qat", "QAT Q4_0"),
        ("/m/gemma-3-27b-it-qat-Q4_K_M.gguf", "gemma3 27B Q4_K - Medium", "qat", "QAT+PTQ Q4_K_M"),
        ("/hub/models--google--gemma-3-1b-it-qat-q4_0-gguf/x/g-q4_0.gguf", "gemma3 1B Q4_0", "qat", "QAT Q4_0"),
        ("/m/gemma-3-27b-it-q4_0.gguf", "gemma3 27B Q4_0", "unknown", "Q4_0"),
        ("/m/gemma-3-4b-it-Q4_K_M.gguf", "gemma3 4B Q4_K - Medium", "unknown", "Q4_K_M"),
        ("/m/gemma-3-4b-it-f16.gguf", "gemma3 4B F16", "none", "FP16"),
        ("/m/gemma-3-4b-it-bf16.gguf", "gemma3 4B BF16", "none", "BF16"),
        ("/m/gemma-3-4b-derived-f16.gguf", "gemma3 4B F16", "unknown", "FP16 (derived)"),
        ("/m/gemma-3-4b-it-qat-derived-Q8_0.gguf", "gemma3 4B Q8_0", "ptq", "PTQ Q8_0 (derived)"),
        ("/m/x.gguf", "", "unknown", "unknown"),
    ],
)
def test_training_and_variant(path: str, described: str, training: str, variant: str) -> None:
    found = one(model_filename=path, model_type=described)
    assert (found["training"], found["variant"]) == (training, variant)


@pytest.mark.parametrize(
    ("described", "name"),
    [
        ("gemma3 27B Q4_0", "Q4_0"), ("gemma3 27B all F32", "F32"), ("gemma3 1B Q2_K - Medium", "Q2_K"),
        ("gemma3 1B Q3_K - Large", "Q3_K_L"), ("gemma3 1B IQ4_XS - 4.25 bpw", "IQ4_XS"),
        ("gemma3 1B IQ3_S mix - 3.66 bpw", "IQ3_M"), ("gemma3 1B (guessed) Q8_0", "Q8_0"),
        ("gemma3 1B MXFP4 MoE", "MXFP4_MOE"), ("gemma3 1B unknown, may not work", "unknown"), ("", "unknown"),
    ],
)  # fmt: skip
def test_names_of_formats(described: str, name: str) -> None:
    assert quantization_of(described) == name


@pytest.mark.parametrize(
    ("fields", "layers"),
    [
        ({"backends": "CPU", "n_gpu_layers": 99}, 0),
        ({"backends": "CUDA", "n_gpu_layers": 99}, 19),
        ({"backends": "CUDA", "n_gpu_layers": -1}, 19),
        ({"backends": "CUDA,BLAS", "n_gpu_layers": 10}, 10),
        ({"backends": "Vulkan", "n_gpu_layers": -1, "model_type": "llama 8B Q4_0"}, None),
        ({"backends": None, "cuda": True, "n_gpu_layers": 99}, 19),
        ({"backends": None, "cuda": False}, 0),
    ],
)
def test_layers_on_a_device(fields: dict[str, Any], layers: int | None) -> None:
    assert one(**fields)["n_gpu_layers"] == layers


def test_what_older_and_other_versions_write() -> None:
    old = one(
        flash_attn=False,
        n_depth=None,
        samples_ns=None,
        backends="CUDA",
        gpu_info="NVIDIA RTX 3090",
        tensor_split="1.00/2.00",
        split_mode="row",
        tensor_buft_overrides="exps=CPU",
        build_number=None,
    )
    assert (old["flash_attn"], old["cached_tokens"], old["gpu_name"]) == ("off", 0, "NVIDIA RTX 3090")
    assert (old["tensor_split"], old["split_mode"], old["override_tensor"]) == ("1.00/2.00", "row", "exps=CPU")
    assert old["llama_build"] == "0c1e570"
    assert math.isclose(old["decode_tokens_per_s"], 20.4105)
    assert one(flash_attn="on")["flash_attn"] == "on"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither an export"),
        (b"| model | size |", "neither an export"),
        (b"\x00\xff\xfe", "neither an export"),
        (b"[]", "holds no test"),
        (b'{"a": 1}', r"f\.x, line 1: test_time is missing"),
        (b"[1]", "line 1: this is no test"),
        (line() + b"\n" + line()[:-9], "line 2: this is no JSON"),
        (line() + b"\n" + line(model_filename=None), "line 2: model_filename is missing"),
        (line() + b"\n\n" + line(test_time="yesterday"), "line 3: test_time is no moment: 'yesterday'"),
        (line(n_gen=0), "n_prompt and n_gen are both 0"),
        (line(n_gen=-4), "n_gen cannot be -4"),
        (line(n_gen="many"), "n_gen cannot be many"),
        (line(n_batch=10**30), "n_batch cannot be 1000"),
        (line(samples_ns=[0]), "took no time"),
        (line(samples_ns=[1, "x"]), "samples_ns cannot be x"),
        (line(samples_ns="x"), "samples_ns is no list"),
        (line(samples_ns=None, samples_ts=None, avg_ns=None, avg_ts=None), "there is no speed in it"),
        (line(model_type=5), "model_type is no text"),
        (b"[" * 100_000, "line 1: this is|holds no test"),
        (b'{"a":' * 100_000, "line 1: "),
        (b"INSERT INTO llama_bench (a, b) VALUES ('1');", "line 1: this is not what llama-bench -o sql writes"),
        (b"CREATE TABLE x (\n);\nDROP TABLE x;", "line 3: this is not what"),
        (b"INSERT INTO llama_bench (n_gen) VALUES ('4');", "line 1: test_time is missing"),
    ],
)
def test_what_cannot_be_imported(data: bytes, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as raised:
        parse(data, "f.x")
    assert "\n" not in str(raised.value)


def test_quotes_in_sql_are_as_llama_bench_writes_them() -> None:
    text = (DATA / "llama_bench.sql").read_text().replace("/models/", "/it's, here/")
    assert parse(text.encode(), "a.sql").runs[0]["model_path"] == "/it's, here/gemma-3-270m-q4_k_m.gguf"


def test_names_that_are_no_text_of_this_world() -> None:
    found = parse(line(model_filename="/m/\ud800\0.gguf", cpu_info="\x1b[31m"), "\udcff.jsonl")
    json.dumps([found.session["imported_from"], found.runs[0]["model_path"]], ensure_ascii=False).encode()
