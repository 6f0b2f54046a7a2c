"""The readings of one sitting: what the sampler has emitted lately, for charts, figures and tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

from gemtop.domain.telemetry import CostSample, DeviceInfo, DeviceSample, HostSample, Sample, TelemetryStatus

if TYPE_CHECKING:
    from gemtop.domain.model import BackendDevice
    from gemtop.domain.records import Record, SessionEnd

_KEEP = 3000
"""Ten minutes at five readings a second."""
_ROUND = 64
"""The last reading of each device is among so many."""
_Kind = TypeVar("_Kind", DeviceSample, HostSample)


class Recorder(Protocol):
    """What a sitting needs of the history."""

    @property
    def problem(self) -> str | None:
        """What keeps the history from being written, in one line; None while all is well."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of and need do nothing about, a line each."""

    def put(self, record: Record) -> None: ...

    def close(self, end: SessionEnd) -> None: ...


class Readings:
    """Filled by the sampler's threads, read by any."""

    def __init__(self) -> None:
        self.status: TelemetryStatus | None = None
        """What the driver said at the start; None until it has."""
        self._devices: deque[DeviceSample] = deque(maxlen=_KEEP)
        self._hosts: deque[HostSample] = deque(maxlen=_KEEP)
        self.cost: CostSample | None = None
        """The last one."""

    def add(self, sample: Sample) -> None:
        """Keep a sample, in the order of time."""
        if isinstance(sample, DeviceSample):
            self._devices.append(sample)
        elif isinstance(sample, HostSample):
            self._hosts.append(sample)
        else:
            self.cost = sample

    def devices_since(self, t_ns: int) -> list[DeviceSample]:
        """Samples of the GPUs taken at `t_ns` or later."""
        return _since(self._devices, t_ns)

    def hosts_since(self, t_ns: int) -> list[HostSample]:
        """Samples of this machine taken at `t_ns` or later."""
        return _since(self._hosts, t_ns)

    def last_of_devices(self) -> list[DeviceSample]:
        """The latest sample of each GPU."""
        latest = {sample.device: sample for sample in list(self._devices)[-_ROUND:]}
        return list(latest.values())

    def last_of_host(self) -> HostSample | None:
        """The latest sample of this machine."""
        return self._hosts[-1] if self._hosts else None

    def cards_of(self, devices: Iterable[BackendDevice]) -> dict[str, DeviceInfo]:
        """Cards by llama.cpp's name of them, matched by PCI bus id: CUDA has an order of its own."""
        return matched(devices, self.status.devices if self.status else ())

    def indices_of(self, devices: Iterable[BackendDevice]) -> tuple[str, ...]:
        """NVML indices of llama.cpp's devices, in NVML's order."""
        found = {card.index for card in self.cards_of(devices).values()}
        return tuple(card.index for card in (self.status.devices if self.status else ()) if card.index in found)


def matched(devices: Iterable[BackendDevice], cards: Iterable[DeviceInfo]) -> dict[str, DeviceInfo]:
    """Of these cards those that are llama.cpp's devices, by its name of them, matched by PCI bus id."""
    by_bus = {_pci_key(card.pci_bus_id): card for card in cards if card.pci_bus_id}
    keys = {device.name: _pci_key(device.pci_bus_id) for device in devices if device.pci_bus_id}
    return {name: by_bus[key] for name, key in keys.items() if key in by_bus}


def _pci_key(bus_id: str) -> tuple[int, ...]:
    """A PCI bus id as numbers: NVML writes the domain with eight digits, ggml with four."""
    return tuple(int(part, 16) for part in bus_id.replace(".", ":").split(":"))


def _since(samples: deque[_Kind], t_ns: int) -> list[_Kind]:
    """A copy first: the sampler's thread appends meanwhile."""
    return [sample for sample in list(samples) if sample.t_ns >= t_ns]
