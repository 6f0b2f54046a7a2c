"""Real sessions over the fake engine, recorded into a real history, for replaying."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import TypeVar

from gemtop.cli.replay import opened
from gemtop.config import Paths
from gemtop.domain.events import EngineEvent, GenerateRequest, ModelLoaded, TokenGenerated
from gemtop.domain.model import BackendDevice, DeviceMemory
from gemtop.domain.plan import MemoryUse
from gemtop.domain.settings import EngineSettings, SamplingSettings
from gemtop.domain.telemetry import CostSample, Sample, TelemetryStatus
from gemtop.engine.protocol import EventSink
from gemtop.history.recorder import Recorder
from gemtop.replay import Replay
from gemtop.session import Session, begin_session
from gemtop.view import RunRecorded, SessionEvent, SessionView
from tests.engines import DEADLINE_S, FakeEngine, fake_model
from tests.fakes import CARD_0, CARD_1, FakeSampler
from tests.history.rows import FAST

Event = TypeVar("Event")
GREEDY = SamplingSettings(temperature=0)
_GPU = BackendDevice("CUDA0", "Stub RTX 24G", "gpu", "CUDA", 24 * 2**30, 20 * 2**30, "0000:65:00.0")
MEMORY = (
    DeviceMemory("CPU", "a processor", MemoryUse(100, 0, 0, 7, 3), None, None, "not planned"),
    DeviceMemory("CUDA0", "Stub RTX 24G", MemoryUse(17 * 2**30, 5, 0, 3, 0), 9, MemoryUse(17 * 2**30, 6, 0, 3, 0)),
)
CHANGE_S = 1e-6
"""A fake changes settings at once."""


class RecordedSitting:
    """A session with a card, whose model says what it takes, and that a test leads step by step."""

    def __init__(self, paths: Paths, gate: threading.Semaphore | None = None, *, record_text: bool = True) -> None:
        self.paths = paths
        self.samplers: list[FakeSampler] = []
        self._queue: SimpleQueue[SessionEvent] = SimpleQueue()
        begin = begin_session("tui")
        recorder = Recorder(paths, FAST)
        recorder.open(begin)
        model = replace(fake_model(chat_template=False), devices=(_GPU,))

        def make_engine(emit: EventSink) -> FakeEngine:
            def with_memory(event: EngineEvent) -> None:
                if isinstance(event, ModelLoaded):
                    event = replace(event, memory=MEMORY, change_s=CHANGE_S, bandwidths={"CUDA0": 1e12, "CPU": 1e10})
                emit(event)

            return FakeEngine(with_memory, model, gate)

        def make_sampler(emit: Callable[[Sample], None], on_status: Callable[[TelemetryStatus], None]) -> FakeSampler:
            self._emit = emit
            self.samplers.append(FakeSampler(emit, on_status, (CARD_0, CARD_1)))
            return self.samplers[-1]

        self.session = Session(begin, make_engine, make_sampler, recorder, self._queue.put, record_text=record_text)
        self.session.start()
        self.session.open("fake.gguf", EngineSettings())
        self.wait_for(ModelLoaded)

    def wait_for(self, kind: type[Event]) -> Event:
        while True:
            event = self._queue.get(timeout=DEADLINE_S)
            if isinstance(event, kind):
                return event

    def sample(self) -> None:
        """A reading of everything, what gemtop itself takes included."""
        now_ns = time.monotonic_ns()
        self.samplers[0].sample(now_ns)
        self._emit(CostSample(now_ns, 90.0, 2.5, 0.1, 1000.0, 0))

    def generate(self, prompt: str, n_predict: int = 40) -> None:
        self.session.generate(GenerateRequest(prompt, n_predict, GREEDY))

    def run(self, prompt: str, n_predict: int = 40) -> RunRecorded:
        self.generate(prompt, n_predict)
        return self.wait_for(RunRecorded)

    def let_through(self, gate: threading.Semaphore, count: int) -> SessionView:
        """So many tokens, and the view behind them, while nothing moves."""
        for _ in range(count):
            gate.release()
        for _ in range(count):
            self.wait_for(TokenGenerated)
        return self.session.view()

    def replay(self) -> Replay:
        return opened(self.paths, self.session.session_id)
