"""What a model file is: header, quantization, training, and the variant name people use for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Training = Literal["qat", "ptq", "none", "unknown"]

FILE_TYPE_NAMES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip
"""general.file_type (llama.cpp's enum llama_ftype) to the name llama-quantize takes for it."""

UNQUANTIZED = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True)
class TensorInfo:
    name: str
    type_name: str
    """ggml's name in lower case: f32, q4_K, ..."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ModelHeader:
    """A GGUF header: everything that can be known of a model without its weights."""

    path: str
    size_bytes: int
    metadata: Mapping[str, Any]
    """Scalar keys as Python values; arrays are left out."""
    tensors: tuple[TensorInfo, ...]
    parameters: int
    """Number of weights, all tensors together."""
    fingerprint: str
    """Hash of the header and of samples of the data: two files with the same one hold the same model."""

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def name(self) -> str:
        return str(self.metadata.get("general.name") or self.path.rsplit("/", 1)[-1].removesuffix(".gguf"))

    def arch_int(self, key: str) -> int | None:
        """An integer under the architecture's own prefix (`block_count`, `context_length`), or None."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return int(value) if isinstance(value, (int, float)) else None

    @property
    def trained_context(self) -> int | None:
        return self.arch_int("context_length")

    @property
    def n_layers(self) -> int | None:
        return self.arch_int("block_count")


@dataclass(frozen=True, slots=True)
class Classification:
    """What a file is called, and why."""

    quantization: str
    """llama.cpp's name: Q4_0, Q4_K_M, F16; "unknown" where the file does not say."""
    training: Training
    variant: str
    """What people say: "QAT Q4_0", "PTQ Q4_K_M", "FP16"."""
    evidence: str
    """Where the training was read from."""


_QAT = re.compile(r"(?<![a-z])qat(?![a-z])", re.IGNORECASE)
_NAMING_KEYS = (
    "general.name",
    "general.basename",
    "general.finetune",
    "general.description",
    "general.base_model.0.name",
    "general.base_model.0.repo_url",
    "general.source.url",
    "general.source.huggingface.repository",
)


_EMBEDDING = ("token_embd.weight", "output.weight")
"""Kept in a larger type by many quantisers; in a 1B of Google's QAT files they outweigh all else."""


def quantization_name(header: ModelHeader) -> str:
    """llama.cpp's name for the file's format, from general.file_type, else from the type most of it has."""
    file_type = header.metadata.get("general.file_type")
    if isinstance(file_type, int) and (file_type & ~1024) in FILE_TYPE_NAMES:
        return FILE_TYPE_NAMES[file_type & ~1024]  # bit 1024 is llama.cpp's "guessed" mark
    bytes_by_type: dict[str, int] = {}
    layers = [tensor for tensor in header.tensors if tensor.name not in _EMBEDDING]
    for tensor in layers or header.tensors:
        bytes_by_type[tensor.type_name] = bytes_by_type.get(tensor.type_name, 0) + tensor.size_bytes
    if not bytes_by_type:
        return "unknown"
    return max(bytes_by_type, key=lambda name: bytes_by_type[name]).upper()


def _repositories(path: str) -> list[str]:
    """Folders of the path that are named after a repository, as the stores of Hugging Face and LM Studio are.

    Google's QAT files are called gemma-3-27b-it-q4_0.gguf: only their repository's name says QAT.
    """
    folders = path.split("/")[:-1]
    return [f for f in folders if f.startswith("models--") or f.lower().endswith(("-gguf", "-gguf-small"))]


def classify(header: ModelHeader) -> Classification:
    """Quantization, training and variant of a file, with the evidence; QAT only where the file says so."""
    quantization = quantization_name(header)
    sources = [(key, str(header.metadata[key])) for key in _NAMING_KEYS if key in header.metadata]
    sources.append(("file name", header.path.rsplit("/", 1)[-1]))
    sources += [("repository", folder) for folder in _repositories(header.path)]
    for key, text in sources:
        if _QAT.search(text):
            return Classification(quantization, "qat", f"QAT {quantization}", f"{key}: {text}")
    if quantization in UNQUANTIZED:
        spoken = "FP16" if quantization == "F16" else "FP32" if quantization == "F32" else quantization
        return Classification(quantization, "none", spoken, f"{quantization} is not quantised")
    if quantization == "unknown":
        return Classification(quantization, "unknown", "unknown", "the file names no type")
    if [key for key, _ in sources] == ["file name"] and "gguf" not in sources[0][1]:
        return Classification(quantization, "unknown", quantization, "neither metadata nor file name say")
    return Classification(
        quantization, "ptq", f"PTQ {quantization}", "quantised, and nothing in it or its name says QAT"
    )


@dataclass(frozen=True, slots=True)
class BackendDevice:
    """A device as llama.cpp sees it."""

    name: str
    """llama.cpp's name: CPU, CUDA0, RPC0."""
    description: str
    kind: Literal["cpu", "gpu", "igpu", "accel", "other"]
    backend: str
    memory_total_bytes: int
    memory_free_bytes: int
    pci_bus_id: str | None
    """As the backend gives it ("0000:65:00.0"), None where it has none."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What is known once a model and its context stand."""

    header: ModelHeader
    classification: Classification
    n_ctx: int
    n_ctx_train: int
    n_layers: int
    """Layers that can be offloaded, the output layer counted."""
    n_gpu_layers: int
    """Layers that are on a device; 0 on a build without one."""
    n_threads: int
    n_threads_batch: int
    n_batch: int
    n_ubatch: int
    flash_attn: str
    type_k: str
    type_v: str
    swa_full: bool
    chat_template: bool
    """Prompts are wrapped in the model's own turns."""
    devices: tuple[BackendDevice, ...]
    """Devices that hold a part of the model, the CPU not counted."""
    load_s: float
    llama_build: str
    description: str
    """llama.cpp's own: "gemma3 270M Q4_K - Medium"."""
    tensor_bytes: int
    """All tensors together, as llama-bench gives the size."""
    backend_label: str
    """llama-bench's backend column: "CPU", "CUDA", "CUDA,RPC"."""
    warnings: tuple[str, ...] = field(default=())
