"""The list of models: what it tells of each, what it keeps, and what cannot stop it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from gemtop.domain.model import ModelEntry
from gemtop.engine.catalogue import list_models
from tests.gguf_files import GEMMA, gemma, write_split
from tests.stores import Machine

SOURCE = Path(__file__).with_name("header_fault.c")


def listed(machine: Machine) -> dict[str, ModelEntry]:
    return {entry.name: entry for entry in list_models(machine.paths) if entry.store != "demo"}


def reads(machine: Machine) -> tuple[dict[str, ModelEntry], int]:
    """The list, and how many headers had to be read for it."""
    told = [0]

    def progress(done: int, total: int) -> None:
        assert done <= total
        told[0] = done

    entries = list_models(machine.paths, progress=progress)
    return {entry.name: entry for entry in entries if entry.store != "demo"}, told[0]


def test_what_is_told_of_a_model(machine: Machine) -> None:
    blob = machine.ollama("registry.ollama.ai/library/gemma3:27b-it-qat", tensors=gemma("q4_0", "f16"))
    (entry,) = listed(machine).values()
    assert (entry.name, entry.path, entry.store) == ("gemma3:27b-it-qat", str(blob), "ollama")
    assert (entry.quantization, entry.training, entry.variant) == ("Q4_0", "qat", "QAT Q4_0")
    assert (entry.evidence, entry.format_evidence) == ("tag: gemma3:27b-it-qat", "general.file_type: Q4_0")
    assert (entry.size_bytes, entry.trained_context) == (blob.stat().st_size, 131_072)
    assert entry.parameters == 256 * 1024 + 256 + 2 * (3 * 256 * 512 + 256)
    assert (entry.problem, entry.kind, entry.refused) == (None, None, None)
    assert entry.fingerprint is not None


def test_the_largest_first(machine: Machine) -> None:
    for name, width in (("small", 256), ("large", 1024), ("middle", 512)):
        machine.gguf(machine.here / f"{name}.gguf", tensors=gemma(width=width))
    assert list(listed(machine)) == ["large.gguf", "middle.gguf", "small.gguf"]


def test_damaged_files_are_rows_with_what_is_wrong(machine: Machine) -> None:
    whole = machine.gguf(machine.here / "whole.gguf")
    (machine.here / "cut.gguf").write_bytes(whole.read_bytes()[:-4096])
    (machine.here / "head.gguf").write_bytes(whole.read_bytes()[:200])
    (machine.here / "page.gguf").write_text("<html>")
    (machine.here / "empty.gguf").write_bytes(b"")
    (machine.here / "gone.gguf").symlink_to(machine.here / "nowhere")
    parts = write_split(machine.here / "split.gguf", GEMMA, gemma(), 3)
    parts[1].unlink()
    machine.ollama("registry.ollama.ai/library/gemma3:4b").unlink()
    found = listed(machine)
    assert found["whole.gguf"].problem is None
    for name, words in {
        "cut.gguf": "4,096 of",
        "head.gguf": "does not parse",
        "page.gguf": "is not a GGUF file",
        "empty.gguf": "is empty",
        "gone.gguf": "not there any more",
        "split-00001-of-00003.gguf": "lacks part split-00002-of-00003.gguf",
        "gemma3:4b": "ollama pull gemma3:4b",
    }.items():
        assert words in str(found[name].problem), name
        assert found[name].variant is None


def test_what_is_no_language_model_is_told_as_what_it_is(machine: Machine) -> None:
    machine.gguf(machine.here / "mmproj-F16.gguf", {"general.type": "mmproj"})
    machine.gguf(machine.here / "lora.gguf", {"general.type": "adapter"})
    machine.gguf(machine.here / "embed.gguf", {"gemma3.pooling_type": 1})
    (machine.here / "mmproj-broken.gguf").write_text("x")
    kinds = {name: entry.kind for name, entry in listed(machine).items()}
    assert kinds == {
        "mmproj-F16.gguf": "a vision projector (mmproj)",
        "mmproj-broken.gguf": "a vision projector (mmproj)",
        "lora.gguf": "a LoRA adapter",
        "embed.gguf": "an embedding model",
    }


def test_ollamas_own_form_needs_adopting(machine: Machine) -> None:
    machine.ollama(
        "registry.ollama.ai/library/gemma3:4b", tensors=[*gemma(), ("v.blk.0.attn_q.weight", "f16", 256, 256)]
    )
    assert listed(machine)["gemma3:4b"].refused == "it holds the vision tensors as well"


def test_headers_are_read_once(machine: Machine) -> None:
    file = machine.gguf(machine.here / "a-4b-Q4_0.gguf")
    (machine.here / "bad.gguf").write_text("GGUF")
    split = write_split(machine.here / "s.gguf", GEMMA, gemma(), 2)
    first, read = reads(machine)
    assert read == 3
    assert reads(machine) == (first, 0)
    machine.gguf(file, tensors=gemma("q8_0", "q8_0"))
    second, read = reads(machine)
    assert read == 1
    assert second["a-4b-Q4_0.gguf"].size_bytes != first["a-4b-Q4_0.gguf"].size_bytes
    split[1].unlink()
    assert "lacks part" in str(reads(machine)[0]["s-00001-of-00002.gguf"].problem)


def test_a_blob_that_gets_another_name_is_looked_at_again(machine: Machine) -> None:
    blob = machine.ollama("registry.ollama.ai/library/mine:latest")
    assert listed(machine)["mine:latest"].training == "unknown"
    manifest = machine.ollama_root / "manifests/registry.ollama.ai/library"
    (manifest / "gemma3").mkdir()
    (manifest / "mine" / "latest").rename(manifest / "gemma3" / "4b-it-qat")
    assert listed(machine)["gemma3:4b-it-qat"].training == "qat"
    assert blob.exists()


@pytest.mark.parametrize("damage", [b"{", b'{"gemtop": "0", "models": {"x": 3}}', b"\xff"])
def test_a_cache_that_is_damaged_is_made_again(machine: Machine, damage: bytes) -> None:
    machine.gguf(machine.here / "a.gguf")
    before = listed(machine)
    cache = machine.paths.cache / "models.json"
    cache.write_bytes(damage)
    assert reads(machine) == (before, 1)
    assert reads(machine) == (before, 0)


def test_rows_of_a_damaged_cache(machine: Machine) -> None:
    machine.gguf(machine.here / "a.gguf")
    before = listed(machine)
    cache = machine.paths.cache / "models.json"
    whole = json.loads(cache.read_text())
    (path,) = whole["models"]
    for row in (None, {"facts": {"nonsense": 1}, "identity": whole["models"][path]["identity"]}):
        cache.write_text(json.dumps({**whole, "models": {path: row}}))
        assert listed(machine) == before


def test_a_cache_that_cannot_be_written_stops_nothing(machine: Machine) -> None:
    machine.gguf(machine.here / "a.gguf")
    machine.paths.cache.parent.mkdir(parents=True, exist_ok=True)
    machine.paths.cache.write_text("a file where the folder would be")
    assert listed(machine)["a.gguf"].problem is None


def test_what_was_read_before_an_interruption_is_kept(machine: Machine) -> None:
    for number in range(4):
        machine.gguf(machine.here / f"{number}.gguf")

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list_models(machine.paths, progress=interrupt)
    assert reads(machine)[1] == 2


def test_a_file_that_kills_the_reader_is_a_row_too(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = tmp_path / "fault.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(fault), str(SOURCE), "-ldl"], check=True)
    for name in ("a", "poison", "z"):
        machine.gguf(machine.here / f"{name}.gguf")
    monkeypatch.setenv("LD_PRELOAD", str(fault))
    found = listed(machine)
    assert found["poison.gguf"].problem == "llama.cpp's reader dies of SIGILL on it"
    assert found["a.gguf"].variant == found["z.gguf"].variant == "Q4_0"
    monkeypatch.delenv("LD_PRELOAD")
    again, read = reads(machine)
    assert read == 1, "another build may read it"
    assert again["poison.gguf"].variant == "Q4_0"


def test_a_build_that_does_not_load_is_said_of_every_file(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        machine.gguf(machine.here / f"{name}.gguf")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    for entry in listed(machine).values():
        assert entry.problem == "this llama.cpp build fails with exit code 1; see gemtop doctor"
    monkeypatch.delenv("LLAMA_CPP_LIB_PATH")
    assert all(entry.problem is None for entry in listed(machine).values())


def test_names_that_are_not_utf_8(machine: Machine) -> None:
    machine.gguf(machine.here / os.fsdecode(b"caf\xe9-4b-Q4_0.gguf"))
    (entry,) = listed(machine).values()
    assert entry.variant == "PTQ Q4_0"
    assert reads(machine)[1] == 0


def test_the_demo_model_is_listed_before_it_is_put_together(machine: Machine) -> None:
    (demo,) = (entry for entry in list_models(machine.paths) if entry.store == "demo")
    assert (demo.name, demo.size_bytes, demo.problem, demo.variant) == ("demo", None, None, None)
