"""What a model file is called: format, training and variant of files as people have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from gemtop.domain.classify import FILE_TYPE_NAMES, classify, kind_of, quantization_name, why_refused
from gemtop.domain.model import ModelHeader, TensorInfo

HUB = "/home/u/.cache/huggingface/hub"
BLOB = "/usr/share/ollama/.ollama/models/blobs/sha256-" + "1f2e3d4c" * 8
F32, F16, Q4_0, Q8_0, Q2_K, Q4_K_M, IQ4_XS, BF16 = 0, 1, 2, 7, 10, 15, 30, 32

Shares = dict[str, int]
"""Bytes of the layers by type."""


def header(
    path: str,
    metadata: dict[str, Any] | None = None,
    layers: Shares | None = None,
    embedding: str | None = None,
    known_as: str | None = None,
) -> ModelHeader:
    tensors = [
        TensorInfo(f"blk.{i}.ffn_up.weight", kind, size) for i, (kind, size) in enumerate((layers or {}).items())
    ]
    if embedding:
        tensors.append(TensorInfo("token_embd.weight", embedding, 2_800_000_000))
    keys = {"general.architecture": "gemma3", **(metadata or {})}
    return ModelHeader(path, 1000, keys, tuple(tensors), 10, "f" * 64, known_as)


@dataclass(frozen=True)
class Case:
    """A file, and what people call it."""

    path: str
    quantization: str
    training: str
    variant: str
    file_type: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    layers: Shares = field(default_factory=dict)
    embedding: str | None = None
    known_as: str | None = None
    evidence: str = ""
    """What it contains, where that is of interest."""


GOOGLE_QAT_REPO = "models--google--gemma-3-27b-it-qat-q4_0-gguf/snapshots/0f6f5dd"
IMATRIX = {"quantize.imatrix.file": "/models_out/gemma-3-27b-it-GGUF/google_gemma-3-27b-it.imatrix"}

GOOGLE = {
    "google's, in the Hugging Face cache, where only the repository says so": Case(
        f"{HUB}/{GOOGLE_QAT_REPO}/gemma-3-27b-it-q4_0.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0,
        layers={"q4_0": 14_400_000_000, "f32": 10_000_000}, embedding="f16",
        evidence="repository: google/gemma-3-27b-it-qat-q4_0-gguf",
    ),
    "the base model's": Case(
        f"{HUB}/models--google--gemma-3-4b-pt-qat-q4_0-gguf/snapshots/0a/gemma-3-4b-pt-q4_0.gguf",
        "Q4_0", "qat", "QAT Q4_0", Q4_0, embedding="f16",
    ),
    "in LM Studio's folder": Case(
        "/home/u/.lmstudio/models/google/gemma-3-12b-it-qat-q4_0-gguf/gemma-3-12b-it-q4_0.gguf",
        "Q4_0", "qat", "QAT Q4_0", Q4_0,
    ),
    "as llama.cpp's own download named it": Case(
        "/home/u/.cache/llama.cpp/google_gemma-3-27b-it-qat-q4_0-gguf_gemma-3-27b-it-q4_0.gguf",
        "Q4_0", "qat", "QAT Q4_0", Q4_0, evidence="file name: google_",
    ),
    "where its name key says so": Case(
        "/models/gemma-3-27b-it-q4_0.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0,
        {"general.name": "gemma-3-27b-it-qat-q4_0"}, evidence="general.name: gemma-3-27b-it-qat-q4_0",
    ),
    "copied away from all that says so: its F16 embedding is no proof, but reason to doubt": Case(
        "/models/gemma-3-27b-it-q4_0.gguf", "Q4_0", "unknown", "Q4_0", Q4_0, {"general.name": "Gemma 3 27b It"},
        {"q4_0": 14_400_000_000}, "f16", evidence="F16 embedding",
    ),
    "trimmed by stduhpf to a Q6_K embedding": Case(
        f"{HUB}/models--stduhpf--google-gemma-3-27b-it-qat-q4_0-gguf-small/snapshots/00d91b/gemma-3-27b-it-q4_0_s.gguf",
        "Q4_0", "qat", "QAT Q4_0", Q4_0, layers={"q4_0": 14_400_000_000}, embedding="q6_K",
    ),
    "trimmed, copied away: any Q4_0 has such an embedding": Case(
        "/m/gemma-3-27b-it-q4_0_s.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0, layers={"q4_0": 9}, embedding="q6_K",
        evidence="no QAT in file name",
    ),
    "the qat weights before they are quantised": Case(
        "/m/gemma-3-27b-it-qat-q4_0-unquantized-BF16.gguf", "BF16", "qat", "QAT BF16", BF16
    ),
}  # fmt: skip

OTHERS = {
    "unsloth's": Case(
        "/m/gemma-3-27b-it-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0,
        {"general.name": "Gemma-3-27B-It", "general.basename": "Gemma-3-27B-It", "general.finetune": "it",
         "general.quantized_by": "Unsloth", "general.repo_url": "https://huggingface.co/unsloth"}, embedding="f16",
    ),
    "unsloth's dynamic format": Case(
        f"{HUB}/models--unsloth--gemma-3-27b-it-GGUF/snapshots/1/gemma-3-27b-it-UD-Q4_K_XL.gguf",
        "UD-Q4_K_XL", "ptq", "PTQ UD-Q4_K_XL", Q4_K_M,
    ),
    "unsloth's of the qat weights: trained for Q4_0, quantised to something else": Case(
        f"{HUB}/models--unsloth--gemma-3-27b-it-qat-GGUF/snapshots/1/gemma-3-27b-it-qat-UD-Q4_K_XL.gguf",
        "UD-Q4_K_XL", "qat", "QAT+PTQ UD-Q4_K_XL", Q4_K_M, {"general.name": "Gemma-3-27B-It-Qat"},
    ),
    "bartowski's": Case(
        "/m/google_gemma-3-27b-it-Q4_K_M.gguf", "Q4_K_M", "ptq", "PTQ Q4_K_M", Q4_K_M,
        {"general.name": "Gemma 3 27b It", **IMATRIX}, {"q4_K": 12_000_000_000, "q6_K": 3_000_000_000}, "q6_K",
    ),
    "bartowski's of the qat weights, with llama-quantize's few Q4_1": Case(
        "/m/google_gemma-3-27b-it-qat-Q4_0.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0,
        {"general.name": "Gemma 3 27b It Qat q4_0 Unquantized"}, {"q4_0": 13_000_000_000, "q4_1": 900_000_000}, "q6_K",
    ),
    "bartowski's of the qat weights in another format": Case(
        "/m/google_gemma-3-27b-it-qat-Q4_K_M.gguf", "Q4_K_M", "qat", "QAT+PTQ Q4_K_M", Q4_K_M,
    ),
    "lmstudio-community's": Case(
        "/home/u/.lmstudio/models/lmstudio-community/gemma-3-12B-it-qat-GGUF/gemma-3-12B-it-QAT-Q4_0.gguf",
        "Q4_0", "qat", "QAT Q4_0", Q4_0,
    ),
    "ggml-org's": Case(
        f"{HUB}/models--ggml-org--gemma-3-4b-it-GGUF/snapshots/1/gemma-3-4b-it-Q8_0.gguf",
        "Q8_0", "ptq", "PTQ Q8_0", Q8_0, {"general.name": "Gemma 3 4b It"},
    ),
    "ggml-org's of the qat weights": Case(
        f"{HUB}/models--ggml-org--gemma-3-4b-it-qat-GGUF/snapshots/1/gemma-3-4b-it-qat-Q4_0.gguf",
        "Q4_0", "qat", "QAT Q4_0", Q4_0,
    ),
    "the demo model, most of whose tensors fell back to other types": Case(
        "/c/gemma-3-270m-q4_k_m.gguf", "Q4_K_M", "ptq", "PTQ Q4_K_M", Q4_K_M, {"general.name": "Gemma 3 270m"},
        {"q5_0": 43_591_680, "q4_K": 13_271_040, "q6_K": 9_676_800, "q8_0": 1_566_720}, "q8_0",
    ),
    "half floats": Case("/m/gemma-3-27b-it-F16.gguf", "F16", "none", "FP16", F16),
    "brain floats": Case("/m/gemma-3-27b-it-BF16.gguf", "BF16", "none", "BF16", BF16),
    "full floats": Case("/m/gemma-3-270m-F32.gguf", "F32", "none", "FP32", F32),
    "an importance-matrix format": Case("/m/gemma-3-27b-it-IQ4_XS.gguf", "IQ4_XS", "ptq", "PTQ IQ4_XS", IQ4_XS),
    "a mixture that llama.cpp makes by design": Case(
        "/m/gemma-3-4b-it-IQ3_XS.gguf", "IQ3_XS", "ptq", "PTQ IQ3_XS", 22, layers={"iq3_xxs": 80, "iq3_s": 20}
    ),
    "a 270M in Q2_K is Q4_0 where its width allows no K-quants": Case(
        "/m/gemma-3-270m-Q2_K.gguf", "Q2_K", "ptq", "PTQ Q2_K", Q2_K, layers={"q4_0": 90, "q8_0": 10}
    ),
    "the file type llama.cpp only guessed": Case("/m/gemma-3-4b.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0 | 1024),
}  # fmt: skip

OLLAMA = {
    "its qat tag": Case(
        BLOB, "Q4_0", "qat", "QAT Q4_0", Q4_0, embedding="f16", known_as="gemma3:27b-it-qat",
        evidence="tag: gemma3:27b-it-qat",
    ),
    "its K-quant": Case(BLOB, "Q4_K_M", "ptq", "PTQ Q4_K_M", Q4_K_M, known_as="gemma3:27b-it-q4_K_M"),
    "its size alone": Case(BLOB, "Q4_K_M", "ptq", "PTQ Q4_K_M", Q4_K_M, known_as="gemma3:27b"),
    "its half floats": Case(BLOB, "F16", "none", "FP16", F16, known_as="gemma3:27b-it-fp16"),
    "bartowski's, pulled from Hugging Face": Case(
        BLOB, "Q4_0", "qat", "QAT Q4_0", Q4_0, known_as="hf.co/bartowski/google_gemma-3-27b-it-qat-GGUF:Q4_0"
    ),
    "a name that tells of nothing": Case(BLOB, "Q4_K_M", "unknown", "Q4_K_M", Q4_K_M, known_as="gemma3:latest"),
    "a blob without a name": Case(BLOB, "Q4_0", "unknown", "Q4_0", Q4_0, evidence="neither metadata nor name"),
    "a blob without a name that carries one": Case(
        BLOB, "Q4_K_M", "ptq", "PTQ Q4_K_M", Q4_K_M, {"general.name": "Gemma 3 27b It"}, evidence="general.name"
    ),
    "a blob whose importance matrix names the qat weights": Case(
        BLOB, "Q4_0", "qat", "QAT Q4_0", Q4_0, {"quantize.imatrix.file": "/out/google_gemma-3-27b-it-qat.imatrix"}
    ),
    "nothing at all": Case(BLOB, "unknown", "unknown", "unknown"),
    "a qat tag and nothing else": Case(BLOB, "unknown", "qat", "QAT unknown", known_as="gemma3:27b-it-qat"),
}  # fmt: skip

NOT_SO = {
    "letters inside other words": Case("/m/qatar-aquatic-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0),
    "said not to be": Case("/m/gemma-3-27b-it-non-qat-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0),
    "only like it": Case("/m/gemma-3-270m-qat-like-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0),
    "a folder of one's own says nothing of the files in it": Case(
        "/home/u/qat-against-ptq/gemma-3-4b-it-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0
    ),
    "made from it, and trained since for all one knows": Case(
        "/m/story-writer-4b-Q4_0.gguf", "Q4_0", "unknown", "Q4_0", Q4_0,
        {"general.base_model.0.repo_url": "https://huggingface.co/google/gemma-3-4b-it-qat-q4_0-unquantized"},
        evidence="made from a QAT model",
    ),
    "derived from it": Case(
        "/m/gemma-3-4b-derived-from-qat-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0 (derived)", Q4_0,
        evidence="made of other weights",
    ),
    "floats made from quantised weights are not the original": Case(
        "/m/gemma-3-270m-derived-F16.gguf", "F16", "unknown", "FP16 (derived)", F16, evidence="made of other weights"
    ),
    "quantised twice": Case("/m/gemma-3-270m-derived-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0 (derived)", Q4_0),
    "a name anybody gives": Case("/m/model.gguf", "Q4_0", "unknown", "Q4_0", Q4_0),
}  # fmt: skip

MIXED = {
    "what the tensors are goes before what the file says": Case(
        "/m/gemma-3-4b-it-Q4_0.gguf", "Q8_0 mixed", "ptq", "PTQ Q8_0 mixed", Q4_0, layers={"q8_0": 80, "q4_0": 20}
    ),
    "qat weights mixed are no Q4_0 either": Case(
        "/m/gemma-3-4b-it-qat.gguf", "Q8_0 mixed", "qat", "QAT+PTQ Q8_0 mixed", Q4_0, layers={"q8_0": 80, "q6_K": 20}
    ),
    "one type throughout is no mixture, whatever the file says": Case(
        "/m/gemma-3-4b-it-qat.gguf", "Q4_0", "qat", "QAT Q4_0", F16, layers={"q4_0": 990, "f32": 10}, embedding="f16"
    ),
}  # fmt: skip


def made(source_training: str, format_name: str, *, derived: bool = False, **keys: str) -> dict[str, Any]:
    """What gemtop quantize writes."""
    known = {"source_training": source_training, "format": format_name, "derived": derived, "source_name": "source"}
    return {f"gemtop.quantize.{key}": value for key, value in known.items()} | keys


MADE = {
    "of the original": Case("/m/x.gguf", "Q4_K_M", "ptq", "PTQ Q4_K_M", Q4_K_M, made("none", "Q4_K_M")),
    "of the original, with an importance matrix of the qat weights": Case(
        "/m/x.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0, {**made("none", "Q4_0"), "quantize.imatrix.file": "qat.gguf"}
    ),
    "of the original in other floats": Case("/m/x.gguf", "F16", "none", "FP16", F16, made("none", "F16")),
    "of qat weights, in the format they were trained for, whatever it is called now": Case(
        "/m/x.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0, made("qat", "Q4_0"), evidence="source_training: qat"
    ),
    "of qat weights, in another": Case("/m/x.gguf", "Q8_0", "qat", "QAT+PTQ Q8_0", Q8_0, made("qat", "Q8_0")),
    "of weights of which nothing is known": Case(
        "/m/x-4b.gguf", "Q4_0", "unknown", "Q4_0", Q4_0, made("unknown", "Q4_0")
    ),
    "of quantised weights": Case(
        "/m/gemma-3-4b-it-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0 (derived)", Q4_0, made("ptq", "Q4_0", derived=True),
        evidence="gemtop.quantize.derived: true",
    ),
    "of quantised qat weights": Case(
        "/m/gemma-3-4b-it-qat-Q4_0.gguf", "Q4_0", "ptq", "PTQ Q4_0 (derived)", Q4_0, made("qat", "Q4_0", derived=True)
    ),
    "of quantised weights, as floats": Case(
        "/m/gemma-3-4b-it.gguf", "F16", "unknown", "FP16 (derived)", F16, made("ptq", "F16", derived=True)
    ),
    "of floats made of quantised weights, by another program": Case(
        "/m/x.gguf", "Q8_0", "ptq", "PTQ Q8_0 (derived)", Q8_0, made("ptq", "F16", derived=True)
    ),
    "and quantised again by another program": Case(
        "/m/x.gguf", "Q8_0", "ptq", "PTQ Q8_0 (derived)", Q8_0, made("qat", "Q4_0"),
        evidence="quantised again by another program after it was made Q4_0",
    ),
    "as floats, and quantised by another program": Case(
        "/m/x.gguf", "Q4_0", "ptq", "PTQ Q4_0", Q4_0, made("none", "F16")
    ),
    "as floats of qat weights, and quantised by another program": Case(
        "/m/x.gguf", "Q4_0", "qat", "QAT Q4_0", Q4_0, made("qat", "BF16")
    ),
    "with a key that somebody broke": Case(
        "/m/x.gguf", "Q4_0", "ptq", "PTQ Q4_0 (derived)", Q4_0, {"gemtop.quantize.derived": "no"}
    ),
}  # fmt: skip

CASES = {
    f"{group}: {words}": case
    for group, cases in (
        ("google", GOOGLE),
        ("others", OTHERS),
        ("ollama", OLLAMA),
        ("not so", NOT_SO),
        ("mixed", MIXED),
        ("made here", MADE),
    )
    for words, case in cases.items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_files_as_people_have_them(case: Case) -> None:
    metadata = dict(case.metadata)
    if case.file_type is not None:
        metadata["general.file_type"] = case.file_type
    found = classify(header(case.path, metadata, case.layers, case.embedding, case.known_as))
    assert (found.quantization, found.training, found.variant) == (case.quantization, case.training, case.variant)
    assert case.evidence in found.evidence
    assert found.evidence and found.format_evidence
    assert found.derived == found.variant.endswith(" (derived)")


def test_the_format_tells_where_it_was_read() -> None:
    assert classify(header("/m/x.gguf", {"general.file_type": 2})).format_evidence == "general.file_type: Q4_0"
    mixed = classify(header("/m/x.gguf", {"general.file_type": 2}, {"q8_0": 80, "q6_K": 20})).format_evidence
    assert mixed == "its layers: Q8_0 80%, Q6_K 20%; general.file_type says Q4_0"
    assert "file name" in classify(header("/m/x-UD-IQ2_M.gguf")).format_evidence


@pytest.mark.parametrize(("file_type", "name"), [(99, "Q4_K"), ("2", "Q4_K"), (None, "Q4_K"), (15, "Q4_K_M")])
def test_without_a_known_file_type_the_largest_tensors_decide(file_type: object, name: str) -> None:
    metadata = {} if file_type is None else {"general.file_type": file_type}
    layers = {"f32": 5, "q4_K": 80, "q6_K": 40, "f16": 60}
    assert quantization_name(header("/m/x.gguf", metadata, layers)) == name


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


def test_what_llama_cpp_refuses_of_ollamas() -> None:
    whole = {"gemma3.attention.layer_norm_rms_epsilon": 1e-6}
    assert why_refused(header(BLOB, whole, {"q4_0": 9})) is None
    assert "layer_norm_rms_epsilon" in str(why_refused(header(BLOB, {}, {"q4_0": 9})))
    vision = ModelHeader(
        BLOB, 1, {"general.architecture": "gemma3", **whole}, (TensorInfo("v.blk.0", "f16", 9),), 0, "f"
    )
    assert "vision" in str(why_refused(vision))
    assert why_refused(ModelHeader(BLOB, 1, {"general.architecture": "llama"}, (), 0, "f")) is None


def test_what_is_no_language_model() -> None:
    assert kind_of(header("/m/x.gguf", {}, {"q4_0": 9})) is None
    assert kind_of(header("/m/x.gguf", {"general.type": "adapter"}, {"f16": 9})) == "a LoRA adapter"
    assert kind_of(header("/m/x.gguf")) == "a vocabulary without weights"
