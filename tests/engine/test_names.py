"""What a model may be called, and what is said where nothing or too much is meant."""

from __future__ import annotations

import os

import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.engine.names import resolve, stored_models
from tests.cli.commands import gemtop, refused
from tests.stores import Machine, ollama_layer

QAT = "google/gemma-3-27b-it-qat-q4_0-gguf"
OTHER = "bartowski/google_gemma-3-27b-it-GGUF"


def refusal(machine: Machine, name: str) -> str:
    with pytest.raises(BadInputError) as error:
        resolve(name, machine.paths)
    words = str(error.value)
    assert "\n" not in words
    assert "\x1b" not in words
    return words


def test_names_of_every_store(machine: Machine) -> None:
    blob = machine.ollama("registry.ollama.ai/library/gemma3:27b-it-qat")
    qat = machine.hub(QAT, "gemma-3-27b-it-q4_0.gguf")
    q4 = machine.hub(OTHER, "google_gemma-3-27b-it-Q4_0.gguf")
    q8 = machine.hub(OTHER, "google_gemma-3-27b-it-Q8_0.gguf")
    studio = machine.lmstudio("lmstudio-community/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_0.gguf")
    flat = machine.llamacpp("ggml-org_gemma-3-1b-it-GGUF_gemma-3-1b-it-Q4_0.gguf")
    mine = machine.gguf(machine.home / "models" / "mine.gguf")
    for name, file in {
        "gemma3:27b-it-qat": blob,
        QAT: qat,
        f"hf:{QAT}": qat,
        f"hf:{QAT}:q4_0": qat,
        f"{QAT}/gemma-3-27b-it-q4_0.gguf": qat,
        f"{OTHER}:Q8_0": q8,
        f"hf:{OTHER}:google_gemma-3-27b-it-Q4_0.gguf": q4,
        "lmstudio-community/gemma-3-4b-it-GGUF": studio,
        "lmstudio-community/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_0.gguf": studio,
        "ggml-org/gemma-3-1b-it-GGUF:Q4_0": flat,
        "mine.gguf": mine,
        "gemma-3-27b-it-q4_0.gguf": qat,
        f"hf.co/{OTHER}:Q8_0": q8,
    }.items():
        assert resolve(name, machine.paths) == str(file), name


def test_every_name_that_is_listed_leads_to_its_file(machine: Machine) -> None:
    machine.ollama("registry.ollama.ai/library/gemma3:4b")
    for quant in ("Q4_0", "UD-Q4_K_XL", "Q4_K_M", "F16", "BF16"):
        machine.hub(OTHER, f"google_gemma-3-27b-it-{quant}.gguf")
    machine.hub(OTHER, "mmproj-F16.gguf")
    machine.lmstudio("a/b/same.gguf")
    machine.gguf(machine.home / "models" / "one" / "same.gguf")
    machine.gguf(machine.home / "models" / "two" / "same.gguf")
    machine.lmstudio("a/b/mine.gguf")
    machine.gguf(machine.home / "models" / "mine.gguf")
    machine.gguf(machine.here / "here.gguf")
    listed = [model for model in stored_models() if model.store != "demo"]
    assert len(listed) == 13
    for model in listed:
        assert os.path.realpath(resolve(model.name, machine.paths)) == os.path.realpath(model.path), model


def test_one_file_in_two_stores_is_one_model(machine: Machine) -> None:
    blob = machine.ollama("registry.ollama.ai/library/gemma3:4b")
    machine.manifest("registry.ollama.ai/library/copy:latest", [ollama_layer("model", blob.name[7:], 5)])
    (machine.here / "linked.gguf").symlink_to(blob)
    (model,) = (model for model in stored_models() if model.store != "demo")
    assert (model.name, model.also) == ("copy:latest", ("gemma3:4b", "linked.gguf"))


def test_a_path_that_exists_goes_before_any_name(machine: Machine) -> None:
    machine.ollama("registry.ollama.ai/library/gemma3:4b")
    machine.gguf(machine.here / "gemma3:4b")
    machine.gguf(machine.here / "demo")
    assert resolve("gemma3:4b", machine.paths) == "gemma3:4b"
    assert resolve("demo", machine.paths) == "demo"


def test_what_is_not_here_says_how_to_get_it(machine: Machine) -> None:
    machine.ollama("registry.ollama.ai/library/gemma3:4b")
    machine.hub(OTHER, "google_gemma-3-27b-it-Q4_0.gguf")
    assert refusal(machine, "gemma3:27b").endswith("ollama pull gemma3:27b")
    assert "ollama pull llama3:8b" in refusal(machine, "llama3:8b")
    assert refusal(machine, "hf:no/such:Q4_0").endswith("gemtop pull hf:no/such:Q4_0")
    assert "gemtop pull hf:no/such" in refusal(machine, "no/such")
    words = refusal(machine, f"{OTHER}:Q8_0")
    assert "has no Q8_0; it has" in words
    assert words.endswith(f"gemtop pull hf:{OTHER}:Q8_0")
    assert "names no repository" in refusal(machine, "hf:nonsense")
    assert "neither a command" in refusal(machine, "nonsense")
    assert "does not exist" in refusal(machine, "./no.gguf")
    assert "does not exist" in refusal(machine, "no.gguf")
    assert "is a folder" in refusal(machine, ".")
    assert "gemtop pull hf:unsloth/x:Q4 fetches it" in refusal(machine, "hf.co/unsloth/x:Q4")
    assert "ollama pull registry.ollama.ai/library/llama3:8b" in refusal(
        machine, "registry.ollama.ai/library/llama3:8b"
    )
    for path in (
        "bad/no\x1b[31mesc.gguf",
        "bad/no\nline.gguf",
        "bad\\no.gguf",
        "bad/no\\x",
        "a/b/c",
        "a/no.gguf",
        "a b/c",
    ):
        assert "does not exist" in refusal(machine, path)
    refusal(machine, "\x1b]0;owned\x07")


def test_names_that_mean_several_files_list_them(machine: Machine) -> None:
    machine.hub(OTHER, "google_gemma-3-27b-it-Q4_0.gguf")
    machine.hub(OTHER, "google_gemma-3-27b-it-Q8_0.gguf")
    words = refusal(machine, OTHER)
    assert f"any of hf:{OTHER}:Q4_0, hf:{OTHER}:Q8_0" in words
    for folder in ("one", "two"):
        machine.gguf(machine.home / "models" / folder / "same.gguf")
    words = refusal(machine, "same.gguf")
    assert "models/one/same.gguf" in words
    assert "models/two/same.gguf" in words


def test_files_that_are_lost_or_no_gguf(machine: Machine) -> None:
    machine.ollama("registry.ollama.ai/library/gemma3:4b").unlink()
    machine.hub(QAT, "gemma-3-27b-it-q4_0.gguf").resolve().unlink()
    machine.hub(OTHER, "google_gemma-3-27b-it-Q4_0.gguf").resolve().write_text("<html>")
    assert "lacks its blob sha256-" in refusal(machine, "gemma3:4b")
    assert f"gemtop pull hf:{QAT}:Q4_0" in refusal(machine, QAT)
    assert "is not a GGUF file" in refusal(machine, OTHER)


def test_a_split_model_of_which_a_part_was_never_fetched(machine: Machine) -> None:
    machine.hub(OTHER, "x-Q8_0-00001-of-00002.gguf")
    assert "lacks part 2 of 2 of Q8_0" in refusal(machine, f"{OTHER}:Q8_0")


@pytest.mark.parametrize("command", [(), ("run", "-p", "Hi"), ("bench",)])
def test_every_command_takes_names(machine: Machine, command: tuple[str, ...]) -> None:
    machine.ollama("registry.ollama.ai/library/gemma3:4b")
    refused(gemtop(*command, "-m", "gemma3:27b"), "ollama pull gemma3:27b")


def test_the_demo_model_has_a_name(folders: Paths, model_path: str) -> None:
    assert resolve("demo", folders) == model_path
