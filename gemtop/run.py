"""One run while it is measured: what it began with, what has come of it, and the records it leaves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemtop.domain.energy import Power, Window
from gemtop.domain.events import ModelLoaded, RunFinished, RunStatus, StopReason
from gemtop.domain.figures import Timing, TimingAccumulator
from gemtop.domain.records import LedgerRow, RoofRow, RunBegin, RunEnd, RunKind
from gemtop.domain.resources import Phases, Resources, resources
from gemtop.domain.roofline import Bandwidth, DecodeRoof, Roof, reads_of, together
from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample, Sample
from gemtop.domain.validity import Measured, Verdict, judge


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it stands now."""

    run_id: str
    number: int
    kind: RunKind
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
    verdict: Verdict | None = None
    """None until it has ended."""
    roofs: tuple[Roof, ...] = ()
    """Of each device, at the mean depth of the decode so far."""

    @property
    def roof_share(self) -> float | None:
        """Decode speed over what the memories allow; None before there is one, and where one is not known."""
        roof, speed = together(self.roofs), self.timing.decode_tokens_per_s
        return speed / roof if roof and speed else None


@dataclass(slots=True)
class MeasuredRun:
    """Fed by the engine's thread and the sampler's; read by any."""

    begin: RunBegin
    number: int
    prompt: str
    prompt_tokens: tuple[int, ...]
    accumulator: TimingAccumulator
    roof: DecodeRoof
    prefill_done: int = 0
    index: int = 0
    """Tokens written down so far, those of the prompt first."""
    text: list[str] = field(default_factory=list)
    devices: list[DeviceSample] = field(default_factory=list)
    hosts: list[HostSample] = field(default_factory=list)
    ended: RunFinished | None = None
    resources: Resources | None = None
    verdict: Verdict | None = None

    def add_sample(self, sample: Sample) -> None:
        """Keep a sample for the figures, until they are computed."""
        if self.resources is not None:
            return
        if isinstance(sample, DeviceSample):
            self.devices.append(sample)
        elif isinstance(sample, HostSample):
            self.hosts.append(sample)

    def view(self) -> RunView:
        timing, ended = self.accumulator.timing(), self.ended
        used = self.begin.cached_tokens + timing.prompt_tokens + timing.generated_tokens
        return RunView(
            run_id=self.begin.run_id,
            number=self.number,
            kind=self.begin.kind,
            prompt=self.prompt,
            status=ended.status if ended else None,
            stop_reason=ended.stop_reason if ended else None,
            message=ended.message if ended else None,
            timing=timing,
            prompt_total=len(self.prompt_tokens),
            context_used=ended.context_used if ended else used,
            variant=self.begin.variant,
            resources=self.resources,
            verdict=self.verdict,
            roofs=self._roofs(timing),
        )

    def _roofs(self, timing: Timing) -> tuple[Roof, ...]:
        """At the mean depth of the decode; nothing where there is none."""
        if timing.decode_tokens_per_s is None:
            return ()
        return self.roof.at(self.begin.cached_tokens + timing.prompt_tokens + timing.generated_tokens / 2)

    def roof_rows(self) -> list[RoofRow]:
        """How fast each device could decode at most in this run, for the history."""
        return [
            RoofRow(
                run_id=self.begin.run_id,
                device=roof.device,
                bytes_per_token=round(roof.bytes_per_token),
                bandwidth_bytes_per_s=roof.bandwidth.bytes_per_s if roof.bandwidth else None,
                bandwidth_source=roof.bandwidth.source if roof.bandwidth else None,
                roof_tokens_per_s=roof.tokens_per_s,
                reason=roof.reason,
            )
            for roof in self._roofs(self.accumulator.timing())
        ]

    def end(
        self,
        event: RunFinished,
        output: str | None,
        idle: Power | None,
        unread: Sequence[str] = (),
        shared: Sequence[str] = (),
    ) -> RunEnd:
        """Compute the figures and the verdict, once, and return the record that ends the run.

        `idle` is the power of its devices without a run; `unread` are devices in use that have no sensors here,
        `shared` NVML indices of those that are cut into instances.
        """
        self.ended = event
        timing, used = self.accumulator.timing(), self.begin.devices
        phases = Phases(
            Window(self.begin.start_ns, event.t_ns),
            self.accumulator.first_token_ns,
            timing.prompt_tokens,
            timing.generated_tokens,
        )
        devices, hosts = tuple(self.devices), tuple(self.hosts)
        self.resources = taken = resources(devices, hosts, used, phases, idle, unread)
        by_device = {index: [s for s in devices if s.device == index] for index in used}
        roofs = self._roofs(timing)
        roof, speed = together(roofs), timing.decode_tokens_per_s
        self.verdict = judge(Measured(self.begin.kind, event.status, phases, by_device, hosts, taken, unread, shared))
        return RunEnd(
            run_id=self.begin.run_id,
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
            valid=self.verdict.valid,
            invalid_reason=self.verdict.invalid_reason,
            **taken.columns(),
            bytes_per_token=round(sum(part.bytes_per_token for part in roofs)) if roofs else None,
            roof_tokens_per_s=roof,
            roof_share=speed / roof if roof and speed else None,
            output=output,
        )


def decode_roof(loaded: ModelLoaded, cards: Mapping[str, DeviceInfo]) -> DecodeRoof:
    """How fast a model can decode where it was loaded; `cards` are by llama.cpp's names.

    What was measured of a device's memory goes before what its data sheet promises.
    """
    promised = {name: card.memory_bandwidth_bytes_per_s for name, card in cards.items()}
    bandwidths = {name: Bandwidth(speed, "nvml") for name, speed in promised.items() if speed is not None}
    bandwidths |= {name: Bandwidth(speed, "measured") for name, speed in loaded.bandwidths.items()}
    return DecodeRoof(reads_of(loaded.model, loaded.memory), bandwidths, loaded.bandwidth_reasons)


def begin_run(
    run_id: str, start_ns: int, kind: RunKind, loaded: ModelLoaded, devices: tuple[str, ...], **more: Any
) -> RunBegin:
    """The record that begins a run: all that is known of model and settings. `devices` are NVML indices."""
    model, offload = loaded.model, loaded.settings.offload
    label = model.classification
    adapters = [f"{Path(adapter.path).stem}={adapter.scale:g}" for adapter in loaded.settings.lora if adapter.scale]
    known: dict[str, Any] = {
        "load_s": model.load_s,
        "lora": ",".join(adapters) or None,
        "tensor_split": ",".join(f"{share:g}" for share in offload.tensor_split) or None,
        "override_tensor": ",".join(f"{pattern}={buffer}" for pattern, buffer in offload.override_tensor) or None,
        "split_mode": offload.split_mode if len(model.devices) > 1 else None,
        "device_names": tuple(memory.device for memory in loaded.memory),
    }
    return RunBegin(
        run_id=run_id,
        started_at_ms=time.time_ns() // 1_000_000,
        start_ns=start_ns,
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
        variant=" + ".join([label.variant, *adapters]),
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
        devices=devices,
        **known | more,
    )


def ledger_rows(loaded: ModelLoaded, load_number: int, driver_version: str | None) -> list[LedgerRow]:
    """What a load took of each device, predicted and measured, for the history."""
    model = loaded.model
    rows = []
    for memory in loaded.memory:
        measured, predicted = memory.measured, memory.predicted
        sizes = {
            f"{word}_{part}_bytes": getattr(use, f"{part}_bytes") if use else None
            for word, use in (("measured", measured), ("predicted", predicted))
            for part in ("weights", "kv", "compute", "output")
        }
        rows.append(
            LedgerRow(
                t_ns=time.monotonic_ns(),
                load_number=load_number,
                model_name=model.header.name,
                model_fingerprint=model.header.fingerprint,
                quantization=model.classification.quantization,
                variant=model.classification.variant,
                n_ctx=model.n_ctx,
                n_gpu_layers=model.n_gpu_layers,
                type_k=model.type_k,
                type_v=model.type_v,
                flash_attn=model.flash_attn,
                n_ubatch=model.n_ubatch,
                swa_full=model.swa_full,
                device=memory.device,
                device_description=memory.description,
                driver_version=driver_version,
                load_s=loaded.change_s,
                weights_kept=loaded.weights_kept,
                **sizes,
                device_used_bytes=memory.used_bytes,
                reason=memory.reason,
                file_cached_share=loaded.file_cached_share,
            )
        )
    return rows


def changes(before: ModelLoaded, after: ModelLoaded) -> str:
    """What a change of settings changed, in a few words for a mark on a chart: "ctx 8192→16384"."""
    names = {"n_ctx": "ctx", "n_gpu_layers": "ngl", "type_k": "ctk", "type_v": "ctv", "flash_attn": "fa",
             "n_ubatch": "ub", "n_batch": "b", "swa_full": "swa full", "n_threads": "t"}  # fmt: skip
    found = [
        f"{short} {getattr(before.model, name)}→{getattr(after.model, name)}"
        for name, short in names.items()
        if getattr(before.model, name) != getattr(after.model, name)
    ]
    if before.settings.lora != after.settings.lora:
        found.append("lora")
    if not found and before.settings.offload != after.settings.offload:
        found.append("placement")
    return ", ".join(found) or "settings"
