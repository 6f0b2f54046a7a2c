"""The memory to plan for: the devices llama.cpp would put layers on, and the host's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gemtop.domain.model import BackendDevice
from gemtop.domain.plan import Memory
from gemtop.domain.settings import OffloadSettings
from gemtop.engine import devices, paper
from gemtop.engine.binding import c, text
from gemtop.engine.cpu import memory_bytes
from gemtop.engine.stand_ins import StandIn

T = TypeVar("T")
_PAPER_RESERVE_BYTES = 512 << 20
"""Of a card that is not here: CUDA's context for a process, and the workspaces of its libraries."""
_WORKSPACE_BYTES = 128 << 20
"""Of a card that is here, beside what its driver shows as taken; until this machine's history says it better."""


class Machine:
    """The devices of this process's registry, or those on paper that were put into it instead."""

    def __init__(self) -> None:
        self.on_paper: tuple[str, ...] = ()
        """Names of the devices on paper."""

    def memories(self, request: Mapping[str, Any], offload: OffloadSettings) -> tuple[Memory, ...]:
        """What the devices have, in llama.cpp's order; a request is as engine.planner makes it."""
        sizes = request["gpu_memory_bytes"]
        if sizes:
            cards = [StandIn(f"GPU{index}", "a card on paper", size, size) for index, size in enumerate(sizes)]
            self._put_on_paper(cards, "Paper")
            memories = [Memory(card.name, card.description, card.total_bytes, _PAPER_RESERVE_BYTES) for card in cards]
            return tuple(_one_or_all(memories, offload))
        remote = [StandIn(**fields) for fields in request["stand_ins"]]
        if remote:
            self._put_on_paper(remote, "RPC")
        else:
            devices.add_rpc_servers(offload.rpc_servers)
        unused = {device.name for device in remote}
        found = devices.devices()
        used = targets(found, offload)
        named = _overridden(offload)
        used += tuple(device for device in found if device.name in named and device not in used)
        return tuple(_memory(device, request, unused) for device in used)

    def _put_on_paper(self, stand_ins: Sequence[StandIn], registry_name: str) -> None:
        """Once a process: ggml's registry forgets nothing, so the parent begins a new child for others."""
        if not self.on_paper:
            paper.add_devices(stand_ins, registry_name)
            self.on_paper = tuple(device.name for device in stand_ins)


def targets(found: Iterable[BackendDevice], offload: OffloadSettings) -> tuple[BackendDevice, ...]:
    """The devices of a registry that llama.cpp would put layers on, in its order.

    Source: llama_prepare_model_devices in llama.cpp's src/llama.cpp.
    """
    known = [device for device in found if device.kind in ("gpu", "igpu")]
    if offload.devices:
        by_name = {device.name: device for device in known}
        chosen = [by_name[name] for name in offload.devices if name in by_name]
    else:
        remote = [device for device in known if device.backend.startswith("RPC")]
        own = [device for device in known if device.kind == "gpu" and device not in remote]
        own = [device for number, device in enumerate(own) if not _seen_before(device, own[:number])]
        chosen = [*remote, *(own or (device for device in known if device.kind == "igpu"))]
    return tuple(_one_or_all(chosen, offload))


def host_memory(request: Mapping[str, Any]) -> Memory:
    """The host's: what is not available is others', but for what this program's own model holds."""
    total_bytes, available_bytes = memory_bytes()
    taken = total_bytes - available_bytes - request["held"].get("host", 0)
    return Memory("host", "this machine's memory", total_bytes, max(0, taken))


def _one_or_all(chosen: Sequence[T], offload: OffloadSettings) -> Sequence[T]:
    return chosen[offload.main_gpu : offload.main_gpu + 1] if offload.split_mode == "none" else chosen


def _overridden(offload: OffloadSettings) -> set[str]:
    """Devices that tensors are sent to by name, whether or not layers are."""
    wanted = {buffer for _, buffer in offload.override_tensor}
    handles = devices.backend_handles().items() if wanted else ()
    kinds = {name: c("ggml_backend_dev_buffer_type")(handle) for name, handle in handles if name != "CPU"}
    return {name for name, kind in kinds.items() if text(c("ggml_backend_buft_name")(kind)) in wanted}


def _seen_before(device: BackendDevice, others: Sequence[BackendDevice]) -> bool:
    """Whether another backend has the same card."""
    return device.pci_bus_id is not None and any(other.pci_bus_id == device.pci_bus_id for other in others)


def _memory(device: BackendDevice, request: Mapping[str, Any], unused: set[str]) -> Memory:
    """A device of this machine or a server. `unused` are those whose free memory counts nothing of this program's."""
    held = 0 if device.name in unused else request["held"].get(device.name, 0)
    taken = device.memory_total_bytes - device.memory_free_bytes - held
    local_card = device.kind == "gpu" and not device.backend.startswith("RPC")
    more = request["reserves"].get(device.description, _WORKSPACE_BYTES if local_card else 0)
    return Memory(device.name, device.description, device.memory_total_bytes, max(0, taken) + more)
