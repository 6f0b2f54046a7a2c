"""What this llama.cpp build is and sees, as JSON on stdout: asked in a child, since asking may crash.

`python -m gemtop.engine.describe [HOST:PORT ...]` loads the library and its registry of devices, which dies of an
illegal instruction where the wheel was built for another CPU. The addresses are those of RPC servers to add.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gemtop.domain.errors import BadInputError, GemtopError

if TYPE_CHECKING:
    from gemtop.domain.model import BackendDevice

_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class BuildDescription:
    """The answer of the child, or why there is none."""

    llama_build: str | None = None
    library_folder: str | None = None
    backends: tuple[str, ...] = ()
    cpu_features: tuple[str, ...] = ()
    devices: tuple[dict[str, Any], ...] = ()
    """BackendDevice as a dict, and the RPC server it is on under `rpc_server`."""
    gpu_offload: bool | None = None
    problem: str | None = None
    """Why the build could not be asked."""
    refused: str | None = None
    """Why an RPC server could not be added."""


def describe_build(rpc_servers: Sequence[str] = ()) -> BuildDescription:
    """Ask a child process; never raises."""
    command = [sys.executable, "-m", "gemtop.engine.describe", *rpc_servers]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        busy = "; an RPC server that serves another program answers once that one leaves" if rpc_servers else ""
        return BuildDescription(problem=f"this llama.cpp build gave no answer within {_TIMEOUT_S} s{busy}")
    except OSError as error:
        return BuildDescription(problem=str(error))
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return BuildDescription(problem=f"this llama.cpp build dies of {name} on this CPU")
    try:
        return BuildDescription(**json.loads(done.stdout.decode().splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return BuildDescription(problem=lines[-1] if lines else f"exit code {done.returncode}")


def list_devices(rpc_servers: Sequence[str] = ()) -> tuple[dict[str, Any], ...]:
    """Every device that llama.cpp sees, as BuildDescription has them.

    Raises BadInputError for an RPC server that cannot be added, GemtopError where the build does not run here.
    """
    found = describe_build(rpc_servers)
    if found.refused is not None:
        raise BadInputError(found.refused)
    if found.problem is not None:
        raise GemtopError(f"{found.problem}; see gemtop doctor")
    return found.devices


def main(rpc_servers: Sequence[str]) -> None:
    from gemtop.engine import binding, devices

    binding.llama.llama_backend_init()  # loads the backends of a build that has them as libraries of their own
    try:
        devices.add_rpc_servers(tuple(rpc_servers))
        refused = None
    except BadInputError as error:
        refused = str(error)
    found = BuildDescription(
        llama_build=binding.llama_build(),
        library_folder=str(binding.library_folder()),
        backends=devices.backends(),
        cpu_features=devices.cpu_features(),
        devices=tuple(_as_dict(device) for device in devices.devices()),
        gpu_offload=bool(binding.llama.llama_supports_gpu_offload()),
        refused=refused,
    )
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


def _as_dict(device: BackendDevice) -> dict[str, Any]:
    """The device, where it is if it is remote, and of the CPU the memory that is available: ggml gives all of it."""
    from gemtop.engine import stand_ins
    from gemtop.engine.cpu import memory_bytes

    found = asdict(device)
    if device.kind == "cpu":
        found["memory_total_bytes"], found["memory_free_bytes"] = memory_bytes()
    servers = (server for server, remote in stand_ins.known.items() if any(one.name == device.name for one in remote))
    return found | {"rpc_server": next(servers, None)}


if __name__ == "__main__":
    main(sys.argv[1:])
