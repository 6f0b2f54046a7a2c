"""The GPUs of this machine as the kernel lists them, whether or not a driver or llama.cpp can use them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from gemtop.domain.builds import Gpu
from gemtop.domain.telemetry import TelemetryStatus

_VENDORS: dict[str, tuple[Literal["nvidia", "amd", "intel"], str]] = {
    "0x10de": ("nvidia", "NVIDIA"),
    "0x1002": ("amd", "AMD"),
    "0x8086": ("intel", "Intel"),
}
_DISPLAY = "0x03"
"""PCI's class of display controllers: VGA 0x0300, 3D 0x0302, other 0x0380."""
_PROCESSING = "0x1200"
"""Processing accelerators, as which AMD's Instinct cards come."""
_ON_THE_CPU = "0000:00:02.0"
"""Where Intel's GPUs are that share the CPU's chip."""


def gpus(status: TelemetryStatus, sys: Path = Path("/sys")) -> tuple[Gpu, ...]:
    """What NVML names, and of PCI what it does not; `sys` is where sysfs is mounted. Never raises."""
    named = [
        Gpu("nvidia", device.name, compute_capability=device.compute_capability)
        for device in status.devices
    ]  # fmt: skip
    listed = [gpu for gpu in _pci(sys) if gpu.vendor != "nvidia" or not named]
    return (*named, *listed)


def _pci(sys: Path) -> list[Gpu]:
    targets = _gfx_targets(sys)
    found = []
    for device in sorted((sys / "bus/pci/devices").glob("*")):
        kind, vendor = _line(device / "class"), _line(device / "vendor")
        if vendor not in _VENDORS or not kind.startswith((_DISPLAY, _PROCESSING)):
            continue
        maker, title = _VENDORS[vendor]
        if kind.startswith(_PROCESSING) and maker != "amd":
            continue
        gfx = targets.get(device.name) if maker == "amd" else None
        name = f"{title} GPU {vendor[2:]}:{_line(device / 'device').removeprefix('0x')}"
        found.append(Gpu(maker, name, integrated=maker == "intel" and device.name == _ON_THE_CPU, gfx=gfx))
    return found


def _gfx_targets(sys: Path) -> dict[str, str]:
    """PCI address to AMD's target, out of the compute driver's list of nodes: 110000 is gfx1100, 90010 gfx90a."""
    found = {}
    for node in sorted((sys / "class/kfd/kfd/topology/nodes").glob("*")):
        fields = dict(_pairs(_lines(node / "properties")))
        version, location = fields.get("gfx_target_version", 0), fields.get("location_id", 0)
        if version:
            # location_id is bus, device and function as in PCI's own addresses, from the high bits to the low ones.
            address = f"{fields.get('domain', 0):04x}:{location >> 8 & 255:02x}:{location >> 3 & 31:02x}.{location & 7}"
            found[address] = f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
    return found


def _pairs(lines: Iterable[str]) -> Iterable[tuple[str, int]]:
    for line in lines:
        name, _, value = line.partition(" ")
        if value.strip().isdecimal():
            yield name, int(value)


def _line(file: Path) -> str:
    return next(iter(_lines(file)), "").strip()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
