"""gemtop quantize in a process of its own: what it prints, where it writes, and what it leaves behind when stopped."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import LIMIT_S, command, gemtop, killed_afterwards, refused
from tests.conftest import child_environment
from tests.small_gemma import write_small

SLOW = ("--to", "IQ4_NL", "-t", "1", "--allow-requantize")
"""Takes some seconds with the demo model: time enough to stop it."""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return write_small(folder / "gemma-3-small-it-F16.gguf")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_several_formats_beside_the_source(small: Path) -> None:
    done = gemtop("quantize", small, "--to", "Q8_0,q4_k,F16")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 0, lines
    names = ["gemma-3-small-it-Q8_0.gguf", "gemma-3-small-it-Q4_K_M.gguf"]
    assert done.stdout.decode().splitlines() == [str(small.with_name(name)) for name in names]
    assert files(small.parent) == sorted([small.name, *names])
    assert lines[0] == f"gemtop: left out: {small} is F16 already"
    assert lines[1].startswith(f"gemtop: {names[0]}: 1 MiB, 8.5")
    assert " bits per weight, PTQ Q8_0; " in lines[1]

    refused(gemtop("quantize", small, "--to", "F16,Q4_0,Q8_0"), names[0], "is there already", "--force")
    assert files(small.parent) == sorted([small.name, *names])
    again = gemtop("quantize", small, "--to", "Q8_0", "--force", "--json")
    found = json.loads(again.stdout)
    (made,) = found["files"]
    assert (made["format"], made["variant"], made["derived"], made["fallbacks"]) == ("Q8_0", "PTQ Q8_0", False, [])
    assert made["path"] == str(small.with_name(names[0]))
    assert made["size_bytes"] == small.with_name(names[0]).stat().st_size
    assert found["source"]["quantization"] == "F16"
    assert found["left_out"] == []
    (row,) = json.loads(gemtop("models", small.with_name(names[0]), "--json").stdout)
    assert (row["variant"], row["derived"], row["fingerprint"]) == ("PTQ Q8_0", False, made["fingerprint"])


def test_real_weights_by_their_name_and_a_token_of_each(model_path: str, tmp_path: Path) -> None:
    """The demo model is a Q4_K_M: what is made of it is derived, and every command says so."""
    refused(gemtop("quantize", "demo", "--to", "Q4_0"), "tensors are quantised already", "--allow-requantize")
    refused(gemtop("quantize", model_path, "--to", "Q4_K_M"), "is Q4_K_M already")
    done = gemtop("quantize", "demo", "--to", "Q8_0,Q4_0", "--allow-requantize")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 0, lines
    folder = tmp_path / "share" / "gemtop" / "models"
    assert files(folder) == ["gemma-3-270m-derived-Q4_0.gguf", "gemma-3-270m-derived-Q8_0.gguf"]
    assert "1 of 236 tensors fell back to q8_0, since rows do not divide into blocks of 256" in lines[1]
    for line, path, words in zip(lines, done.stdout.decode().splitlines(), ("PTQ Q8_0", "PTQ Q4_0"), strict=True):
        assert f"{words} (derived)" in line
        ran = gemtop(
            "run", path, "-p", "The capital of France is", "-n", "1", "--raw", "--temp", "0", "-t", "1", "--json"
        )
        assert ran.returncode == 0, ran.stderr
        run = json.loads(ran.stdout)
        assert (run["variant"], run["training"]) == (f"{words} (derived)", "ptq")
        assert run["text"].strip()
    assert "PTQ (derived)" in gemtop("models", folder / "gemma-3-270m-derived-Q4_0.gguf").stdout.decode()
    planned = json.loads(gemtop("plan", folder / "gemma-3-270m-derived-Q4_0.gguf", "--json").stdout)
    assert planned["model"]["variant"] == "PTQ Q4_0 (derived)"


def test_what_would_be_made(small: Path, tmp_path: Path) -> None:
    done = gemtop("quantize", small, "--to", "Q8_0,Q4_0", "--dry-run", "--output-dir", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    heads, *rows = done.stdout.decode().splitlines()
    assert heads.split() == ["format", "size", "bits/weight", "file"]
    assert [row.split()[0] for row in rows] == ["Q8_0", "Q4_0"]
    assert rows[0].endswith(str(tmp_path / "gemma-3-small-it-Q8_0.gguf"))
    (first, _) = json.loads(gemtop("quantize", small, "--to", "Q8_0,Q4_0", "--dry-run", "--json").stdout)["files"]
    assert first["types"] == {"q8_0": 8, "f32": 7}
    assert files(small.parent) == [small.name]


def test_to_a_file_of_ones_own(small: Path, tmp_path: Path) -> None:
    done = gemtop("quantize", small, "--to", "Q4_0", "--output", tmp_path / "mine.gguf", "--pure")
    assert (done.returncode, done.stdout.decode()) == (0, f"{tmp_path / 'mine.gguf'}\n")
    refused(gemtop("quantize", small, "--to", "Q4_0,Q8_0", "--output", "x.gguf"), "names one file", "--output-dir")
    refused(gemtop("quantize", small, "--to", "Q4_0", "--output", small), "is the source itself")
    refused(gemtop("quantize", small, "--to", "Q4_0", "--output-dir", tmp_path / "no"), "is no folder; make it first")


def test_bad_input(small: Path, tmp_path: Path) -> None:
    refused(gemtop("quantize", small, "--to", "Q4KM"), "'Q4KM' is no format; the nearest is Q4_K_M")
    refused(gemtop("quantize", small), "--to")
    refused(gemtop("quantize", small, "--to", "Q4_0", "-t", "0"), "less than 1")
    refused(gemtop("quantize", small, "--to", "Q4_0", "--token-embedding-type", "q4"), "is no type of a tensor")
    refused(gemtop("quantize", "nowhere.gguf", "--to", "Q4_0"), "nowhere.gguf")
    refused(gemtop("quantize", small, "--to", "IQ1_S", "--json"), "needs an importance matrix; give one with --imatrix")
    refused(gemtop("quantize", small, "--to", "Q4_0", "--imatrix", tmp_path / "no"), "does not exist")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(small.read_bytes()[:-100])
    refused(gemtop("quantize", cut, "--to", "Q4_0"), "is cut short")
    assert files(small.parent) == [small.name]


def test_a_disk_that_gets_full(small: Path) -> None:
    """A limit for the size of a file stands in for the end of the disk: the second format does not fit."""
    done = subprocess.run(
        command("quantize", small, "--to", "Q4_0,Q8_0", "--json"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
        env=child_environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)),
    )
    assert done.returncode == 2
    last = done.stderr.decode().splitlines()[-1]
    assert last.endswith("gemma-3-small-it-Q8_0.gguf cannot be written: File too large; give another place with "
                         "--output or --output-dir")  # fmt: skip
    assert files(small.parent) == [small.name, "gemma-3-small-it-Q4_0.gguf"]
    assert [made["format"] for made in json.loads(done.stdout)["files"]] == ["Q4_0"]


def test_interrupted_on_a_terminal(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "out").mkdir()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("quantize", "demo", *SLOW, "--output-dir", tmp_path / "out"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=child_environment(),
    )
    request.addfinalizer(killed_afterwards(process))
    os.close(theirs)
    said = b""
    while b"blk.0." not in said:
        said += os.read(ours, 4096)
    children = _children(process.pid)
    for _ in range(3):  # keys repeat
        process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == 130
    said += os.read(ours, 4096)
    os.close(ours)
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    assert b"gemma-3-270m-derived-IQ4_NL.gguf  " in said
    assert said.endswith(b"gemtop: interrupted; of what was being made nothing is left\r\n")
    assert files(tmp_path / "out") == []
    assert children and not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_killed_outright_the_quantiser_ends_and_leaves_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "out").mkdir()
    process = subprocess.Popen(
        command("quantize", "demo", *SLOW, "--output-dir", tmp_path / "out"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=child_environment(),
    )
    request.addfinalizer(killed_afterwards(process))
    for _ in _until(LIMIT_S):
        parts = [path for path in (tmp_path / "out").iterdir() if path.stat().st_size > 1 << 20]
        if parts:
            break
    children = _children(process.pid)
    assert children
    process.kill()
    process.wait()
    for _ in _until(LIMIT_S):
        if not files(tmp_path / "out") and not any(_runs(pid) for pid in children):
            break


def _until(limit_s: float) -> Iterator[None]:
    """Ask again and again; the test fails where the answer does not come in time."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        yield
        time.sleep(0.02)
    raise AssertionError(f"it did not happen within {limit_s} s")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie that nobody waits for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
