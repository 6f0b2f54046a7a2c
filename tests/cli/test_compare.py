"""gemtop compare on real weights: the whole of it at small size, stopped and gone on with, and what it refuses."""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from gemtop.config import Paths
from tests.derived import derive
from tests.gemma_files import write_gemma
from tests.history.rows import ask
from tests.lora_files import write_lora

VARIANT_KEYS = {
    "variant", "quantization", "training", "size_bytes", "vram_peak_bytes", "ram_peak_bytes", "load_s", "ttft_s",
    "prefill_tokens_per_s", "decode_tokens_per_s", "decode_j_per_token", "perplexity", "perplexity_se", "kl_mean",
    "kl_mean_se", "kl_p99", "top1_agreement", "same_output_share", "task_success",
}  # fmt: skip
PROMPTS = """
{"id": "capital", "prompt": "The capital of France is", "max_tokens": 40, "kind": "reasoning", "check": {"type": "text", "contains": [["Paris"]]}}
{"id": "esc", "prompt": "Say \\u001b[31m twice:", "max_tokens": 4}
""".strip()  # noqa: E501


@pytest.fixture(scope="module")
def models(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("compared")
    return [str(derive(model_path, folder, name)) for name in ("Q8_0", "Q4_0")]


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.jsonl"
    path.write_text(PROMPTS)
    return str(path)


def gemtop(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gemtop", *arguments], capture_output=True, text=True, timeout=300, check=False
    )


SMALL = ("--ctx", "64", "--chunks", "2", "-t", "2")


def test_the_whole_of_it(warm: Paths, models: list[str], prompts: str, tmp_path: Path) -> None:
    report = tmp_path / "report"
    done = gemtop("compare", *models, "--prompts", prompts, "--repeat", "2", *SMALL, "--json", "--report", str(report))
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    told = json.loads((report / "manifest.json").read_text())
    assert told["finished"] and told["rows"]["variants"] == 2 and told["rows"]["runs"] == 8
    assert told["rows"]["latencies"] == 2 * 2 * 39  # of the answers of 40 tokens
    page = (report / "report.html").read_text()
    assert "<h1>1 variant held against " in page and "<svg" in page
    assert html.escape(data["verdict"].split("; ")[0]) in page
    assert set(data) >= {"baseline", "corpus", "prompts", "variants", "verdict"}
    base, other = data["variants"]
    for one in (base, other):
        assert set(one) >= VARIANT_KEYS
        assert set(one["decode_tokens_per_s"]) == {"mean", "ci95", "n"}
        assert one["decode_tokens_per_s"]["n"] == 2
        assert one["load_s"]["n"] >= 2
        assert one["perplexity"] > 1 and one["perplexity_se"] > 0
        assert one["ram_peak_bytes"] > one["size_bytes"] / 2
        assert one["decode_j_per_token"] is not None or "decode_j_per_token" in one["reasons"]
        assert one["task_checked"] == 1
        assert one["failure"] is None
    assert data["baseline"] == base["label"]
    assert base["kl_mean"] is None and other["kl_mean"] > 0.05
    assert 0 < other["top1_agreement"] < 1
    assert base["same_output_share"] is None and other["same_output_share"] in (0.0, 0.5, 1.0)
    for place in data["divergences"]:
        assert len(place["baseline_top"]) == len(place["variant_top"]) == 5
        assert place["baseline_top"][0] != place["variant_top"][0]  # greedy: they part where the first differs
    assert data["verdict"].startswith(f"Against {base['label']}, the text is predicted worse by {other['label']} (")
    assert "\x1b" not in done.stdout + done.stderr
    assert data["corpus"]["n_tokens"] == 2 * 31
    assert not list(warm.state.glob("compare-*"))  # it is over
    kinds = ask(warm, "SELECT command, count(*) FROM sessions GROUP BY command")
    assert kinds == [("compare", 1)]
    assert ask(warm, "SELECT count(DISTINCT variant), count(*) >= 8 FROM runs") == [(2, True)]


def test_it_is_stopped_and_goes_on(warm: Paths, models: list[str], prompts: str) -> None:
    command = ("compare", *models, "--prompts", prompts, "--repeat", "1", *SMALL)
    first = subprocess.Popen(
        [sys.executable, "-m", "gemtop", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_steps(warm, "seen", 1)
    first.send_signal(signal.SIGINT)
    out, talk = first.communicate(timeout=120)
    assert first.returncode == 130, talk
    assert "perplexity" not in out.split("Against")[0] or "runs" in out
    done = gemtop(*command)
    assert done.returncode == 0, done.stderr
    assert "going on with " in done.stderr
    assert "tasks right" in done.stdout
    assert "Against " in done.stdout


def wait_for_steps(paths: Paths, kind: str, count: int, data: object = None) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        files = list(paths.state.glob("compare-*.jsonl"))
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        if sum(line["step"] == kind and data in (None, line["data"]) for line in lines) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {count} steps of kind {kind}")


def test_a_kv_cache_is_a_variant(warm: Paths, models: list[str], prompts: str) -> None:
    done = gemtop("compare", models[0], "-ctk", "f16,q4_0", "--prompts", prompts, "-n", "1", "--repeat", "1",
                  *SMALL, "-c", "256", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    labels = [one["label"] for one in data["variants"]]
    assert [label.split(" KV ")[1] for label in labels] == ["f16", "q4_0"]
    assert data["variants"][1]["settings"] == {"type_k": "q4_0", "type_v": "q4_0"}
    assert data["variants"][1]["kl_mean"] > 0


def test_an_adapter_on_and_off(warm: Paths, models: list[str], prompts: str, tmp_path: Path) -> None:
    adapter = write_lora(tmp_path / "adapter.gguf", scale=0.05)
    done = gemtop("compare", models[0], "--lora", str(adapter), "--prompts", prompts, "--repeat", "1", *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    without, with_it = json.loads(done.stdout)["variants"]
    assert with_it["label"] == f"{without['label']} with LoRA"
    assert (without["settings"], with_it["settings"]) == ({"lora": []}, {"lora": [str(adapter)]})
    assert without["kl_mean"] is None and with_it["kl_mean"] > 0.001
    assert with_it["decode_tokens_per_s"]["n"] == 1


def test_a_variant_of_another_tokenizer(warm: Paths, models: list[str], prompts: str, tmp_path: Path) -> None:
    """Its speed and its perplexity are known, its divergence is not."""
    other = derive(models[0], tmp_path, "Q4_0", {"tokenizer.ggml.add_bos_token": False})
    done = gemtop("compare", models[0], str(other), "--prompts", prompts, "--repeat", "1", *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    base, found = data["variants"]
    assert (base["failure"], found["failure"]) == (None, None)
    assert found["kl_mean"] is None and found["perplexity"] > 1
    assert found["reasons"]["kl_mean"] == "its tokenizer makes other tokens of the text than the baseline's"
    assert found["ttft_s"]["mean"] > 0
    assert "was not held against its predictions (its tokenizer makes other tokens" in data["verdict"]


def test_a_variant_that_does_not_fit_is_left_out(
    warm: Paths, models: list[str], model_path: str, prompts: str, tmp_path: Path
) -> None:
    large = write_gemma(tmp_path / "large.gguf", "27b", model_path, "f32", "f32")
    command = ("compare", *models, str(large), "--baseline", models[0], "--prompts", prompts, "--repeat", "1", *SMALL)
    done = gemtop(*command, "--json")
    assert done.returncode == 0, done.stderr
    assert " is left out: " in done.stderr
    data = json.loads(done.stdout)
    first, second, left_out = data["variants"]
    assert (first["failure"], second["failure"]) == (None, None) and second["kl_mean"] > 0
    assert left_out["failure"] and left_out["runs"] == 0 and left_out["perplexity"] is None
    assert f"{left_out['label']} could not be measured ({left_out['failure']})" in data["verdict"]


def test_what_fits_for_the_text_alone_has_it_put_through(warm: Paths, models: list[str], prompts: str) -> None:
    """A context that no machine has room for is needed by the runs, not by the text."""
    done = gemtop("compare", *models, "--prompts", prompts, "--repeat", "1", *SMALL, "-c", "50000000", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    for one in data["variants"]:
        assert one["failure"].startswith("only the text is put through it: ")
        assert (one["runs"], one["decode_tokens_per_s"]) == (0, None) and one["perplexity"] > 1
        assert one["reasons"]["decode_tokens_per_s"] == one["failure"]
    assert data["variants"][1]["kl_mean"] > 0


def test_a_variant_that_cannot_be_loaded_is_left_out(
    warm: Paths, models: list[str], prompts: str, tmp_path: Path
) -> None:
    """Its header promises a layer more than there is."""
    broken = derive(models[0], tmp_path, "Q4_0", {"gemma3.block_count": 19})
    done = gemtop("compare", str(broken), models[0], "--baseline", models[0], "--prompts", prompts, "--repeat", "1",
                  *SMALL, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    failed, whole = json.loads(done.stdout)["variants"]
    assert "'blk.18.attn_norm.weight' not found" in failed["failure"] and failed["runs"] == 0
    assert whole["failure"] is None and whole["perplexity"] > 1 and whole["runs"] == 2


def test_what_llama_cpp_dies_of_is_given_up_and_the_rest_goes_on(warm: Paths, models: list[str], prompts: str) -> None:
    command = [sys.executable, "-m", "gemtop", "compare", *models, "--prompts", prompts, "--repeat", "1", *SMALL]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for death in (1, 2):
        wait_for_steps(warm, "begin", death, "runs 1")
        (child,) = psutil.Process(process.pid).children()
        child.send_signal(signal.SIGSEGV)
        child.wait(60)
    out, talk = process.communicate(timeout=120)
    assert process.returncode == 0, talk
    assert talk.count("the program was ended by SIGSEGV") == 2
    assert talk.count("what was measured is kept; going on") == 2
    whole, given_up = json.loads(out)["variants"]
    assert whole["failure"] is None and whole["perplexity"] > 1 and whole["runs"] == 2
    assert given_up["failure"] == "llama.cpp or gemtop died 2 times with it"
    assert not list(warm.state.glob("compare-*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no model is named"),
        (("{q8}",), "one variant is nothing to compare"),
        (("{q8}", "{q4}", "--repeat", "0"), "--repeat 0: at least 1"),
        (("{q8}", "{q4}", "--chunks", "-2"), "--chunks -2: at least -1"),
        (("{q8}", "{q4}", "--kinds", "poems"), "--kinds poems: none of summarise"),
        (("{q8}", "{q4}", "--baseline", "{demo}"), "is not among the models that are compared"),
        (("{q8}", "{q4}", "--checkpoint", "x"), "--checkpoint x: MODEL=CHECKPOINT"),
        (("{q8}", "{q4}", "--corpus", "/nowhere.txt"), "/nowhere.txt cannot be read"),
        (("{q8}", "{q4}", "--prompts", "/nowhere.toml"), "/nowhere.toml"),
        (("{q8}", "{q4}", "-ctk", "f16,q8_0", "-ctv", "f16,q8_0,q4_0"), "lists of different lengths"),
        (("{q8}", "{q4}", "--demo"), "--demo has its own models"),
    ],
)
def test_what_it_refuses(
    warm: Paths, models: list[str], model_path: str, arguments: tuple[str, ...], words: str
) -> None:
    named = {"{q8}": models[0], "{q4}": models[1], "{demo}": model_path}
    done = gemtop("compare", *(named.get(argument, argument) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_short_corpus_and_one_that_is_no_text(warm: Paths, models: list[str], prompts: str, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    done = gemtop("compare", *models, "--prompts", prompts, "--corpus", str(binary))
    assert done.returncode == 2 and "is no text in UTF-8: byte 1" in done.stderr
    short = tmp_path / "short.txt"
    short.write_text("A few words.")
    done = gemtop("compare", *models, "--prompts", prompts, "--corpus", str(short))
    assert (done.returncode, done.stdout) == (2, "")
    assert "short.txt is too short: 4 tokens, and chunks of 512 need 1,024" in done.stderr
    assert not list(warm.state.glob("compare-*"))


def test_demo_names_nothing_qat(warm: Paths) -> None:
    from gemtop.comparison import demo

    assert "QAT" not in demo.NOTE.replace("quantisation-aware", "")
    assert os.environ["XDG_STATE_HOME"]
