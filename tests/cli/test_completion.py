"""What Tab offers, from the words alone and in real shells."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from gemtop.cli import complete
from gemtop.cli.completion import SHELLS
from gemtop.cli.main import COMMANDS
from gemtop.config import Paths, config_file, paths, write_state
from gemtop.domain.records import SessionEnd
from gemtop.history.ingest import take_in_dead
from gemtop.history.queries import all_queries
from gemtop.history.recorder import Recorder
from tests.cli.commands import gemtop, refused
from tests.history.rows import session
from tests.stores import Machine
from tests.tui.program import GemtopTerminal

BREAKS = " \t\n\"'><=;|&(:"
HUB = "hf:google/gemma-3-4b-it-qat-q4_0-gguf:Q4_0"


@pytest.fixture
def names(machine: Machine) -> Machine:
    """A machine with models of several stores, files of odd names, a query of the user's own and two sessions."""
    machine.ollama("registry.ollama.ai/library/gemma3:27b-it-qat")
    machine.ollama("hf.co/unsloth/gemma:Q8_0")
    machine.hub("google/gemma-3-4b-it-qat-q4_0-gguf", "gemma-3-4b-it-q4_0.gguf")
    machine.gguf(machine.here / "my models" / "it's $1.gguf")
    (machine.here / "notes.txt").touch()
    (machine.here / ".hidden.gguf").touch()
    (machine.here / "bad\nname.gguf").touch()
    yours = config_file().parent / "queries"
    yours.mkdir(parents=True)
    (yours / "mine.sql").write_text("-- Mine\n-- A query.\n-- param: from text = null  since when\nSELECT 1\n")
    record("20261127-101010-aaaaaaaa")
    record("20261127-111111-bbbbbbbb")
    return machine


def record(session_id: str) -> None:
    """A session in the history of GEMTOP_DB."""
    recorder = Recorder(paths())
    recorder.open(session(session_id))
    recorder.close(SessionEnd(time.monotonic_ns(), None))
    take_in_dead(paths(), wait_s=60)  # what a busy machine has left in the spool


def values(*words: str) -> list[str]:
    return [offer.value for offer in complete.offers(words[:-1], words[-1])[0]]


def bash(line: str) -> list[str]:
    return complete.for_bash(line, BREAKS).splitlines()


def test_words_flags_and_what_they_take(names: Machine) -> None:
    first = values("")
    assert set(COMMANDS) < set(first)
    assert {"gemma3:27b-it-qat", HUB, "hf.co/unsloth/gemma:Q8_0", "demo"} <= set(first)
    assert not any("\n" in name for name in first)
    assert values("que") == ["query"]
    assert values("query", "mi") == ["mine"]
    assert set(values("query", "")) == {"mine", *(query.name for query in all_queries())}
    assert values("query", "slowest_tokens", "run_id=1", "") == ["n="]
    assert values("query", "mine", "") == ["from="]
    assert values("run", "--demo", "--n-") == ["--n-predict", "--n-gpu-layers"]
    assert values("run", "--n-predict", "5", "-n") == ["-ngl"], "what was given is not offered again"
    assert "--lora" in values("run", "--lora", "x.gguf", "--lo"), "but what may be repeated"
    assert values("run", "-p", "--de") == [], "a value is no flag"
    assert values("run", "--", "--de") == []
    assert values("run", "-fa", "") == ["on", "off", "auto"]
    assert values("run", "-sm", "") == ["none", "layer", "row"]
    assert values("run", "--flash-attn=o") == ["--flash-attn=on", "--flash-attn=off"]
    assert values("run", "-ctk", "q8") == ["q8_0"]
    assert "f16,q8_0" in values("bench", "-ctk", "f16,q")
    assert "Q8_0,Q4_K_M" in values("quantize", "x", "--to", "Q8_0,Q4")
    assert values("quantize", "x", "--token-embedding-type", "q8_") == ["q8_0"]
    assert values("run", "gemma3:2") == ["gemma3:27b-it-qat"]
    assert set(values("adopt", "")) == {"gemma3:27b-it-qat", "hf.co/unsloth/gemma:Q8_0"}
    assert values("compare", "--checkpoint", "gemma3") == ["gemma3:27b-it-qat="]
    assert values("compare", "--checkpoint", "a=gemma3") == ["a=gemma3:27b-it-qat"]
    assert values("sessions", "ta") == ["tag"]
    assert values("sessions", "--json", "show", "") == ["last", "20261127-111111-bbbbbbbb", "20261127-101010-aaaaaaaa"]
    assert values("sessions", "tag", "last", "") == []
    assert "--remove" in values("sessions", "tag", "-")
    assert values("replay", "last", "") == []
    assert values("config", "e") == ["edit"]
    assert values("config", "show", "screen.th") == ["screen.theme", "screen.thrift"]
    assert values("config", "show", "keys.live.st") == ["keys.live.stop"]
    assert values("completion", "z") == ["zsh"]
    assert values("no-such-command", "") == values("x.gguf", ""), "the screen's own arguments"
    assert values("run", "--no-such-flag", "") == values("run", "")


def test_sessions_are_those_of_the_history_that_is_named(names: Machine, tmp_path: Path) -> None:
    other = str(tmp_path / "other.duckdb")
    assert values("sessions", "show", "--db", other, "") == ["last"]
    record("20261128-121212-cccccccc")
    assert values("replay", "20261128") == ["20261128-121212-cccccccc"], "what has come since is there"
    os.environ["GEMTOP_DB"], before = other, os.environ["GEMTOP_DB"]
    try:
        record("20261129-131313-dddddddd")
    finally:
        os.environ["GEMTOP_DB"] = before
    assert values("replay", f"--db={other}", "2026") == ["20261129-131313-dddddddd"]


def test_folders_that_do_not_answer_hold_nobody_up(folders: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event

    from gemtop.engine import known_models

    answers = Event()
    monkeypatch.setattr(known_models, "stored_models", lambda _folders: [answers.wait(60)])
    monkeypatch.setattr(known_models, "_LONGEST_S", 0.01)
    assert known_models.known_models(folders) == []
    write_state(folders, "model-names", {"names": [["gemma3:4b", "ollama"]]})
    assert known_models.known_models(folders) == [("gemma3:4b", "ollama")]
    answers.set()  # the thread ends with the test


def test_lines_as_bash_has_them(names: Machine) -> None:
    assert bash("gemtop run gemma3:2") == ["space", "27b-it-qat"]
    assert bash("gemtop run gemma3\\:2") == ["space", "gemma3:27b-it-qat"]
    assert bash('gemtop run "gemma3:2') == ["space", "gemma3:27b-it-qat"]
    assert bash("gemtop run --model=gemma3:2") == ["space", "27b-it-qat"]
    assert bash(f"gemtop run {HUB[:9]}") == ["space", HUB.removeprefix("hf:")]
    assert bash("gemtop run my") == ["nospace", "my\\ models/"]
    assert bash("gemtop run 'my mod") == ["nospace", "my models/"]
    assert bash("gemtop run my\\ models/it") == ["space", "my\\ models/it\\'s\\ \\$1.gguf"]
    assert bash("gemtop run .h") == ["space", ".hidden.gguf"]
    assert bash("gemtop import no") == ["space", "notes.txt"]
    assert bash("gemtop export --to m") == ["nospace", "my\\ models/"]
    assert bash(f"gemtop run {names.here}/my") == ["nospace", f"{names.here}/my\\ models/"]
    (names.home / "gguf").mkdir()
    assert bash("gemtop run ~/gg") == ["nospace", "~/gguf/"]
    assert bash("gemtop run -p 'é \"x' --dem") == ["space", "--demo"]
    assert bash("gemtop query sessions") == ["space", "sessions"]
    assert bash("gemtop query sessions ") == ["nospace", "n="]
    assert bash("gemtop ") == bash("/usr/bin/gemtop  ")


def test_a_shell_hears_of_no_failure(folders: Paths) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text("[screen\n")
    assert gemtop("__complete", "fish", "run", "dem").stdout == b"demo\tdemo\n", "whatever is in the configuration"
    folders.history.parent.mkdir()
    folders.history.write_text("no history")
    done = gemtop("__complete", "fish", "replay", "la")
    assert (done.stdout, done.stderr) == (b"last\tthe newest\n", b"")
    done = gemtop("__complete", "bash")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert "IndexError" in (folders.state / "log" / "gemtop.log").read_text()
    refused(gemtop("completion", "tcsh"), "invalid choice: 'tcsh'")


_START = {
    "bash": (".bashrc", 'PS1="$ "\neval "$(gemtop completion bash)"\n', ["bash", "--noprofile", "-i"]),
    "zsh": (".zshrc", 'PS1="$ "\nautoload -Uz compinit\ncompinit -u\nsource <(gemtop completion zsh)\n', ["zsh", "-i"]),
    "fish": (
        ".config/fish/config.fish",
        "function fish_prompt; echo '$ '; end\ngemtop completion fish | source\n",
        ["fish", "-i"],
    ),
}
"""File, what is in it, and the command that reads it."""


@pytest.mark.parametrize("shell", SHELLS)
def test_in_the_shell_itself(names: Machine, tmp_path: Path, shell: str) -> None:
    """Tab is pressed and what the line has become is read from the terminal."""
    rc, text, command = _START[shell]
    file = names.home / rc
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    program = tmp_path / "bin" / "gemtop"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gemtop "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    with GemtopTerminal((), program=command, PATH=path, TERM="xterm") as terminal:
        terminal.wait_for_text("$")
        for typed, becomes in (
            ("gemtop query mi", "gemtop query mine"),
            ("gemtop query slow", "gemtop query slowest_tokens"),
            ("gemtop run gemma3:2", "gemtop run gemma3:27b-it-qat"),
            (f"gemtop bench {HUB[:12]}", f"gemtop bench {HUB}"),
            ("gemtop run 'my", "gemtop run 'my models/"),
            ("gemtop replay 20261127-1", "gemtop replay 20261127-1"),
        ):
            terminal.type(f"{typed}\t")
            terminal.wait_for_text(f"$ {becomes}")
            terminal.type("\x15")
            terminal.wait_until(lambda: terminal.text.rstrip().endswith("$"), "the line is empty again")
