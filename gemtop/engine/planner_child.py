"""The planner's child process: requests as lines of JSON on stdin, answers as lines on stdout, until it is closed.

`python -m gemtop.engine.planner_child FOLDER`. It may die of what llama.cpp aborts on; that is an answer too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemtop.config import paths
from gemtop.domain.classify import classify
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.model import BackendDevice, ModelHeader
from gemtop.domain.plan import (
    SEARCHED_CACHE_TYPES,
    DryRunResult,
    Ledger,
    Memory,
    MemoryUse,
    Plan,
    largest_context,
    most_layers,
    plan_json,
    tightest_bytes,
)
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, settings_from_dict
from gemtop.engine import binding, devices, paper, preflight
from gemtop.engine.cpu import memory_bytes
from gemtop.engine.dry_run import DryRun
from gemtop.engine.gguf import check_language_model, part_paths, read_header
from gemtop.engine.log import EngineLog
from gemtop.engine.model import check_context
from gemtop.engine.plan_cache import PlanCache

_PAPER_RESERVE_BYTES = 512 << 20
"""Of a card that is not here: CUDA's context for a process, and the workspaces of its libraries."""
_WORKSPACE_BYTES = 128 << 20
"""Of a card that is here, beside what its driver shows as taken; until this machine's history says it better."""


class Planner:
    """Answers requests about models; the last model's skeleton stays loaded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = EngineLog(lambda _line: None)
        self._log.install()
        binding.llama.llama_backend_init()
        self._run: tuple[str, DryRun] | None = None
        self._paper: tuple[int, ...] = ()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request, as engine.planner makes it."""
        settings = settings_from_dict(request["settings"])
        header = read_header(request["path"])
        check_language_model(header)
        check_context(settings.context, header)
        machine = self._machine(request, settings.offload)
        offload = replace(settings.offload, use_extra_bufts=settings.offload.use_extra_bufts and _repack(request))
        if self._paper:
            offload = replace(offload, devices=tuple(memory.name for memory in machine))
        cache = PlanCache(Path(request["cache"]), header.fingerprint, machine)
        question = _Question(self, header, EngineSettings(offload, settings.context, settings.lora), machine, cache)
        plan = question.plan(_host(request), search=request["search"])
        cache.save()
        return plan_json(plan)

    def dry_run(self, header: ModelHeader) -> DryRun:
        if self._run is None or self._run[0] != header.fingerprint:
            if self._run:
                self._run[1].close()
            self._run = (header.fingerprint, DryRun(part_paths(header), self._folder, self._log))
        return self._run[1]

    def _machine(self, request: Mapping[str, Any], offload: OffloadSettings) -> tuple[Memory, ...]:
        """The devices to plan on: those of this machine, or the cards that were named instead."""
        sizes = tuple(request["gpu_memory_bytes"])
        if sizes:
            if sizes != self._paper:
                paper.add_paper_devices(sizes)
                self._paper = sizes
            return tuple(
                Memory(f"GPU{index}", "a card on paper", size, _PAPER_RESERVE_BYTES) for index, size in enumerate(sizes)
            )
        devices.add_rpc_servers(offload.rpc_servers)
        chosen = [name for name in offload.devices if name.lower() != "none"]
        return tuple(
            _memory(device, request)
            for device in devices.devices()
            if device.kind in ("gpu", "igpu") and (device.name in chosen or not offload.devices)
        )


class _Question:
    """One model with one set of settings on one machine, and its neighbours where they are searched."""

    def __init__(
        self,
        planner: Planner,
        header: ModelHeader,
        settings: EngineSettings,
        machine: tuple[Memory, ...],
        cache: PlanCache,
    ) -> None:
        self._planner, self._header, self._settings = planner, header, settings
        self._machine, self._cache = machine, cache
        self._adapters = _adapter_bytes(settings)

    def plan(self, host: Memory, *, search: bool) -> Plan:
        settings, context = self._settings, self._settings.context
        result = self._measure(settings.offload, context)
        n_layers = (self._header.n_layers or 0) + 1
        asked = settings.offload.n_gpu_layers
        offloaded = (n_layers if asked < 0 else min(asked, n_layers)) if self._machine else 0
        longest: dict[str, int | None] = {}
        most = None
        if search:
            most_tokens = self._header.trained_context or result.n_ctx
            longest = {kind: self._longest(host, kind, most_tokens) for kind in SEARCHED_CACHE_TYPES}
            if self._machine:
                most = most_layers(lambda layers: self._holds(layers), n_layers)
        return Plan(
            model=_model(self._header),
            settings=_settings(settings, result, offloaded),
            devices=self._ledgers(result),
            host=self._host_ledger(host, result),
            max_n_ctx=longest,
            max_n_gpu_layers=most,
        )

    def _measure(self, offload: OffloadSettings, context: ContextSettings) -> DryRunResult:
        known = self._cache.get(offload, context)
        if known is None:
            known = self._planner.dry_run(self._header).measure(offload, context)
            self._cache.put(offload, context, known)
        return known

    def _longest(self, host: Memory, kind: str, most: int) -> int | None:
        def left(n_ctx: int) -> int | None:
            context = replace(self._settings.context, n_ctx=n_ctx, type_k=kind, type_v=kind)
            try:
                result = self._measure(self._settings.offload, context)
            except GemtopError:
                return None
            return tightest_bytes([*self._ledgers(result), self._host_ledger(host, result)])

        return largest_context(left, most)

    def _holds(self, layers: int) -> bool:
        offload = replace(self._settings.offload, n_gpu_layers=layers)
        return all(ledger.fits for ledger in self._ledgers(self._measure(offload, self._settings.context)))

    def _ledgers(self, result: DryRunResult) -> tuple[Ledger, ...]:
        found = []
        for memory in self._machine:
            use = result.devices.get(memory.name, MemoryUse())
            found.append(Ledger(memory, replace(use, weights_bytes=use.weights_bytes + self._share(use, result))))
        return tuple(found)

    def _host_ledger(self, host: Memory, result: DryRunResult) -> Ledger:
        use = result.host
        return Ledger(host, replace(use, weights_bytes=use.weights_bytes + self._share(use, result)))

    def _share(self, use: MemoryUse, result: DryRunResult) -> int:
        """Adapters lie with the layers they change: a device holds as much of them as of the model."""
        whole = result.host.weights_bytes + sum(other.weights_bytes for other in result.devices.values())
        return round(self._adapters * use.weights_bytes / whole) if whole else 0


def _repack(request: Mapping[str, Any]) -> bool:
    """Whether the engine would use repacked CPU weights here, as far as the preflight has found out."""
    known = preflight.remembered(replace(paths(), state=Path(request["state"])))
    return known is None or known


def _memory(device: BackendDevice, request: Mapping[str, Any]) -> Memory:
    """A device of this machine. What is not free is others', but for what this program's own model holds."""
    taken = device.memory_total_bytes - device.memory_free_bytes - request["held"].get(device.name, 0)
    local_card = device.kind == "gpu" and not device.backend.startswith("RPC")
    more = request["reserves"].get(device.description, _WORKSPACE_BYTES if local_card else 0)
    return Memory(device.name, device.description, device.memory_total_bytes, max(0, taken) + more)


def _host(request: Mapping[str, Any]) -> Memory:
    total_bytes, available_bytes = memory_bytes()
    taken = total_bytes - available_bytes - request["held"].get("host", 0)
    return Memory("host", "this machine's memory", total_bytes, max(0, taken))


def _model(header: ModelHeader) -> dict[str, Any]:
    label = classify(header)
    return {
        "name": header.name,
        "path": header.path,
        "size_bytes": header.size_bytes,
        "architecture": header.architecture,
        "parameters": header.parameters,
        "quantization": label.quantization,
        "training": label.training,
        "variant": label.variant,
        "n_layers": (header.n_layers or 0) + 1,
        "n_ctx_train": header.trained_context,
    }


def _settings(settings: EngineSettings, result: DryRunResult, offloaded: int) -> dict[str, Any]:
    context = settings.context
    return {
        "n_ctx": result.n_ctx,
        "n_gpu_layers": offloaded,
        "type_k": context.type_k,
        "type_v": context.type_v,
        "flash_attn": result.flash_attn,
        "n_batch": min(context.n_batch, result.n_ctx),
        "n_ubatch": min(context.n_ubatch, context.n_batch, result.n_ctx),
        "swa_full": context.swa_full,
    }


def _adapter_bytes(settings: EngineSettings) -> int:
    return sum(Path(adapter.path).stat().st_size for adapter in settings.lora)


def main(folder: str, lines: Iterable[str]) -> None:
    """Answer every line with {"plan": ...}, or with {"refused": words} where it cannot be."""
    planner = Planner(Path(folder))
    for line in lines:
        try:
            answer = {"plan": planner.answer(json.loads(line))}
        except (GemtopError, OSError) as error:
            answer = {"refused": str(error), "bad_input": isinstance(error, BadInputError)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin)
