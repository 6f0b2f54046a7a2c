"""What a model file is: header, quantization, training, and the variant name people use for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gemtop.domain.plan import MemoryUse

Training = Literal["qat", "ptq", "none", "unknown"]


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
    known_as: str | None = None
    """The name a store has for a file whose own name is a hash: "gemma3:27b-it-qat" for a blob of Ollama's."""
    as_adopted: bool = False
    """It is the header of the copy that `gemtop adopt` would make, which has the path of the file meanwhile."""

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def name(self) -> str:
        own = self.path.rsplit("/", 1)[-1].removesuffix(".gguf")
        return str(self.metadata.get("general.name") or self.known_as or own)

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
    """llama.cpp's name: Q4_0, Q4_K_M, F16; "Q8_0 mixed" where the file names another; "unknown"."""
    training: Training
    """How the weights were trained: for being quantised, not for it but quantised, not quantised at all."""
    variant: str
    """What people say: "QAT Q4_0", "PTQ Q4_K_M", "FP16"; "QAT+PTQ Q4_K_M" for QAT weights in another format, and
    "PTQ Q4_0 (derived)" for what was made of quantised weights."""
    evidence: str
    """Where the training was read from."""
    format_evidence: str
    """Where the quantization was read from."""
    derived: bool = False
    """The weights were quantised before, in any format: this is neither the original nor a plain PTQ of it."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits this machine's devices, as the planner has it."""

    fits: bool | None
    """None where it could not be planned."""
    reason: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model file of this machine, as it is listed. What its header would say is None where `problem` is set."""

    name: str
    """What to type for it."""
    path: str
    """The file; the first part of a split one."""
    store: str
    """Whose it is: "ollama", "huggingface", "lmstudio", "llama.cpp", "folder", "demo"."""
    also: tuple[str, ...]
    """Other names of the same file."""
    size_bytes: int | None
    """All parts together; None where the file is not there yet."""
    problem: str | None
    """What is wrong with it, in one line that leaves out which file it is."""
    kind: str | None = None
    """What it is where it is no language model: "a LoRA adapter"."""
    refused: str | None = None
    """Why llama.cpp refuses it in Ollama's own form; `gemtop adopt` helps."""
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    training: Training | None = None
    variant: str | None = None
    derived: bool | None = None
    evidence: str | None = None
    format_evidence: str | None = None
    trained_context: int | None = None
    fingerprint: str | None = None
    adopted_from: str | None = None
    """The blob of Ollama's that the file is the adopted copy of; name and store are the blob's."""
    outdated_copy: str | None = None
    """A copy that was adopted from what Ollama had under the name before."""

    @property
    def adopt_command(self) -> str | None:
        """What helps where `refused` is set."""
        if not self.refused:
            return None
        import shlex

        return f"gemtop adopt {'--force ' if self.outdated_copy else ''}{shlex.quote(self.name)}"


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
class DeviceMemory:
    """What a load took of a device, as llama.cpp reports it, beside what was predicted."""

    device: str
    """llama.cpp's name: CPU is the host."""
    description: str
    measured: MemoryUse
    used_bytes: int | None
    """By how much the device's own figure of free memory fell; None where it has none."""
    predicted: MemoryUse | None
    reason: str | None = None
    """Why there is no prediction."""


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
