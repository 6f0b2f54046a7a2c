"""One sitting: an engine, a sampler and a recorder, and what both front ends may ask of them."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from gemtop import __version__
from gemtop.config import new_session_id
from gemtop.domain.events import (
    BenchRepetition,
    EngineCrashed,
    EngineEvent,
    GenerateRequest,
    LoadFailed,
    LoadProgress,
    LogLine,
    ModelLoaded,
    PrefillProgress,
    RunFinished,
    RunStarted,
    RunStatus,
    StopReason,
    TokenGenerated,
)
from gemtop.domain.figures import Resources, Timing, TimingAccumulator, Window, resources
from gemtop.domain.model import LoadedModel
from gemtop.domain.rates import RatePoint, RateSeries
from gemtop.domain.records import Record, RunBegin, RunEnd, RunKind, SessionBegin, SessionEnd, TokenRow, run_row
from gemtop.domain.settings import EngineSettings, SamplingSettings
from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample, TelemetryStatus
from gemtop.engine.protocol import BenchRequest, Engine, EventSink

_KEEP_SAMPLES = 3000
"""Ten minutes of samples at 5 Hz stay in memory for the charts."""
_SAMPLE_WAIT_S = 0.5
"""How long the end of a run waits for the sample that closes its power curve."""


class Recorder(Protocol):
    """What a session needs of the history."""

    @property
    def problem(self) -> str | None:
        """What keeps the history from being written, in one line; None while all is well."""

    def put(self, record: Record) -> None: ...

    def close(self, end: SessionEnd) -> None: ...


class Sampler(Protocol):
    """What a session needs of the telemetry."""

    @property
    def status(self) -> TelemetryStatus | None: ...

    def start(self) -> None: ...

    def poke(self) -> None: ...

    def wait_past(self, t_ns: int, timeout_s: float) -> bool: ...

    def stop(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class RunRecorded:
    """A run has ended and its figures are final. `row` has the names of the view `runs`."""

    row: dict[str, Any]
    prompt: str | None
    output: str
    reasons: dict[str, str]
    message: str | None


SessionEvent = EngineEvent | RunRecorded | TelemetryStatus
Listener = Callable[[SessionEvent], None]
"""Called on the thread where it happened; it must return at once."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it stands now."""

    run_id: str
    number: int
    prompt: str
    status: RunStatus | None
    """None while it runs."""
    stop_reason: StopReason | None
    message: str | None
    timing: Timing
    prompt_total: int
    """Prompt tokens it has to decode; timing.prompt_tokens are done."""
    context_used: int
    variant: str
    resources: Resources | None = None


@dataclass(frozen=True, slots=True)
class SessionView:
    """Everything a screen shows, taken at one moment."""

    t_ns: int
    session_id: str
    model: LoadedModel | None
    loading: float | None
    """Fraction loaded; None when nothing is being loaded."""
    load_error: str | None
    crashed: str | None
    """What llama.cpp said before it gave up."""
    run: RunView | None
    """The run that goes on, or the last one."""
    runs: tuple[RunView, ...]
    prefill_rate: tuple[RatePoint, ...]
    decode_rate: tuple[RatePoint, ...]
    devices: tuple[DeviceInfo, ...]
    device_samples: tuple[DeviceSample, ...]
    host_samples: tuple[HostSample, ...]
    telemetry: TelemetryStatus | None
    problem: str | None
    """What keeps the history from being written."""


@dataclass(slots=True)
class _Run:
    """A run while it is being measured; changed on the engine thread only."""

    begin: RunBegin
    number: int
    prompt: str
    prompt_tokens: tuple[int, ...]
    accumulator: TimingAccumulator
    prefill_done: int = 0
    index: int = 0
    text: list[str] = field(default_factory=list)
    devices: list[DeviceSample] = field(default_factory=list)
    hosts: list[HostSample] = field(default_factory=list)
    ended: RunFinished | None = None
    resources: Resources | None = None


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
        make_sampler: Callable[
            [Callable[[DeviceSample | HostSample], None], Callable[[TelemetryStatus], None]], Sampler
        ],
        recorder: Recorder,
        listener: Listener,
        *,
        record_text: bool = True,
    ) -> None:
        self._listener = listener
        self._recorder = recorder
        self._record_text = record_text
        self._begin_record = begin
        self._model: LoadedModel | None = None
        self._loading: float | None = None
        self._load_error: str | None = None
        self.crashed: str | None = None
        self._run: _Run | None = None
        self._runs: list[RunView] = []
        self._request: GenerateRequest | None = None
        self._bench: BenchRequest | None = None
        self.conversation: list[tuple[str, str]] = []
        """(user, model) turns since it was last begun anew, for models with a chat template."""
        self.busy = False
        """A run was asked for and has not been recorded yet."""
        self._prefill_rate, self._decode_rate = RateSeries(), RateSeries()
        self._device_samples: deque[DeviceSample] = deque(maxlen=_KEEP_SAMPLES)
        self._host_samples: deque[HostSample] = deque(maxlen=_KEEP_SAMPLES)
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
    def run_number(self) -> int:
        """The run that goes on, or the last one; 0 before the first."""
        return self._run.number if self._run else 0

    @property
    def problem(self) -> str | None:
        """What keeps the history from being written, in one line; None while all is well."""
        return self._recorder.problem

    # What a front end may do

    def start(self) -> None:
        """Start sampling; the engine's thread already waits for commands."""
        self._sampler.start()

    def open(self, path: str, settings: EngineSettings) -> None:
        """Load a model in place of the one before; ends in ModelLoaded or LoadFailed."""
        self._model, self._load_error, self._loading = None, None, 0.0
        self.conversation.clear()
        self._engine.open(path, settings)

    def generate(self, request: GenerateRequest) -> None:
        """Run a prompt; a chat model sees the turns before it. Ends in RunRecorded or a failed RunFinished."""
        chat = self._model is not None and self._model.chat_template and not request.raw
        self._request = replace(request, history=tuple(self.conversation)) if chat else request
        self._submit(self._request)

    def generate_again(self, n_predict: int, sampling: SamplingSettings) -> None:
        """Run the last prompt once more from where it began, with this length and sampling."""
        if self._request is None:
            return
        self._request = replace(self._request, n_predict=n_predict, sampling=sampling)
        del self.conversation[len(self._request.history) :]
        self._submit(self._request)

    def _submit(self, request: GenerateRequest) -> None:
        self.busy = True
        self._engine.generate(request)

    @property
    def last_request(self) -> GenerateRequest | None:
        return self._request

    def new_conversation(self) -> None:
        self.conversation.clear()

    def bench(self, request: BenchRequest) -> None:
        """Run one of llama-bench's tests; each repetition becomes a run. Ends in BenchFinished."""
        self._bench = request
        self._engine.bench(request)

    def stop(self) -> None:
        """Stop loading or generating, within one token."""
        self._engine.cancel()

    def close(self, reason: str | None = None) -> bool:
        """End the session and write everything down. False where the engine could not be ended.

        `reason` is what ended it, None for the ordinary way.
        """
        ended = self._engine.close()
        self._sampler.stop()
        crashed = self.crashed is not None
        self._recorder.close(SessionEnd(time.monotonic_ns(), self.crashed or reason, crashed))
        return ended

    # What a front end may see

    def view(self) -> SessionView:
        """Everything there is to show, now. Cheap enough for several frames a second."""
        run, status = self._run, self._sampler.status
        return SessionView(
            t_ns=time.monotonic_ns(),
            session_id=self.session_id,
            model=self._model,
            loading=self._loading,
            load_error=self._load_error,
            crashed=self.crashed,
            run=self._run_view(run) if run else None,
            runs=tuple(self._runs),
            prefill_rate=self._prefill_rate.points(),
            decode_rate=self._decode_rate.points(),
            devices=status.devices if status else (),
            device_samples=tuple(self._device_samples),
            host_samples=tuple(self._host_samples),
            telemetry=status,
            problem=self._recorder.problem,
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

    def samples_of(self, device: str) -> tuple[DeviceSample, ...]:
        return tuple(s for s in self._device_samples if s.device == device)

    def used_devices(self) -> tuple[str, ...]:
        """NVML indices of the GPUs that hold a part of the model, matched by PCI bus id."""
        status, model = self._sampler.status, self._model
        if status is None or model is None:
            return ()
        held = {_pci_key(d.pci_bus_id) for d in model.devices if d.pci_bus_id}
        return tuple(d.index for d in status.devices if d.pci_bus_id and _pci_key(d.pci_bus_id) in held)

    def _run_view(self, run: _Run) -> RunView:
        timing = run.accumulator.timing()
        ended = run.ended
        used = run.begin.cached_tokens + timing.prompt_tokens + timing.generated_tokens
        return RunView(
            run_id=run.begin.run_id,
            number=run.number,
            prompt=run.prompt,
            status=ended.status if ended else None,
            stop_reason=ended.stop_reason if ended else None,
            message=ended.message if ended else None,
            timing=timing,
            prompt_total=len(run.prompt_tokens),
            context_used=ended.context_used if ended else used,
            variant=run.begin.variant,
            resources=run.resources,
        )

    # The sampler thread

    def _on_status(self, status: TelemetryStatus) -> None:
        self._listener(status)

    def _on_sample(self, sample: DeviceSample | HostSample) -> None:
        run = self._run
        measuring = run is not None and run.resources is None
        if isinstance(sample, DeviceSample):
            self._device_samples.append(sample)
            if run is not None and measuring:
                run.devices.append(sample)
        else:
            self._host_samples.append(sample)
            if run is not None and measuring:
                run.hosts.append(sample)
        self._recorder.put(sample)

    # The engine thread

    def _on_event(self, event: EngineEvent) -> None:
        match event:
            case LogLine():
                self._log.append(event)
                self._log_count += 1
            case LoadProgress():
                self._loading = event.fraction
            case ModelLoaded():
                self._model, self._loading = event.model, None
            case LoadFailed():
                self._load_error, self._loading = event.message, None
            case RunStarted():
                self._run_started(event)
            case PrefillProgress():
                self._prefill_progress(event)
            case TokenGenerated():
                self._token(event)
            case RunFinished():
                refused = self._run is None or self._run.ended is not None
                self.busy = self.busy and not refused
                self._listener(event)
                if not refused:
                    self._run_finished(event)
                return
            case BenchRepetition():
                self._repetition(event)
            case EngineCrashed():
                self._engine_crashed(event)
        self._listener(event)

    def _begin_run(self, kind: RunKind, t_ns: int, shown: str, tokens: tuple[int, ...], **extra: Any) -> _Run:
        model = self._model
        assert model is not None, "the engine runs a prompt only on a model"
        number = len(self._runs) + 1
        label = model.classification
        begin = RunBegin(
            run_id=f"{self.session_id}.{number}",
            started_at_ms=int(time.time() * 1000),
            start_ns=t_ns,
            kind=kind,
            llama_build=model.llama_build,
            gpu_name=" + ".join(d.description for d in model.devices) or None,
            model_name=model.header.name,
            model_path=model.header.path,
            model_fingerprint=model.header.fingerprint,
            architecture=model.header.architecture,
            parameters=model.header.parameters,
            quantization=label.quantization,
            training=label.training,
            variant=label.variant,
            size_bytes=model.header.size_bytes,
            n_ctx=model.n_ctx,
            n_gpu_layers=model.n_gpu_layers,
            type_k=model.type_k,
            type_v=model.type_v,
            flash_attn=model.flash_attn,
            n_batch=model.n_batch,
            n_ubatch=model.n_ubatch,
            n_threads=model.n_threads,
            swa_full=model.swa_full,
            load_s=model.load_s,
            devices=self.used_devices(),
            driver_version=self._driver_version(),
            **extra,
        )
        run = _Run(begin, number, shown, tokens, TimingAccumulator(t_ns))
        run.devices.extend(self._last_samples())
        run.hosts.extend(list(self._host_samples)[-1:])
        self._run = run
        self._recorder.put(begin)
        return run

    def _driver_version(self) -> str | None:
        return self._sampler.status.driver_version if self._sampler.status else None

    def _last_samples(self) -> list[DeviceSample]:
        """The latest sample of each device: the left end of a run's power curve."""
        latest = {s.device: s for s in list(self._device_samples)[-64:]}
        return list(latest.values())

    def _run_started(self, event: RunStarted) -> None:
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
            prompt=request.prompt if self._record_text else None,
        )
        self._sampler.poke()
        self._prefill_rate.begin(event.t_ns)

    def _prefill_progress(self, event: PrefillProgress) -> None:
        run = self._run
        assert run is not None
        run.accumulator.add_prefill(event.t_ns, event.n_done)
        for token in run.prompt_tokens[run.prefill_done : event.n_done]:
            self._recorder.put(TokenRow(run.begin.run_id, run.index, event.t_ns, token, "prefill"))
            run.index += 1
        self._prefill_rate.add(event.t_ns, event.n_done - run.prefill_done)
        run.prefill_done = event.n_done
        if event.n_done == len(run.prompt_tokens):
            self._prefill_rate.end(event.t_ns)

    def _token(self, event: TokenGenerated) -> None:
        run = self._run
        assert run is not None
        if run.accumulator.first_token_ns is None:
            self._decode_rate.begin(event.t_ns)
        else:
            self._decode_rate.add(event.t_ns)
        run.accumulator.add_token(event.t_ns)
        run.text.append(event.text)
        self._recorder.put(TokenRow(run.begin.run_id, run.index, event.t_ns, event.token_id, "decode"))
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
        if request is not None and self._model is not None and self._model.chat_template and not request.raw:
            self.conversation.append((request.prompt, output))
        self._end_run(run, event, output)

    def _end_run(self, run: _Run, event: RunFinished, output: str) -> None:
        """Close the power curve with one more sample, compute the figures, write them down and say so."""
        self._sampler.poke()
        self._sampler.wait_past(event.t_ns, _SAMPLE_WAIT_S)
        run.ended = event
        timing = run.accumulator.timing()
        used = resources(
            tuple(run.devices),
            tuple(run.hosts),
            run.begin.devices,
            Window(run.begin.start_ns, event.t_ns),
            run.accumulator.first_token_ns,
            timing.prompt_tokens,
            timing.generated_tokens,
        )
        run.resources = used
        end = RunEnd(
            run_id=run.begin.run_id,
            end_ns=event.t_ns,
            status=event.status,
            stop_reason=event.stop_reason,
            message=event.message,
            prompt_tokens=timing.prompt_tokens,
            generated_tokens=timing.generated_tokens,
            ttft_s=timing.ttft_s,
            prefill_tokens_per_s=timing.prefill_tokens_per_s,
            decode_tokens_per_s=timing.decode_tokens_per_s,
            itl_p50_ms=timing.latency.p50_ms,
            itl_p95_ms=timing.latency.p95_ms,
            itl_p99_ms=timing.latency.p99_ms,
            vram_peak_bytes=used.vram_peak_bytes,
            ram_peak_bytes=used.ram_peak_bytes,
            power_mean_w=used.power_mean_w,
            energy_j=used.energy_j,
            prefill_j_per_token=used.prefill_j_per_token,
            decode_j_per_token=used.decode_j_per_token,
            output=output if self._record_text else None,
        )
        self._recorder.put(end)
        self._runs.append(self._run_view(run))
        row = run_row(self._begin_record, run.begin, end)
        self.busy = False
        self._listener(RunRecorded(row, run.begin.prompt, output, used.reasons, event.message))

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
        run.devices = [s for s in self._device_samples if s.t_ns >= event.start_ns - 2_000_000_000]
        run.hosts = [s for s in self._host_samples if s.t_ns >= event.start_ns - 2_000_000_000]
        used = test.n_depth + event.n_prompt + event.n_gen
        self._end_run(run, RunFinished(event.end_ns, "finished", "length", used), "")

    def _engine_crashed(self, event: EngineCrashed) -> None:
        self.crashed = event.message
        self._loading = None
        run = self._run
        if run is not None and run.ended is None:
            used = run.begin.cached_tokens + run.index
            self._run_finished(RunFinished(event.t_ns, "crashed", "crashed", used, event.message))


def _pci_key(bus_id: str) -> tuple[int, ...]:
    """A PCI bus id as numbers: NVML writes the domain with eight digits, ggml with four."""
    return tuple(int(part, 16) for part in bus_id.replace(".", ":").split(":"))
