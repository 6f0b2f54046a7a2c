"""Dry runs that were made before, by the model's fingerprint, the devices and the settings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gemtop.domain.plan import DryRunResult, Memory, MemoryUse
from gemtop.domain.settings import ContextSettings, OffloadSettings
from gemtop.engine import binding

_LAYOUT = 3
"""Of the entries; those of another one are never found."""
_MOST_ENTRIES = 300
_SPLIT_STEP_BYTES = 64 << 20
"""With several devices llama.cpp splits by free memory: a change of this much may move a layer."""
_NO_MATTER = ("n_threads", "n_threads_batch")
"""Settings of the context that take no memory."""


class PlanCache:
    """One JSON file for each model; what cannot be read or written is no failure."""

    def __init__(self, folder: Path, fingerprint: str, machine: Sequence[Memory]) -> None:
        self._file = folder / f"{fingerprint[:32]}.json"
        self._machine = [
            [memory.name, memory.description]
            + ([(memory.total_bytes - memory.reserve_bytes) // _SPLIT_STEP_BYTES] if len(machine) > 1 else [])
            for memory in machine
        ]
        self._entries: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = json.loads(self._file.read_text())
            self._entries = found if isinstance(found, dict) else {}
        self._changed = False

    def get(self, offload: OffloadSettings, context: ContextSettings) -> DryRunResult | None:
        return _result(self._entries.get(self._key(offload, context)))

    def refusal(self, offload: OffloadSettings, context: ContextSettings) -> str | None:
        """Why llama.cpp refused these settings; None where it is not known to."""
        found = self._entries.get(self._key(offload, context))
        words = found.get("refused") if isinstance(found, dict) else None
        return words if isinstance(words, str) else None

    def put_refusal(self, offload: OffloadSettings, context: ContextSettings, words: str) -> None:
        self._entries[self._key(offload, context)] = {"refused": words}
        self._changed = True

    def put(self, offload: OffloadSettings, context: ContextSettings, result: DryRunResult) -> None:
        self._entries[self._key(offload, context)] = asdict(result)
        self._changed = True

    def save(self) -> None:
        """Write what is new, whole or not at all."""
        if not self._changed:
            return
        kept = dict(list(self._entries.items())[-_MOST_ENTRIES:])
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._file.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(kept))
            temporary.replace(self._file)
        self._changed = False

    def _key(self, offload: OffloadSettings, context: ContextSettings) -> str:
        settings = asdict(context)
        for name in _NO_MATTER:
            del settings[name]
        question = json.dumps([_LAYOUT, binding.llama_build(), self._machine, asdict(offload), settings])
        return hashlib.sha256(question.encode()).hexdigest()[:32]


def _result(entry: Any) -> DryRunResult | None:
    """What `put` wrote; None for anything else."""
    if not isinstance(entry, dict) or set(entry) != set(DryRunResult.__dataclass_fields__):
        return None
    devices, host = entry["devices"], _use(entry["host"])
    if not isinstance(devices, dict) or host is None:
        return None
    uses = {name: _use(found) for name, found in devices.items()}
    known = {name: use for name, use in uses.items() if use is not None}
    if len(known) < len(uses) or not _is_size(entry["n_ctx"]) or entry["flash_attn"] not in ("on", "off", "auto"):
        return None
    return DryRunResult(known, host, entry["n_ctx"], entry["flash_attn"])


def _use(entry: Any) -> MemoryUse | None:
    if not isinstance(entry, dict) or set(entry) != set(MemoryUse.__dataclass_fields__):
        return None
    return MemoryUse(**entry) if all(map(_is_size, entry.values())) else None


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
