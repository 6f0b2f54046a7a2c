"""Ollama's store, laid out as Ollama lays it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemtop.domain.errors import BadInputError
from gemtop.engine.stores import ollama
from tests.stores import Machine, ollama_layer

LIBRARY = "registry.ollama.ai/library"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("gemma3", "gemma3:latest"),
        ("gemma3:27b-it-qat", "gemma3:27b-it-qat"),
        ("library/gemma3:4b", "gemma3:4b"),
        ("someone/coder", "someone/coder:latest"),
        ("registry.ollama.ai/library/gemma3:4b", "gemma3:4b"),
        ("hf.co/bartowski/google_gemma-3-4b-it-GGUF:Q4_K_M", "hf.co/bartowski/google_gemma-3-4b-it-GGUF:Q4_K_M"),
        ("localhost:5000/me/mine", "localhost:5000/me/mine:latest"),
    ],
)
def test_names_as_its_users_type_them(typed: str, shown: str) -> None:
    assert str(ollama.parse(typed)) == shown


@pytest.mark.parametrize(
    "text", ["", ":", "a/b/c/d", "../../etc:passwd", "a b", "/abs", "gemma3:", "x/../y", "\x1b[2J"]
)
def test_what_is_no_name(text: str) -> None:
    assert ollama.parse(text) is None
    assert ollama.find(text) is None


def test_a_tag_leads_through_its_manifest_to_the_blob(machine: Machine) -> None:
    blob = machine.ollama(f"{LIBRARY}/gemma3:27b-it-qat")
    other = machine.ollama("hf.co/bartowski/google_gemma-3-4b-it-GGUF:Q4_K_M")
    found = ollama.find("gemma3:27b-it-qat")
    assert found is not None
    assert (found.name, found.path, found.problem) == ("gemma3:27b-it-qat", str(blob), None)
    loose = ollama.find("hf.co/bartowski/google_gemma-3-4b-it-GGUF:q4_k_m")
    assert loose is not None
    assert loose.path == str(other), "Ollama takes tags in any case"
    assert ollama.find("llama3") is None
    assert [model.name for model in ollama.models()] == [loose.name, "gemma3:27b-it-qat"]


def test_ollama_models_names_another_place(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.ollama(f"{LIBRARY}/gemma3:4b")
    blob = machine.ollama(f"{LIBRARY}/gemma3:1b", root=machine.home / "elsewhere")
    monkeypatch.setenv("OLLAMA_MODELS", str(machine.home / "elsewhere"))
    assert [model.path for model in ollama.models()] == [str(blob)]


def test_a_tag_that_is_not_pulled(machine: Machine) -> None:
    machine.ollama(f"{LIBRARY}/gemma3:4b")
    machine.ollama(f"{LIBRARY}/gemma3:27b-it-q4_K_M")
    with pytest.raises(BadInputError) as error:
        ollama.find("gemma3:27b-it-qat")
    words = str(error.value)
    assert "gemma3:27b-it-q4_K_M, gemma3:4b here" in words
    assert words.endswith("ollama pull gemma3:27b-it-qat")


def test_a_manifest_without_its_blob(machine: Machine) -> None:
    blob = machine.ollama(f"{LIBRARY}/gemma3:4b")
    blob.unlink()
    found = ollama.find("gemma3:4b")
    assert found is not None
    assert blob.name in str(found.problem)
    assert str(found.problem).endswith("ollama pull gemma3:4b")
    assert [model.problem for model in ollama.models()] == [found.problem]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", '{"layers": 7}', '{"layers": [{"digest": "x"}]}', "null", "\x00\xff", "[" * 100_000],
)
def test_damaged_manifests(machine: Machine, damage: str) -> None:
    manifest = machine.manifest(f"{LIBRARY}/odd:latest", [])
    manifest.write_text(damage, encoding="latin-1")
    found = ollama.find("odd")
    assert found is not None
    assert found.problem == "Ollama's manifest of odd:latest is damaged; this mends it: ollama pull odd:latest"
    assert list(ollama.models()) == [found]
    assert found.path == str(manifest)
    with pytest.raises(
        BadInputError, match=r"Ollama has odd:latest \(its manifest is damaged; ollama pull odd:latest "
    ):
        ollama.find("odd:4b")


@pytest.mark.parametrize("layers", ["[]", '[{"mediaType": 1}]'])
def test_manifests_that_name_no_gguf(machine: Machine, layers: str) -> None:
    """Models of Ollama's cloud, safetensors."""
    machine.manifest(f"{LIBRARY}/odd:latest", []).write_text(f'{{"layers": {layers}}}')
    found = ollama.find("odd")
    assert found is not None
    assert "no GGUF file" in str(found.problem)
    assert list(ollama.models()) == [], "it is no GGUF file on this machine"


def test_digests_lead_nowhere_but_into_the_blobs(machine: Machine) -> None:
    for digest in ("../../../secret", "f" * 63, "sha256:" + "f" * 64):
        manifest = machine.manifest(f"{LIBRARY}/evil:1", [ollama_layer("model", digest, 5)])
        found = ollama.find("evil:1")
        assert found is not None
        assert found.path == str(manifest)
        assert "is damaged" in str(found.problem)


def test_an_adapter_beside_the_model_is_left_alone(machine: Machine) -> None:
    blob = machine.ollama(f"{LIBRARY}/mine:latest")
    layers = [ollama_layer("adapter", "a" * 64, 5), ollama_layer("model", blob.name.removeprefix("sha256-"), 5)]
    machine.manifest(f"{LIBRARY}/mine:latest", layers)
    found = ollama.find("mine")
    assert found is not None
    assert found.path == str(blob)


def test_a_blob_has_the_name_that_says_most(machine: Machine) -> None:
    blob = machine.ollama(f"{LIBRARY}/gemma3:latest")
    digest = blob.name.removeprefix("sha256-")
    for name in ("registry.ollama.ai/someone/x:4b", f"{LIBRARY}/gemma3:4b-it-qat"):
        machine.manifest(name, [ollama_layer("model", digest, blob.stat().st_size)])
    assert ollama.name_of(blob) == "gemma3:4b-it-qat"
    assert ollama.name_of(blob.with_name("sha256-" + "0" * 64)) is None
    assert ollama.name_of(Path("/models/gemma.gguf")) is None


def test_folders_that_may_not_be_read_are_passed_over(machine: Machine) -> None:
    stray = machine.ollama_root / "manifests" / "registry.ollama.ai" / "library" / ".DS_Store"
    stray.parent.mkdir(parents=True)
    stray.write_text("x")
    (stray.parent / "file").write_text("not a folder")
    assert list(ollama.models()) == []
