"""gemtop plan and gemtop devices as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import gemtop, refused
from tests.engine.test_planner import sparse
from tests.hub_server import serving
from tests.lora_files import write_lora
from tests.rpc_server import rpc_server

__all__ = ["sparse"]


def test_the_ledger_of_a_27b_on_a_card_that_is_not_here(sparse: dict[str, str]) -> None:
    done = gemtop("plan", sparse["27b"], "--gpu-memory", "24GiB", "-c", "32768")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    for words in ("QAT Q4_0", "GPU0", "host", "KV global", "2,560", "624", "longest context", "63 of 63", "fits"):
        assert words in text
    assert max(map(len, text.splitlines()[:-1])) <= 100


def test_json_has_what_scripts_rely_on(sparse: dict[str, str]) -> None:
    done = gemtop("plan", sparse["27b"], "--gpu-memory", "24GiB,24GiB", "-ctk", "q8_0", "-ctv", "q8_0", "--json")
    found = json.loads(done.stdout)
    assert [device["name"] for device in found["devices"]] == ["GPU0", "GPU1"]
    assert found["settings"]["type_k"] == "q8_0" and found["fits"] is True
    assert set(found["max_n_ctx"]) == {"f16", "q8_0", "q4_0"} and found["max_n_gpu_layers"] == 63
    assert "fits" in found["verdict"]


def test_that_it_does_not_fit_is_an_answer(sparse: dict[str, str]) -> None:
    done = gemtop("plan", sparse["27b"], "--gpu-memory", "8GiB", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["fits"] is False
    assert "too little" in found["verdict"] and 0 < found["max_n_gpu_layers"] < 63


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-c", "1e12"), ("-c", "1e12")),
        (("-c", "1000000000000"), ("64 times",)),
        (("--gpu-memory", "0"), ("--gpu-memory 0", "24GiB")),
        (("--gpu-memory=-3GiB",), ("--gpu-memory -3GiB: no card has that",)),
        (("--gpu-memory", "-5GiB"), ("--gpu-memory -5GiB: no card has that",)),
        (("--gpu-memory", "24GiB,"), ("--gpu-memory 24GiB,: there is no size",)),
        (("-ot", "[=CPU"), ("'[' is no regular expression",)),
        (("-ot", "[z-a]=CPU"), ("--override-tensor [z-a]=CPU: ",)),
        (("--gpu-memory", "24GiB", "--rpc", "box:1"), ("leave out",)),
        (("-ctv", "q8_0", "-fa", "off"), ("flash attention",)),
        (("--rpc", "127.0.0.1:1"), ("no RPC server at 127.0.0.1:1",)),
        (("--device", "CUDA9"), ("there is no device 'CUDA9'",)),
    ],
)
def test_bad_input_is_one_line(model_path: str, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused(gemtop("plan", model_path, *arguments), *words)


def test_an_adapter_of_another_model_is_refused_as_a_run_does(model_path: str, tmp_path: Path) -> None:
    adapter = write_lora(tmp_path / "llama.gguf", architecture="llama")
    arguments = (model_path, "--lora", str(adapter))
    words = refused(gemtop("plan", *arguments), "is an adapter for llama")
    assert refused(gemtop("run", *arguments, "-p", "x")) == words


def test_a_context_beyond_the_trained_one_is_warned_of(model_path: str) -> None:
    done = gemtop("plan", model_path, "-c", "40000")
    assert "beyond the 32,768 the model was trained for" in done.stdout.decode()


def test_a_card_that_holds_nothing_has_no_layers(model_path: str) -> None:
    done = gemtop("plan", model_path, "--gpu-memory", "600MiB", "--json")
    found = json.loads(done.stdout)
    assert found["max_n_gpu_layers"] is None and found["max_n_ctx"]["f16"] == 0
    assert found["remedies"] == [{"cpu_alone": True}]
    assert "most layers       none" in gemtop("plan", model_path, "--gpu-memory", "600MiB").stdout.decode()


def test_a_damaged_file_is_named(tmp_path: Path, model_path: str) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(Path(model_path).read_bytes()[:100_000])
    refused(gemtop("plan", str(cut)), "cut.gguf", "damaged or cut short")


def test_devices_are_listed_with_their_memory() -> None:
    with rpc_server() as (endpoint, _):
        found = json.loads(gemtop("devices", "--rpc", endpoint, "--json").stdout)
        assert [(device["name"], device["kind"]) for device in found] == [("CPU", "cpu"), ("RPC0", "gpu")]
        assert all(device["memory_total_bytes"] > 0 for device in found)
    text = gemtop("devices").stdout.decode()
    assert text.splitlines()[0].startswith("name") and "CPU" in text
    refused(gemtop("devices", "--rpc", "127.0.0.1:1"), "no RPC server at 127.0.0.1:1")


def test_devices_tell_how_fast_their_memory_is_read_once_it_was_measured() -> None:
    (host,) = json.loads(gemtop("devices", "--json").stdout)
    assert host["memory_bandwidth_bytes_per_s"] is None
    assert "gemtop devices --bandwidth" in host["memory_bandwidth_reason"]
    assert "GB/s" not in gemtop("devices").stdout.decode()
    with rpc_server() as (endpoint, _):
        measured = json.loads(gemtop("devices", "--bandwidth", "--rpc", endpoint, "--json").stdout)
        remembered = json.loads(gemtop("devices", "--rpc", endpoint, "--json").stdout)
    for found in (measured, remembered):
        assert [device["memory_bandwidth_reason"] for device in found] == [None, None]
        assert all(5e8 < device["memory_bandwidth_bytes_per_s"] < 1e12 for device in found)
    speed = measured[0]["memory_bandwidth_bytes_per_s"] / 1e9
    assert f" {speed:.1f} GB/s  here" in gemtop("devices").stdout.decode()


def test_a_device_that_cannot_be_measured_is_listed_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from gemtop.engine import bandwidth\n"
        "def refuse(*_):\n    raise bandwidth.GemtopError('CPU cannot be measured: it is busy')\n"
        "bandwidth.measure_in_child = refuse\n"
    )
    done = gemtop("devices", "--bandwidth", "--json", PYTHONPATH=f"{tmp_path}:{Path.cwd()}")
    (host,) = json.loads(done.stdout)
    assert host["memory_bandwidth_bytes_per_s"] is None and done.returncode == 0
    assert host["memory_bandwidth_reason"] == "CPU cannot be measured: it is busy"
    assert done.stderr.decode() == "gemtop: CPU cannot be measured: it is busy\n"


def test_a_model_of_the_hub_is_planned_from_its_header(sparse: dict[str, str], tmp_path: Path) -> None:
    with serving() as hub:
        hub.add("google/gemma-3-4b-it-qat-q4_0-gguf", "gemma-3-4b-it-q4_0.gguf", Path(sparse["4b"]), sha256="0" * 64)
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "", "HF_HOME": str(tmp_path / "hf")}
        name = "hf:google/gemma-3-4b-it-qat-q4_0-gguf"
        done = gemtop("plan", name, "--gpu-memory", "8GiB", "--json", **environment)
        found = json.loads(done.stdout)
        assert found["fits"] and found["model"]["training"] == "qat"
        assert found["model"]["size_bytes"] == Path(sparse["4b"]).stat().st_size
        assert sum(file.stat().st_blocks for file in tmp_path.rglob("*.gguf")) * 512 < 20e6
        header = next(tmp_path.rglob("gemma-3-4b-it-q4_0.gguf"))
        refused(gemtop("run", str(header), "-p", "x"), "without weights", "gemtop pull")


def test_what_is_wrong_with_a_model_of_the_hub_is_said_of_its_name(tmp_path: Path) -> None:
    adapter = write_lora(tmp_path / "poet.gguf")
    with serving() as hub:
        hub.add("someone/poet-gguf", "poet.gguf", adapter, sha256="0" * 64)
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "", "HF_HOME": str(tmp_path / "hf")}
        words = refused(gemtop("plan", "hf:someone/poet-gguf", **environment), "not a language model")
    assert words.startswith("gemtop: hf:someone/poet-gguf is ") and str(tmp_path) not in words
