"""What a load is about to take, before it is begun: from the planner, or from what it found out earlier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.model import BackendDevice, ModelHeader
from gemtop.domain.plan import Memory, MemoryUse, gib
from gemtop.domain.settings import EngineSettings
from gemtop.engine.cpu import memory_bytes
from gemtop.engine.measured import HOST
from gemtop.engine.plan_cache import PlanCache
from gemtop.engine.planner import Planner, PlanRequest


@dataclass(frozen=True, slots=True)
class Prediction:
    """Memory by llama.cpp's name of the device; empty where there is none, and then `reason` says why."""

    uses: Mapping[str, MemoryUse]
    reason: str | None = None


def predict(
    header: ModelHeader, settings: EngineSettings, devices: Mapping[str, BackendDevice], paths: Paths, planner: Planner
) -> Prediction:
    """Predict, and raise BadInputError, with the arithmetic, for what no device of this machine can ever hold.

    Asking llama.cpp takes a child process some tenths of a second, once for each model and settings.
    """
    offload = settings.offload
    machine = tuple(
        Memory(device.name, device.description, device.memory_total_bytes, 0)
        for device in devices.values()
        if device.kind in ("gpu", "igpu") and (device.name in offload.devices or not offload.devices)
    )
    known = None
    if len(machine) < 2 and not settings.lora:  # llama.cpp splits by what is free on each just now
        cache = PlanCache(paths.cache / "plans", header.fingerprint, machine)
        known = cache.get(offload, settings.context)
    if known is not None:
        uses = {**known.devices, HOST: known.host}
    else:
        try:
            plan = planner.plan(PlanRequest(header.path, settings, search=False))
        except GemtopError as error:  # the load itself will say what is wrong, or show that nothing is
            return Prediction({}, str(error))
        uses = {ledger.memory.name: ledger.use for ledger in plan.devices} | {HOST: plan.host.use}
    sizes = {memory.name: memory.total_bytes for memory in machine} | {HOST: memory_bytes()[0]}
    for name, use in uses.items():
        _check(name, use, sizes.get(name))
    return Prediction(uses)


def _check(name: str, use: MemoryUse, there_bytes: int | None) -> None:
    needed = use.total_bytes - use.reclaimable_bytes
    if there_bytes and needed > there_bytes:
        parts = [
            f"{gib(size)} of {what}"
            for size, what in (
                (use.weights_bytes - use.reclaimable_bytes, "weights"),
                (use.kv_bytes, "KV cache"),
                (use.compute_bytes + use.output_bytes, "compute buffers"),
            )
            if size
        ]
        where = "this machine" if name == HOST else name
        raise BadInputError(
            f"this cannot fit: {where} has {gib(there_bytes)} of memory, and {' + '.join(parts)} "
            f"make {gib(needed)}; see what would fit with: gemtop plan"
        )
