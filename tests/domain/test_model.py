"""What a model file is called: quantization, training and variant of files as people have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from gemtop.domain.model import FILE_TYPE_NAMES, ModelHeader, TensorInfo, classify, quantization_name

HUB = "/home/u/.cache/huggingface/hub"
Q4_0, F16, Q8_0, Q4_K_M, BF16 = 2, 1, 7, 15, 32


def header(path: str, metadata: dict[str, Any] | None = None, *tensors: tuple[str, int]) -> ModelHeader:
    infos = tuple(TensorInfo(f"t{i}", name, size) for i, (name, size) in enumerate(tensors))
    return ModelHeader(path, 1000, {"general.architecture": "gemma3", **(metadata or {})}, infos, 10, "f" * 64)


@dataclass(frozen=True)
class Case:
    """A file, and what people call it."""

    path: str
    quantization: str
    training: str
    variant: str
    file_type: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


GOOGLE_QAT_REPO = "models--google--gemma-3-27b-it-qat-q4_0-gguf/snapshots/0f6f5dd"
CASES = {
    "google's qat file says so in its name key": Case(
        "/models/gemma-3-27b-it-q4_0.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0, {"general.name": "gemma-3-27b-it-qat-q4_0"}
    ),
    "google's qat file by its basename": Case(
        "/models/gemma-3-4b-it-q4_0.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0,
        {"general.name": "Gemma 3 4b It", "general.basename": "gemma-3-4b-it-qat-q4_0-unquantized"},
    ),
    "google's qat file in the Hugging Face store, where only the repository says so": Case(
        f"{HUB}/{GOOGLE_QAT_REPO}/gemma-3-27b-it-q4_0.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0
    ),
    "google's qat file in LM Studio's store": Case(
        "/home/u/.lmstudio/models/google/gemma-3-12b-it-qat-q4_0-gguf/gemma-3-12b-it-q4_0.gguf",
        "Q4_0", "qat", "QAT Q4_0", Q4_0,
    ),
    "google's qat file as llama.cpp's own download names it": Case(
        "/home/u/.cache/llama.cpp/google_gemma-3-27b-it-qat-q4_0-gguf_gemma-3-27b-it-q4_0.gguf",
        "Q4_0", "qat", "QAT Q4_0", Q4_0,
    ),
    "the same file copied away from all that says so": Case(
        "/models/gemma-3-27b-it-q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0, {"general.name": "Gemma 3 27b It"}
    ),
    "the smaller qat file of stduhpf": Case(
        f"{HUB}/models--stduhpf--google-gemma-3-27b-it-qat-q4_0-gguf-small/snapshots/00d91b/gemma-3-27b-it-q4_0_s.gguf",
        "Q4_0", "qat", "QAT Q4_0", Q4_0,
    ),
    "unsloth's, trained on": Case(
        "/m/gemma-3-27b-it-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0,
        {"general.name": "Gemma-3-27B-It", "general.basename": "Gemma-3-27B-It", "general.finetune": "it",
         "general.quantized_by": "Unsloth", "general.repo_url": "https://huggingface.co/unsloth"},
    ),
    "unsloth's of the qat weights": Case(
        "/m/gemma-3-27b-it-qat-Q4_K_M.gguf", "Q4_K_M", "qat", "QAT Q4_K_M", Q4_K_M,
        {"general.name": "Gemma-3-27B-It-Qat", "general.quantized_by": "Unsloth"},
    ),
    "bartowski's": Case(
        "/m/google_gemma-3-27b-it-Q4_K_M.gguf", "Q4_K_M", "ptq", "PTQ Q4_K_M", Q4_K_M,
        {"general.name": "Gemma 3 27b It", "quantize.imatrix.file": "/models_out/gemma-3-27b-it.imatrix"},
    ),
    "bartowski's of the qat weights": Case(
        "/m/google_gemma-3-4b-it-qat-Q4_0.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0,
        {"general.name": "Gemma 3 4b It Qat q4_0 Unquantized"},
    ),
    "a fine-tune of the qat weights, by the model it names as its base": Case(
        "/m/story-writer-Q4_0.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0,
        {"general.name": "Story Writer",
         "general.base_model.0.repo_url": "https://huggingface.co/google/gemma-3-4b-it-qat-q4_0-unquantized"},
    ),
    "the demo model": Case(
        "/c/gemma-3-270m-q4_k_m.gguf", "Q4_K_M", "ptq", "PTQ Q4_K_M", Q4_K_M, {"general.name": "Gemma 3 270m"}
    ),
    "8 bits": Case("/m/gemma-3-27b-it-Q8_0.gguf", "Q8_0", "ptq", "PTQ Q8_0", Q8_0),
    "half floats": Case("/m/gemma-3-27b-it-F16.gguf", "F16", "none", "FP16", F16),
    "brain floats": Case("/m/gemma-3-27b-it-BF16.gguf", "BF16", "none", "BF16", BF16),
    "full floats": Case("/m/gemma-3-270m-F32.gguf", "F32", "none", "FP32", 0),
    "the qat weights before they are quantised": Case(
        "/m/gemma-3-27b-it-qat-unquantized-BF16.gguf", "BF16", "qat", "QAT BF16", BF16
    ),
    "an importance-matrix format": Case("/m/gemma-3-27b-it-IQ4_XS.gguf", "IQ4_XS", "ptq", "PTQ IQ4_XS", 30),
    "the file type llama.cpp only guessed": Case("/m/gemma.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0 | 1024),
    "words that only contain the letters": Case("/m/qatar-aquatic-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0),
    "a folder of one's own called qat says nothing of the files in it": Case(
        "/home/u/qat-against-ptq/gemma-3-4b-it-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0
    ),
    "nothing said at all": Case("/blobs/sha256-1f2e3d", "unknown", "unknown", "unknown"),
    "nothing said but the type": Case("/blobs/sha256-1f2e3d", "Q4_0", "unknown", "Q4_0", Q4_0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_files_as_people_have_them(case: Case) -> None:
    metadata = dict(case.metadata)
    if case.file_type is not None:
        metadata["general.file_type"] = case.file_type
    found = classify(header(case.path, metadata))
    assert (found.quantization, found.training, found.variant) == (case.quantization, case.training, case.variant)
    assert found.evidence


def test_the_evidence_names_its_source() -> None:
    found = classify(header("/m/x.gguf", {"general.file_type": 2, "general.basename": "gemma-3-27b-it-QAT"}))
    assert found.evidence == "general.basename: gemma-3-27b-it-QAT"
    assert classify(header("/m/gemma-qat.gguf", {"general.file_type": 2})).evidence == "file name: gemma-qat.gguf"


@pytest.mark.parametrize(("file_type", "name"), [(99, "Q4_K"), ("2", "Q4_K"), (None, "Q4_K"), (15, "Q4_K_M")])
def test_without_a_known_file_type_the_largest_tensors_decide(file_type: object, name: str) -> None:
    metadata = {} if file_type is None else {"general.file_type": file_type}
    tensors = (("f32", 5), ("q4_K", 70), ("q6_K", 40), ("q4_K", 10), ("f16", 60))
    assert quantization_name(header("/m/x.gguf", metadata, *tensors)) == name


def test_an_embedding_larger_than_all_layers_does_not_name_the_file() -> None:
    """Google's 1B in QAT Q4_0 keeps its embedding in F16: 604 MB beside 393 MB of layers."""
    tensors = (TensorInfo("token_embd.weight", "f16", 604), TensorInfo("blk.0.ffn_up.weight", "q4_0", 393))
    assert quantization_name(ModelHeader("/m/x.gguf", 1, {}, tensors, 0, "f")) == "Q4_0"
    assert quantization_name(ModelHeader("/m/x.gguf", 1, {}, tensors[:1], 0, "f")) == "F16"


def test_file_types_are_llama_cpps() -> None:
    """The names of types that tensors have are ggml's, in upper case."""
    from gemtop.engine.binding import c, text

    ggml = {text(c("ggml_type_name")(number)).upper() for number in range(40)}
    plain = {name for name in FILE_TYPE_NAMES.values() if name.removesuffix("_MOE") in ggml}
    assert {"F32", "F16", "BF16", "Q4_0", "Q8_0", "Q6_K", "IQ4_XS", "TQ1_0", "MXFP4_MOE"} <= plain


def test_the_name_comes_from_the_file_else_from_its_path() -> None:
    assert header("/m/gemma.gguf", {"general.name": "Gemma 3"}).name == "Gemma 3"
    assert header("/m/gemma.gguf", {"general.name": ""}).name == "gemma"
    assert header("/m/gemma.gguf").name == "gemma"


def test_keys_are_read_under_the_architectures_own_name() -> None:
    found = header("/m/x.gguf", {"gemma3.context_length": 131072, "llama.context_length": 1, "gemma3.block_count": 62})
    assert (found.trained_context, found.n_layers, found.arch_int("missing")) == (131072, 62, None)
    assert ModelHeader("/m/x.gguf", 1, {}, (), 0, "f").architecture == "unknown"
