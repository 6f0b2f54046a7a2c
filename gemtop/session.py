"""One sitting: an engine, a sampler and a recorder, and what both front ends may ask of them."""

from __future__ import annotations

import logging
import os
import platform
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from gemtop import __version__
from gemtop.config import new_session_id
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
    SettingsRefused,
    TokenGenerated,
)
from gemtop.domain.model import LoadedModel
from gemtop.domain.records import Record, SessionBegin, SessionEnd, device_rows
from gemtop.domain.settings import EngineSettings, SamplingSettings
from gemtop.domain.telemetry import Sample, TelemetryStatus
from gemtop.engine.protocol import BenchRequest, Engine, EventSink, ScoreRequest
from gemtop.event_log import log_event
from gemtop.readings import COARSE_S, Readings, Recorder, Sampler
from gemtop.run import changes, ledger_rows
from gemtop.runs import Runs
from gemtop.view import Listener, Mark, RunRecorded, SessionView

_log = logging.getLogger(__name__)


def begin_session(command: str, session_id: str | None = None) -> SessionBegin:
    """A session's first record, stamped now: from here its time counts."""
    return SessionBegin(
        session_id=session_id or new_session_id(),
        started_at_ms=time.time_ns() // 1_000_000,
        started_ns=time.monotonic_ns(),
        command=command,
        host=socket.gethostname(),
        pid=os.getpid(),
        gemtop_version=__version__,
        python_version=platform.python_version(),
        platform=platform.platform(),
    )


class Session:
    """The controller both front ends go through. Construct, `start`, `open`, `generate` ..., `close`."""

    def __init__(
        self,
        begin: SessionBegin,
        make_engine: Callable[[EventSink], Engine],
        make_sampler: Callable[[Callable[[Sample], None], Callable[[TelemetryStatus], None]], Sampler],
        recorder: Recorder,
        listener: Listener,
        *,
        record_text: bool = True,
    ) -> None:
        self._listener = listener
        self._recorder = recorder
        self.record_text = record_text
        """Prompts and outputs go into the history."""
        self._begin_record = begin
        self._loading: float | None = None
        self._load_error: str | None = None
        self.crashed: str | None = None
        self._request: GenerateRequest | None = None
        self._bench: BenchRequest | None = None
        self.conversation: list[tuple[str, str]] = []
        """(user, model) turns since it was last begun anew, for models with a chat template."""
        self._running = False
        self.applying = False
        """A change of settings was asked for and has neither been made nor refused yet."""
        self._interrupted: GenerateRequest | None = None
        """What a change of settings stopped, to go on with after it."""
        self._load_count, self._interrupted_at = 0, 0
        self._marks: list[Mark] = []
        self._readings = Readings()
        self._log: deque[LogLine] = deque(maxlen=2000)
        self._log_count = 0
        self._sampler = make_sampler(self._on_sample, self._on_status)
        self._runs = Runs(begin, recorder, self._readings, self._sampler, record_text=record_text)
        self._engine = make_engine(self._on_event)

    @property
    def session_id(self) -> str:
        return self._begin_record.session_id

    @property
    def started_ns(self) -> int:
        """monotonic_ns when the session began: the zero of its charts."""
        return self._begin_record.started_ns

    @property
    def _model(self) -> LoadedModel | None:
        loaded = self._runs.loaded
        return loaded.model if loaded else None

    @property
    def ready(self) -> bool:
        """A model is loaded and the engine alive."""
        return self._model is not None and self.crashed is None

    @property
    def loading(self) -> bool:
        """A model is on its way."""
        return self._loading is not None

    @property
    def busy(self) -> bool:
        """A run was asked for and has not been recorded yet, or settings are being changed."""
        return self._running or self.applying

    @property
    def settings(self) -> EngineSettings | None:
        """What was asked for of the model that is loaded."""
        return self._runs.loaded.settings if self._runs.loaded else None

    @property
    def run_number(self) -> int:
        """The run that goes on, or the last one; 0 before the first."""
        return self._runs.current.number if self._runs.current else 0

    @property
    def problem(self) -> str | None:
        """What keeps the history from being written, in one line; None while all is well."""
        return self._recorder.problem

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the history, a line each: that a damaged one was set aside."""
        return self._recorder.notes

    # What a front end may do

    def start(self) -> None:
        """Start sampling; the engine's thread already waits for commands."""
        _log.info("session %s begins: %s", self.session_id, self._begin_record.command)
        self._sampler.start()

    def open(self, path: str, settings: EngineSettings) -> None:
        """Load a model in place of the one before; ends in ModelLoaded or LoadFailed."""
        self._runs.use(None)
        self._load_error, self._loading = None, 0.0
        self._interrupted = None
        self.conversation.clear()
        self._engine.open(path, settings)

    def apply(self, settings: EngineSettings) -> None:
        """Change the settings of the model that is loaded, the conversation kept; a run that goes on is interrupted.

        Ends in the RunRecorded of a run of kind apply, after which what was interrupted goes on, or in
        SettingsRefused, with everything as it was.
        """
        if not self.ready or self.applying:
            return
        run = self._runs.current
        self.applying = True
        if self._running and self._request is not None:
            begun = run is not None and run.ended is None
            self._interrupted = self._request
            self._interrupted_at = self.run_number if begun else len(self._runs.ended) + 1
            self._engine.cancel()
        self._engine.apply(settings)

    def generate(self, request: GenerateRequest) -> None:
        """Run a prompt; a chat model sees the turns before it. Ends in RunRecorded or a failed RunFinished."""
        chat = self._model is not None and self._model.chat_template and not request.raw
        self._request = replace(request, history=tuple(self.conversation)) if chat else request
        self._submit(self._request)

    def generate_again(self, n_predict: int, sampling: SamplingSettings) -> None:
        """Run the last prompt once more from where it began, with this length and sampling."""
        if self._request is None:
            return
        self._request = replace(self._request, n_predict=n_predict, sampling=sampling, resume=False)
        del self.conversation[len(self._request.history) :]
        self._submit(self._request)

    def _submit(self, request: GenerateRequest) -> None:
        self._running = True
        self._engine.generate(request)

    @property
    def last_request(self) -> GenerateRequest | None:
        return self._request

    def new_conversation(self) -> None:
        """Forget the turns so far, and what the context holds of them."""
        self.conversation.clear()
        self._engine.forget()

    def bench(self, request: BenchRequest) -> None:
        """Run one of llama-bench's tests; each repetition becomes a run. Ends in BenchFinished."""
        self._bench = request
        self._engine.bench(request)

    def score(self, request: ScoreRequest) -> None:
        """Have the model predict a text. Ends in TextScored."""
        self._engine.score(request)

    def top_tokens(self, tokens: tuple[int, ...], count: int) -> None:
        """The most likely tokens to follow these. Ends in TopTokens."""
        self._engine.top_tokens(tokens, count)

    def unload(self) -> None:
        """Free the model. Ends in ModelUnloaded."""
        self.conversation.clear()
        self._engine.unload()

    def record(self, record: Record) -> None:
        """Write down what a command found out beyond runs."""
        self._recorder.put(record)

    def stop(self) -> None:
        """Stop loading, changing settings or generating, within one token."""
        self._interrupted = None
        self._engine.cancel()

    def close(self, reason: str | None = None) -> bool:
        """End the session and write everything down. False where the engine could not be ended.

        `reason` is what ended it, None for the ordinary way.
        """
        ended = self._engine.close()
        if not ended:
            _log.error("llama.cpp does not stop")
        self._sampler.stop()
        crashed = self.crashed is not None
        self._recorder.close(SessionEnd(time.monotonic_ns(), self.crashed or reason, crashed))
        _log.info("session %s ends after %d runs: %s", self.session_id, len(self._runs.ended), reason or "as it should")
        if self.problem:
            _log.warning("not recorded: %s", self.problem)
        return ended

    # What a front end may see

    def view(self, span_s: float = 60.0) -> SessionView:
        """Everything there is to show, now, with the samples of the last `span_s` seconds.

        Cheap enough for several frames a second.
        """
        runs, status = self._runs, self._readings.status
        now_ns, coarse = time.monotonic_ns(), span_s > COARSE_S
        since_ns = now_ns - round(span_s * 1e9)
        return SessionView(
            t_ns=now_ns,
            session_id=self.session_id,
            model=self._model,
            loading=self._loading,
            load_error=self._load_error,
            crashed=self.crashed,
            run=runs.current.view() if runs.current else None,
            runs=tuple(runs.ended),
            prefill_rate=runs.prefill_rate.points(),
            decode_rate=runs.decode_rate.points(),
            devices=status.devices if status else (),
            used_devices=runs.used_devices(),
            device_samples=tuple(self._readings.devices_since(since_ns, coarse=coarse)),
            host_samples=tuple(self._readings.hosts_since(since_ns, coarse=coarse)),
            cost=self._readings.cost,
            telemetry=status,
            problem=self._recorder.problem,
            notes=self._recorder.notes,
            settings=self.settings,
            memory=runs.loaded.memory if runs.loaded else (),
            marks=tuple(self._marks),
            applying=self.applying,
        )

    def text_since(self, number: int, count: int) -> tuple[int, int, str]:
        """What run `number` generated after its first `count` pieces.

        Returns the number of the run that goes on, the count to go on from, and the text: nothing where
        another run has begun; RunRecorded carries the whole text of a run.
        """
        run = self._runs.current
        if run is None or run.number != number:
            return self.run_number, count, ""
        pieces = run.text[count:]
        return number, count + len(pieces), "".join(pieces)

    def log_since(self, count: int) -> tuple[int, list[LogLine]]:
        """Log lines after the first `count` (those still kept), and the count to go on from."""
        lines = list(self._log)
        missing = self._log_count - count
        return self._log_count, lines[-missing:] if 0 < missing <= len(lines) else lines if missing else []

    # The sampler thread

    def _on_status(self, status: TelemetryStatus) -> None:
        self._readings.status = status
        for row in device_rows(status):
            self._recorder.put(row)
        self._runs.find_roof()
        self._listener(status)

    def _on_sample(self, sample: Sample) -> None:
        # While a model is loaded, cards have little to do.
        self._runs.add_sample(sample, busy=self.busy or self._bench is not None)
        self._readings.add(sample)
        self._recorder.put(sample)

    # The engine thread

    def _on_event(self, event: EngineEvent) -> None:
        log_event(event)
        match event:
            case LogLine():
                self._log.append(event)
                self._log_count += 1
            case LoadProgress():
                self._loading = event.fraction
            case ModelLoaded():
                self._model_loaded(event)
            case LoadFailed():
                self._load_error, self._loading = event.message, None
                self._runs.use(None)
                self.applying, self._interrupted = False, None
            case ModelUnloaded():
                self._runs.use(None)
            case SettingsRefused():
                self._listener(event)
                self._applied()
                return
            case RunStarted():
                self._runs.begin(event, self._request)
            case PrefillProgress():
                self._runs.add_prefill(event)
            case TokenGenerated():
                self._runs.add_token(event)
            case RunFinished():
                refused = self._runs.current is None or self._runs.current.ended is not None
                self._running = self._running and not refused
                self._listener(event)
                if not refused:
                    self._run_finished(event)
                return
            case BenchRepetition():
                assert self._bench is not None
                self._recorded(self._runs.add_repetition(self._bench, event))
            case BenchFinished():
                self._bench = None
            case EngineCrashed():
                self._engine_crashed(event)
        self._listener(event)

    def _model_loaded(self, event: ModelLoaded) -> None:
        before = self._runs.loaded
        self._runs.use(event)
        self._loading = None
        self._load_count += 1
        for row in ledger_rows(event, self._load_count, self._readings.driver_version):
            self._recorder.put(row)
        if before is not None:
            label = changes(before, event)
            self._marks.append(Mark(time.monotonic_ns(), label, event.change_s))

    def _run_finished(self, event: RunFinished) -> None:
        recorded = self._runs.end(event)
        request = self._request
        chat = request is not None and self._model is not None and self._model.chat_template and not request.raw
        if recorded.begin.kind == "generate" and request is not None and chat:
            before = self.conversation.pop()[1] if request.resume and self.conversation else ""
            self.conversation.append((request.prompt, before + recorded.output))
        self._recorded(recorded)
        if recorded.begin.kind == "apply":
            self._applied()

    def _recorded(self, recorded: RunRecorded) -> None:
        if recorded.begin.kind != "apply":
            self._running = False
        self._listener(recorded)

    def _applied(self) -> None:
        """A change of settings is over, made or not: go on with what it interrupted."""
        self.applying = False
        request, self._interrupted = self._interrupted, None
        run = next((view for view in reversed(self._runs.ended) if view.number == self._interrupted_at), None)
        if request is None or run is None or run.status != "cancelled":
            return
        done = run.timing.generated_tokens
        left = request.n_predict - done if request.n_predict >= 0 else -1
        if left:
            self._request = replace(request, n_predict=left, resume=True) if done else request
            self._submit(self._request)

    def _engine_crashed(self, event: EngineCrashed) -> None:
        self.crashed = event.message
        self._loading = None
        end = self._runs.end_crashed(event.t_ns, event.message)
        if end is not None:
            self._run_finished(end)
