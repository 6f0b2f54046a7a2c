"""The log: what goes into it, how several processes share it, and what a user is told of what nobody expected."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemtop import logs
from gemtop.config import Paths
from tests.cli.commands import QUICK, gemtop, refused
from tests.conftest import child_environment

_WRITER = """
import logging, sys
from pathlib import Path
from gemtop.logs import LogFile
log = logging.getLogger("gemtop.test")
log.addHandler(LogFile(Path(sys.argv[1]), limit_bytes=40_000))
sys.stdin.readline()
for number in range(300):
    log.warning("writer %s record %04d %s", sys.argv[2], number, "x" * 40)
"""
_FAILING = """
import sys, threading
from gemtop.cli import main, query
def fail(args):
    if "thread" in sys.argv:
        thread = threading.Thread(target=lambda: 1 / 0, name="mover")
        thread.start()
        thread.join()
        return 0
    raise LookupError("no \\x1b[2Jsuch thing")
query.main = fail
sys.exit(main.main(["query", "--list"]))
"""


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """Without what the test started."""
    yield logging.getLogger("gemtop.test")
    assert logs._handler is not None
    logging.getLogger().removeHandler(logs._handler)


def test_without_v_it_holds_warnings_alone_and_is_not_made_before_one(folders: Paths, log: logging.Logger) -> None:
    file = logs.log_file(folders)
    logs.start_log(folders, verbose=False)
    log.info("a model was loaded")
    assert not file.parent.exists()
    log.warning("an \x1b[2Jodd\nname")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (line,) = file.read_text().splitlines()
    assert line.endswith("WARNING gemtop.test: an ␛[2Jodd name")
    logs.start_log(folders, verbose=True)
    log.debug("a model was loaded")
    logging.getLogger("httpx").info("https://host/?token=secret")
    log.warning("é" * 200_000)
    text = file.read_text()
    assert "DEBUG gemtop.test: a model was loaded" in text
    assert "secret" not in text
    assert "characters left out" in text
    assert len(text) < 70_000


def test_processes_share_it_and_no_record_is_torn_or_lost(tmp_path: Path) -> None:
    file = tmp_path / "log" / "gemtop.log"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(file), str(number)], stdin=subprocess.PIPE, env=child_environment()
        )
        for number in range(4)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    files = sorted(file.parent.iterdir())
    assert {f.name for f in files} <= {"gemtop.log", *(f"gemtop.log.{n}" for n in range(1, logs.KEPT + 1))}
    assert len(files) > 2
    assert all(0 < f.stat().st_size <= 41_000 for f in files), "more by what was on its way when it was put aside"
    lines = [line for f in files for line in f.read_text().splitlines()]
    assert len(lines) == 1200
    assert len({line.split("writer ", 1)[1] for line in lines}) == 1200


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [("command", 1, "LookupError: no ␛[2Jsuch thing"), ("thread", 0, "in thread mover that should not: ZeroDivision")],
)
def test_what_nobody_expected_is_one_line_and_the_traceback_is_in_the_log(
    folders: Paths, how: str, code: int, words: str
) -> None:
    def fail() -> str:
        command = [sys.executable, "-c", _FAILING, how]
        done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), timeout=60, check=False)
        assert (done.returncode, done.stdout) == (code, "")
        assert words in done.stderr
        assert "\x1b" not in done.stderr
        return done.stderr

    file = logs.log_file(folders)
    (line,) = fail().splitlines()
    assert line.startswith("gemtop: something failed")
    assert line.endswith(f"the log says more: {file}")
    text = file.read_text()
    assert "Traceback (most recent call last):" in text
    assert "\x1b" not in text
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("in the way")
    said = fail()
    assert "could not be written to the log" in said
    assert "Traceback" in said


def test_v_tells_of_a_command_its_loads_and_llama_cpp_and_of_no_prompt(folders: Paths, model_path: str) -> None:
    file = logs.log_file(folders)
    done = gemtop("run", model_path, "-p", "Lorem ipsum", "-n", 2, *QUICK, "-v")
    assert done.returncode == 0
    text = file.read_text()
    for words in (
        "gemtop.cli: command run: ", f"path='{model_path}'", "n_predict=2", "begins: run", f"loaded {model_path}",
        "INFO gemtop.llama_cpp: ", "memory of CPU: ", "generate of ", "run finished (length)", "decode_tokens_per_s=",
        "ends after 1 runs", "ends with 0 after ",
    ):  # fmt: skip
        assert words in text, words
    assert "Lorem" not in text
    assert "Lorem" not in done.stderr.decode()
    refused(gemtop("run", "/no/such.gguf", "-p", "Hi", "-v"))
    assert "ends with 2: " in file.read_text()
