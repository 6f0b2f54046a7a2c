"""gemtop doctor in a process of its own, with and without a driver."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gemtop import __version__
from gemtop.config import Paths
from tests import nvml_stub
from tests.cli.commands import gemtop


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml_stub.build(tmp_path_factory.mktemp("nvml"))


def stub(library: Path, scenario: str = "ok") -> dict[str, str]:
    chosen = ("LD_LIBRARY_PATH", "NVML_STUB_SCENARIO")
    return {name: nvml_stub.environment(library, scenario)[name] for name in chosen}


def test_what_it_says_without_a_driver(warm: Paths, tmp_path: Path) -> None:
    path = nvml_stub.environment_without_driver(tmp_path)["LD_LIBRARY_PATH"]
    done = gemtop("doctor", LD_LIBRARY_PATH=path)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    said = {line[:14].strip(): line[15:] for line in lines if line}
    assert said["gemtop"] == __version__
    assert sys.executable in said["python"]
    assert "llama.cpp" in said["llama.cpp"]
    assert "CPU" in said["backends"]
    assert (said["CUDA"], said["RPC"]) == ("no", "yes")
    assert said["CPU features"]
    assert said["NVIDIA driver"].startswith("N/A (")
    assert said["history"] == f"{warm.history} (not begun yet)"
    assert str(warm.spools) in said["spools"]
    assert "CMAKE_ARGS" not in done.stdout.decode(), "nothing to advise"


def test_json_has_the_same(warm: Paths, tmp_path: Path) -> None:
    path = nvml_stub.environment_without_driver(tmp_path)["LD_LIBRARY_PATH"]
    found = json.loads(gemtop("doctor", "--json", LD_LIBRARY_PATH=path).stdout)
    assert found["gemtop_version"] == __version__
    assert found["llama_cpp"]["problem"] is None
    assert "CPU" in found["llama_cpp"]["backends"]
    assert found["llama_cpp"]["devices"][-1]["kind"] == "cpu"
    assert found["nvidia"]["devices"] == []
    assert found["nvidia"]["gpu_reason"]
    assert found["data"]["history"] == str(warm.history)
    assert found["data"]["history_problem"] is None
    assert found["advice"] == []
    assert all(found["packages"].values())


def test_cards_that_the_build_cannot_use(library: Path) -> None:
    done = gemtop("doctor", **stub(library))
    text = done.stdout.decode()
    assert done.returncode == 0
    assert f"NVIDIA driver  {nvml_stub.DRIVER_VERSION}" in text
    assert "GPU 0          Stub RTX 24G, 24.0 GiB" in text
    assert "GPU 1          Stub T4 16G, 16.0 GiB" in text
    (advice,) = [line for line in text.splitlines() if "CMAKE_ARGS" in line]
    assert "Stub RTX 24G and Stub T4 16G (driver 570.00.stub, CUDA 12.8)" in advice
    assert "CMAKE_ARGS='-DGGML_CUDA=on -DGGML_RPC=on' " in advice, "what the build has besides, it keeps"
    assert f"{sys.executable} -m pip install" in advice
    assert "--no-cache-dir --force-reinstall --no-deps --no-binary llama-cpp-python llama-cpp-python==" in advice


def test_cards_in_json(library: Path) -> None:
    found = json.loads(gemtop("doctor", "--json", **stub(library)).stdout)
    assert found["nvidia"]["driver_version"] == nvml_stub.DRIVER_VERSION
    assert [(d["index"], d["name"]) for d in found["nvidia"]["devices"]] == [
        ("0", "Stub RTX 24G"),
        ("1", "Stub T4 16G"),
    ]
    assert len(found["advice"]) == 1
    assert sys.executable in found["advice"][0]
    assert (found["fix"]["build"], found["fix"]["done"]) == ("cuda", False)
    assert nvml_stub.uuid(0) not in json.dumps(found)


def test_the_fix_for_cards_that_the_build_cannot_use(library: Path) -> None:
    lines = gemtop("doctor", "--fix", **stub(library)).stdout.decode().splitlines()
    assert lines[0].startswith("# CUDA: this machine has Stub RTX 24G and Stub T4 16G (driver 570.00.stub, CUDA 12.8)")
    commands = [line for line in lines if not line.startswith("#")]
    assert "-DGGML_CUDA=on" in commands[-1]
    subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, check=True)


@pytest.mark.parametrize("scenario", ["no_driver", "mismatch", "no_permission", "devices=0"])
def test_a_driver_that_does_not_answer(library: Path, scenario: str) -> None:
    found = json.loads(gemtop("doctor", "--json", **stub(library, scenario)).stdout)
    assert found["nvidia"]["devices"] == []
    assert found["nvidia"]["gpu_reason"]
    assert found["advice"] == []


def test_a_history_that_cannot_be_written_is_said_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "folder" / "h.duckdb"
    done = gemtop("doctor", "--db", below)
    assert done.returncode == 0
    assert "Not a directory" in done.stdout.decode()


def test_a_build_that_dies_is_described_and_the_command_to_rebuild_it(tmp_path: Path) -> None:
    """An instruction the CPU lacks kills whoever loads the library: here, a module that does the same."""
    package = tmp_path / "llama_cpp"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "llama_cpp.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)\n")
    done = gemtop("doctor", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    text = done.stdout.decode()
    assert "dies of SIGILL" in text
    assert f"CMAKE_ARGS=-DGGML_NATIVE=on {sys.executable} -m pip install" in text
    assert done.stderr == b""
