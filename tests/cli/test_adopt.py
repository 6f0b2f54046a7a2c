"""gemtop adopt in a process of its own, on files laid out as Ollama's are."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from gemtop.domain.classify import classify
from gemtop.engine.gguf import read_header
from tests.cli.commands import LIMIT_S, command, gemtop, killed_afterwards, refused
from tests.conftest import child_environment
from tests.engine.ollama_layout import LACKING, make, pull
from tests.stores import Machine

TAG = "gemma3:270m-it-qat"


@pytest.fixture(scope="module")
def ollamas(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in Ollama's layout."""
    return make(model_path, tmp_path_factory.mktemp("ollama") / "model.gguf")


@pytest.fixture
def pulled(machine: Machine, ollamas: Path) -> Path:
    """The same as `ollama pull` leaves it; the blob."""
    return pull(machine, ollamas, *TAG.split(":"))


def models(tmp_path: Path) -> list[str]:
    folder = tmp_path / "share" / "gemtop" / "models"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_by_its_name(pulled: Path, tmp_path: Path) -> None:
    done = gemtop("adopt", TAG)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 0, lines
    target = tmp_path / "share" / "gemtop" / "models" / "gemma3-270m-it-qat.gguf"
    assert done.stdout.decode() == f"{target}\n"
    assert models(tmp_path) == [target.name]
    assert all(line.startswith("gemtop: ") for line in lines)
    assert lines[0].startswith(f"gemtop: {TAG}: 0.25 GB to copy; left out: 5 vision tensors")
    for key in LACKING:
        assert sum(line.startswith(f"gemtop: filled in: {key} = ") for line in lines) == 1
    assert "gemtop: filled in: gemma3.rope.freq_base = 1e+06 (Google's configuration of Gemma 3)" in lines
    assert lines[-1].startswith("gemtop: checked: it recites a page it has read 8,192 tokens before, perplexity 1.1")
    assert classify(read_header(target)).training == "qat"

    refused(gemtop("adopt", TAG), str(target), "is there already; use it, or write it again with --force")
    assert models(tmp_path) == [target.name]

    # From then on the name is the copy's.
    planned = json.loads(gemtop("plan", TAG, "--json").stdout)
    assert planned["model"]["path"] == str(target)
    (row,) = json.loads(gemtop("models", TAG, "--json").stdout)
    assert (row["path"], row["store"], row["adopted_from"]) == (str(target), "ollama", str(pulled))
    assert row["fits_8k"] is not None
    assert f"the adopted copy, {target.name}" in gemtop("models").stdout.decode()
    ran = gemtop("run", TAG, "-p", "Hi", "-n", "1")
    assert ran.returncode == 0, ran.stderr


def test_before_it_is_adopted_it_can_be_planned_but_not_run(pulled: Path) -> None:
    done = gemtop("plan", TAG, "--gpu-memory", "24GiB")
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.decode().splitlines()
    assert ", as adopted, QAT+PTQ Q4_K_M" in first
    assert " fits, " in last
    (row,) = json.loads(gemtop("models", TAG, "--json").stdout)
    assert (row["adopt"], row["fits_8k"]) == (f"gemtop adopt {TAG}", True)
    for given in (("run", "-p", "Hi"), ("bench", "-r", "1"), ("tune",)):
        refused(gemtop(*given, "-m", TAG), f"gemtop adopt {TAG}")


def test_interrupted_on_a_terminal(pulled: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("adopt", TAG),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=child_environment(),
    )
    request.addfinalizer(killed_afterwards(process))
    os.close(theirs)
    said = b""
    while b"checking" not in said:
        said += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == 130
    said += os.read(ours, 4096)
    os.close(ours)
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    assert b"\rcopying" in said.replace(b"\x1b[K", b"")
    assert said.endswith(b"gemtop: interrupted; nothing was left behind\r\n")
    assert models(tmp_path) == []


def test_what_cannot_be_adopted(pulled: Path, tmp_path: Path) -> None:
    refused(gemtop("adopt", "gemma3:27b-it-qat"), f"Ollama has {TAG} here", "ollama pull gemma3:27b-it-qat")
    refused(gemtop("adopt", TAG, "--to", tmp_path / "no" / "x.gguf"), "is no folder; make it first")
    refused(gemtop("adopt", TAG, XDG_DATA_HOME="/dev/null/x"), "cannot be made", "name another place with --to")
    assert models(tmp_path) == []
