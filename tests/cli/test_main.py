"""The command line as a whole: what it imports, what it says, how it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gemtop import __version__
from gemtop.cli.main import COMMANDS
from tests.cli.commands import LIMIT_S, command, gemtop, refused
from tests.conftest import child_environment

HEAVY = (
    "textual",
    "llama_cpp",
    "plotext",
    "pynvml",
    "numpy",
    "duckdb",
    "psutil",
    "huggingface_hub",
    "httpx2",
    "tomlkit",
)


WITHOUT_HISTORY = ("pull", "adopt", "quantize", "devices", "completion", "config")
"""Commands that neither read nor write the history."""


def modules_after(*arguments: str) -> set[str]:
    """Top-level modules that a command line has imported by its end."""
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['gemtop', *{arguments!r}]\n"
        "try:\n    runpy.run_module('gemtop', run_name='__main__')\n"
        "except SystemExit as left:\n    assert not left.code, left.code\n"
        "sys.stderr.write(' '.join({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=LIMIT_S, check=True, env=child_environment()
    )
    return set(done.stderr.decode().split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), *((name, "--help") for name in COMMANDS), ("query", "--list")]
)
def test_nothing_big_is_imported_to_give_help(arguments: tuple[str, ...]) -> None:
    assert not modules_after(*arguments) & set(HEAVY)


def test_a_query_imports_neither_screen_nor_engine() -> None:
    loaded = modules_after("query", "SELECT 1 AS one", "--format", "csv")
    assert "duckdb" in loaded
    assert not loaded & {"textual", "llama_cpp", "plotext", "pynvml"}


def test_doctor_leaves_the_engine_to_a_child() -> None:
    assert not modules_after("doctor") & {"textual", "llama_cpp", "plotext", "numpy"}


def test_help_names_every_command_and_exit_code() -> None:
    done = gemtop("--help")
    text = done.stdout.decode()
    assert done.returncode == 0
    for name, words in COMMANDS.items():
        assert name in text
        assert words in text
    for flag in ("--prompt", "--quit-when-done", "-ngl", "-ctk", "--swa-full", "--db", "--demo"):
        assert flag in text
    assert "70 llama.cpp" in text.replace("\n", " ")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    done = gemtop(name, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert f"usage: gemtop {name}" in text
    assert ("--db" in text) == (name not in WITHOUT_HISTORY)


def test_the_version_and_llama_cpps(tmp_path: Path) -> None:
    done = gemtop("--version")
    first, second = done.stdout.decode().splitlines()
    assert (first, done.returncode, done.stderr) == (f"gemtop {__version__}", 0, b"")
    assert re.fullmatch(r"llama\.cpp \S+.* \(llama-cpp-python \S+\), backends: .*CPU.*", second)
    (tmp_path / "llama_cpp").mkdir()
    (tmp_path / "llama_cpp" / "__init__.py").touch()
    (tmp_path / "llama_cpp" / "llama_cpp.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = gemtop("--version", PYTHONPATH=path)
    first, second = done.stdout.decode().splitlines()
    assert (first, done.returncode, done.stderr) == (f"gemtop {__version__}", 0, b"")
    assert second == "llama.cpp: this llama.cpp build dies of SIGILL on this CPU; see gemtop doctor"


def test_flags_it_does_not_know() -> None:
    refused(gemtop("--nonsense"), "unrecognized arguments", "gemtop --help")
    refused(gemtop("run", "--nonsense"), "unrecognized arguments", "--help")
    refused(gemtop("bench", "--nonsense"), "unrecognized arguments")


def test_abbreviations_are_not_guessed(model_path: str) -> None:
    refused(gemtop("run", model_path, "--prom", "Hi"), "unrecognized arguments")


def test_without_a_terminal_the_screen_names_the_other_way(model_path: str) -> None:
    refused(gemtop(), "there is no terminal", "gemtop run MODEL -p TEXT")
    refused(gemtop(model_path), "gemtop run MODEL -p TEXT")


def test_help_into_a_pipe_that_is_closed() -> None:
    process = subprocess.Popen(
        command("--help"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(LIMIT_S) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
