"""One reading of a device or of this machine. What could not be read is None with a reason beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PowerReading = Literal["average", "instant"]


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What does not change while the driver is loaded."""

    index: str
    """NVML's index as text: the `device` of the samples view."""
    name: str
    uuid: str | None
    pci_bus_id: str | None
    memory_total_bytes: int | None
    power_limit_w: float | None
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Field name to why it is None; `handle` where the card could not be opened at all."""
    architecture: str | None = None
    """NVIDIA's name of the generation: Ampere."""
    compute_capability: str | None = None
    """CUDA's version of the card: 8.6."""
    power_reading: PowerReading | None = None
    """What `power_w` of its samples is: an average over the second before, or the draw at that moment."""
    clock_sm_max_mhz: float | None = None
    clock_mem_max_mhz: float | None = None
    temperature_target_c: float | None = None
    """The driver slows the card down by software to keep below it."""
    temperature_slowdown_c: float | None = None
    """The card slows itself down here."""
    temperature_shutdown_c: float | None = None
    memory_bus_bits: int | None = None
    pcie_gen_max: int | None = None
    """What card and slot can do together."""
    pcie_width_max: int | None = None
    ecc_enabled: bool | None = None
    mig_enabled: bool | None = None

    @property
    def memory_bandwidth_bytes_per_s(self) -> float | None:
        """What the memory can deliver at most: bus width x clock, two transfers a cycle as NVML counts cycles."""
        if self.memory_bus_bits is None or self.clock_mem_max_mhz is None:
            return None
        return self.memory_bus_bits / 8 * self.clock_mem_max_mhz * 1e6 * 2


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds a part of a GPU, as the driver lists it."""

    pid: int
    """As the driver gives it: inside a container that is the host's."""
    kind: Literal["C", "G", "C+G"]
    """Compute, graphics, or both."""
    memory_bytes: int | None
    """None where the driver does not say."""
    name: str | None
    """None where no process of that id is seen from here."""
    own: bool = False
    """It is this process."""


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """One GPU at one moment, from NVML. Readings marked slow are taken every two seconds, the rest at each tick."""

    t_ns: int
    """monotonic_ns when the readings began."""
    device: str
    gpu_util_pct: float | None = None
    mem_util_pct: float | None = None
    vram_used_bytes: int | None = None
    power_w: float | None = None
    """What nvidia-smi shows; DeviceInfo.power_reading says whether it is an average."""
    energy_j: float | None = None
    """The driver's counter since it was loaded."""
    temperature_c: float | None = None
    clock_sm_mhz: float | None = None
    clock_mem_mhz: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Field name to why it is None."""
    vram_free_bytes: int | None = None
    power_average_w: float | None = None
    """Mean of the second before."""
    power_instant_w: float | None = None
    """The draw at that moment."""
    throttle_reasons: tuple[str, ...] | None = None
    """Why clocks are not higher, by NVML's names (SwPowerCap); a bit without a name is its number (0x200)."""
    pstate: int | None = None
    """Performance state: 0 is the fastest."""
    fan_pct: float | None = None
    """Slow, as are those below."""
    pcie_gen: int | None = None
    pcie_width: int | None = None
    pcie_rx_bytes_per_s: int | None = None
    """Into the card."""
    pcie_tx_bytes_per_s: int | None = None
    """Out of the card."""
    ecc_corrected: int | None = None
    """Memory errors since the driver was loaded."""
    ecc_uncorrected: int | None = None
    vram_process_bytes: int | None = None
    """Of this process, as the driver counts it."""
    other_processes: int | None = None
    """Compute processes on the card that are not this one."""
    processes: tuple[GpuProcess, ...] | None = None
    """Everything on the card, graphics too. Not kept in the history."""


@dataclass(frozen=True, slots=True)
class HostSample:
    """This machine and this process at one moment, from psutil and the kernel."""

    t_ns: int
    host_cpu_pct: float | None = None
    """All cores together: 100 is the whole machine busy since the sample before."""
    process_cpu_pct: float | None = None
    """This process: 100 is one core busy since the sample before."""
    ram_used_bytes: int | None = None
    """Memory in use on the machine, caches not counted."""
    ram_total_bytes: int | None = None
    process_rss_bytes: int | None = None
    """Resident memory of this process, mapped model files included."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    package_energy_j: float | None = None
    """Energy of the processor packages since the first sample, added up, from RAPL."""
    package_power_w: float | None = None
    """The same over the time since the sample before."""
    swap_in_bytes: int | None = None
    """Read back from swap since boot, on the whole machine."""
    swap_out_bytes: int | None = None
    cpu_temperature_c: float | None = None
    """The hottest sensor of the processor. Slow, as is the one below."""
    cpu_by_core_pct: tuple[float, ...] | None = None
    """Load of each logical CPU: 100 is busy since the reading before."""


@dataclass(frozen=True, slots=True)
class CostSample:
    """What gemtop itself takes, over the time since the sample before; every two seconds."""

    t_ns: int
    engine_cpu_pct: float | None = None
    """Threads of llama.cpp: 100 is one core busy."""
    observer_cpu_pct: float | None = None
    """All other threads of this process: screen, sampling, recording."""
    nvml_pct: float | None = None
    """Share of the time that some thread was inside a call of NVML."""
    terminal_bytes_per_s: float | None = None
    """Sent to the terminal."""
    samples_late: int | None = None
    """Ticks of the sampling that were skipped, since the session began."""
    reasons: Mapping[str, str] = field(default_factory=dict)


Sample = DeviceSample | HostSample | CostSample


@dataclass(frozen=True, slots=True)
class TelemetryStatus:
    """What the sampler found when it started, or since: a card that was lost then may have come back."""

    devices: tuple[DeviceInfo, ...]
    driver_version: str | None
    gpu_reason: str | None
    """Why there are no devices; None where there are."""
    cuda_version: str | None = None
    """The newest CUDA that the driver knows: 12.8."""
    notes: tuple[str, ...] = ()
    """What else one should know of the readings, a line each."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """`driver_version` and `cuda_version` to why they are None."""
