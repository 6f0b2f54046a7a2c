"""Which build of llama.cpp a machine should have, and the commands that make it. Nothing is run or looked up here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

BuildName = Literal["cuda", "vulkan", "metal", "rocm", "cpu"]
BUILDS: tuple[BuildName, ...] = get_args(BuildName)
TITLES: dict[BuildName, str] = {"cuda": "CUDA", "vulkan": "Vulkan", "metal": "Metal", "rocm": "ROCm", "cpu": "CPU"}
BACKENDS: dict[BuildName, tuple[str, ...]] = {
    "cuda": ("CUDA",),
    "vulkan": ("Vulkan",),
    "metal": ("Metal", "MTL"),
    "rocm": ("ROCm", "HIP"),
    "cpu": ("CPU",),
}
"""How ggml's registry calls the backend of a build."""

_INSTALL = ("--no-cache-dir", "--force-reinstall", "--no-deps", "--no-binary", "llama-cpp-python")
"""pip and uv take the same flags. Both keep a wheel they built whatever CMAKE_ARGS said, so the caches are left out."""
_APU_TARGETS = frozenset({"gfx902", "gfx909", "gfx90c", "gfx1013", "gfx1033", "gfx1035", "gfx1036", "gfx1103"})
_NEAR_TARGETS = {**dict.fromkeys(("gfx1031", "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036"), "gfx1030")}
_NEAR_TARGETS |= {"gfx1103": "gfx1100"}
"""Targets that rocBLAS has no kernels for, and the one whose code they run."""
_OVERRIDES = {"gfx1030": "10.3.0", "gfx1100": "11.0.0"}
_FIRST_CUDA = (((10, 0), (12, 8)), ((8, 9), (11, 8)), ((8, 6), (11, 1)))
"""Compute capability, and the first toolkit that compiles for it; newest first."""
_TURING, _CUDA_13 = (7, 5), (13, 0)
_FIRST_ROCM = (6, 1)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card, or a GPU beside the CPU on one chip."""

    vendor: Literal["nvidia", "amd", "intel"]
    name: str
    integrated: bool = False
    """It has no memory of its own."""
    gfx: str | None = None
    """AMD's name of what it executes: gfx1100."""
    compute_capability: str | None = None
    """NVIDIA's: 8.9."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What is there to compile with."""

    compiler: bool = False
    nvcc: str | None = None
    nvcc_on_path: bool = False
    cuda_version: str | None = None
    """The toolkit's."""
    hipconfig: str | None = None
    hipconfig_on_path: bool = False
    rocm_version: str | None = None
    hipblas: bool = False
    """What CMake needs of hipBLAS and rocBLAS."""
    glslc: bool = False
    vulkan_headers: bool = False
    spirv_headers: bool = False
    vulkan_driver: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides about the build, and about the packages to install before it."""

    system: str = "Linux"
    """As platform.system() says it."""
    distribution: str = ""
    """debian, ubuntu, fedora or arch; another one's own name, or empty."""
    root: bool = False
    gpus: tuple[Gpu, ...] = ()
    nvidia_driver: str | None = None
    nvidia_cuda: str | None = None
    """The newest CUDA the driver knows."""
    nvidia_reason: str | None = None
    """Why NVML shows no card."""
    tools: Toolchain = Toolchain()


@dataclass(frozen=True, slots=True)
class Installation:
    """How gemtop came here, which decides what installs a package beside it."""

    way: Literal["pip", "pipx", "uv", "image"]
    install: str = ""
    """The shell's words up to what is to be installed. Empty for an image."""
    requirement: str = "llama-cpp-python"
    """With the version that is there."""
    before: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Present:
    """The build that is installed."""

    backends: tuple[str, ...] = ()
    gpu_devices: int = 0
    problem: str | None = None
    """Why it does not run."""

    def has(self, name: BuildName) -> bool:
        return any(backend.startswith(BACKENDS[name]) for backend in self.backends)


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do, and why. What gemtop cannot name a command for has none."""

    why: str
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """How to get one build."""

    name: BuildName
    before: tuple[Step, ...]
    run: str | None
    """The line for a shell; None where this way of installing has none."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """The build this machine should have."""

    name: BuildName
    why: str
    done: bool
    """It is the one that is installed, and it runs."""


def choose(machine: Machine, present: Present) -> Choice:
    """The build for the best GPU that is here, and why."""
    name, gpus, why = _best(machine)
    if present.problem is not None:
        return Choice(name, f"{why}; {present.problem}", done=False)
    if not present.has(name):
        has = " and ".join(present.backends) or "nothing"
        return Choice(name, f"{why}, and the installed build cannot use {_it(gpus)}: it has {has}", done=False)
    if gpus and not present.gpu_devices:
        reason = f" ({machine.nvidia_reason})" if name == "cuda" and machine.nvidia_reason else ""
        seen = f"the installed build has {TITLES[name]} already but sees no card{reason}"
        return Choice(name, f"{why}; {seen}: look at the driver and at who may open the device", done=True)
    return Choice(name, f"{why}; the installed build is right", done=True)


def _best(machine: Machine) -> tuple[BuildName, tuple[Gpu, ...], str]:
    if machine.system == "Darwin":
        return "metal", (), "this is a Mac, where llama.cpp computes with Metal"
    own = tuple(gpu for gpu in machine.gpus if not gpu.integrated and gpu.gfx not in _APU_TARGETS)
    nvidia = tuple(gpu for gpu in own if gpu.vendor == "nvidia")
    if nvidia:
        speaks = f", CUDA {machine.nvidia_cuda}" if machine.nvidia_cuda else ""
        driver = f" (driver {machine.nvidia_driver}{speaks})" if machine.nvidia_driver else ""
        return "cuda", nvidia, f"this machine has {_names(nvidia)}{driver}"
    amd = tuple(gpu for gpu in own if gpu.vendor == "amd")
    if amd and machine.tools.hipconfig and all(gpu.gfx and gpu.gfx not in _NEAR_TARGETS for gpu in amd):
        version = machine.tools.rocm_version
        if version is None or _pair(version) >= _FIRST_ROCM:
            return "rocm", amd, f"this machine has {_names(amd)} and ROCm{f' {version}' if version else ''}"
    if own:
        return "vulkan", own, f"this machine has {_names(own)}"
    if machine.gpus:
        shares = f"this machine has {_names(machine.gpus)} only, which shares the memory that decode waits for"
        return "cpu", (), f"{shares} (gemtop doctor --fix vulkan has the line to try it)"
    return "cpu", (), "this machine has no GPU that llama.cpp computes on"


def _names(gpus: Sequence[Gpu]) -> str:
    names = [f"{gpu.name}, {gpu.gfx}" if gpu.gfx else gpu.name for gpu in gpus]
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _it(gpus: Sequence[Gpu]) -> str:
    return "it" if len(gpus) < 2 else "them"


def _pair(version: str) -> tuple[int, int]:
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor or 0)) if major.isdecimal() and (not minor or minor.isdecimal()) else (0, 0)


def line(name: BuildName, machine: Machine, installation: Installation, keep_rpc: bool) -> str | None:
    """What to give to a shell for this build, all in one line; `keep_rpc` where the installed one has RPC."""
    if installation.way == "image":
        return f"docker build --target {name} -t gemtop:{name} ." if name in ("cpu", "cuda") else None
    flags = {
        "cuda": ["-DGGML_CUDA=on"],
        "vulkan": ["-DGGML_VULKAN=on"],
        "metal": ["-DGGML_METAL=on"],
        "rocm": ["-DGGML_HIP=on", *_targets(machine)],
        "cpu": ["-DGGML_NATIVE=on"],
    }[name]
    if keep_rpc:
        flags.append("-DGGML_RPC=on")
    words = [*_environment(name, machine.tools), f"CMAKE_ARGS={shlex.quote(shlex.join(flags))}", installation.install]
    return " ".join([*words, *_INSTALL, installation.requirement])


def _environment(name: BuildName, tools: Toolchain) -> list[str]:
    """Assignments before the command; those of ROCm are as llama.cpp's docs/build.md has them."""
    if name == "cuda" and tools.nvcc and not tools.nvcc_on_path:
        return [f'PATH={shlex.quote(tools.nvcc.rpartition("/")[0])}:"$PATH"']
    if name == "rocm":
        found = tools.hipconfig if tools.hipconfig and not tools.hipconfig_on_path else "hipconfig"
        return [f'HIPCXX="$({shlex.quote(found)} -l)/clang"', f'HIP_PATH="$({shlex.quote(found)} -R)"']
    return []


def _targets(machine: Machine) -> list[str]:
    """For which GPUs ROCm compiles; where none is known, it asks those it finds itself."""
    found = {_NEAR_TARGETS.get(gpu.gfx, gpu.gfx): None for gpu in machine.gpus if gpu.gfx}
    return [f"-DGPU_TARGETS={';'.join(found)}"] if found else []


def cuda_mismatches(machine: Machine) -> list[Step]:
    """What of driver, toolkit and cards does not go together."""
    toolkit = machine.tools.cuda_version
    if toolkit is None:
        return []
    steps = []
    if machine.nvidia_cuda and _pair(machine.nvidia_cuda)[0] < _pair(toolkit)[0]:
        steps.append(
            Step(
                f"The driver knows CUDA {machine.nvidia_cuda} at most and nvcc is {toolkit}: what it compiles does not "
                "run. Update the driver, or install an older toolkit"
            )
        )
    for gpu in machine.gpus:
        if gpu.compute_capability is None:
            continue
        capability = _pair(gpu.compute_capability)
        first = next((cuda for since, cuda in _FIRST_CUDA if capability >= since), (0, 0))
        if _pair(toolkit) < first:
            steps.append(Step(f"{gpu.name} needs CUDA {first[0]}.{first[1]} or newer, and nvcc is {toolkit}"))
        elif _pair(toolkit) >= _CUDA_13 and capability < _TURING:
            steps.append(Step(f"CUDA 13 does not compile for {gpu.name} any more, and nvcc is {toolkit}: install 12.x"))
    return steps


def rocm_notes(machine: Machine) -> list[str]:
    """What to know before running a build for a GPU that rocBLAS has no kernels for."""
    notes = []
    for gpu in machine.gpus:
        near = _NEAR_TARGETS.get(gpu.gfx or "")
        if near:
            notes.append(
                f"rocBLAS has no kernels for {gpu.gfx}: this builds for {near}; run gemtop with "
                f"HSA_OVERRIDE_GFX_VERSION={_OVERRIDES[near]}"
            )
    return notes


def rocm_too_old(tools: Toolchain) -> bool:
    """llama.cpp's CMake files refuse HIP before 6.1."""
    return tools.rocm_version is not None and _pair(tools.rocm_version) < _FIRST_ROCM
