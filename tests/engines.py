"""A deterministic engine behind the Engine protocol, and a driver that waits for what engines say."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from gemtop.domain.classify import classify
from gemtop.domain.events import (
    BenchFinished,
    BenchRepetition,
    EngineCrashed,
    EngineEvent,
    GenerateRequest,
    LoadFailed,
    LoadProgress,
    LogLine,
    ModelLoaded,
    ModelUnloaded,
    PrefillProgress,
    RunFinished,
    RunStarted,
    ScoreProgress,
    SettingsRefused,
    TextScored,
    TokenGenerated,
    TopTokens,
)
from gemtop.domain.fidelity import Divergences, Likelihoods
from gemtop.domain.model import LoadedModel, ModelHeader, TensorInfo
from gemtop.domain.settings import EngineSettings
from gemtop.engine.protocol import BenchRequest, Engine, EventSink, ScoreRequest

Event = TypeVar("Event")
DEADLINE_S = 120.0
_FAKE_TOKEN_S = 0.001
_APART = 1000
"""Added to the ids of a model that says something else."""


class EngineDriver:
    """An engine whose events can be waited for."""

    def __init__(self, make: Callable[[EventSink], Engine]) -> None:
        self.events: list[EngineEvent] = []
        self._queue: SimpleQueue[EngineEvent] = SimpleQueue()
        self.engine = make(self._queue.put)

    def wait_for(self, *kinds: type[Event]) -> Event:
        """The next event of one of these kinds; those before it are kept in `events`."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                event = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no {kinds} within {DEADLINE_S} s; had {self.events[-5:]}") from None
            self.events.append(event)
            if isinstance(event, kinds):
                return event

    def load(self, path: str, settings: EngineSettings) -> LoadedModel:
        self.engine.open(path, settings)
        event = self.wait_for(ModelLoaded, LoadFailed)
        assert isinstance(event, ModelLoaded), event
        return event.model

    def run(self, request: GenerateRequest) -> tuple[str, RunFinished]:
        """The text of a run and how it ended."""
        before = len(self.events)
        self.engine.generate(request)
        finished = self.wait_for(RunFinished)
        pieces = [e.text for e in self.events[before:] if isinstance(e, TokenGenerated)]
        return "".join(pieces) + finished.text, finished


def fake_model(path: str = "fake.gguf", *, chat_template: bool = True, n_ctx: int = 4096) -> LoadedModel:
    header = ModelHeader(
        path=path,
        size_bytes=17_200_000_000,
        metadata={"general.architecture": "gemma3", "general.name": "gemma-3-27b-it-qat", "general.file_type": 2},
        tensors=(TensorInfo("token_embd.weight", "f16", 2_800_000_000),),
        parameters=27_009_346_304,
        fingerprint="f" * 64,
    )
    return LoadedModel(
        header=header, classification=classify(header), n_ctx=n_ctx, n_ctx_train=131_072, n_layers=63,
        n_gpu_layers=0, n_threads=1, n_threads_batch=1, n_batch=2048, n_ubatch=512, flash_attn="on", type_k="f16",
        type_v="f16", swa_full=False, chat_template=chat_template, devices=(), load_s=0.1, llama_build="fake",
        description="gemma3 27B Q4_0", tensor_bytes=17_000_000_000, backend_label="CPU",
    )  # fmt: skip


class FakeEngine:
    """Says what a script has it say, on a thread of its own. A path that does not exist fails to load.

    A prompt's words come back as tokens, over and over, and go on where they were when a run is resumed. `gate`, where
    given, is waited for before each token and each chunk of a text, so that a test decides when one comes. The prompt
    "crash" makes it give up as llama.cpp does. `parts_at` has files by name, and the token from which on they say the
    words in capitals, under other ids.
    """

    def __init__(
        self,
        emit: EventSink,
        model: LoadedModel | None = None,
        gate: threading.Semaphore | None = None,
        parts_at: Mapping[str, int] | None = None,
    ) -> None:
        self._emit, self._model, self._gate, self._parts_at = emit, model, gate, dict(parts_at or {})
        self._commands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._stop = threading.Event()
        self._loaded: LoadedModel | None = None
        self._used = 0
        self._thread = threading.Thread(target=self._main, name="gemtop-engine", daemon=True)
        self._thread.start()

    def open(self, path: str, settings: EngineSettings) -> None:
        self._stop.clear()
        self._commands.put(lambda: self._open(path, settings))

    def apply(self, settings: EngineSettings) -> None:
        self._commands.put(lambda: self._after_cancel(lambda: self._apply(settings)))

    def _after_cancel(self, command: Callable[[], None]) -> None:
        self._stop.clear()
        command()

    def generate(self, request: GenerateRequest) -> None:
        self._stop.clear()
        self._commands.put(lambda: self._generate(request))

    def forget(self) -> None:
        self._used = 0

    def bench(self, request: BenchRequest) -> None:
        self._stop.clear()
        self._commands.put(lambda: self._bench(request))

    def unload(self) -> None:
        self._commands.put(self._unload)

    def score(self, request: ScoreRequest) -> None:
        self._stop.clear()
        self._commands.put(lambda: self._score(request))

    def top_tokens(self, tokens: tuple[int, ...], count: int) -> None:
        self._commands.put(lambda: self._top_tokens(tokens, count))

    def cancel(self) -> None:
        self._stop.set()
        if self._gate is not None:
            self._gate.release()

    def close(self, timeout_s: float = 10.0) -> bool:
        self.cancel()
        self._commands.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _main(self) -> None:
        while (command := self._commands.get()) is not None:
            command()

    def _open(self, path: str, settings: EngineSettings) -> None:
        self._emit(LogLine(time.monotonic_ns(), "info", f"opening {path}"))
        for step in range(5):
            self._emit(LoadProgress(step / 4))
        if self._model is None and not Path(path).exists():
            self._emit(LoadFailed(f"{path} does not exist; give the path of a GGUF file"))
            return
        n_ctx = settings.context.n_ctx or 4096
        self._loaded = self._model or replace(fake_model(path, chat_template=False), n_ctx=n_ctx)
        self._settings = settings
        self._emit(ModelLoaded(self._loaded, settings))

    def _apply(self, settings: EngineSettings) -> None:
        clock, n_ctx = time.monotonic_ns, settings.context.n_ctx or 4096
        if self._loaded is None:
            self._emit(SettingsRefused("no model is loaded"))
            return
        if self._used >= n_ctx:
            self._emit(SettingsRefused(f"a context of {n_ctx} tokens is too small"))
            return
        context = settings.context
        self._loaded = replace(
            self._loaded, n_ctx=n_ctx, type_k=context.type_k, type_v=context.type_v, n_ubatch=context.n_ubatch
        )
        self._settings = settings
        self._emit(ModelLoaded(self._loaded, settings, change_s=0.01, weights_kept=True))
        self._emit(RunStarted(clock(), tuple(range(self._used)), 0, None, "apply"))
        if self._used:
            self._emit(PrefillProgress(clock(), self._used))
        self._emit(RunFinished(clock(), "finished", "length", self._used))

    def _generate(self, request: GenerateRequest) -> None:
        clock, model = time.monotonic_ns, self._loaded
        words = request.prompt.split()
        if model is None or not words:
            message = "the prompt is empty; give some text" if model else "no model is loaded"
            self._emit(RunFinished(clock(), "failed", "error", 0, message))
            return
        if len(words) > model.n_ctx:
            self._emit(RunFinished(clock(), "failed", "error", 0, "the prompt is too long: shorten it or raise -c"))
            return
        resumed = self._used - len(words) if request.resume else 0
        prompt = (self._used - 1,) if request.resume else tuple(range(len(words)))
        self._emit(RunStarted(clock(), prompt, self._used - 1 if request.resume else 0, request.sampling.seed))
        self._emit(PrefillProgress(clock(), len(prompt)))
        if request.prompt == "crash":
            self._emit(EngineCrashed(clock(), "ggml.c:1: GGML_ASSERT(false) failed"))
            return
        n, used = 0, len(words) + resumed
        reason = "length"
        while request.n_predict < 0 or n < request.n_predict:
            if self._gate is not None:
                self._gate.acquire()
            if self._stop.wait(_FAKE_TOKEN_S):
                reason = "cancelled"
                break
            word = " " + words[(n + resumed) % len(words)]
            apart = n >= self._parts
            self._emit(TokenGenerated(clock(), n + _APART * apart, word.upper() if apart else word))
            n += 1
            used += 1
            if used >= model.n_ctx:
                reason = "context_full"
                break
        status = "cancelled" if reason == "cancelled" else "finished"
        self._used = used
        self._emit(RunFinished(clock(), status, reason, used))  # type: ignore[arg-type]

    @property
    def _parts(self) -> float:
        """The token from which on the model that is loaded says something else."""
        assert self._loaded is not None
        return self._parts_at.get(Path(self._loaded.header.path).name, math.inf)

    def _unload(self) -> None:
        self._loaded = None
        self._emit(ModelUnloaded())

    def _score(self, request: ScoreRequest) -> None:
        """Every other token of a chunk counts, as of a text of two chunks where it is not said of how many."""
        model = self._loaded
        if model is None:
            self._emit(TextScored("failed", "no model is loaded"))
            return
        n_chunks = request.n_chunks or 2
        own = [2 + 0.1 * (i % 7) for i in range(n_chunks * model.n_ctx // 2)]
        nll = own if self._parts == math.inf else [value + 0.01 * (1 + i % 3) for i, value in enumerate(own)]
        for chunk in range(1, n_chunks + 1):
            if self._gate is not None:
                self._gate.acquire()
            if self._stop.wait(_FAKE_TOKEN_S):
                self._emit(TextScored("cancelled"))
                return
            self._emit(ScoreProgress(chunk, n_chunks, math.exp(2.3)))
        if request.keep is not None:
            request.keep.parent.mkdir(parents=True, exist_ok=True)
            request.keep.write_text(model.header.path)
        kl = [0.001 * (i % 5) if nll is not own else 0.0 for i in range(len(own))]
        against = tuple(
            Divergences(own, kl, [0.0] * len(own), [value < 0.004 for value in kl]) for _ in request.baselines
        )
        self._emit(TextScored("finished", None, Likelihoods(model.n_ctx, n_chunks, nll), against))

    def _top_tokens(self, tokens: tuple[int, ...], count: int) -> None:
        """The token it would say, and then others, each half as likely as the one before."""
        if self._loaded is None:
            self._emit(TopTokens((), "no model is loaded"))
            return
        after = tokens[-1] + 1
        first = after + _APART * (after >= self._parts)
        top = tuple((first + i, f" token-{first + i}", 0.5 / 2**i) for i in range(count))
        self._emit(TopTokens(top))

    def _bench(self, request: BenchRequest) -> None:
        for _ in range(request.repetitions):
            start = time.monotonic_ns()
            stamps = tuple(start + (i + 1) * 1000 for i in range(request.n_gen))
            self._emit(BenchRepetition(start, start + 1_000_000, request.n_prompt, request.n_gen, stamps))
        self._emit(BenchFinished("finished"))
