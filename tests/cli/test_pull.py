"""gemtop pull as a user runs it, against a hub on loopback."""

from __future__ import annotations

import hashlib
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemtop.cli.main import main
from gemtop.cli.pull import Meter, progress_line, size_words, time_words
from gemtop.engine import probe_model
from gemtop.engine.hub_incoming import Arrival
from tests.cli.commands import LIMIT_S, command, end, gemtop, killed_afterwards, refused, start
from tests.conftest import child_environment
from tests.hub_server import HubServer, serving

REPO = "unsloth/gemma-3-270m-GGUF"
NAME = "gemma-3-270m-Q4_K_M.gguf"
HOLD = 150_000


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serving() as server:
        yield server


@pytest.fixture
def small(hub: HubServer, tmp_path: Path) -> Path:
    """A model of 300 kB on the hub."""
    path = tmp_path / "remote.gguf"
    probe_model.write(path)
    hub.add(REPO, NAME, path)
    return path


@pytest.fixture
def environment(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    """A hub's user without a token, whose cache is the test's alone."""
    home = tmp_path / "home"
    cache = {"HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "HF_TOKEN_PATH": str(home / "token")}
    return {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "", "HF_HUB_OFFLINE": "", **cache}


def blobs(tmp_path: Path) -> Path:
    return tmp_path / "home" / "hub" / f"models--{REPO.replace('/', '--')}" / "blobs"


def wait_for_bytes(path: Path, n_bytes: int) -> None:
    """Until the file has come this far; the server holds the rest back."""
    deadline = time.monotonic() + LIMIT_S
    while not path.exists() or path.stat().st_size < n_bytes:
        assert time.monotonic() < deadline, f"{path} does not grow to {n_bytes}"
        time.sleep(0.01)


def failed(done: subprocess.CompletedProcess[bytes], hint: str) -> None:
    """Check that it was nothing the user did: exit code 1, and one line that says what it was."""
    words = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b""), words
    assert all(line.startswith("gemtop: ") for line in words.splitlines())
    assert hint in words.splitlines()[-1]


def test_the_real_weights(hub: HubServer, model_path: str, tmp_path: Path, environment: dict[str, str]) -> None:
    digest = hub.add(REPO, NAME, Path(model_path))
    done = gemtop("pull", f"hf:{REPO}", **environment)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.decode().removesuffix("\n"))
    assert path == blobs(tmp_path).parent / "snapshots" / hub.commit / NAME
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest
    assert done.stderr.decode().splitlines() == [
        f"gemtop: fetching {NAME}, 253.1 MB",
        f"gemtop: {NAME} (253.1 MB) is there and has the SHA-256 that the hub states",
    ]
    again = gemtop("pull", f"hf:{REPO}:q4_k_m", **environment)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert again.stderr.decode() == f"gemtop: {NAME} (253.1 MB) was already there\n"
    assert len(hub.asked("store")) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_it_goes_on_there(
    hub: HubServer,
    small: Path,
    tmp_path: Path,
    environment: dict[str, str],
    number: signal.Signals,
    request: pytest.FixtureRequest,
) -> None:
    hub.faults.hold_after = HOLD
    process = start("pull", f"hf:{REPO}", **environment)
    request.addfinalizer(killed_afterwards(process))
    partial = blobs(tmp_path) / f"{hashlib.sha256(small.read_bytes()).hexdigest()}.incomplete"
    wait_for_bytes(partial, HOLD)
    process.send_signal(number)
    out, err = end(process)
    assert out == b""
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err.endswith("\ngemtop: interrupted; what has arrived is kept, and the same command goes on from it\n")
    assert partial.stat().st_size == HOLD

    hub.faults.hold_after = None
    hub.faults.released.set()
    done = gemtop("pull", f"hf:{REPO}", **environment)
    assert done.returncode == 0
    assert Path(done.stdout.decode().strip()).read_bytes() == small.read_bytes()
    there = f"; going on from the {HOLD / small.stat().st_size:.0%} that are there\n"
    assert there in done.stderr.decode()
    last = small.stat().st_size - 1
    assert [asked.range for asked in hub.asked("store")] == [f"bytes=0-{last}", f"bytes={HOLD}-{last}"]


def test_progress_in_a_terminal(
    hub: HubServer, small: Path, tmp_path: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    hub.faults.hold_after = HOLD
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("pull", f"hf:{REPO}"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=child_environment(**environment),
    )
    os.close(theirs)
    request.addfinalizer(killed_afterwards(process))
    said = b""
    while b" kB" not in said:
        said += os.read(ours, 4096)
    hub.faults.released.set()
    assert process.stdout is not None
    assert process.stdout.read().endswith(f"{NAME}\n".encode())
    assert process.wait(LIMIT_S) == 0
    while True:
        try:
            said += os.read(ours, 4096)
        except OSError:  # what a terminal answers when the last program has left it
            break
    os.close(ours)
    text = said.decode()
    assert f"\r\x1b[Kpulling {NAME[:10]}" in text
    assert f" of {small.stat().st_size / 1000:.0f} kB" in text
    assert text.endswith("is there and has the SHA-256 that the hub states\r\n")
    assert text.rpartition("\r\x1b[K")[2].startswith("gemtop: ")
    assert "owned" not in text


def test_the_environment(hub: HubServer, small: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    hub.faults.gated = 401
    words = refused(gemtop("pull", f"hf:{REPO}", **environment), "is gated: accept its licence at")
    assert f"{hub.endpoint}/{REPO}, then set HF_TOKEN to a token of that account or run `hf auth login`" in words
    more = {"HF_TOKEN": hub.token, "HF_HUB_CACHE": str(tmp_path / "disk2")}
    done = gemtop("pull", f"hf:{REPO}", "--revision", hub.commit, **{**environment, **more})
    assert done.returncode == 0
    assert done.stdout.decode().startswith(f"{tmp_path}/disk2/models--")
    assert hub.token not in done.stderr.decode()


def test_a_hub_whose_name_is_unknown(environment: dict[str, str]) -> None:
    done = gemtop("pull", f"hf:{REPO}", **{**environment, "HF_ENDPOINT": "http://no-such-hub.invalid"})
    failed(done, f"http://no-such-hub.invalid cannot be reached for {REPO}: ")


@pytest.mark.parametrize(
    ("choice", "more", "hint"),
    [
        (":Q2_K", {}, f"{REPO} has no Q2_K; it has Q4_K_M"),
        ("", {"HF_HUB_OFFLINE": "1"}, f"HF_HUB_OFFLINE is set, so the hub cannot be asked for {REPO}"),
        ("", {"HF_HUB_DOWNLOAD_TIMEOUT": "soon"}, "in the environment (HF_*) is wrong: "),
    ],
)
def test_bad_input(small: Path, environment: dict[str, str], choice: str, more: dict[str, str], hint: str) -> None:
    refused(gemtop("pull", f"hf:{REPO}{choice}", **{**environment, **more}), hint)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "the following arguments are required"),
        (["google/gemma"], "google/gemma names no repository; write hf:OWNER/NAME"),
        ([f"hf:{REPO}", "--revision", "../x"], "../x is no revision"),
        ([f"hf:{REPO}\x1b[2J"], "names no repository"),
    ],
)
def test_bad_names(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["pull", *arguments])
    except SystemExit as leaving:  # argparse's own way
        code = int(leaving.code or 0)
    words = capsys.readouterr()
    assert (code, words.out, words.err.count("\n")) == (2, "", 1)
    assert hint in words.err
    assert "\x1b" not in words.err


def arrival(done: int, total: int = 17_230_000_000, name: str = f"BF16/{NAME}") -> Arrival:
    return Arrival(name, "pulling", done, total)


def test_a_line_of_progress() -> None:
    line = progress_line(arrival(6_100_000_000), 52_300_000.0, 120)
    assert line == (f"pulling {NAME} ███████████░░░░░░░░░░░░░░░░░░░  35%  6.10 of 17.23 GB  52.3 MB/s  3:33 min left")
    for columns in (1, 20, 60, 80, 100, 300):
        assert len(progress_line(arrival(6_100_000_000, name="x" * 180), 52_300_000.0, columns)) < max(columns, 2)
    assert "pulling gemma-3-270m-Q4… ███████░  93% " in progress_line(arrival(16_100_000_000), 52_300_000.0, 80)


def test_rates_are_of_the_last_seconds_and_lines_few() -> None:
    now = 0.0
    lines: list[str] = []
    meter = Meter(lines.append, lambda: now)
    for step in range(1001):  # 10 s at 1.5 GB/s, and then 10 s at 100 MB/s
        now = step * 0.02
        meter(arrival(int(min(now, 10) * 1.5e9 + max(now - 10, 0) * 1e8)))
    assert len(lines) <= 102
    assert "1.50 GB/s" in lines[40]
    assert "100.0 MB/s" in lines[-1]
    now += 1
    meter(arrival(1000))  # the server began anew
    now += 1
    meter(arrival(2_001_000))
    assert "2.0 MB/s" in lines[-1]


def test_sizes_and_times() -> None:
    assert [size_words(n) for n in (0, 999, 1000, 253_100_000, 17.23e9)] == [
        "0 B", "999 B", "1 kB", "253.1 MB", "17.23 GB",
    ]  # fmt: skip
    assert [time_words(s) for s in (0.4, 59, 61, 3600, 7261)] == ["0 s", "59 s", "1:01 min", "1:00 h", "2:01 h"]
