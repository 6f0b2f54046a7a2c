"""The planner's child process: requests as lines of JSON on stdin, answers as lines on stdout, until it is closed.

`python -m gemtop.engine.planner_child`. It may die of what llama.cpp aborts on; that is an answer too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemtop.config import paths
from gemtop.domain.classify import classify
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.model import ModelHeader
from gemtop.domain.plan import DryRunResult, Ledger, Memory, MemoryUse, Plan, judge, plan_json
from gemtop.domain.plan_search import Search
from gemtop.domain.settings import (
    ContextSettings,
    EngineSettings,
    OffloadSettings,
    check_context,
    settings_from_dict,
)
from gemtop.engine import binding, preflight
from gemtop.engine.adopt_header import CopyHeader
from gemtop.engine.adopt_layout import adopt_command, needs_adoption
from gemtop.engine.dry_run import DryRun
from gemtop.engine.files import check_file
from gemtop.engine.gguf import check_language_model, part_paths, read_header
from gemtop.engine.log import EngineLog
from gemtop.engine.machine import Machine, host_memory
from gemtop.engine.plan_cache import PlanCache
from gemtop.engine.skeleton import Skeleton


class Model:
    """A model's header, and its dry run once it is asked for."""

    def __init__(self, path: str, log: EngineLog) -> None:
        """Raises BadInputError for what is no model that llama.cpp could plan with."""
        self._log = log
        self._skeleton = Skeleton()
        self._dry_run: DryRun | None = None
        try:
            self.header = read_header(path, self._skeleton.add_part)
            check_language_model(self.header)
            if needs_adoption(self.header):
                self._take_the_copy()
        except BaseException:
            self._skeleton.close()
            raise
        self._identity = _identity(self.header)

    def _take_the_copy(self) -> None:
        """Ollama's own layout, which llama.cpp refuses, is planned as the copy that `gemtop adopt` would make."""
        with CopyHeader(self.header, words=False) as copy:
            self.header = copy.as_header()
            self._skeleton.close()
            self._skeleton = Skeleton()
            self._skeleton.add_part(copy.context)

    def is_still(self, path: str) -> bool:
        """Whether these are the files at that path, unchanged."""
        return self.header.path == path and self._identity == _identity(self.header)

    def dry_run(self) -> DryRun:
        if self._dry_run is None:
            self._dry_run = DryRun(self._skeleton, self._log)
        return self._dry_run

    def close(self) -> None:
        if self._dry_run is not None:
            self._dry_run.close()
        self._skeleton.close()


class Planner:
    """Answers requests about models; the last model stays as it was read."""

    def __init__(self) -> None:
        self._log = EngineLog(lambda _line: None)
        self._log.install()
        binding.llama.llama_backend_init()
        self._machine = Machine()
        self._model: Model | None = None
        self._adapters: set[tuple[int | str, ...]] = set()
        """Those found to be of this model, as their files are now."""

    def plan(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The whole answer to one request, as engine.planner makes it."""
        settings, machine = self._settings(request)
        model = self._read(request["path"])
        check_context(settings.context, model.header.trained_context)
        for adapter in settings.lora:
            self._check_adapter(adapter.path, model)
        cache = PlanCache(Path(request["cache"]), model.header.fingerprint, machine)
        question = _Question(model, settings, machine, cache)
        try:
            return plan_json(question.plan(host_memory(request), search=request["search"]))
        finally:
            cache.save()

    def fit(self, request: Mapping[str, Any]) -> tuple[bool, str]:
        """Only whether it fits; the file is not opened where the answer is known by its fingerprint."""
        settings, machine = self._settings(request)
        cache = PlanCache(Path(request["cache"]), request["fingerprint"], machine)
        try:
            path = request["path"]
            result = _measure(lambda: self._read(path).dry_run(), cache, settings.offload, settings.context)
        finally:
            cache.save()
        ledgers = [Ledger(memory, result.devices.get(memory.name, MemoryUse())) for memory in machine]
        return judge([*ledgers, Ledger(host_memory(request), result.host)])

    def _settings(self, request: Mapping[str, Any]) -> tuple[EngineSettings, tuple[Memory, ...]]:
        """The settings as the engine would have them here, and the devices."""
        asked = settings_from_dict(request["settings"])
        machine = self._machine.memories(request, asked.offload)
        offload = replace(asked.offload, use_extra_bufts=asked.offload.use_extra_bufts and _repack(request))
        if request["gpu_memory_bytes"]:
            offload = replace(offload, devices=self._machine.on_paper)
        if offload.split_mode == "row" and (len(machine) > 1 or request["gpu_memory_bytes"]):
            raise BadInputError(
                "--split-mode row cannot be planned: llama.cpp does not say how much of each matrix a device gets; "
                "plan with layer, which takes as much in all"
            )
        return EngineSettings(offload, asked.context, asked.lora), machine

    def _read(self, path: str) -> Model:
        if self._model is None or not self._model.is_still(path):
            if self._model is not None:
                self._model.close()
                self._model = None
                self._adapters.clear()
            self._model = Model(path, self._log)
        return self._model

    def _check_adapter(self, path: str, model: Model) -> None:
        """Raises BadInputError for what is no adapter of this model. It is read once."""
        check_file(path)
        file = Path(path).resolve()
        status = file.stat()
        found = (str(file), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if found not in self._adapters:
            model.dry_run().check_adapter(path, model.header)
            self._adapters.add(found)


class _Question:
    """One model with one set of settings on one machine, and its neighbours where they are searched."""

    def __init__(self, model: Model, settings: EngineSettings, machine: tuple[Memory, ...], cache: PlanCache) -> None:
        self._model, self._settings = model, settings
        self._machine, self._cache = machine, cache
        self._adapters = _adapter_bytes(settings)

    def plan(self, host: Memory, *, search: bool) -> Plan:
        settings, header = self._settings, self._model.header
        result = self._measure(settings.offload, settings.context)
        n_layers = (header.n_layers or 0) + 1
        asked = settings.offload.n_gpu_layers
        offloaded = (n_layers if asked < 0 else min(asked, n_layers)) if self._machine else 0
        plan = Plan(
            model=_model(header),
            settings=_settings(settings, result, offloaded),
            devices=self._ledgers(result),
            host=self._ledger(host, result.host, result),
        )
        if not search:
            return plan
        around = Search(
            ask=lambda offload, context: self._ask(host, offload, context),
            offload=settings.offload,
            context=settings.context,
            n_ctx=result.n_ctx,
            trained=header.trained_context or result.n_ctx,
            n_layers=n_layers,
            n_gpu_layers=offloaded,
            on_devices=bool(self._machine),
        )
        longest = around.longest()
        most = around.most_layers() if self._machine else None
        remedies = () if plan.fits else around.remedies(longest, most)
        return replace(plan, max_n_ctx=longest, max_n_gpu_layers=most, remedies=remedies)

    def _measure(self, offload: OffloadSettings, context: ContextSettings) -> DryRunResult:
        return _measure(self._model.dry_run, self._cache, offload, context)

    def _ask(self, host: Memory, offload: OffloadSettings, context: ContextSettings) -> tuple[Ledger, ...] | None:
        try:
            result = self._measure(offload, context)
        except GemtopError:
            return None
        return (*self._ledgers(result), self._ledger(host, result.host, result))

    def _ledgers(self, result: DryRunResult) -> tuple[Ledger, ...]:
        uses = ((memory, result.devices.get(memory.name, MemoryUse())) for memory in self._machine)
        return tuple(self._ledger(memory, use, result) for memory, use in uses)

    def _ledger(self, memory: Memory, use: MemoryUse, result: DryRunResult) -> Ledger:
        """Adapters lie with the layers they change: a device holds as much of them as of the model."""
        whole = result.host.weights_bytes + sum(other.weights_bytes for other in result.devices.values())
        share = round(self._adapters * use.weights_bytes / whole) if whole else 0
        return Ledger(memory, replace(use, weights_bytes=use.weights_bytes + share))


def _measure(
    dry_run: Callable[[], DryRun], cache: PlanCache, offload: OffloadSettings, context: ContextSettings
) -> DryRunResult:
    """From the cache, or from llama.cpp and then into the cache. Raises GemtopError where llama.cpp refuses."""
    known, refusal = cache.get(offload, context), cache.refusal(offload, context)
    if known is not None:
        return known
    if refusal is not None:
        raise GemtopError(refusal)
    try:
        found = dry_run().measure(offload, context)
    except BadInputError:
        raise
    except GemtopError as error:
        cache.put_refusal(offload, context, str(error))
        raise
    cache.put(offload, context, found)
    return found


def _identity(header: ModelHeader) -> list[tuple[int, ...]]:
    """Changes with the files of a model."""
    found: list[tuple[int, ...]] = []
    for part in part_paths(header):
        status = part.stat()
        found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return found


def _repack(request: Mapping[str, Any]) -> bool:
    """Whether the engine would use repacked CPU weights here, as far as the preflight has found out."""
    known = preflight.remembered(replace(paths(), state=Path(request["state"])))
    return known is None or known


def _model(header: ModelHeader) -> dict[str, Any]:
    label = classify(header)
    adopted = {"adopt": adopt_command(header)} if header.as_adopted else {}
    return {
        "name": f"{header.name}, as adopted" if adopted else header.name,
        "path": header.path,
        "size_bytes": header.size_bytes,
        "architecture": header.architecture,
        "parameters": header.parameters,
        "quantization": label.quantization,
        "training": label.training,
        "variant": label.variant,
        "n_layers": (header.n_layers or 0) + 1,
        "n_ctx_train": header.trained_context,
        **adopted,
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


def main(lines: Iterable[str]) -> None:
    """Answer every line with {"plan": ...} or {"fit": ...}, or with {"refused": words} where it cannot be."""
    planner = Planner()
    answers = {"plan": planner.plan, "fit": planner.fit}
    for line in lines:
        request = json.loads(line)
        try:
            answer: dict[str, Any] = {request["ask"]: answers[request["ask"]](request)}
        except (GemtopError, OSError) as error:
            answer = {"refused": str(error), "bad_input": isinstance(error, BadInputError)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.stdin)
