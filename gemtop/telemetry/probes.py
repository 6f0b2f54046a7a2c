"""What the sampler asks of its sources, so that a fake can stand in for NVML and for this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Protocol

from gemtop.domain.telemetry import DeviceSample, HostSample, TelemetryStatus

_NOT_READINGS = frozenset({"t_ns", "device", "reasons"})
DEVICE_FIELDS = tuple(f.name for f in fields(DeviceSample) if f.name not in _NOT_READINGS)
"""The readings of a device sample, in the order of the type."""
HOST_FIELDS = tuple(f.name for f in fields(HostSample) if f.name not in _NOT_READINGS)
"""The readings of a host sample, in the order of the type."""


class GpuProbe(Protocol):
    """A source of device samples. `start`, `read` and `stop` are called on one thread, `refresh` on another."""

    @property
    def spent_ns(self) -> int:
        """Nanoseconds spent inside the driver so far; any thread may ask."""

    @property
    def status(self) -> TelemetryStatus | None:
        """What `start` found, with what `refresh` has found since; None before. Any thread may ask."""

    def start(self) -> TelemetryStatus:
        """Find the devices, or the reason there are none; then it may be called again."""

    def read(self, t_ns: int) -> Sequence[DeviceSample]:
        """One sample of each device, stamped `t_ns`; what is slow to read as of the last `refresh`."""

    def refresh(self) -> None:
        """Read what is slow. May run while `read` does, but only between `start` and `stop`."""

    def stop(self) -> None:
        """Release the driver."""


class HostProbe(Protocol):
    """A source of host samples. `start`, `read` and `stop` are called on one thread, `refresh` on another."""

    def start(self) -> None:
        """Load what the readings need."""

    def read(self, t_ns: int) -> HostSample:
        """One sample of this machine and this process, stamped `t_ns`; slow readings as of the last `refresh`."""

    def refresh(self) -> None:
        """Read what is slow. May run while `read` does, but only between `start` and `stop`."""

    def stop(self) -> None:
        """Release what `start` took."""


def unread_device(t_ns: int, device: str, reason: str) -> DeviceSample:
    """A sample in which nothing could be read, for one reason."""
    return DeviceSample(t_ns=t_ns, device=device, reasons=dict.fromkeys(DEVICE_FIELDS, reason))


def unread_host(t_ns: int, reason: str) -> HostSample:
    """A sample in which nothing could be read, for one reason."""
    return HostSample(t_ns=t_ns, reasons=dict.fromkeys(HOST_FIELDS, reason))


def failed(error: Exception) -> str:
    """The reason for a reading that ended in an unforeseen exception."""
    return f"cannot be read: {type(error).__name__}: {error}"
