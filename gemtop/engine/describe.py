"""What this llama.cpp build is and sees, as JSON on stdout: asked in a child, since asking may crash.

`python -m gemtop.engine.describe` loads the library and its registry of devices, which dies of an illegal
instruction where the wheel was built for another CPU.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class BuildDescription:
    """The answer of the child, or why there is none."""

    llama_build: str | None = None
    library_folder: str | None = None
    backends: tuple[str, ...] = ()
    cpu_features: tuple[str, ...] = ()
    devices: tuple[dict[str, Any], ...] = ()
    gpu_offload: bool | None = None
    problem: str | None = None
    """Why the build could not be asked."""


def describe_build() -> BuildDescription:
    """Ask a child process; never raises."""
    command = [sys.executable, "-m", "gemtop.engine.describe"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return BuildDescription(problem=str(error))
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return BuildDescription(problem=f"this llama.cpp build dies of {name} on this CPU")
    try:
        return BuildDescription(**json.loads(done.stdout.decode().splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return BuildDescription(problem=lines[-1] if lines else f"exit code {done.returncode}")


def main() -> None:
    from gemtop.engine import binding, devices

    found = BuildDescription(
        llama_build=binding.llama_build(),
        library_folder=str(binding.library_folder()),
        backends=devices.backends(),
        cpu_features=devices.cpu_features(),
        devices=tuple(asdict(device) for device in devices.devices()),
        gpu_offload=bool(binding.llama.llama_supports_gpu_offload()),
    )
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main()
