"""What a user chooses before and between runs, in llama.cpp's names and meanings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gemtop.domain.errors import BadInputError

FlashAttention = Literal["auto", "on", "off"]
SplitMode = Literal["none", "layer", "row"]
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""KV cache types that llama.cpp's own tools accept for -ctk and -ctv."""

DEFAULT_N_CTX = 8192
"""Context when -c is not given, in tokens; a model trained for less gets what it was trained for."""


@dataclass(frozen=True, slots=True)
class OffloadSettings:
    """What decides where the weights lie; a change loads them again."""

    n_gpu_layers: int = -1
    """Layers on the devices, the output layer counted; negative or beyond the last one: all of them."""
    use_mmap: bool = True
    rpc_servers: tuple[str, ...] = ()
    """HOST:PORT of llama.cpp RPC servers whose devices are added to this machine's."""
    use_extra_bufts: bool = True
    """Repacked CPU weights; the preflight switches them off where they crash the process."""
    devices: tuple[str, ...] = ()
    """llama.cpp's names of the devices to offload to; none given is all of them, "none" is none."""
    split_mode: SplitMode = "layer"
    """How several devices share the model."""
    tensor_split: tuple[float, ...] = ()
    """Each device's share, in any unit; none given is by free memory."""
    main_gpu: int = 0
    """The device that holds all of it where split_mode is none."""
    override_tensor: tuple[tuple[str, str], ...] = ()
    """(regular expression over tensor names, buffer type) pairs: where these tensors go instead."""


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What decides the context; a change keeps the weights loaded."""

    n_ctx: int | None = None
    """Context length in tokens; 0 is the trained context, None is DEFAULT_N_CTX or less."""
    n_batch: int = 2048
    n_ubatch: int = 512
    n_threads: int | None = None
    """None is the number of physical cores."""
    n_threads_batch: int | None = None
    """None is n_threads."""
    flash_attn: FlashAttention = "auto"
    type_k: str = "f16"
    type_v: str = "f16"
    swa_full: bool = False
    """Keep the whole context for sliding-window layers too."""

    def tokens(self, trained: int) -> int:
        """Context length asked for of a model that was trained for so many tokens."""
        return min(DEFAULT_N_CTX, trained) if self.n_ctx is None else self.n_ctx or trained


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """A LoRA adapter in force. A scale of 0 keeps it loaded and switched off."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    offload: OffloadSettings = field(default_factory=OffloadSettings)
    context: ContextSettings = field(default_factory=ContextSettings)
    lora: tuple[LoraAdapter, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """llama.cpp's sampler chain (top-k, top-p, min-p, temperature); its tools' defaults."""

    temperature: float = 0.8
    """0 or less is greedy: the most likely token each time."""
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    seed: int | None = None
    """None draws a new one for each run; the one drawn is recorded."""

    @property
    def greedy(self) -> bool:
        return self.temperature <= 0


def beyond_trained(n_ctx: int, trained: int | None) -> str | None:
    """The warning that a context is longer than what the model was trained for; None where it is not."""
    if not trained or n_ctx <= trained:
        return None
    return f"context of {n_ctx:,} tokens is beyond the {trained:,} the model was trained for; expect nonsense past that"


def check_context(context: ContextSettings, trained: int | None) -> None:
    """Raises BadInputError for settings that no context of a model trained for `trained` tokens can have.

    None leaves that out: what can be said before the model is read.
    """
    if context.n_ctx is not None and context.n_ctx < 0:
        raise BadInputError(f"-c {context.n_ctx}: a context cannot be negative; 0 is the trained context")
    if context.n_ctx is not None and trained and context.n_ctx > 64 * trained:
        raise BadInputError(
            f"a context of {context.n_ctx:,} tokens: the model was trained for {trained:,}, and 64 times that is no use"
        )
    for flag, value in (("-b", context.n_batch), ("-ub", context.n_ubatch)):
        if value < 1:
            raise BadInputError(f"{flag} {value}: at least 1 token")
    for flag, threads in (("-t", context.n_threads), ("-tb", context.n_threads_batch)):
        if threads is not None and not 1 <= threads <= 512:
            raise BadInputError(f"{flag} {threads}: between 1 and 512 threads")
    if context.flash_attn == "off" and context.type_v not in ("f32", "f16", "bf16"):
        raise BadInputError(f"-ctv {context.type_v} needs flash attention; leave out -fa off")


def settings_to_dict(settings: EngineSettings) -> dict[str, Any]:
    """Plain types, for a JSON file; settings_from_dict reads it back."""
    return asdict(settings)


def settings_from_dict(data: dict[str, Any]) -> EngineSettings:
    offload = dict(data["offload"])
    for name in ("rpc_servers", "devices", "tensor_split"):
        offload[name] = tuple(offload[name])
    offload["override_tensor"] = tuple((pattern, buffer) for pattern, buffer in offload["override_tensor"])
    return EngineSettings(
        OffloadSettings(**offload),
        ContextSettings(**data["context"]),
        tuple(LoraAdapter(**adapter) for adapter in data["lora"]),
    )
