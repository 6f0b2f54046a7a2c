"""What a real load took, from llama.cpp's own report of its buffers, beside what was predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gemtop.domain.model import BackendDevice, DeviceMemory
from gemtop.domain.plan import MemoryUse
from gemtop.engine import stand_ins
from gemtop.engine.devices import devices
from gemtop.engine.log import BufferKind

HOST = "CPU"
_FIELDS: Mapping[BufferKind, str] = {
    "model": "weights_bytes", "KV": "kv_global_bytes", "compute": "compute_bytes", "output": "output_bytes",
}  # fmt: skip
"""The report does not tell the two kinds of KV cache apart: their sum is kept as one."""


def measured_use(buffers: Mapping[tuple[str, BufferKind], int]) -> dict[str, MemoryUse]:
    """Bytes by device out of bytes by buffer type; pinned and repacked buffers are the host's."""
    owners = {device.name: device.name for device in devices() if device.kind in ("gpu", "igpu")}
    for endpoint, remote in stand_ins.known.items():  # RPC0[box:50052] is the first device of that server
        owners |= {f"RPC{index}[{endpoint}]": device.name for index, device in enumerate(remote)}
    found: dict[str, MemoryUse] = {HOST: MemoryUse()}
    for (buffer, kind), size_bytes in buffers.items():
        device = owners.get(buffer, HOST)
        use, field = found.get(device, MemoryUse()), _FIELDS[kind]
        found[device] = replace(use, **{field: getattr(use, field) + size_bytes})
    return found


def device_memory(
    measured: Mapping[str, MemoryUse],
    before: Mapping[str, BackendDevice],
    predicted: Mapping[str, MemoryUse],
    reason: str | None,
) -> tuple[DeviceMemory, ...]:
    """Measured and predicted memory of each device. `before` are the devices as they were before the load."""
    found = []
    for device in devices():
        if device.name not in measured:
            continue
        earlier = before.get(device.name)
        used = earlier.memory_free_bytes - device.memory_free_bytes if earlier and device.name != HOST else None
        found.append(
            DeviceMemory(
                device=device.name,
                description=device.description,
                measured=measured[device.name],
                used_bytes=used,
                predicted=predicted.get(device.name),
                reason=None if device.name in predicted else reason or "nothing was planned there",
            )
        )
    return tuple(found)
