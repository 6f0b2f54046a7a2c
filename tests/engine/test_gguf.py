"""Headers of real and of damaged files."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from gemtop.domain.classify import classify
from gemtop.domain.errors import BadInputError
from gemtop.engine import binding
from gemtop.engine.gguf import check_language_model, read_header
from tests.gguf_files import GEMMA, gemma, write_split
from tests.gguf_files import write_gguf as write_sparse
from tests.stores import Machine


def write_gguf(path: Path, architecture: str, kind: str = "model", extra: dict[str, int] | None = None) -> Path:
    """A GGUF of one small tensor, written by ggml."""
    c = binding.c
    context = c("ggml_init")(binding.GgmlInitParams(1 << 20, None, False))
    gguf = c("gguf_init_empty")()
    c("gguf_set_val_str")(gguf, b"general.architecture", architecture.encode())
    c("gguf_set_val_str")(gguf, b"general.type", kind.encode())
    for key, value in (extra or {}).items():
        c("gguf_set_val_u32")(gguf, key.encode(), value)
    tensor = c("ggml_new_tensor_1d")(context, 0, 64)
    c("ggml_set_name")(tensor, b"some.weight")
    ctypes.memset(c("ggml_get_data")(tensor), 0, 256)
    c("gguf_add_tensor")(gguf, tensor)
    assert c("gguf_write_to_file")(gguf, str(path).encode(), False)
    c("gguf_free")(gguf)
    c("ggml_free")(context)
    return path


def test_the_demo_model(model_path: str) -> None:
    header = read_header(model_path)
    assert header.architecture == "gemma3"
    assert header.name == "Gemma 3 270m"
    assert header.parameters == 268_098_176
    assert len(header.tensors) == 236
    assert header.trained_context == 32768
    assert header.metadata["general.tags"][0] == "gemma3"
    check_language_model(header)
    found = classify(header)
    assert (found.quantization, found.training, found.variant) == ("Q4_K_M", "ptq", "PTQ Q4_K_M")


def test_the_fingerprint_is_of_the_content(model_path: str, tmp_path: Path) -> None:
    copy = tmp_path / "other-name.gguf"
    data = bytearray(Path(model_path).read_bytes())
    copy.write_bytes(data)
    assert read_header(copy).fingerprint == read_header(model_path).fingerprint
    data[len(data) // 2 : len(data) // 2 + 8_000_000] = bytes(8_000_000)
    copy.write_bytes(data)
    assert read_header(copy).fingerprint != read_header(model_path).fingerprint


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 1000, 3_000_000, 10_000_000, 253_000_000, -1])
def test_a_file_cut_short_is_named_so(model_path: str, tmp_path: Path, kept: int) -> None:
    whole = Path(model_path).read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[:kept])
    with pytest.raises(BadInputError) as error:
        read_header(cut)
    words = str(error.value)
    assert "\n" not in words
    assert str(cut) in words
    assert any(hint in words for hint in ("cut short", "empty", "not a GGUF"))


def test_what_is_not_a_file(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    for path, hint in ((tmp_path, "folder"), (tmp_path / "no.gguf", "does not exist"), (text, "not a GGUF")):
        with pytest.raises(BadInputError, match=hint):
            read_header(path)


@pytest.mark.parametrize(
    ("architecture", "kind", "extra", "hint"),
    [
        ("clip", "mmproj", {}, "vision projector"),
        ("clip", "model", {}, "vision projector"),
        ("bert", "model", {}, "embedding model"),
        ("gemma-embedding", "model", {}, "embedding model"),
        ("qwen3", "model", {"qwen3.pooling_type": 3}, "embedding model"),
        ("gemma3", "adapter", {}, "LoRA adapter"),
        ("gemma3", "imatrix", {}, "type imatrix"),
    ],
)
def test_what_is_no_language_model(
    tmp_path: Path, architecture: str, kind: str, extra: dict[str, int], hint: str
) -> None:
    header = read_header(write_gguf(tmp_path / "x.gguf", architecture, kind, extra))
    with pytest.raises(BadInputError, match=hint):
        check_language_model(header)


def test_escape_sequences_in_a_file_name_are_harmless(tmp_path: Path) -> None:
    evil = tmp_path / "a\x1b]0;owned\x07.gguf"
    evil.write_text("no")
    with pytest.raises(BadInputError) as error:
        read_header(evil)
    assert "\x1b" not in str(error.value)


# Split models


def test_a_split_model_is_read_as_one(tmp_path: Path) -> None:
    keys = {**GEMMA, "general.file_type": 2}
    whole = read_header(write_sparse(tmp_path / "whole.gguf", keys, gemma()))
    parts = write_split(tmp_path / "model.gguf", keys, gemma(), 3)
    header = read_header(parts[0])
    assert header.path == str(parts[0])
    assert header.size_bytes == sum(part.stat().st_size for part in parts)
    assert header.parameters == whole.parameters
    assert {tensor.name for tensor in header.tensors} == {tensor.name for tensor in whole.tensors}
    assert header.trained_context == 131_072
    before = header.fingerprint
    with parts[2].open("r+b") as stream:
        stream.seek(-64, 2)
        stream.write(b"x" * 64)
    assert read_header(parts[0]).fingerprint != before, "the fingerprint is of all parts"


def test_a_first_part_without_tensors(tmp_path: Path) -> None:
    """gguf-split --no-tensor-first-split puts the keys alone into it."""
    number = {"split.count": 2, "split.tensors.count": len(gemma())}
    first = write_sparse(tmp_path / "m-00001-of-00002.gguf", {**GEMMA, "split.no": 0, **number})
    write_sparse(tmp_path / "m-00002-of-00002.gguf", {"split.no": 1, **number}, gemma())
    header = read_header(first)
    check_language_model(header)
    assert len(header.tensors) == len(gemma())


def refusal(path: Path) -> str:
    with pytest.raises(BadInputError) as error:
        read_header(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_parts_that_are_missing_or_mistaken(tmp_path: Path) -> None:
    parts = write_split(tmp_path / "model.gguf", GEMMA, gemma(), 3)
    assert refusal(parts[1]).endswith(f"is part 2 of 3 of a split model; give the first: {parts[0]}")
    other = write_split(tmp_path / "other.gguf", GEMMA, gemma()[:5], 3)
    other[2].replace(parts[2])
    assert "do not belong together" in refusal(parts[0])
    parts[2].write_bytes(parts[1].read_bytes()[:100])
    assert f"{parts[2].name} is damaged" in refusal(parts[0])
    parts[2].unlink()
    assert f"lacks part {parts[2].name} beside it" in refusal(parts[0])
    parts[1].unlink()
    assert f"lacks part {parts[1].name} and 1 more" in refusal(parts[0])
    renamed = parts[0].rename(tmp_path / "renamed.gguf")
    assert "call it NAME-00001-of-00003.gguf again" in refusal(renamed)


# Stores


def test_a_blob_goes_by_its_name_in_the_store(machine: Machine) -> None:
    header = read_header(machine.ollama("registry.ollama.ai/library/gemma3:27b-it-qat"))
    assert header.name == header.known_as == "gemma3:27b-it-qat"
    assert classify(header).variant == "QAT Q4_0"
    assert read_header(machine.gguf(machine.here / "x.gguf")).known_as is None
