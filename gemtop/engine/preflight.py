"""Before the first load with a build on a CPU: does decoding work here at all?

Some virtual machines advertise AMX and crash on it; a wheel built on one machine can hit an illegal
instruction on another. Neither can be caught in this process, so a child decodes a tiny model first.
"""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from gemtop.config import Paths, read_state, write_state
from gemtop.domain.errors import BadInputError
from gemtop.domain.settings import OffloadSettings
from gemtop.engine import binding
from gemtop.engine.cpu import cpu_flags, cpuinfo

_TIMEOUT_S = 60
_STATE = "preflight"
_GPU_LIBRARIES = ("cuda", "hip", "vulkan", "metal", "sycl", "musa", "cann", "opencl")

REBUILD = "pip install --no-cache-dir --force-reinstall --no-binary llama-cpp-python llama-cpp-python"


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a child that decoded the probe model ended."""

    ok: bool
    signal_name: str | None
    """The signal it died of."""
    message: str


def use_extra_bufts(paths: Paths, offload: OffloadSettings, note: Callable[[str], None]) -> bool:
    """Whether repacked CPU weights may be used, found out once for each build and CPU.

    Raises BadInputError where this build does not run on this CPU at all.
    """
    if offload.n_gpu_layers < 0 and _has_gpu():
        return True  # every layer runs on the GPU: the CPU's matrix kernels are never called
    remembered, key = read_state(paths, _STATE), _key()
    if key in remembered:
        return bool(remembered[key])
    verdict = _examine(note)
    if verdict is not None:
        write_state(paths, _STATE, remembered | {key: verdict})
        return verdict
    return True


def remembered(paths: Paths) -> bool | None:
    """What use_extra_bufts found out earlier for this build and CPU; None where it has not been asked."""
    verdict = read_state(paths, _STATE).get(_key())
    return None if verdict is None else bool(verdict)


def _examine(note: Callable[[str], None]) -> bool | None:
    """The verdict of one or two children; None where they could not tell."""
    first = run_child(extra_bufts=True)
    if first.ok:
        return True
    if first.signal_name is None:
        note(f"preflight could not tell whether this build runs here: {first.message}")
        return None
    second = run_child(extra_bufts=False)
    if second.ok:
        note(f"repacked CPU weights crash on this machine ({first.signal_name}); they are switched off from now on")
        return False
    if second.signal_name is None:
        return None
    raise BadInputError(
        f"this llama.cpp build does not run on this CPU: it died of {second.signal_name}. It was compiled for "
        f"{_features()}; this CPU has {cpu_flags()}. Rebuild it here with: {REBUILD}"
    )


def run_child(*, extra_bufts: bool) -> ChildResult:
    """Decode 32 tokens of the probe model in a process of its own."""
    import subprocess  # once for each build; the planner's child only asks what is remembered
    import tempfile

    try:
        with tempfile.TemporaryDirectory(prefix="gemtop-preflight-") as folder:
            command = [sys.executable, "-m", "gemtop.engine.preflight_child", f"{folder}/probe.gguf"]
            done = subprocess.run(
                [*command, "1" if extra_bufts else "0"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_TIMEOUT_S,
                check=False,
            )
    except (subprocess.TimeoutExpired, OSError) as error:
        return ChildResult(False, None, str(error))
    if done.returncode < 0:
        return ChildResult(False, signal.Signals(-done.returncode).name, "")
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return ChildResult(done.returncode == 0, None, lines[-1] if lines else f"exit code {done.returncode}")


def _has_gpu() -> bool:
    """A GPU that llama.cpp can use; the registry, whose start may crash, is asked only on a GPU build."""
    names = [p.name for p in binding.library_folder().glob("libggml-*")]
    if not any(kind in name for name in names for kind in _GPU_LIBRARIES):
        return False
    from gemtop.engine.devices import devices

    return any(d.kind == "gpu" and not d.backend.startswith("RPC") for d in devices())


def _features() -> str:
    """Instruction sets the build was compiled for, asked in a child: the answer may crash as well."""
    import subprocess

    code = "from gemtop.engine.devices import cpu_features; print(' '.join(cpu_features()))"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (subprocess.TimeoutExpired, OSError):
        return "another CPU"
    return done.stdout.decode().strip() or "another CPU"


@cache
def _key() -> str:
    """One build on one CPU: the libraries' sizes and dates, the CPU's name and abilities. Those of a process stay."""
    parts = [binding.llama_build(), cpuinfo("model name"), cpuinfo("flags") or cpuinfo("Features")]
    for library in sorted(binding.library_folder().glob("lib*")):
        status = library.stat()
        parts.append(f"{library.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
