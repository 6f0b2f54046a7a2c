"""Who holds a part of a GPU: the driver's lists of processes, and which of them is this one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from gemtop.domain.telemetry import GpuProcess
from gemtop.telemetry.nvml_queries import (
    CARD_GONE,
    LIBRARY_GONE,
    NO_FUNCTION,
    NOT_SUPPORTED,
    OTHER_CALL,
    PROCESS_FIELDS,
    Answer,
    Library,
    whole,
)

# Not the names without a number: on an older driver they raise an error of the bindings' own.
_COMPUTE = tuple(f"nvmlDeviceGetComputeRunningProcesses_v{version}" for version in (3, 2))
_GRAPHICS = tuple(f"nvmlDeviceGetGraphicsRunningProcesses_v{version}" for version in (3, 2))
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
_FOREIGN_IDS = (
    "the driver gives process ids of the host, and gemtop runs in a container: its own cannot be told from others"
)
_WSL2_IDS = "WSL2 gives process ids of Windows: gemtop's own cannot be told from others"
_WSL2 = "WSL2 does not say how much a process holds"
_NOT_SAID = "the driver does not say how much a process holds"

_Values = dict[str, Any]
_Reasons = dict[str, str]


class ProcessReader:
    """Reads the process lists of cards. `proc` is where the kernel shows processes."""

    def __init__(self, library: Library, proc: Path = Path("/proc")) -> None:
        self._library = library
        self._proc = proc
        self._pid = os.getpid()
        self._foreign_ids = self._in_a_container()
        self._wsl2 = "microsoft" in (self._text("sys/kernel/osrelease") or "").lower()

    def read(self, handle: Any) -> tuple[_Values, _Reasons, Answer | None]:
        """The fields of a sample that come from the lists, reasons, and the answer that says the card is gone."""
        compute, graphics = self._list(_COMPUTE, handle), self._list(_GRAPHICS, handle)
        for answer in (compute, graphics):
            if answer.code in CARD_GONE or answer.code in LIBRARY_GONE:
                return {}, {}, answer
        if compute.reason is not None:
            return {}, dict.fromkeys(PROCESS_FIELDS, compute.reason), None
        computing = _memory_by_pid(compute.value)
        values, reasons = self._own_and_others(computing)
        if graphics.reason is not None and graphics.code not in (NOT_SUPPORTED, NO_FUNCTION):
            reasons["processes"] = graphics.reason
        else:
            values["processes"] = self._merge(computing, _memory_by_pid(graphics.value or ()))
        return values, reasons, None

    def _own_and_others(self, computing: dict[int, int | None]) -> tuple[_Values, _Reasons]:
        values: _Values = {}
        reasons: _Reasons = {}
        if not computing:
            values["other_processes"] = 0
        elif self._foreign_ids:
            reasons["other_processes"] = _WSL2_IDS if self._wsl2 else _FOREIGN_IDS
        else:
            values["other_processes"] = sum(not self._is_ours(pid) for pid in computing)
        if self._wsl2:
            reasons["vram_process_bytes"] = _WSL2
        elif self._foreign_ids:
            reasons["vram_process_bytes"] = _FOREIGN_IDS
        else:
            held = computing.get(self._pid, 0)
            if held is None:
                reasons["vram_process_bytes"] = _NOT_SAID
            else:
                values["vram_process_bytes"] = held
        return values, reasons

    def _is_ours(self, pid: int) -> bool:
        """This process, or one that it has started: the planner looks at cards from a process of its own."""
        if pid == self._pid:
            return True
        stat = (self._text(f"{pid}/stat") or "").rpartition(")")[2].split()
        return len(stat) > 1 and stat[1] == str(self._pid)

    def _merge(self, computing: dict[int, int | None], drawing: dict[int, int | None]) -> tuple[GpuProcess, ...]:
        found = []
        for pid in sorted(computing.keys() | drawing.keys()):
            kind: Literal["C", "G", "C+G"] = "C" if pid not in drawing else "C+G" if pid in computing else "G"
            # A process in both lists has its whole memory in each.
            known = [held for held in (computing.get(pid), drawing.get(pid)) if held is not None]
            # Of a host's process id there is nothing, or something else, in a container.
            name = None if self._foreign_ids else self._text(f"{pid}/comm")
            own = not self._foreign_ids and self._is_ours(pid)
            found.append(GpuProcess(pid, kind, max(known) if known else None, name, own))
        return tuple(found)

    def _list(self, calls: tuple[str, ...], handle: Any) -> Answer:
        answer = Answer()
        for name in calls:
            answer = self._library.call(name, handle)
            if answer.code not in OTHER_CALL:
                break
        return answer

    def _in_a_container(self) -> bool:
        try:
            return str((self._proc / "self/ns/pid").readlink()) != _INITIAL_PID_NAMESPACE
        except OSError:
            return False

    def _text(self, path: str) -> str | None:
        try:
            return (self._proc / path).read_text(encoding="utf-8", errors="replace").strip() or None
        except OSError:
            return None


def _memory_by_pid(entries: Iterable[Any]) -> dict[int, int | None]:
    """A process has an entry for each MIG instance that it is on; None where the driver does not say how much."""
    held: dict[int, int | None] = {}
    for entry in entries:
        memory = None if entry.usedGpuMemory is None else whole(entry.usedGpuMemory)
        before = held.get(entry.pid, 0)
        held[entry.pid] = None if memory is None or before is None else before + memory
    return held
