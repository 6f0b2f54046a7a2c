"""The runs of one sitting: begun, filled and ended as events and samples come, and written down."""

from __future__ import annotations

from typing import Any

from gemtop.domain.events import (
    BenchRepetition,
    GenerateRequest,
    ModelLoaded,
    PrefillProgress,
    RunFinished,
    RunStarted,
    TokenGenerated,
)
from gemtop.domain.figures import TimingAccumulator
from gemtop.domain.idle import PACKAGE, IdlePower
from gemtop.domain.model import BackendDevice
from gemtop.domain.rates import RateSeries
from gemtop.domain.records import Phase, RunKind, SessionBegin, TokenRow, run_row
from gemtop.domain.resources import power_of
from gemtop.domain.roofline import DecodeRoof
from gemtop.domain.telemetry import DeviceSample, HostSample, Sample
from gemtop.domain.validity import SILENT_S
from gemtop.engine.protocol import BenchRequest
from gemtop.event_log import log_run
from gemtop.readings import Readings, Recorder, Sampler
from gemtop.run import MeasuredRun, RunView, begin_run, decode_roof
from gemtop.view import RunRecorded

_CURVE_MARGIN_NS = 2_000_000_000
"""Samples so long before a run still belong to its power curve."""
_SAMPLE_WAIT_S = SILENT_S
"""How long the end of a run waits for the sample that closes its power curve; what takes longer is told of it."""


class Runs:
    """Fed by the engine's thread, and by the sampler's with samples; read by any."""

    def __init__(
        self,
        session: SessionBegin,
        recorder: Recorder,
        readings: Readings,
        sampler: Sampler,
        *,
        record_text: bool,
    ) -> None:
        self._session = session
        self._recorder = recorder
        self._readings = readings
        self._sampler = sampler
        self._record_text = record_text
        self._idle = IdlePower()
        self._roof: DecodeRoof | None = None
        self.loaded: ModelLoaded | None = None
        """The model that they run on."""
        self.current: MeasuredRun | None = None
        """The one that goes on, or the last one."""
        self.ended: list[RunView] = []
        self.prefill_rate, self.decode_rate = RateSeries(), RateSeries()

    # What they run on

    def use(self, loaded: ModelLoaded | None) -> None:
        """From now on they run on this model; None where there is none."""
        self.loaded = loaded
        self.find_roof()

    def find_roof(self) -> None:
        """Whenever more is known of it, and never while a run waits for its prefill."""
        loaded = self.loaded
        if loaded is not None:
            self._roof = decode_roof(loaded, self._readings.cards_of(loaded.model.devices))

    def used_devices(self) -> tuple[str, ...]:
        """NVML indices of the GPUs that hold a part of the model."""
        return self._readings.indices_of(self._devices)

    def _unread_devices(self) -> tuple[str, ...]:
        """llama.cpp's names of the devices in use that have no sensors here: those behind RPC, and of other makers."""
        devices = self._devices
        read = self._readings.cards_of(devices)
        return tuple(device.name for device in devices if device.name not in read)

    @property
    def _devices(self) -> tuple[BackendDevice, ...]:
        """llama.cpp's, of those that hold a part of the model."""
        loaded = self.loaded
        return loaded.model.devices if loaded else ()

    # The sampler's thread

    def add_sample(self, sample: Sample, *, busy: bool) -> None:
        """Keep a sample for the figures of the run that goes on; what is read while not `busy` is idle power."""
        if self.current is not None:
            self.current.add_sample(sample)
        if isinstance(sample, DeviceSample):
            self._idle.add(sample.device, sample.t_ns, power_of(sample), sample.gpu_util_pct, busy=busy)
        elif isinstance(sample, HostSample):
            self._idle.add(PACKAGE, sample.t_ns, sample.package_power_w, sample.host_cpu_pct, busy=busy)

    # The engine's thread

    def _begin(self, kind: RunKind, t_ns: int, shown: str, tokens: tuple[int, ...], **more: Any) -> MeasuredRun:
        loaded, roof = self.loaded, self._roof
        assert loaded is not None and roof is not None, "the engine runs a prompt only on a model"
        number = len(self.ended) + 1
        more["driver_version"] = self._readings.driver_version
        begin = begin_run(f"{self._session.session_id}.{number}", t_ns, kind, loaded, self.used_devices(), **more)
        run = MeasuredRun(begin, number, shown, tokens, TimingAccumulator(t_ns), roof)
        run.devices.extend(self._readings.last_of_devices())  # the left end of its power curve
        last = self._readings.last_of_host()
        run.hosts.extend([last] if last else [])
        self.current = run
        self._recorder.put(begin)
        return run

    def begin(self, event: RunStarted, request: GenerateRequest | None) -> None:
        """A change of settings that computes the context anew, or a prompt, which is `request`."""
        if event.kind == "apply":
            assert self.loaded is not None
            self._begin("apply", event.t_ns, "", event.prompt_tokens, cached_tokens=0, load_s=self.loaded.change_s)
        else:
            assert request is not None
            self._begin_generation(event, request)
        self._sampler.poke()
        if event.prompt_tokens:
            self.prefill_rate.begin(event.t_ns)

    def _begin_generation(self, event: RunStarted, request: GenerateRequest) -> None:
        sampling = request.sampling
        self._begin(
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
            **({"prompt": request.prompt} if self._record_text else {}),
        )

    def add_prefill(self, event: PrefillProgress) -> None:
        """More of the prompt has been decoded."""
        run = self.current
        assert run is not None
        run.accumulator.add_prefill(event.t_ns, event.n_done)
        for token in run.prompt_tokens[run.prefill_done : event.n_done]:
            self._put_token(run, event.t_ns, token, "prefill")
        self.prefill_rate.add(event.t_ns, event.n_done - run.prefill_done)
        run.prefill_done = event.n_done
        if event.n_done == len(run.prompt_tokens):
            self.prefill_rate.end(event.t_ns)

    def add_token(self, event: TokenGenerated) -> None:
        """A token has been generated."""
        run = self.current
        assert run is not None
        if run.accumulator.first_token_ns is None:
            self._sampler.poke()  # energy is split here
            self.decode_rate.begin(event.t_ns)
        else:
            self.decode_rate.add(event.t_ns)
        run.accumulator.add_token(event.t_ns)
        run.text.append(event.text)
        self._put_token(run, event.t_ns, event.token_id, "decode")

    def _put_token(self, run: MeasuredRun, t_ns: int, token: int, phase: Phase) -> None:
        """Write a token down; with text left out, when it was there alone: its id would give the text back."""
        token_id = token if self._record_text else None
        self._recorder.put(TokenRow(run.begin.run_id, run.index, t_ns, token_id, phase))
        run.index += 1

    def end(self, event: RunFinished) -> RunRecorded:
        """The run that goes on has come to its end."""
        run = self.current
        assert run is not None
        if event.text:
            run.text.append(event.text)
        if run.accumulator.first_token_ns is not None:
            self.decode_rate.end(event.t_ns)
        return self._recorded(run, event)

    def _recorded(self, run: MeasuredRun, event: RunFinished) -> RunRecorded:
        """Close the power curve with one more sample, compute the figures and write them down."""
        output = "".join(run.text)
        self._sampler.poke()
        self._sampler.wait_past(event.t_ns, _SAMPLE_WAIT_S)
        used, unread = run.begin.devices, self._unread_devices()
        idle = None if unread else self._idle.of(used or (PACKAGE,))
        status = self._readings.status
        shared = [d.index for d in (status.devices if status else ()) if d.index in used and d.mig_enabled]
        end = run.end(event, output if self._record_text else None, idle, unread, shared)
        self._recorder.put(end)
        for roof in run.roof_rows():
            self._recorder.put(roof)
        self.ended.append(run.view())
        row = run_row(self._session, run.begin, end)
        log_run(row)
        reasons = dict(run.resources.reasons) if run.resources else {}
        return RunRecorded(row, run.begin, run.prompt, output, reasons, event.message)

    def end_crashed(self, t_ns: int, message: str) -> RunFinished | None:
        """How the run ends that goes on, where the engine has died of it; None where none does."""
        run = self.current
        if run is None or run.ended is not None:
            return None
        return RunFinished(t_ns, "crashed", "crashed", run.begin.cached_tokens + run.index, message)

    def add_repetition(self, test: BenchRequest, event: BenchRepetition) -> RunRecorded:
        """A repetition was measured with the engine alone: its events are told now, after the fact."""
        kind: RunKind = "tg" if event.n_gen else "pp"
        run = self._begin(kind, event.start_ns, "", (), cached_tokens=test.n_depth)
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
        return self._recorded(run, RunFinished(event.end_ns, "finished", "length", used))
