"""What a header says by itself."""

from __future__ import annotations

from typing import Any

from gemtop.domain.model import ModelHeader


def header(path: str, metadata: dict[str, Any] | None = None, known_as: str | None = None) -> ModelHeader:
    return ModelHeader(path, 1000, {"general.architecture": "gemma3", **(metadata or {})}, (), 10, "f" * 64, known_as)


def test_the_name_comes_from_the_file_else_from_its_path() -> None:
    assert header("/m/gemma.gguf", {"general.name": "Gemma 3"}).name == "Gemma 3"
    assert header("/m/gemma.gguf", {"general.name": ""}).name == "gemma"
    assert header("/m/gemma.gguf").name == "gemma"
    assert header("/blobs/sha256-1f2e", known_as="gemma3:27b").name == "gemma3:27b"


def test_keys_are_read_under_the_architectures_own_name() -> None:
    found = header("/m/x.gguf", {"gemma3.context_length": 131072, "llama.context_length": 1, "gemma3.block_count": 62})
    assert (found.trained_context, found.n_layers, found.arch_int("missing")) == (131072, 62, None)
    assert ModelHeader("/m/x.gguf", 1, {}, (), 0, "f").architecture == "unknown"
