"""What must be installed before a build of llama.cpp: the packages of the distribution that are not there yet."""

from __future__ import annotations

from collections.abc import Iterable

from gemtop.domain.builds import (
    BUILDS,
    Build,
    BuildName,
    Installation,
    Machine,
    Step,
    cuda_mismatches,
    line,
    rocm_notes,
    rocm_too_old,
)

_COMMANDS = {"debian": "apt-get install", "ubuntu": "apt-get install", "fedora": "dnf install", "arch": "pacman -S"}
_DEBIAN = {
    "compiler": "g++",
    "nvcc": "nvidia-cuda-toolkit",
    "glslc": "glslc",
    "vulkan_headers": "libvulkan-dev",
    "spirv_headers": "spirv-headers",
    "vulkan_driver": "mesa-vulkan-drivers",
}
_PACKAGES: dict[str, dict[str, str]] = {
    "debian": _DEBIAN,
    "ubuntu": _DEBIAN,
    "fedora": {
        "compiler": "gcc-c++",
        "glslc": "glslc",
        "vulkan_headers": "vulkan-loader-devel vulkan-headers",
        "spirv_headers": "spirv-headers-devel",
        "vulkan_driver": "mesa-vulkan-drivers",
        "rocm": "rocm-hip-devel hipblas-devel rocblas-devel",
    },
    "arch": {
        "compiler": "gcc",
        "nvcc": "cuda",
        "glslc": "shaderc",
        "vulkan_headers": "vulkan-headers vulkan-icd-loader",
        "spirv_headers": "spirv-headers",
        "rocm": "rocm-hip-sdk",
    },
}
_ARCH_VULKAN_DRIVERS = {"amd": "vulkan-radeon", "intel": "vulkan-intel", "nvidia": "nvidia-utils"}
_DRIVERS = {
    "debian": ("apt-get install nvidia-driver", "Debian has it in non-free"),
    "ubuntu": ("ubuntu-drivers install", "Ubuntu chooses the version"),
    "fedora": ("dnf install akmod-nvidia xorg-x11-drv-nvidia-cuda", "RPM Fusion has it"),
    "arch": ("pacman -S nvidia-open nvidia-utils", "for cards before Turing the AUR has older ones"),
}
_NAMES = {
    "compiler": "a C++ compiler",
    "glslc": "glslc, which compiles shaders",
    "vulkan_headers": "the headers of Vulkan",
    "spirv_headers": "the headers of SPIR-V",
    "vulkan_driver": "a driver for Vulkan",
}


def builds(machine: Machine, installation: Installation, keep_rpc: bool = False) -> dict[BuildName, Build]:
    """Every build with what comes before it and its line."""
    return {name: build(name, machine, installation, keep_rpc) for name in BUILDS}


def build(name: BuildName, machine: Machine, installation: Installation, keep_rpc: bool = False) -> Build:
    """One build: what is missing for it here, in the order of installing, and its line."""
    run = line(name, machine, installation, keep_rpc)
    if installation.way == "image":
        where = "On the machine that builds the image, in a clone of gemtop. gemtop needs --gpus all to see cards"
        before = (Step(where),) if run else (Step("The image has the stages cpu and cuda; install gemtop itself"),)
        return Build(name, before, run)
    notes = rocm_notes(machine) if name == "rocm" else []
    if name == "cpu":
        notes.append("-DGGML_NATIVE=off makes a build that also runs on other CPUs, more slowly")
    return Build(name, (*_before(name, machine), *installation.before), run, tuple(notes))


def _before(name: BuildName, machine: Machine) -> list[Step]:
    if machine.system == "Darwin" or name == "metal":
        if machine.system != "Darwin":
            return [Step("Metal is there on macOS alone, and in its builds by default")]
        return [] if machine.tools.compiler else [Step("Apple's compiler is missing", "xcode-select --install")]
    wanted = [] if machine.tools.compiler else ["compiler"]
    if name == "vulkan":
        parts = ("glslc", "vulkan_headers", "spirv_headers", "vulkan_driver")
        wanted += [part for part in parts if not getattr(machine.tools, part)]
    steps = _missing(wanted, machine)
    if name == "cuda":
        steps = [*_nvidia_driver(machine), *steps, *_nvcc(machine), *cuda_mismatches(machine)]
    if name == "rocm":
        steps += _rocm(machine)
    return steps


def _as_root(command: str, machine: Machine) -> str:
    return command if machine.root else f"sudo {command}"


def _missing(wanted: Iterable[str], machine: Machine) -> list[Step]:
    """One step for all packages that are missing."""
    wanted = list(wanted)
    if not wanted:
        return []
    names = [_NAMES[part] for part in wanted]
    listed = ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
    why = f"Missing: {listed}"
    known = _PACKAGES.get(machine.distribution)
    if known is None:
        return [Step(f"{why}; this distribution's packages are not known to gemtop")]
    packages = [known.get(part) or _vulkan_driver(machine) for part in wanted]
    return [Step(why, _as_root(f"{_COMMANDS[machine.distribution]} {' '.join(packages)}", machine))]


def _vulkan_driver(machine: Machine) -> str:
    """Arch has one for each maker of GPUs."""
    found = dict.fromkeys(_ARCH_VULKAN_DRIVERS[gpu.vendor] for gpu in machine.gpus)
    return " ".join(found) or "vulkan-swrast"


def _nvidia_driver(machine: Machine) -> list[Step]:
    if machine.nvidia_driver is not None or not any(gpu.vendor == "nvidia" for gpu in machine.gpus):
        return []
    why = f"NVIDIA's driver does not answer: {machine.nvidia_reason or 'it is not installed'}"
    command, where = _DRIVERS.get(machine.distribution, (None, ""))
    if command is None:
        return [Step(why)]
    return [Step(f"{why}. {where}; restart the machine after it", _as_root(command, machine))]


def _nvcc(machine: Machine) -> list[Step]:
    """The toolkit: from the distribution, or from NVIDIA, whose packages have the version in their name."""
    if machine.tools.nvcc is not None:
        return []
    version = machine.nvidia_cuda
    name = f"cuda-toolkit-{version.replace('.', '-')}" if version else "cuda-toolkit"
    nvidia = f"NVIDIA's repository (https://developer.nvidia.com/cuda-downloads) calls it {name}"
    package = _PACKAGES.get(machine.distribution, {}).get("nvcc")
    if package is None:
        run = (
            _as_root(f"{_COMMANDS[machine.distribution]} {name}", machine)
            if machine.distribution in _COMMANDS
            else None
        )
        return [Step(f"nvcc, the compiler of CUDA, is missing. {nvidia}", run)]
    run = _as_root(f"{_COMMANDS[machine.distribution]} {package}", machine)
    where = {"debian": " from non-free", "ubuntu": " from multiverse"}.get(machine.distribution, "")
    newer = f"; where that is too old for a card, {nvidia}" if where else ""
    return [Step(f"nvcc, the compiler of CUDA, is missing: {package}{where}{newer}", run)]


def _rocm(machine: Machine) -> list[Step]:
    tools = machine.tools
    if tools.hipconfig and tools.hipblas and not rocm_too_old(tools):
        return []
    why = "ROCm 6.1 or newer with hipBLAS and rocBLAS is missing"
    if rocm_too_old(tools):
        why = f"ROCm {tools.rocm_version} is too old: llama.cpp needs 6.1"
    package = _PACKAGES.get(machine.distribution, {}).get("rocm")
    amd = "AMD's repository (https://rocm.docs.amd.com/projects/install-on-linux) calls it rocm-hip-sdk"
    if package is None:
        return [
            Step(f"{why}. {amd}; Debian's own packages are older" if _apt(machine) else f"{why}. {amd}", _sdk(machine))
        ]
    return [Step(why, _as_root(f"{_COMMANDS[machine.distribution]} {package}", machine))]


def _apt(machine: Machine) -> bool:
    return machine.distribution in ("debian", "ubuntu")


def _sdk(machine: Machine) -> str | None:
    return _as_root("apt-get install rocm-hip-sdk", machine) if _apt(machine) else None
