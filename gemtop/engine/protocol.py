"""What a session needs of an engine. The real one is engine.worker; tests have one that needs no weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gemtop.domain.events import EngineEvent, GenerateRequest
from gemtop.domain.settings import EngineSettings

EventSink = Callable[[EngineEvent], None]
"""Called on the engine thread; it must return at once."""


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """One test of llama-bench: n_prompt tokens in batches, or n_gen tokens one by one, at a depth."""

    n_prompt: int
    n_gen: int
    n_depth: int
    repetitions: int


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A text through the model, in chunks."""

    text: str
    n_ctx: int
    """Tokens in a chunk, at most as many as the context has room for."""
    n_chunks: int | None = None
    """So many from the beginning; None is as many as there are."""
    baselines: tuple[Path, ...] = ()
    """Files of predictions to be held against."""
    keep: Path | None = None
    """File that this model's predictions are kept in."""


class Engine(Protocol):
    """Commands return at once; what comes of them arrives at the sink, in order."""

    def open(self, path: str, settings: EngineSettings) -> None:
        """Load a model, freeing the one before. Ends in ModelLoaded or LoadFailed."""

    def unload(self) -> None:
        """Free what is loaded. Ends in ModelUnloaded."""

    def apply(self, settings: EngineSettings) -> None:
        """Change the settings of what is loaded, keeping the weights where only the context changes.

        What the context held is decoded again into the new one: ModelLoaded, then a run of kind apply. Ends in
        SettingsRefused where that cannot be, with the settings and the conversation as they were; in LoadFailed
        where not even they can be had again.
        """

    def generate(self, request: GenerateRequest) -> None:
        """Run a prompt, or resume what the context holds. Ends in RunFinished."""

    def forget(self) -> None:
        """Empty the context."""

    def bench(self, request: BenchRequest) -> None:
        """Run a test. Each repetition is a BenchRepetition, the last thing is BenchFinished."""

    def score(self, request: ScoreRequest) -> None:
        """Score a text. Emits ScoreProgress a chunk, and TextScored at the end."""

    def top_tokens(self, tokens: tuple[int, ...], count: int) -> None:
        """The most likely tokens to follow these in an empty context. Ends in TopTokens."""

    def cancel(self) -> None:
        """Stop loading or generating, within one token. Safe from any thread and when idle."""

    def close(self, timeout_s: float = 10.0) -> bool:
        """Free everything and join the thread; False where it did not end in time (llama.cpp hangs)."""
