"""Devices of RPC servers, as the planner may know them without asking the servers again.

A llama.cpp RPC server talks to one program at a time, and waits for that one to leave before it answers another.
So once this process has a server's devices, its planner plans on devices on paper that answer as they would.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StandIn:
    """A device on paper: what llama.cpp asks of a device while it plans."""

    name: str
    description: str
    total_bytes: int
    free_bytes: int
    alignment: int = 128
    pads_rows: bool = True
    """Rows of quantised tensors are padded, as CUDA's kernels want it."""
    remote: bool = False
    """Behind an RPC server: it takes no large batches over from the CPU, and says so little of itself."""


known: dict[str, tuple[StandIn, ...]] = {}
"""Devices by HOST:PORT of the servers that this process has added."""

not_in_use: set[str] = set()
"""Names of devices whose servers the settings in force do not name. ggml's registry keeps them for good, and to ask
one of a server that has gone ends the process."""


def of(endpoints: tuple[str, ...]) -> tuple[StandIn, ...]:
    """The stand-ins for these servers' devices; nothing where one of them has not been added here."""
    if not all(endpoint in known for endpoint in endpoints):
        return ()
    return tuple(device for endpoint in endpoints for device in known[endpoint])
