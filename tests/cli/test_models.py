"""gemtop models as a user runs it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from gemtop.cli import models
from gemtop.cli.main import main
from gemtop.domain.model import Fit
from tests.cli.commands import gemtop, refused
from tests.cli.test_main import modules_after
from tests.gguf_files import gemma
from tests.stores import Machine
from tests.tui.program import GemtopTerminal


def rows(*arguments: object) -> list[dict[str, Any]]:
    """The demo model's left out."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["models", "--json", *map(str, arguments)]) == 0
    found: list[dict[str, Any]] = json.loads(out.getvalue())
    return [row for row in found if row["store"] != "demo"]


def test_a_row_for_every_model(machine: Machine) -> None:
    machine.ollama("registry.ollama.ai/library/gemma3:27b-it-qat")
    machine.hub("bartowski/google_gemma-3-27b-it-GGUF", "google_gemma-3-27b-it-Q4_0.gguf")
    machine.gguf(machine.here / "mmproj-F16.gguf", {"general.type": "mmproj"})
    (machine.here / "bad.gguf").write_text("GGUF")
    done = gemtop("models")
    assert (done.returncode, done.stderr) == (0, b"")
    head, *lines = done.stdout.decode().splitlines()
    assert head.split() == [
        "name", "size", "params", "format", "training", "context", "fits", "8K", "store", "evidence",
    ]  # fmt: skip
    (qat,) = (line for line in lines if line.startswith("gemma3:27b-it-qat "))
    assert qat.split()[3:] == ["1", "M", "Q4_0", "QAT", "131,072", "?", "ollama", "tag:", "gemma3:27b-it-qat"]
    (ptq,) = (line for line in lines if line.startswith("hf:bartowski/google_gemma-3-27b-it-GGUF:Q4_0 "))
    assert "PTQ" in ptq
    assert "no QAT in file name" in ptq
    (bad,) = (line for line in lines if line.startswith("bad.gguf "))
    assert "does not parse" in bad
    assert any(line.startswith("demo ") for line in lines)
    assert not any("mmproj" in line for line in lines)
    assert "a vision projector" in gemtop("models", "--all").stdout.decode()


def test_json(machine: Machine) -> None:
    blob = machine.ollama(
        "registry.ollama.ai/library/gemma3:4b",
        tensors=[*gemma("q4_0", "q6_K"), ("mm.input_projection.weight", "f16", 256, 256)],
    )
    (row,) = rows()
    assert row["adopt"] == "gemtop adopt gemma3:4b"
    expected = {
        "name": "gemma3:4b", "path": str(blob), "store": "ollama", "also": [], "problem": None, "kind": None,
        "refused": "it holds the vision tensors as well", "architecture": "gemma3", "quantization": "Q4_0",
        "training": "ptq", "variant": "PTQ Q4_0", "evidence": "no QAT in tag: gemma3:4b",
        "format_evidence": "general.file_type: Q4_0", "trained_context": 131072, "fits_8k": None,
        "fits_8k_reason": "the file lacks the tensor blk.0.attn_q_norm.weight, so it holds no Gemma 3 for text",
        "adopted_from": None, "outdated_copy": None,
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    assert "needs gemtop adopt gemma3:4b" in gemtop("models").stdout.decode()


def test_a_damaged_manifest_is_a_row(machine: Machine) -> None:
    machine.manifest("registry.ollama.ai/library/gemma3:broken", []).write_text("{")
    (row,) = rows()
    words = "Ollama's manifest of gemma3:broken is damaged; this mends it: ollama pull gemma3:broken"
    assert (row["name"], row["problem"], row["size_bytes"]) == ("gemma3:broken", words, None)
    refused(gemtop("plan", "gemma3:broken"), words)


def test_only_those_that_are_named(machine: Machine) -> None:
    machine.ollama("registry.ollama.ai/library/gemma3:4b")
    for quant in ("Q4_0", "Q8_0"):
        machine.hub("a/b", f"x-4b-{quant}.gguf")
    adapter = machine.gguf(machine.home / "lora.gguf", {"general.type": "adapter"})
    assert [row["name"] for row in rows("gemma3:4b")] == ["gemma3:4b"]
    assert [row["name"] for row in rows("a/b")] == ["hf:a/b:Q4_0", "hf:a/b:Q8_0"]
    assert [row["kind"] for row in rows(adapter, "a/b:Q8_0")] == ["a LoRA adapter", None]
    refused(gemtop("models", "gemma3:27b"), "ollama pull gemma3:27b")
    refused(gemtop("models", machine.here), "is a folder")


def test_folders_of_the_configuration(machine: Machine) -> None:
    file = machine.home / ".config" / "gemtop" / "config.toml"
    file.parent.mkdir(parents=True)
    machine.gguf(machine.home / "shelf" / "deep" / "mine.gguf")
    file.write_text('[models]\nfolders = ["~/shelf"]\n')
    assert [row["name"] for row in rows()] == ["mine.gguf"]
    file.write_text('[models]\nfolders = ["~/shelf", "~/gone"]\n')
    assert "gone, a folder of the configuration, cannot be looked through" in gemtop("models").stderr.decode()
    file.write_text("[models]\nfolder = 1\n")
    refused(gemtop("models"), "line 2", "folders")


def test_a_machine_without_models(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gemtop.engine.stores.demo.demo_installed", lambda: False)
    assert main(["models", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "gemtop pull" in err


def test_names_from_files_cannot_harm_the_terminal(machine: Machine) -> None:
    machine.gguf(machine.here / "x\x1b]0;owned\x07-4b-Q4_0.gguf", {"general.name": "a\x1b[2J"})
    out = gemtop("models").stdout
    assert b"owned" in out
    assert b"\x1b" not in out


def test_the_fit_is_shown_as_it_was_planned(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The planner's answers, here from a table."""
    machine.gguf(machine.here / "big-27b-Q4_0.gguf", tensors=gemma(width=512))
    machine.gguf(machine.here / "small-4b-Q4_0.gguf")
    (machine.here / "bad.gguf").write_text("x")
    answers = {"big-27b-Q4_0.gguf": Fit(False, "1 GiB short"), "small-4b-Q4_0.gguf": Fit(True, "5 GiB free")}

    def plan(entries: Any, _planner: object, _progress: object) -> dict[str, Fit]:
        assert {entry.name for entry in entries} == set(answers), "what cannot be loaded is not planned"
        return {entry.path: answers[entry.name] for entry in entries}

    monkeypatch.setattr(models, "fits_at_8k", plan)
    assert main(["models", "--json"]) == 0
    found = {row["name"]: (row["fits_8k"], row["fits_8k_reason"]) for row in json.loads(capsys.readouterr().out)}
    assert found["big-27b-Q4_0.gguf"] == (False, "1 GiB short")
    assert found["small-4b-Q4_0.gguf"] == (True, "5 GiB free")
    assert found["bad.gguf"][0] is None
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("big-27b") and "  no  " in lines[1]
    assert lines[2].startswith("small-4b") and "  yes  " in lines[2]


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_what_takes_more_than_a_moment_tells_how_far_it_is(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        machine.gguf(machine.here / f"gemma-3-4b-it-{number}-Q4_0.gguf")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(models, "_A_MOMENT_S", -1.0)
    assert len(rows()) == 3
    assert "reading headers: 3 of 3" in terminal.getvalue()
    assert "planning: 2 of 3" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K"), "the line is gone in the end"


def test_on_a_terminal_it_keeps_to_the_width(machine: Machine) -> None:
    for number in range(3):
        machine.gguf(machine.here / f"gemma-3-4b-it-with-a-long-name-{number}-Q4_0.gguf")
    with GemtopTerminal(["models"], columns=140, rows=30) as terminal:
        assert terminal.wait() == 0
        lines = terminal.text.splitlines()
        assert len([line for line in lines if line.startswith("gemma") and line.endswith("…")]) == 3
    with GemtopTerminal(["models"], columns=100, rows=30) as terminal:
        assert terminal.wait() == 0
        assert b"reading" not in terminal.raw
        lines = terminal.text.splitlines()
        at = lines.index("gemma-3-4b-it-with-a-long-name-0-Q4_0.gguf")
        assert lines[at + 1].startswith("    1 MiB") and lines[at + 1].endswith("…")


@pytest.mark.parametrize("columns", [40, 80])
def test_a_narrow_terminal_breaks_no_line_but_a_name(machine: Machine, columns: int) -> None:
    machine.ollama("registry.ollama.ai/library/gemma3:27b-it-qat")
    name = "gemma-3-4b-it-with-a-very-long-name-that-goes-on-and-on-Q4_0.gguf"
    machine.gguf(machine.here / name)
    (machine.here / "bad.gguf").write_text("GGUF")
    with GemtopTerminal(["models"], columns=columns, rows=40) as terminal:
        assert terminal.wait() == 0
        written = terminal.raw.decode().splitlines()
        assert name in written
        assert all(len(line) <= columns for line in written if line != name), written
        if columns == 80:
            at = written.index("gemma3:27b-it-qat")
            assert written[at + 1].startswith("    1 MiB") and written[at + 1].endswith("ollama")
            assert written[at + 2] == "    tag: gemma3:27b-it-qat"


def test_neither_screen_nor_engine_is_imported(machine: Machine) -> None:
    machine.gguf(machine.here / "a.gguf")
    for _ in range(2):
        assert not modules_after("models", "--json") & {"textual", "llama_cpp", "plotext", "numpy", "duckdb", "pynvml"}


def test_files_that_may_not_be_read(machine: Machine) -> None:
    file = machine.gguf(machine.here / "a.gguf")
    file.chmod(0)
    (row,) = rows()
    assert ("cannot be read" in str(row["problem"])) == (os.getuid() != 0)


def test_a_path_outside_every_store(machine: Machine, tmp_path: Path) -> None:
    file = machine.gguf(tmp_path / "afar" / "gemma-3-4b-it-qat-Q4_0.gguf")
    (row,) = rows(file)
    assert (row["name"], row["variant"]) == (str(file), "QAT Q4_0")
