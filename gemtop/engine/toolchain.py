"""What is installed here to compile llama.cpp with, by the files that are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from gemtop.domain.builds import Toolchain

_CUDA = ("usr/local/cuda/bin/nvcc", "usr/local/cuda-*/bin/nvcc", "opt/cuda/bin/nvcc")
_PATIENCE_S = 10
_LIBRARIES = ("usr/lib", "usr/lib64", "usr/lib/*-linux-gnu", "usr/local/lib", "opt/rocm/lib")


def toolchain(environment: Mapping[str, str], root: Path = Path("/")) -> Toolchain:
    """The compilers and headers that the builds ask for; `root` is where the machine's files begin. Never raises."""
    path = environment.get("PATH", "")
    on_path = shutil.which("nvcc", path=path)
    nvcc = on_path or _newest(root, _CUDA)
    hipconfig = shutil.which("hipconfig", path=path)
    sdk = bool(environment.get("VULKAN_SDK"))
    return Toolchain(
        compiler=any(shutil.which(name, path=path) for name in (environment.get("CXX") or "c++", "g++", "clang++")),
        nvcc=nvcc,
        nvcc_on_path=on_path is not None,
        cuda_version=_cuda_version(nvcc),
        hipconfig=hipconfig or _newest(root, ("opt/rocm/bin/hipconfig",)),
        hipconfig_on_path=hipconfig is not None,
        rocm_version=_first_line(root / "opt/rocm/.info/version"),
        hipblas=all(_any(root, [f"{at}/cmake/{name}" for at in _LIBRARIES]) for name in ("hipblas", "rocblas")),
        glslc=shutil.which("glslc", path=path) is not None,
        vulkan_headers=sdk or _any(root, ("usr/include/vulkan/vulkan.h", "usr/local/include/vulkan/vulkan.h")),
        spirv_headers=sdk or _any(root, ("usr/include/spirv/unified1/spirv.hpp",)),
        vulkan_driver=_any(root, ("usr/share/vulkan/icd.d/*.json", "etc/vulkan/icd.d/*.json")),
    )


def distribution(root: Path = Path("/")) -> str:
    """debian, ubuntu, fedora or arch for those and what is made from them; else its own id, or empty."""
    try:
        lines = (root / "etc/os-release").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    own = fields.get("ID", "").strip("\"'")
    names = [own, *fields.get("ID_LIKE", "").strip("\"'").split()]
    return next((name for name in names if name in ("ubuntu", "debian", "fedora", "arch")), own)


def _newest(root: Path, patterns: Iterable[str]) -> str | None:
    """The first pattern's last match: of several versions, the one whose name sorts last."""
    for pattern in patterns:
        found = sorted(root.glob(pattern))
        if found:
            return str(found[-1])
    return None


def _any(root: Path, patterns: Iterable[str]) -> bool:
    return any(any(root.glob(pattern)) for pattern in patterns)


def _cuda_version(nvcc: str | None) -> str | None:
    """The toolkit's version, as nvcc says it."""
    if nvcc is None:
        return None
    try:
        done = subprocess.run([nvcc, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb"release (\d+\.\d+)", done.stdout)
    return found[1].decode() if found else None


def _first_line(file: Path) -> str | None:
    try:
        return next(iter(file.read_text(encoding="utf-8", errors="replace").splitlines()), "").strip() or None
    except OSError:
        return None
