"""Which build of llama.cpp a machine should have, and the shell's lines for it."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from gemtop.domain.build_steps import build, builds
from gemtop.domain.builds import BUILDS, BuildName, Gpu, Installation, Machine, Present, Toolchain, choose

RTX = Gpu("nvidia", "RTX 4090", compute_capability="8.9")
GTX = Gpu("nvidia", "GTX 1080", compute_capability="6.1")
RADEON = Gpu("amd", "AMD GPU 1002:744c", gfx="gfx1100")
SMALL_RADEON = Gpu("amd", "AMD GPU 1002:73ff", gfx="gfx1032")
APU = Gpu("amd", "AMD GPU 1002:1681", gfx="gfx1035")
ARC = Gpu("intel", "Intel GPU 8086:e20b")
ON_CHIP = Gpu("intel", "Intel GPU 8086:a780", integrated=True)
ALL_TOOLS = Toolchain(
    compiler=True, nvcc="/usr/bin/nvcc", nvcc_on_path=True, cuda_version="12.8", hipconfig="/usr/bin/hipconfig",
    hipconfig_on_path=True, rocm_version="6.4.1", hipblas=True, glslc=True, vulkan_headers=True, spirv_headers=True,
    vulkan_driver=True,
)  # fmt: skip
DEBIAN = Machine(distribution="debian", tools=ALL_TOOLS)
PIP = Installation("pip", "~/.venv/bin/python -m pip install", "llama-cpp-python==0.3.36")
CPU_BUILD = Present(("CPU",))


def with_gpus(*gpus: Gpu, tools: Toolchain = ALL_TOOLS, distribution: str = "debian") -> Machine:
    driver = ("570.86", "12.8", None) if any(gpu.vendor == "nvidia" for gpu in gpus) else (None, None, "no driver")
    return Machine("Linux", distribution, False, gpus, *driver, tools)


@pytest.mark.parametrize(
    ("machine", "name", "because"),
    [
        (with_gpus(RTX), "cuda", "RTX 4090 (driver 570.86, CUDA 12.8), and the installed build cannot use it"),
        (with_gpus(ON_CHIP, RADEON, RTX, GTX), "cuda", "RTX 4090 and GTX 1080"),
        (with_gpus(RADEON), "rocm", "AMD GPU 1002:744c, gfx1100 and ROCm 6.4.1"),
        (with_gpus(RADEON, tools=Toolchain()), "vulkan", "AMD GPU 1002:744c"),
        (with_gpus(RADEON, tools=replace(ALL_TOOLS, rocm_version="5.7.1")), "vulkan", "AMD GPU 1002:744c"),
        (with_gpus(SMALL_RADEON), "vulkan", "gfx1032"),
        (with_gpus(Gpu("amd", "AMD GPU 1002:0000")), "vulkan", "1002:0000"),
        (with_gpus(ON_CHIP, ARC), "vulkan", "8086:e20b"),
        (with_gpus(ON_CHIP), "cpu", "shares the memory"),
        (with_gpus(APU), "cpu", "shares the memory"),
        (with_gpus(), "cpu", "no GPU that llama.cpp computes on"),
        (Machine("Darwin"), "metal", "a Mac"),
    ],
)
def test_the_best_gpu_decides(machine: Machine, name: BuildName, because: str) -> None:
    choice = choose(machine, CPU_BUILD)
    assert (choice.name, choice.done) == (name, name == "cpu")
    assert because in choice.why


def test_what_is_installed_decides_whether_there_is_anything_to_do() -> None:
    machine = with_gpus(RTX)
    right = choose(machine, Present(("CUDA", "CPU"), gpu_devices=1))
    assert right.done
    assert "is right" in right.why
    blind = choose(replace(machine, nvidia_reason="no permission"), Present(("CUDA", "CPU")))
    assert blind.done, "another build would see as little"
    assert "sees no card (no permission)" in blind.why
    dead = choose(with_gpus(), Present(problem="it dies of SIGILL"))
    assert not dead.done
    assert "SIGILL" in dead.why


@pytest.mark.parametrize("name", BUILDS)
def test_a_line_is_one_command_with_its_flags_whole(name: BuildName) -> None:
    run = build(name, with_gpus(RADEON, Gpu("amd", "MI250", gfx="gfx90a")), PIP, keep_rpc=True).run
    assert run is not None
    words = shlex.split(run)
    flags = next(shlex.split(word.partition("=")[2]) for word in words if word.startswith("CMAKE_ARGS="))
    own = {
        "cuda": ["-DGGML_CUDA=on"],
        "vulkan": ["-DGGML_VULKAN=on"],
        "metal": ["-DGGML_METAL=on"],
        "rocm": ["-DGGML_HIP=on", "-DGPU_TARGETS=gfx1100;gfx90a"],
        "cpu": ["-DGGML_NATIVE=on"],
    }[name]
    assert flags == [*own, "-DGGML_RPC=on"]
    assert run.endswith(
        "~/.venv/bin/python -m pip install --no-cache-dir --force-reinstall --no-deps --no-binary llama-cpp-python "
        "llama-cpp-python==0.3.36"
    )
    assert ("HIPCXX" in run) == (name == "rocm")


def test_compilers_that_are_not_on_the_path_are_brought_in() -> None:
    tools = replace(ALL_TOOLS, nvcc="/usr/local/cuda-12.8/bin/nvcc", nvcc_on_path=False)
    assert str(build("cuda", with_gpus(RTX, tools=tools), PIP).run).startswith('PATH=/usr/local/cuda-12.8/bin:"$PATH" ')
    tools = replace(ALL_TOOLS, hipconfig="/opt/rocm/bin/hipconfig", hipconfig_on_path=False)
    assert str(build("rocm", with_gpus(RADEON, tools=tools), PIP).run).startswith(
        'HIPCXX="$(/opt/rocm/bin/hipconfig -l)/clang" HIP_PATH="$(/opt/rocm/bin/hipconfig -R)" CMAKE_ARGS='
    )


@pytest.mark.parametrize(
    ("distribution", "name", "commands"),
    [
        ("debian", "cuda", ["sudo apt-get install g++", "sudo apt-get install nvidia-cuda-toolkit"]),
        ("ubuntu", "vulkan", ["sudo apt-get install g++ glslc libvulkan-dev spirv-headers mesa-vulkan-drivers"]),
        ("fedora", "cuda", ["sudo dnf install gcc-c++", "sudo dnf install cuda-toolkit-12-8"]),
        (
            "fedora",
            "vulkan",
            [
                "sudo dnf install gcc-c++ glslc vulkan-loader-devel vulkan-headers spirv-headers-devel "
                "mesa-vulkan-drivers"
            ],
        ),
        ("fedora", "rocm", ["sudo dnf install gcc-c++", "sudo dnf install rocm-hip-devel hipblas-devel rocblas-devel"]),
        ("arch", "cuda", ["sudo pacman -S gcc", "sudo pacman -S cuda"]),
        (
            "arch",
            "vulkan",
            [
                "sudo pacman -S gcc shaderc vulkan-headers vulkan-icd-loader spirv-headers nvidia-utils "
                "vulkan-radeon vulkan-intel"
            ],
        ),
        ("arch", "rocm", ["sudo pacman -S gcc", "sudo pacman -S rocm-hip-sdk"]),
        ("debian", "rocm", ["sudo apt-get install g++", "sudo apt-get install rocm-hip-sdk"]),
        ("gentoo", "vulkan", [None]),
        ("gentoo", "cuda", [None, None]),
    ],
)
def test_what_is_missing_is_installed_first(distribution: str, name: BuildName, commands: list[str | None]) -> None:
    machine = with_gpus(RTX, RADEON, ARC, tools=Toolchain(), distribution=distribution)
    assert [step.run for step in build(name, machine, PIP).before] == commands
    everything = replace(machine, tools=ALL_TOOLS)
    assert build(name, everything, PIP).before == (), "nothing is missing"


def test_root_needs_no_sudo_and_a_driver_comes_first() -> None:
    machine = Machine("Linux", "debian", True, (RTX,), nvidia_reason="no driver: not found", tools=ALL_TOOLS)
    (driver,) = build("cuda", machine, PIP).before
    assert driver.run == "apt-get install nvidia-driver"
    assert "no driver: not found" in driver.why


@pytest.mark.parametrize(
    ("gpu", "driver_cuda", "toolkit", "said"),
    [
        (RTX, "12.8", "12.8", None),
        (RTX, "12.4", "12.8", None),  # minor versions go together
        (RTX, "12.8", "13.0", "The driver knows CUDA 12.8 at most and nvcc is 13.0"),
        (RTX, "12.8", "11.5", "RTX 4090 needs CUDA 11.8 or newer, and nvcc is 11.5"),
        (GTX, "13.0", "13.0", "CUDA 13 does not compile for GTX 1080 any more"),
        (Gpu("nvidia", "RTX 5090", compute_capability="12.0"), "13.0", "12.4", "RTX 5090 needs CUDA 12.8"),
        (Gpu("nvidia", "a card in WSL"), None, "12.4", None),
    ],
)
def test_driver_toolkit_and_card_must_go_together(
    gpu: Gpu, driver_cuda: str | None, toolkit: str, said: str | None
) -> None:
    tools = replace(ALL_TOOLS, cuda_version=toolkit)
    machine = Machine("Linux", "debian", True, (gpu,), "570.86", driver_cuda, None, tools)
    steps = [step.why for step in build("cuda", machine, PIP).before]
    assert len(steps) == (said is not None)
    assert said is None or said in steps[0]


def test_a_gpu_that_rocblas_does_not_know_takes_the_code_of_one_it_knows() -> None:
    made = build("rocm", with_gpus(SMALL_RADEON), PIP)
    assert "-DGPU_TARGETS=gfx1030" in str(made.run)
    assert "HSA_OVERRIDE_GFX_VERSION=10.3.0" in made.notes[0]


def test_rocm_that_llama_cpp_refuses_is_named() -> None:
    old = with_gpus(RADEON, tools=replace(ALL_TOOLS, rocm_version="5.7.1"))
    (step,) = build("rocm", old, PIP).before
    assert "ROCm 5.7.1 is too old: llama.cpp needs 6.1" in step.why


def test_in_an_image_another_stage_is_built() -> None:
    found = builds(with_gpus(RTX), Installation("image"))
    assert found["cuda"].run == "docker build --target cuda -t gemtop:cuda ."
    assert found["vulkan"].run is None
    assert "stages cpu and cuda" in found["vulkan"].before[0].why


def test_metal_is_a_macs() -> None:
    assert build("metal", Machine("Darwin"), PIP).before[0].run == "xcode-select --install"
    assert "macOS alone" in build("metal", DEBIAN, PIP).before[0].why
