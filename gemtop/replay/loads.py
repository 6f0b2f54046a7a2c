"""Which model was loaded when, and with which settings: from the ledger, and from what the runs say of themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import cast

from gemtop.domain.events import ModelLoaded
from gemtop.domain.model import BackendDevice, Classification, DeviceMemory, LoadedModel, ModelHeader, Training
from gemtop.domain.plan import MemoryUse
from gemtop.domain.records import LedgerRow, RunBegin
from gemtop.domain.settings import EngineSettings, LoraAdapter, OffloadSettings, SplitMode
from gemtop.history.replaying import RecordedRun, Recording
from gemtop.run import changes
from gemtop.view import Mark

_EVIDENCE = "the history"
_HOST = "CPU"
_SETTINGS = (
    "model_fingerprint", "n_ctx", "n_gpu_layers", "type_k", "type_v", "flash_attn", "n_batch", "n_ubatch", "n_threads",
    "swa_full", "lora", "tensor_split", "override_tensor", "split_mode", "devices",
)  # fmt: skip
"""What a run that follows another can only have otherwise after a load."""


@dataclass(frozen=True, slots=True)
class Load:
    """A model and its context stand from here on, until the next load."""

    t_ns: int
    rows: tuple[LedgerRow, ...]
    """What it took of each device; empty where the ledger has nothing of it."""
    run: RecordedRun | None
    """The first run with it."""

    @property
    def applied(self) -> bool:
        """It was a change of settings under a conversation."""
        return self.run is not None and self.run.begin.kind == "apply"

    @property
    def took_s(self) -> float:
        """From the command until the context stood; 0 where that is not known."""
        if self.rows:
            return self.rows[0].load_s
        return self.run.begin.load_s if self.run is not None and self.applied else 0.0

    @property
    def began_ns(self) -> int:
        return self.t_ns - round(self.took_s * 1e9)

    @property
    def model(self) -> LoadedModel:
        """As the live session knew it; what the history does not keep is empty or 0."""
        begin = self.run.begin if self.run else None
        return _model_of_run(begin, self.rows) if begin else _model_of_ledger(self.rows)

    @property
    def memory(self) -> tuple[DeviceMemory, ...]:
        return tuple(_memory(row) for row in self.rows)

    @property
    def used_devices(self) -> tuple[str, ...]:
        """NVML indices of the GPUs that hold a part of it; none before a run has said so."""
        return self.run.begin.devices if self.run else ()


def loads_of(recording: Recording) -> tuple[Load, ...]:
    """All loads, in order. Without a ledger a model counts as loaded when its first run begins."""
    groups = [tuple(rows) for _, rows in groupby(recording.ledger, key=lambda row: row.load_number)]
    waiting = sorted((Load(min(row.t_ns for row in rows), rows, None) for rows in groups), key=lambda load: load.t_ns)
    found: list[Load] = []
    for run in recording.runs:
        while waiting and waiting[0].t_ns <= run.begin.start_ns:
            found.append(waiting.pop(0))
        last = found[-1] if found else None
        if last is not None and last.run is None:
            found[-1] = replace(last, run=run)
        elif last is None or last.run is None or run.begin.kind == "apply" or _differ(last.run.begin, run.begin):
            found.append(Load(run.begin.start_ns, (), run))
    return (*found, *waiting)


def _differ(before: RunBegin, after: RunBegin) -> bool:
    return any(getattr(before, name) != getattr(after, name) for name in _SETTINGS)


def marks_of(loads: Iterable[Load]) -> tuple[Mark, ...]:
    """Changes of settings, as the charts mark them."""
    return tuple(
        Mark(after.t_ns, changes(_loaded(before), _loaded(after)), after.took_s)
        for before, after in pairwise(loads)
        if after.applied
    )


def _loaded(load: Load) -> ModelLoaded:
    begin = load.run.begin if load.run else None
    return ModelLoaded(load.model, _asked_for(begin) if begin else EngineSettings(), load.took_s)


def _asked_for(begin: RunBegin) -> EngineSettings:
    """Adapters and placement, as far as they are put down: enough to tell whether they have changed."""
    adapters = [part.rpartition("=") for part in (begin.lora or "").split(",") if part]
    return EngineSettings(
        offload=OffloadSettings(
            tensor_split=tuple(float(share) for share in (begin.tensor_split or "").split(",") if share),
            override_tensor=((begin.override_tensor, ""),) if begin.override_tensor else (),
            split_mode=cast("SplitMode", begin.split_mode or "layer"),
        ),
        lora=tuple(LoraAdapter(name, float(scale)) for name, _, scale in adapters),
    )


def _model_of_run(begin: RunBegin, rows: tuple[LedgerRow, ...]) -> LoadedModel:
    devices = _devices(rows) or _devices_by_name(begin.gpu_name)
    return LoadedModel(
        header=_header(begin.model_name, begin.model_fingerprint, begin),
        classification=Classification(
            begin.quantization,
            cast("Training", begin.training),
            begin.variant.split(" + ")[0],  # without the adapters that a run names behind it
            _EVIDENCE,
            _EVIDENCE,
        ),
        n_ctx=begin.n_ctx, n_ctx_train=0, n_layers=0, n_gpu_layers=begin.n_gpu_layers, n_threads=begin.n_threads,
        n_threads_batch=begin.n_threads, n_batch=begin.n_batch, n_ubatch=begin.n_ubatch, flash_attn=begin.flash_attn,
        type_k=begin.type_k, type_v=begin.type_v, swa_full=begin.swa_full, chat_template=False, devices=devices,
        load_s=begin.load_s, llama_build=begin.llama_build, description="", tensor_bytes=begin.size_bytes,
        backend_label="",
    )  # fmt: skip


def _model_of_ledger(rows: tuple[LedgerRow, ...]) -> LoadedModel:
    """Of a load that no run followed."""
    row = rows[0]
    word = row.variant.partition(" ")[0]
    training: Training = "qat" if word.startswith("QAT") else "ptq" if word == "PTQ" else "unknown"
    return LoadedModel(
        header=_header(row.model_name, row.model_fingerprint, None),
        classification=Classification(row.quantization, training, row.variant, _EVIDENCE, _EVIDENCE),
        n_ctx=row.n_ctx, n_ctx_train=0, n_layers=0, n_gpu_layers=row.n_gpu_layers, n_threads=0, n_threads_batch=0,
        n_batch=0, n_ubatch=row.n_ubatch, flash_attn=row.flash_attn, type_k=row.type_k, type_v=row.type_v,
        swa_full=row.swa_full, chat_template=False, devices=_devices(rows), load_s=row.load_s, llama_build="",
        description="", tensor_bytes=0, backend_label="",
    )  # fmt: skip


def _header(name: str, fingerprint: str, begin: RunBegin | None) -> ModelHeader:
    architecture = {"general.architecture": begin.architecture} if begin and begin.architecture else {}
    return ModelHeader(
        path=begin.model_path if begin else "",
        size_bytes=begin.size_bytes if begin else 0,
        metadata={"general.name": name, **architecture},
        tensors=(),
        parameters=begin.parameters if begin else 0,
        fingerprint=fingerprint,
    )


def _devices(rows: tuple[LedgerRow, ...]) -> tuple[BackendDevice, ...]:
    """Devices that hold a part of the model, the CPU not counted."""
    return tuple(
        BackendDevice(row.device, row.device_description, "gpu", "", 0, 0, None)
        for row in rows
        if row.device != _HOST and row.measured_weights_bytes
    )


def _devices_by_name(names: str | None) -> tuple[BackendDevice, ...]:
    return tuple(
        BackendDevice(f"GPU{number}", name, "gpu", "", 0, 0, None)
        for number, name in enumerate(names.split(" + ") if names else ())
    )


def _memory(row: LedgerRow) -> DeviceMemory:
    measured, predicted = (
        MemoryUse(
            weights_bytes=getattr(row, f"{word}_weights_bytes") or 0,
            kv_global_bytes=getattr(row, f"{word}_kv_bytes") or 0,
            compute_bytes=getattr(row, f"{word}_compute_bytes") or 0,
            output_bytes=getattr(row, f"{word}_output_bytes") or 0,
        )
        for word in ("measured", "predicted")
    )
    is_predicted = row.predicted_weights_bytes is not None
    return DeviceMemory(
        device=row.device,
        description=row.device_description,
        measured=measured,
        used_bytes=row.device_used_bytes,
        predicted=predicted if is_predicted else None,
        reason=row.reason,
    )
