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
_KEEP_COARSE = 8000
"""A quarter of an hour of eight cards, with a reading of each a second."""
COARSE_S = 120.0
"""For a longer time than this a reading a second is enough: a chart has no more columns."""
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


class Sampler(Protocol):
    """What a sitting needs of the telemetry."""

    @property
    def status(self) -> TelemetryStatus | None: ...

    def start(self) -> None: ...

    def poke(self) -> None:
        """Take a sample at once."""

    def wait_past(self, t_ns: int, timeout_s: float) -> bool:
        """Wait for a sample of each device taken after `t_ns`; False where it does not come in time."""

    def stop(self) -> bool: ...


class Readings:
    """Filled by the sampler's threads, read by any."""

    def __init__(self) -> None:
        self.status: TelemetryStatus | None = None
        """What the driver said at the start; None until it has."""
        self._devices: deque[DeviceSample] = deque(maxlen=_KEEP)
        self._hosts: deque[HostSample] = deque(maxlen=_KEEP)
        self._coarse_devices: deque[DeviceSample] = deque(maxlen=_KEEP_COARSE)
        self._coarse_hosts: deque[HostSample] = deque(maxlen=_KEEP_COARSE)
        self._second_of: dict[str, int] = {}
        """The second of each card's last reading that was kept for long, and of the machine's (an empty name)."""
        self.cost: CostSample | None = None
        """The last one."""

    @property
    def driver_version(self) -> str | None:
        return self.status.driver_version if self.status else None

    def add(self, sample: Sample) -> None:
        """Keep a sample, in the order of time."""
        if isinstance(sample, DeviceSample):
            self._devices.append(sample)
            if self._is_of_new_second(sample.device, sample.t_ns):
                self._coarse_devices.append(sample)
        elif isinstance(sample, HostSample):
            self._hosts.append(sample)
            if self._is_of_new_second("", sample.t_ns):
                self._coarse_hosts.append(sample)
        else:
            self.cost = sample

    def _is_of_new_second(self, name: str, t_ns: int) -> bool:
        second = t_ns // 1_000_000_000
        if self._second_of.get(name) == second:
            return False
        self._second_of[name] = second
        return True

    def devices_since(self, t_ns: int, *, coarse: bool = False) -> list[DeviceSample]:
        """Samples of the GPUs taken at `t_ns` or later; `coarse` is one a second of each, kept for longer."""
        return _since(self._coarse_devices if coarse else self._devices, t_ns)

    def hosts_since(self, t_ns: int, *, coarse: bool = False) -> list[HostSample]:
        """Samples of this machine taken at `t_ns` or later; `coarse` is one a second, kept for longer."""
        return _since(self._coarse_hosts if coarse else self._hosts, t_ns)

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
