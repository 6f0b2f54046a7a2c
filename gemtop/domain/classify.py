"""What a model file is called, and why: its format, how its weights were trained, whether llama.cpp takes it.

Quantization-aware training leaves no mark in the numbers of a file, so only names can tell of it: of the file, of
its repository or tag, and those its own metadata carries. Where none says anything, the answer is "unknown".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gemtop.domain.model import Classification, ModelHeader, TensorInfo, Training
from gemtop.domain.provenance import DERIVED, SOURCE_NAME, SOURCE_TRAINING, Provenance, provenance

FILE_TYPE_NAMES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0", 41: "Q2_0",
}  # fmt: skip
"""general.file_type (llama.cpp's enum llama_ftype) to the name llama-quantize takes for it."""

UNQUANTIZED = frozenset({"F32", "F16", "BF16"})

_GUESSED = 1024
"""llama.cpp's bit for a file type that it only guessed."""
_MAIN_TYPES: Mapping[str, tuple[str, ...]] = {
    "IQ2_S": ("IQ2_XS",), "IQ2_M": ("IQ2_S",), "IQ3_XS": ("IQ3_S", "IQ3_XXS"), "IQ3_M": ("IQ3_S",),
    "MXFP4_MOE": ("MXFP4", "Q8_0"),
}  # fmt: skip
"""Types of the layers where they differ from the file type's name (llama_ftype_get_default_type in llama-quant.cpp)."""
_FALLBACKS: Mapping[str, str] = {
    "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "TQ1_0": "Q4_0", "TQ2_0": "Q4_0",
    "Q2_0": "Q4_0", "IQ1_S": "IQ4_NL", "IQ1_M": "IQ4_NL", "IQ2_XXS": "IQ4_NL", "IQ2_XS": "IQ4_NL", "IQ2_S": "IQ4_NL",
    "IQ3_XXS": "IQ4_NL", "IQ3_S": "IQ4_NL", "IQ4_XS": "IQ4_NL",
}  # fmt: skip
"""What a tensor becomes whose width is no multiple of 256 (tensor_type_fallback in llama-quant.cpp)."""
_LEAST_SHARE = 0.25
"""A file type holds if so much of the layers is of its types: llama-quantize gives some tensors more bits."""
_UNIFORM_SHARE = 0.9
_EMBEDDING = ("token_embd.weight", "output.weight")
"""Kept in a larger type by many quantisers; in a 1B of Google's QAT files they outweigh all else."""

_QAT_FORMAT = "Q4_0"
"""What Google trained the QAT weights of Gemma 3 for."""
_NAMING_KEYS = (
    "general.name",
    "general.basename",
    "general.finetune",
    "general.description",
    "general.source.url",
    "general.source.huggingface.repository",
    "quantize.imatrix.file",
)
_LINEAGE_KEYS = ("general.base_model.0.name", "general.base_model.0.repo_url")
"""What a model was made from: training that came after may have undone theirs."""
_QUANTIZER_KEYS = ("general.quantized_by", "quantize.imatrix.file")

_QAT = re.compile(r"(?<![a-z])qat(?![a-z])", re.IGNORECASE)
_NOT_QAT = re.compile(
    r"(?<![a-z])(?:no|non|not|without|vs|versus|pseudo|fake)[-_. ]*qat(?![a-z])|qat[-_. ]*(?:like|style|free)(?![a-z])",
    re.IGNORECASE,
)
SAYS_DERIVED = re.compile(r"(?<![a-z])(?:derived|requant|dequant)", re.IGNORECASE)
"""A name that says that the weights were quantised before."""
_NAMES_A_MODEL = re.compile(
    r"(?<![a-z0-9])(?:\d+(?:\.\d+)?[bm]|i?q\d(?:_[a-z0-9]+)*|bf16|fp?16|fp?32)(?![a-z0-9])", re.IGNORECASE
)
"""A size or a format: names that have one are those of published models, where QAT would be said."""
_DYNAMIC = re.compile(r"(?<![a-z0-9])UD-((?:I?Q|TQ)\d[A-Z0-9_]*)", re.IGNORECASE)
"""Unsloth's dynamic formats; general.file_type has no number for them."""


def classify(header: ModelHeader) -> Classification:
    """Format, training and variant of a file, with the evidence; QAT only where a name of the file itself says so.

    QAT weights in another format than they were trained for are "QAT+PTQ": trained so, then quantised like any. What
    was made of quantised weights is "(derived)" and never QAT. What `gemtop quantize` wrote into a file goes before
    names.
    """
    quantization, format_evidence = _format(header)

    def found(training: Training, variant: str, evidence: str, *, derived: bool = False) -> Classification:
        return Classification(quantization, training, variant, evidence, format_evidence, derived)

    def derived(evidence: str) -> Classification:
        if quantization in UNQUANTIZED:
            return found("unknown", f"{_spoken(quantization)} (derived)", evidence, derived=True)
        return found("ptq", f"PTQ {quantization} (derived)", evidence, derived=True)

    made = provenance(header.metadata)
    if made and (made.derived or _quantized_since(made, header)):
        return derived(_why_derived(made))
    if made:
        return found(*_as_made(made, quantization))
    sources = _sources(header)
    for key, text in sources:
        if _says_qat(text) and not SAYS_DERIVED.search(text):
            return found("qat", _qat(quantization), f"{key}: {text}")
    if quantization == "unknown":
        return found("unknown", "unknown", "the file names no type")
    for key, text in sources:
        if SAYS_DERIVED.search(text):
            return derived(f"made of other weights: {key}: {text}")
    for key, text in _texts(header, _LINEAGE_KEYS):
        if _says_qat(text):
            return found("unknown", quantization, f"made from a QAT model, not said to be one: {key}: {text}")
    if quantization in UNQUANTIZED:
        return found("none", _spoken(quantization), f"{quantization} is not quantised")
    if _looks_like_googles_qat(header, quantization):
        return found("unknown", quantization, "Q4_0 below an F16 embedding, as in Google's QAT files, but no name says")
    for key, text in reversed(sources):
        if _NAMES_A_MODEL.search(text):
            return found("ptq", f"PTQ {quantization}", f"no QAT in {key}: {text}")
    return found("unknown", quantization, "neither metadata nor name say how it was trained")


def _as_made(made: Provenance, quantization: str) -> tuple[Training, str, str]:
    """Training, variant and evidence of a file whose weights were quantised once at most."""
    evidence = f"{SOURCE_TRAINING}: {made.source_training}; {SOURCE_NAME}: {made.source_name}"
    if made.source_training == "qat":
        return "qat", _qat(quantization), evidence
    if quantization in UNQUANTIZED:
        return "none" if made.source_training == "none" else "unknown", _spoken(quantization), evidence
    if made.source_training in ("none", "ptq") and quantization != "unknown":
        return "ptq", f"PTQ {quantization}", evidence
    return "unknown", quantization, evidence


def _quantized_since(made: Provenance, header: ModelHeader) -> bool:
    """Whether another program has quantised a file again that was quantised here: it copied the keys."""
    return made.format not in UNQUANTIZED and _stated(header) != made.format


def _why_derived(made: Provenance) -> str:
    source = f"{SOURCE_NAME}: {made.source_name}"
    if made.derived:
        return f"{DERIVED}: true, made of {made.source_quantization} weights; {source}"
    return f"quantised again by another program after it was made {made.format}; {source}"


def _qat(quantization: str) -> str:
    kept = quantization in (_QAT_FORMAT, *UNQUANTIZED, "unknown")
    return f"{'QAT' if kept else 'QAT+PTQ'} {quantization}"


def _spoken(unquantized: str) -> str:
    return {"F16": "FP16", "F32": "FP32"}.get(unquantized, unquantized)


def quantization_name(header: ModelHeader) -> str:
    """llama.cpp's name for the file's format; "Q8_0 mixed" where the file names one its tensors do not have."""
    return _format(header)[0]


def kind_of(header: ModelHeader) -> str | None:
    """What a file is that does not generate text: "a LoRA adapter"; None for a language model."""
    kind = str(header.metadata.get("general.type", "model"))
    architecture = header.architecture
    prefix = f"{architecture}."
    if kind == "mmproj" or architecture == "clip":
        return "a vision projector (mmproj)"
    if kind == "adapter":
        return "a LoRA adapter"
    if kind != "model":
        return f"a GGUF of type {kind}"
    if (
        "bert" in architecture
        or "embedding" in architecture
        or architecture.endswith("encoder")
        or header.metadata.get(prefix + "attention.causal") is False
        or header.metadata.get(prefix + "pooling_type") not in (None, 0)
    ):
        return "an embedding model"
    if not header.tensors:
        return "a vocabulary without weights"
    return None


def why_refused(header: ModelHeader) -> str | None:
    """Why llama.cpp refuses a Gemma 3 in Ollama's own form, which `gemtop adopt` rewrites; None where it does not.

    Source: ggml-org/llama.cpp issue 12367.
    """
    if header.architecture != "gemma3":
        return None
    if any(tensor.name.startswith(("v.", "mm.")) for tensor in header.tensors):
        return "it holds the vision tensors as well"
    key = "gemma3.attention.layer_norm_rms_epsilon"
    return None if key in header.metadata else f"it lacks {key}"


def _sources(header: ModelHeader) -> list[tuple[str, str]]:
    """Names the file carries or goes by, each with where it was read."""
    found = _texts(header, _NAMING_KEYS)
    found += [("repository", name) for name in _repositories(header.path)]
    found.append(("file name", header.path.rsplit("/", 1)[-1]))
    if header.known_as:
        found.append(("tag", header.known_as))
    return found


def _texts(header: ModelHeader, keys: Sequence[str]) -> list[tuple[str, str]]:
    return [(key, str(header.metadata[key])) for key in keys if key in header.metadata]


def _repositories(path: str) -> list[str]:
    """Folders of the path that are named after a repository, as the stores of Hugging Face and LM Studio are.

    Google's QAT files are called gemma-3-27b-it-q4_0.gguf: only their repository's name says QAT.
    """
    folders = path.split("/")[:-1]
    named = [f for f in folders if f.startswith("models--") or f.lower().endswith(("-gguf", "-gguf-small"))]
    return [f.removeprefix("models--").replace("--", "/") for f in named]


def _says_qat(text: str) -> bool:
    return bool(_QAT.search(text)) and not _NOT_QAT.search(text)


def _looks_like_googles_qat(header: ModelHeader, quantization: str) -> bool:
    """llama-quantize keeps no embedding in F16 unless it is told to; Google's QAT files all have it."""
    if quantization != _QAT_FORMAT or not header.architecture.startswith("gemma3"):
        return False
    embedding = [tensor.type_name for tensor in header.tensors if tensor.name == _EMBEDDING[0]]
    return embedding == ["f16"] and not any(key in header.metadata for key in _QUANTIZER_KEYS)


def _format(header: ModelHeader) -> tuple[str, str]:
    """The name of the format, and where it was read."""
    for key, text in _sources(header)[::-1]:
        dynamic = _DYNAMIC.search(text)
        if dynamic and key in ("file name", "tag"):
            return f"UD-{dynamic[1].upper()}", f"{key}: {text}"
    stated = _stated(header)
    layers = [tensor for tensor in header.tensors if tensor.name not in _EMBEDDING]
    shares = _shares(layers or header.tensors)
    if stated and (not layers or sum(shares.get(name, 0) for name in _types_of(stated)) >= _LEAST_SHARE):
        return stated, f"general.file_type: {stated}"
    if not shares:
        return "unknown", "neither a known general.file_type nor tensors"
    largest, share = next(iter(shares.items()))
    listed = "its layers: " + ", ".join(f"{name} {part:.0%}" for name, part in shares.items() if part >= 0.01)
    if not stated:
        return largest, listed
    name = largest if share >= _UNIFORM_SHARE else f"{largest} mixed"
    return name, f"{listed}; general.file_type says {stated}"


def _stated(header: ModelHeader) -> str | None:
    """The format that general.file_type names, None where it names none that is known."""
    file_type = header.metadata.get("general.file_type")
    return FILE_TYPE_NAMES.get(file_type & ~_GUESSED) if isinstance(file_type, int) else None


def _shares(tensors: Sequence[TensorInfo]) -> dict[str, float]:
    """Share of each type in the bytes of these, the largest first."""
    total = sum(tensor.size_bytes for tensor in tensors)
    sizes: dict[str, int] = {}
    for tensor in tensors:
        name = tensor.type_name.upper()
        sizes[name] = sizes.get(name, 0) + tensor.size_bytes
    return {name: size / total for name, size in sorted(sizes.items(), key=lambda item: -item[1])} if total else {}


def _types_of(file_type_name: str) -> tuple[str, ...]:
    """Types the layers of such a file have, what stands in for them at odd widths included."""
    main = _MAIN_TYPES.get(file_type_name) or (re.sub(r"(?<=_K)_[SML]$", "", file_type_name),)
    return (*main, *(_FALLBACKS[name] for name in main if name in _FALLBACKS))
