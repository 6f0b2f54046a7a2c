"""A stand-in for the NVIDIA driver's library: the real nvidia-ml-py loads it and finds two unlike cards.

    env = environment(build(tmp_path), "lost=1@5 unsupported=0.energy")
    subprocess.run([sys.executable, "-m", "gemtop", ...], env=env)

A scenario is words apart by spaces:

    ok                     two cards that answer everything
    no_driver              the library is there, the kernel module is not loaded
    mismatch               the library and the kernel module are of different versions
    no_permission          the driver's device files may not be opened
    devices=N              0 to 8 cards, alternately of the two models
    unsupported=FIELD,...  the card does not have this reading
    denied=FIELD,...       the reading needs rights that the process lacks
    absent=FIELD,...       the driver's library has no such function
    timeout=, unknown=     the driver gives that error
    na=FIELD,...           the call succeeds without a value (NVML_VALUE_NOT_AVAILABLE)
    nan=FIELD,...          the call succeeds and gives what is no number: power_average, power_instant
    hang=FIELD,... hang_s=S  the call takes S seconds (2)
    lost=CARD[@FROM[-UNTIL]]  the card is lost, in that span of the stub's time in seconds

    reload=FROM-UNTIL      the driver is unloaded in that span; handles from before it are never valid again
    alike                  all cards are of the first model
    mig=CARD               the card is cut into MIG instances: it gives no utilisation
    arch=CARD:NUMBER:MAJOR.MINOR,...  the card is of that nvmlDeviceArchitecture_t and compute capability
    energy_reset=T         the counters begin again from 0 at that time
    throttle=CARD:MASK[@FROM[-UNTIL]],...  why clocks are low, in that span; 0 else
    process=CARD:PID:MIB:KIND,...  a process holds memory; PID may be self, MIB na, KIND is C, G or C+G

FIELD is power, power_average, power_instant, field_values (both of them), energy, utilization, memory,
memory_v2, temperature, temperature_v1, clock_sm, clock_mem, event_reasons, throttle_reasons (by either call),
pstate, fan, pcie, pcie_throughput (it takes 20 ms, as the real one does), ecc, processes, processes_v3,
compute_processes, graphics_processes; or what does not change: power_limit, name, uuid, pci, handle,
architecture, compute_capability, clock_sm_max, clock_mem_max, temperature_target, temperature_slowdown,
temperature_shutdown, bus_width, pcie_max, ecc_mode, mig_mode. `1.power` means card 1 only. driver_version and
cuda_version may be absent.

`power` is the draw at that moment on both cards, whatever their generation.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_stub.c")
LIBRARY = "libnvidia-ml.so.1"
DRIVER_VERSION = "570.00.stub"
CUDA_VERSION = "12.8"
MIB = 1024 * 1024


def build(target_dir: Path) -> Path:
    """Compile the library into `target_dir`; returns that folder, for `environment`."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "the tests need a C compiler"
    target_dir.mkdir(parents=True, exist_ok=True)
    output = target_dir / LIBRARY
    flags = ["-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(output), str(SOURCE), "-lm"], check=True)
    return target_dir


def environment(
    lib_dir: Path, scenario: str = "ok", now_ns: int | None = None, epoch_ns: int | None = None
) -> dict[str, str]:
    """This process's environment with the stub first in the loader's path.

    The readings are functions of monotonic time less `epoch_ns`; `now_ns` makes that time stand still.
    """
    before = os.environ.get("LD_LIBRARY_PATH")
    env = dict(os.environ, NVML_STUB_SCENARIO=scenario)
    env["LD_LIBRARY_PATH"] = f"{lib_dir}{os.pathsep}{before}" if before else str(lib_dir)
    for name, value in (("NVML_STUB_NOW_NS", now_ns), ("NVML_STUB_EPOCH_NS", epoch_ns)):
        env.pop(name, None)
        if value is not None:
            env[name] = str(value)
    return env


def environment_without_driver(target_dir: Path) -> dict[str, str]:
    """An environment in which the library cannot be loaded, even on a machine that has one."""
    (target_dir / LIBRARY).write_text("not a library\n", encoding="ascii")
    return environment(target_dir)


@dataclass(frozen=True, slots=True)
class StubCard:
    """One model of the stub in Python: the same functions of time, in seconds since the stub's epoch."""

    name: str
    power_mean_w: float
    power_swing_w: float
    power_period_s: float
    energy_step_s: float
    power_limit_w: float
    memory_total_bytes: int
    memory_reserved_bytes: int
    memory_base_bytes: int
    clock_sm_max_mhz: int
    clock_mem_mhz: int
    temperature_base_c: int
    architecture: str
    compute_capability: str
    power_reading: str
    temperature_target_c: int
    temperature_slowdown_c: int
    temperature_shutdown_c: int
    memory_bus_bits: int
    pcie_gen_max: int
    pcie_width_max: int
    ecc_enabled: bool

    def power_w(self, t_s: float) -> float:
        return self.power_mean_w + self.power_swing_w * math.sin(2 * math.pi * t_s / self.power_period_s)

    def energy_j(self, t_s: float) -> float:
        """The exact integral of the power since the epoch."""
        turn = 2 * math.pi / self.power_period_s
        return self.power_mean_w * t_s + self.power_swing_w / turn * (1 - math.cos(turn * t_s))

    def power_average_w(self, t_s: float) -> float:
        """The mean of the second before."""
        return self.energy_j(t_s) - self.energy_j(t_s - 1)

    def counter_j(self, t_s: float, reset_s: float = math.inf) -> float:
        """What the energy counter shows: the integral as of its last step, since it was reset."""
        from_s = reset_s if t_s >= reset_s else 0.0
        step_s = math.floor(t_s / self.energy_step_s) * self.energy_step_s
        return self.energy_j(max(step_s, from_s)) - self.energy_j(from_s)

    def vram_used_bytes(self, t_s: float) -> int:
        return self.memory_base_bytes + 64 * MIB * (math.floor(t_s) % 8)

    def vram_free_bytes(self, t_s: float) -> int:
        return self.memory_total_bytes - self.memory_reserved_bytes - self.vram_used_bytes(t_s)

    def clock_sm_mhz(self, t_s: float) -> int:
        return self.clock_sm_max_mhz - 15 * (math.floor(t_s) % 10)

    def temperature_c(self, t_s: float) -> int:
        return self.temperature_base_c + math.floor(t_s / 2) % 20


MODELS = (
    StubCard(
        *("Stub RTX 24G", 250.0, 150.0, 4.0, 0.02, 450.0, 24576 * MIB, 400 * MIB, 1024 * MIB, 2500, 10500, 40),
        *("Ada", "8.9", "average", 84, 92, 97, 384, 4, 16, False),
    ),
    StubCard(
        *("Stub T4 16G", 50.0, 15.0, 7.0, 0.1, 70.0, 16384 * MIB, 250 * MIB, 512 * MIB, 1500, 5000, 55),
        *("Turing", "7.5", "instant", 82, 90, 95, 256, 3, 8, True),
    ),
)
"""Card N is `MODELS[N % 2]`."""


def gpu_util_pct(index: int, t_s: float) -> int:
    """Utilisation of card `index`; the memory controller's is half of it, rounded down."""
    return (math.floor(t_s * 10) + 30 * index) % 101


def pstate(t_s: float) -> int:
    return 2 * (math.floor(t_s) % 5)


def fan_pct(t_s: float) -> int:
    return 30 + math.floor(t_s / 2) % 20


def pcie_gen(index: int, t_s: float) -> int:
    return 1 + math.floor(t_s) % MODELS[index % 2].pcie_gen_max


def pcie_bytes_per_s(index: int, t_s: float) -> tuple[int, int]:
    """Into card `index` and out of it. NVML counts in units of 1024."""
    into = 1000 * (math.floor(t_s) % 100 + 1) + index
    return into * 1024, into // 2 * 1024


def ecc_errors(t_s: float) -> tuple[int, int]:
    """Corrected and not corrected."""
    return math.floor(t_s / 10), math.floor(t_s / 1000)


def pci_bus_id(index: int) -> str:
    """As gemtop and ggml write it."""
    return f"0000:{0x1A + 0x10 * index:02x}:00.0"


def uuid(index: int) -> str:
    return f"GPU-00000000-0000-0000-0000-{index:012}"
