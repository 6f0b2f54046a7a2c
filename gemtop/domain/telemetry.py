"""One reading of a device or of this machine. What could not be read is None with a reason beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """One GPU at one moment, from NVML."""

    t_ns: int
    """monotonic_ns when the readings began."""
    device: str
    gpu_util_pct: float | None = None
    mem_util_pct: float | None = None
    vram_used_bytes: int | None = None
    power_w: float | None = None
    energy_j: float | None = None
    """The driver's counter since it was loaded."""
    temperature_c: float | None = None
    clock_sm_mhz: float | None = None
    clock_mem_mhz: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Field name to why it is None."""


@dataclass(frozen=True, slots=True)
class HostSample:
    """This machine and this process at one moment, from psutil."""

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


@dataclass(frozen=True, slots=True)
class TelemetryStatus:
    """What the sampler found when it started."""

    devices: tuple[DeviceInfo, ...]
    driver_version: str | None
    gpu_reason: str | None
    """Why there are no devices; None where there are."""
