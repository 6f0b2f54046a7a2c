"""Compilers and headers out of a file system of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemtop.domain.builds import Toolchain
from gemtop.engine.toolchain import distribution, toolchain


def script(file: Path, text: str = "exit 1") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


def test_an_empty_machine(tmp_path: Path) -> None:
    assert toolchain({"PATH": str(tmp_path)}, tmp_path) == Toolchain()


def test_what_is_there_is_found(tmp_path: Path) -> None:
    nvcc = "echo 'Cuda compilation tools, release 12.8, V12.8.93'"
    script(tmp_path / "usr/local/cuda-12.8/bin/nvcc", nvcc)
    script(tmp_path / "usr/local/cuda-12.4/bin/nvcc")
    script(tmp_path / "opt/rocm/bin/hipconfig")
    for name in ("g++", "glslc"):
        script(tmp_path / "usr/bin" / name)
    for name in (
        "opt/rocm/lib/cmake/hipblas/x", "usr/lib/x86_64-linux-gnu/cmake/rocblas/x", "usr/include/vulkan/vulkan.h",
        "usr/include/spirv/unified1/spirv.hpp", "usr/share/vulkan/icd.d/radeon_icd.x86_64.json",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "opt/rocm/.info").mkdir()
    (tmp_path / "opt/rocm/.info/version").write_text("6.4.1-83\n", encoding="ascii")
    found = toolchain({"PATH": str(tmp_path / "usr/bin")}, tmp_path)
    assert found == Toolchain(
        compiler=True, nvcc=str(tmp_path / "usr/local/cuda-12.8/bin/nvcc"), cuda_version="12.8",
        hipconfig=str(tmp_path / "opt/rocm/bin/hipconfig"), rocm_version="6.4.1-83", hipblas=True, glslc=True,
        vulkan_headers=True, spirv_headers=True, vulkan_driver=True,
    )  # fmt: skip
    script(tmp_path / "usr/bin/nvcc", "exit 1")
    found = toolchain({"PATH": str(tmp_path / "usr/bin")}, tmp_path)
    assert (found.nvcc, found.nvcc_on_path, found.cuda_version) == (str(tmp_path / "usr/bin/nvcc"), True, None)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ID=debian\n", "debian"),
        ('ID="linuxmint"\nID_LIKE="ubuntu debian"\n', "ubuntu"),
        ("ID=rocky\nID_LIKE='rhel centos fedora'\n", "fedora"),
        ("ID=endeavouros\nID_LIKE=arch\n", "arch"),
        ("ID=gentoo\n", "gentoo"),
        ("", ""),
    ],
)
def test_distributions_by_what_they_are_made_from(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(text, encoding="utf-8")
    assert distribution(tmp_path) == name
    assert distribution(tmp_path / "none") == ""
