"""What the engine says happened, stamped with monotonic_ns where it happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gemtop.domain.fidelity import Divergences, Likelihoods
from gemtop.domain.log_line import LogLine as LogLine
from gemtop.domain.model import DeviceMemory, LoadedModel
from gemtop.domain.settings import EngineSettings, SamplingSettings

StopReason = Literal["end_of_generation", "length", "context_full", "cancelled", "error", "crashed"]
RunStatus = Literal["finished", "cancelled", "failed", "crashed"]


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One run: text in, tokens out."""

    prompt: str
    n_predict: int = -1
    """Tokens to generate; negative is until the end of generation or of the context."""
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    raw: bool = False
    """Plain completion even where the model has a chat template."""
    history: tuple[tuple[str, str], ...] = ()
    """(user, model) turns before this one; they are decoded first where they are not in the cache."""
    resume: bool = False
    """Go on from what the context holds: what a change of settings interrupted. The prompt is only a name then."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know that stops nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class LoadProgress:
    fraction: float
    """0 to 1, as llama.cpp reports it."""


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """A model and its context stand, newly loaded or with other settings."""

    model: LoadedModel
    settings: EngineSettings
    """What was asked for; `model` says what came of it."""
    change_s: float = 0.0
    """Seconds from the command until the context stood."""
    weights_kept: bool = False
    """Only the context was made anew."""
    memory: tuple[DeviceMemory, ...] = ()
    bandwidths: Mapping[str, float] = field(default_factory=dict)
    """Bytes per second that a device reads from its memory, as it was measured, by llama.cpp's name; the CPU with the
    threads of this context."""
    bandwidth_reasons: Mapping[str, str] = field(default_factory=dict)
    """Why the others have none."""
    file_cached_share: float | None = None
    """Share of the file that was in the page cache before the load; None where the kernel does not say, and where the
    weights were kept."""


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """Nothing is loaded any more."""

    message: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class ModelUnloaded:
    """Nothing is loaded any more, as was asked for."""


@dataclass(frozen=True, slots=True)
class SettingsRefused:
    """A change of settings was not made, or was taken back: those before it are in force."""

    message: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins. Of kind apply, the conversation is decoded again into a context with other settings."""

    t_ns: int
    prompt_tokens: tuple[int, ...]
    """Tokens this run decodes before it can generate; what was in the cache is not among them."""
    cached_tokens: int
    """Context depth the run begins at."""
    seed: int | None
    kind: Literal["generate", "apply"] = "generate"


@dataclass(frozen=True, slots=True)
class PrefillProgress:
    t_ns: int
    n_done: int
    """Prompt tokens decoded so far."""


@dataclass(frozen=True, slots=True)
class TokenGenerated:
    t_ns: int
    """When it had been sampled."""
    token_id: int
    text: str
    """What it adds to the text; empty while a character is still incomplete."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    t_ns: int
    status: RunStatus
    stop_reason: StopReason
    context_used: int
    """Tokens in the context when it ended."""
    message: str | None = None
    """What went wrong, for status failed."""
    text: str = ""
    """What the last incomplete character adds."""


@dataclass(frozen=True, slots=True)
class BenchRepetition:
    """One repetition of a bench test, everything stamped by the engine."""

    start_ns: int
    end_ns: int
    n_prompt: int
    n_gen: int
    token_t_ns: tuple[int, ...]
    """When each generated token had been decoded; empty for a prompt test."""


@dataclass(frozen=True, slots=True)
class BenchFinished:
    status: RunStatus
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreProgress:
    """Chunks of a text that are scored."""

    n_done: int
    n_chunks: int
    perplexity: float
    """Of those done."""


@dataclass(frozen=True, slots=True)
class TextScored:
    """What a model makes of a text."""

    status: RunStatus
    message: str | None = None
    """What went wrong, for status failed."""
    likelihoods: Likelihoods | None = None
    divergences: tuple[Divergences | str, ...] = ()
    """From each of the baselines' predictions that were asked for, or why it cannot be held against them."""


@dataclass(frozen=True, slots=True)
class TopTokens:
    """The most likely tokens to follow."""

    tokens: tuple[tuple[int, str, float], ...]
    """Id, text and probability, the most likely first."""
    message: str | None = None
    """Why there are none."""


@dataclass(frozen=True, slots=True)
class EngineCrashed:
    """llama.cpp aborted. The engine thread is parked and its state lost."""

    t_ns: int
    message: str


EngineEvent = (
    LogLine
    | Notice
    | LoadProgress
    | ModelLoaded
    | LoadFailed
    | ModelUnloaded
    | SettingsRefused
    | RunStarted
    | PrefillProgress
    | TokenGenerated
    | RunFinished
    | BenchRepetition
    | BenchFinished
    | ScoreProgress
    | TextScored
    | TopTokens
    | EngineCrashed
)
