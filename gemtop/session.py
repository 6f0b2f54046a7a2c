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
from typing import Any, Protocol

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
from gemtop.domain.figures import TimingAccumulator
from gemtop.domain.idle import PACKAGE, IdlePower
from gemtop.domain.model import LoadedModel
from gemtop.domain.rates import RateSeries
from gemtop.domain.records import Phase, Record, RunKind, SessionBegin, SessionEnd, TokenRow, device_rows, run_row
from gemtop.domain.resources import power_of
from gemtop.domain.roofline import DecodeRoof
from gemtop.domain.settings import EngineSettings, SamplingSettings
from gemtop.domain.telemetry import DeviceSample, HostSample, Sample, TelemetryStatus
from gemtop.domain.validity import SILENT_S
from gemtop.engine.protocol import BenchRequest, Engine, EventSink, ScoreRequest
from gemtop.event_log import log_event, log_run
from gemtop.readings import COARSE_S, Readings, Recorder
from gemtop.run import MeasuredRun, RunView, begin_run, changes, decode_roof, ledger_rows
from gemtop.view import Listener, Mark, RunRecorded, SessionView

_log = logging.getLogger(__name__)
_CURVE_MARGIN_NS = 2_000_000_000
"""Samples so long before a run still belong to its power curve."""
_SAMPLE_WAIT_S = SILENT_S
"""How long the end of a run waits for the sample that closes its power curve; what takes longer is told of it."""


class Sampler(Protocol):
    """What a session needs of the telemetry."""

    @property
    def status(self) -> TelemetryStatus | None: ...

    def start(self) -> None: ...

    def poke(self) -> None: ...

    def wait_past(self, t_ns: int, timeout_s: float) -> bool: ...

    def stop(self) -> bool: ...


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
        self._model: LoadedModel | None = None
        self._loading: float | None = None
        self._load_error: str | None = None
        self.crashed: str | None = None
        self._run: MeasuredRun | None = None
        self._runs: list[RunView] = []
        self._request: GenerateRequest | None = None
        self._bench: BenchRequest | None = None
        self.conversation: list[tuple[str, str]] = []
        """(user, model) turns since it was last begun anew, for models with a chat template."""
        self._running = False
        self.applying = False
        """A change of settings was asked for and has neither been made nor refused yet."""
        self._interrupted: GenerateRequest | None = None
        """What a change of settings stopped, to go on with after it."""
        self._loaded: ModelLoaded | None = None
        self._roof: DecodeRoof | None = None
        """Of the model that was loaded last."""
        self._load_count, self._interrupted_at = 0, 0
        self._marks: list[Mark] = []
        self._prefill_rate, self._decode_rate = RateSeries(), RateSeries()
        self._readings = Readings()
        self._idle = IdlePower()
        self._log: deque[LogLine] = deque(maxlen=2000)
        self._log_count = 0
        self._sampler = make_sampler(self._on_sample, self._on_status)
        self._engine = make_engine(self._on_event)

    @property
    def session_id(self) -> str:
        return self._begin_record.session_id

    @property
    def started_ns(self) -> int:
        """monotonic_ns when the session began: the zero of its charts."""
        return self._begin_record.started_ns

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
        return self._loaded.settings if self._loaded else None

    @property
    def run_number(self) -> int:
        """The run that goes on, or the last one; 0 before the first."""
        return self._run.number if self._run else 0

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
        self._model, self._loaded, self._load_error, self._loading = None, None, None, 0.0
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
        run = self._run
        self.applying = True
        if self._running and self._request is not None:
            begun = run is not None and run.ended is None
            self._interrupted = self._request
            self._interrupted_at = self.run_number if begun else len(self._runs) + 1
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
        _log.info("session %s ends after %d runs: %s", self.session_id, len(self._runs), reason or "as it should")
        if self.problem:
            _log.warning("not recorded: %s", self.problem)
        return ended

    # What a front end may see

    def view(self, span_s: float = 60.0) -> SessionView:
        """Everything there is to show, now, with the samples of the last `span_s` seconds.

        Cheap enough for several frames a second.
        """
        run, status = self._run, self._readings.status
        now_ns, coarse = time.monotonic_ns(), span_s > COARSE_S
        since_ns = now_ns - round(span_s * 1e9)
        return SessionView(
            t_ns=now_ns,
            session_id=self.session_id,
            model=self._model,
            loading=self._loading,
            load_error=self._load_error,
            crashed=self.crashed,
            run=run.view() if run else None,
            runs=tuple(self._runs),
            prefill_rate=self._prefill_rate.points(),
            decode_rate=self._decode_rate.points(),
            devices=status.devices if status else (),
            used_devices=self.used_devices(),
            device_samples=tuple(self._readings.devices_since(since_ns, coarse=coarse)),
            host_samples=tuple(self._readings.hosts_since(since_ns, coarse=coarse)),
            cost=self._readings.cost,
            telemetry=status,
            problem=self._recorder.problem,
            notes=self._recorder.notes,
            settings=self.settings,
            memory=self._loaded.memory if self._loaded else (),
            marks=tuple(self._marks),
            applying=self.applying,
        )

    def text_since(self, number: int, count: int) -> tuple[int, int, str]:
        """What run `number` generated after its first `count` pieces.

        Returns the number of the run that goes on, the count to go on from, and the text: nothing where
        another run has begun; RunRecorded carries the whole text of a run.
        """
        run = self._run
        if run is None or run.number != number:
            return self.run_number, count, ""
        pieces = run.text[count:]
        return number, count + len(pieces), "".join(pieces)

    def log_since(self, count: int) -> tuple[int, list[LogLine]]:
        """Log lines after the first `count` (those still kept), and the count to go on from."""
        lines = list(self._log)
        missing = self._log_count - count
        return self._log_count, lines[-missing:] if 0 < missing <= len(lines) else lines if missing else []

    def used_devices(self) -> tuple[str, ...]:
        """NVML indices of the GPUs that hold a part of the model."""
        return self._readings.indices_of(self._model.devices) if self._model else ()

    def _unread_devices(self) -> tuple[str, ...]:
        """llama.cpp's names of the devices in use that have no sensors here: those behind RPC, and of other makers."""
        devices = self._model.devices if self._model else ()
        read = self._readings.cards_of(devices)
        return tuple(device.name for device in devices if device.name not in read)

    # The sampler thread

    def _on_status(self, status: TelemetryStatus) -> None:
        self._readings.status = status
        for row in device_rows(status):
            self._recorder.put(row)
        self._find_roof()
        self._listener(status)

    def _find_roof(self) -> None:
        """Whenever more is known of it, and never while a run waits for its prefill."""
        if self._loaded is not None:
            cards = self._readings.cards_of(self._loaded.model.devices)
            self._roof = decode_roof(self._loaded, cards)

    def _on_sample(self, sample: Sample) -> None:
        run = self._run
        if run is not None:
            run.add_sample(sample)
        self._readings.add(sample)
        busy = self.busy or self._bench is not None  # while a model is loaded, cards have little to do
        if isinstance(sample, DeviceSample):
            self._idle.add(sample.device, sample.t_ns, power_of(sample), sample.gpu_util_pct, busy=busy)
        elif isinstance(sample, HostSample):
            self._idle.add(PACKAGE, sample.t_ns, sample.package_power_w, sample.host_cpu_pct, busy=busy)
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
                self._model, self._loaded, self.applying, self._interrupted = None, None, False, None
            case ModelUnloaded():
                self._model, self._loaded, self._roof = None, None, None
            case SettingsRefused():
                self._listener(event)
                self._applied()
                return
            case RunStarted():
                self._run_started(event)
            case PrefillProgress():
                self._prefill_progress(event)
            case TokenGenerated():
                self._token(event)
            case RunFinished():
                refused = self._run is None or self._run.ended is not None
                self._running = self._running and not refused
                self._listener(event)
                if not refused:
                    self._run_finished(event)
                return
            case BenchRepetition():
                self._repetition(event)
            case BenchFinished():
                self._bench = None
            case EngineCrashed():
                self._engine_crashed(event)
        self._listener(event)

    def _model_loaded(self, event: ModelLoaded) -> None:
        before = self._loaded
        self._model, self._loaded, self._loading = event.model, event, None
        self._find_roof()
        self._load_count += 1
        for row in ledger_rows(event, self._load_count, self._driver_version):
            self._recorder.put(row)
        if before is not None:
            label = changes(before, event)
            self._marks.append(Mark(time.monotonic_ns(), label, event.change_s))

    @property
    def _driver_version(self) -> str | None:
        status = self._readings.status
        return status.driver_version if status else None

    def _begin_run(self, kind: RunKind, t_ns: int, shown: str, tokens: tuple[int, ...], **more: Any) -> MeasuredRun:
        assert self._model is not None, "the engine runs a prompt only on a model"
        number = len(self._runs) + 1
        assert self._loaded is not None
        more["driver_version"] = self._driver_version
        begin = begin_run(f"{self.session_id}.{number}", t_ns, kind, self._loaded, self.used_devices(), **more)
        assert self._roof is not None
        run = MeasuredRun(begin, number, shown, tokens, TimingAccumulator(t_ns), self._roof)
        run.devices.extend(self._readings.last_of_devices())  # the left end of its power curve
        last = self._readings.last_of_host()
        run.hosts.extend([last] if last else [])
        self._run = run
        self._recorder.put(begin)
        return run

    def _run_started(self, event: RunStarted) -> None:
        if event.kind == "apply":
            assert self._loaded is not None
            self._begin_run("apply", event.t_ns, "", event.prompt_tokens, cached_tokens=0, load_s=self._loaded.change_s)
        else:
            self._generation_started(event)
        self._sampler.poke()
        if event.prompt_tokens:
            self._prefill_rate.begin(event.t_ns)

    def _generation_started(self, event: RunStarted) -> None:
        request = self._request
        assert request is not None
        sampling = request.sampling
        self._begin_run(
            "generate",
            event.t_ns,
            request.prompt,
            event.prompt_tokens,
            cached_tokens=event.cached_tokens,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            seed=event.seed,
            **({"prompt": request.prompt} if self.record_text else {}),
        )

    def _prefill_progress(self, event: PrefillProgress) -> None:
        run = self._run
        assert run is not None
        run.accumulator.add_prefill(event.t_ns, event.n_done)
        for token in run.prompt_tokens[run.prefill_done : event.n_done]:
            self._put_token(run, event.t_ns, token, "prefill")
        self._prefill_rate.add(event.t_ns, event.n_done - run.prefill_done)
        run.prefill_done = event.n_done
        if event.n_done == len(run.prompt_tokens):
            self._prefill_rate.end(event.t_ns)

    def _token(self, event: TokenGenerated) -> None:
        run = self._run
        assert run is not None
        if run.accumulator.first_token_ns is None:
            self._sampler.poke()  # energy is split here
            self._decode_rate.begin(event.t_ns)
        else:
            self._decode_rate.add(event.t_ns)
        run.accumulator.add_token(event.t_ns)
        run.text.append(event.text)
        self._put_token(run, event.t_ns, event.token_id, "decode")

    def _put_token(self, run: MeasuredRun, t_ns: int, token: int, phase: Phase) -> None:
        """Write a token down; with text left out, when it was there alone: its id would give the text back."""
        token_id = token if self.record_text else None
        self._recorder.put(TokenRow(run.begin.run_id, run.index, t_ns, token_id, phase))
        run.index += 1

    def _run_finished(self, event: RunFinished) -> None:
        run = self._run
        assert run is not None
        if event.text:
            run.text.append(event.text)
        if run.accumulator.first_token_ns is not None:
            self._decode_rate.end(event.t_ns)
        output = "".join(run.text)
        request = self._request
        chat = request is not None and self._model is not None and self._model.chat_template and not request.raw
        if run.begin.kind == "generate" and request is not None and chat:
            before = self.conversation.pop()[1] if request.resume and self.conversation else ""
            self.conversation.append((request.prompt, before + output))
        self._end_run(run, event, output)
        if run.begin.kind == "apply":
            self._applied()

    def _applied(self) -> None:
        """A change of settings is over, made or not: go on with what it interrupted."""
        self.applying = False
        request, self._interrupted = self._interrupted, None
        run = next((view for view in reversed(self._runs) if view.number == self._interrupted_at), None)
        if request is None or run is None or run.status != "cancelled":
            return
        done = run.timing.generated_tokens
        left = request.n_predict - done if request.n_predict >= 0 else -1
        if left:
            self._request = replace(request, n_predict=left, resume=True) if done else request
            self._submit(self._request)

    def _end_run(self, run: MeasuredRun, event: RunFinished, output: str) -> None:
        """Close the power curve with one more sample, compute the figures, write them down and say so."""
        self._sampler.poke()
        self._sampler.wait_past(event.t_ns, _SAMPLE_WAIT_S)
        used, unread = run.begin.devices, self._unread_devices()
        idle = None if unread else self._idle.of(used or (PACKAGE,))
        status = self._readings.status
        shared = [d.index for d in (status.devices if status else ()) if d.index in used and d.mig_enabled]
        end = run.end(event, output if self.record_text else None, idle, unread, shared)
        self._recorder.put(end)
        for roof in run.roof_rows():
            self._recorder.put(roof)
        self._runs.append(run.view())
        row = run_row(self._begin_record, run.begin, end)
        if run.begin.kind != "apply":
            self._running = False
        log_run(row)
        reasons = dict(run.resources.reasons) if run.resources else {}
        self._listener(RunRecorded(row, run.begin, run.prompt, output, reasons, event.message))

    def _repetition(self, event: BenchRepetition) -> None:
        """A repetition was measured with the engine alone: its events are told now, after the fact."""
        test = self._bench
        assert test is not None
        kind: RunKind = "tg" if event.n_gen else "pp"
        run = self._begin_run(kind, event.start_ns, "", (), cached_tokens=test.n_depth)
        if event.n_prompt:
            run.accumulator.add_prefill(event.end_ns, event.n_prompt)
        if event.n_gen:
            run.accumulator.begin_decode(event.start_ns)
        for t_ns in event.token_t_ns:
            run.accumulator.add_token(t_ns)
        before_ns = event.start_ns - _CURVE_MARGIN_NS
        run.devices = self._readings.devices_since(before_ns)
        run.hosts = self._readings.hosts_since(before_ns)
        used = test.n_depth + event.n_prompt + event.n_gen
        self._end_run(run, RunFinished(event.end_ns, "finished", "length", used), "")

    def _engine_crashed(self, event: EngineCrashed) -> None:
        self.crashed = event.message
        self._loading = None
        run = self._run
        if run is not None and run.ended is None:
            used = run.begin.cached_tokens + run.index
            self._run_finished(RunFinished(event.t_ns, "crashed", "crashed", used, event.message))
