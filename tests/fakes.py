"""A recorder and a sampler behind the session's protocols, which keep and say what a test wants."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gemtop.domain.records import Record, SessionEnd
from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample, Sample, TelemetryStatus

Kind = TypeVar("Kind")

CARD_0 = DeviceInfo("0", "Stub RTX 24G", None, "00000000:65:00.0", 24 * 2**30, 450.0)
CARD_1 = DeviceInfo("1", "Stub T4 16G", None, "00000000:B3:00.0", 16 * 2**30, 70.0)
WATTS: Mapping[str, float] = {"0": 100.0, "1": 900.0}
VRAM_BYTES: Mapping[str, int] = {"0": 18 * 2**30, "1": 4 * 2**30}


class ListRecorder:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.problem: str | None = None
        self.notes: tuple[str, ...] = ()

    def put(self, record: Record) -> None:
        self.records.append(record)

    def close(self, end: SessionEnd) -> None:
        self.records.append(end)

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [record for record in self.records if isinstance(record, kind)]


class FakeSampler:
    """Samples the moment it is poked: every device at a steady power, and the host."""

    def __init__(
        self,
        emit: Callable[[Sample], None],
        on_status: Callable[[TelemetryStatus], None],
        devices: tuple[DeviceInfo, ...] = (),
    ) -> None:
        self._emit, self._on_status, self._devices = emit, on_status, devices
        self.status: TelemetryStatus | None = None
        self.stopped = False
        self.changes: dict[str, Any] = {}
        """What the cards' samples have beside power and memory."""

    def start(self) -> None:
        driver = "570.00" if self._devices else None
        self.status = TelemetryStatus(self._devices, driver, None if self._devices else "no driver")
        self._on_status(self.status)
        self.poke()

    def poke(self) -> None:
        self.sample(time.monotonic_ns())

    def sample(self, t_ns: int) -> None:
        """Samples stamped with this time."""
        self._emit(HostSample(t_ns, 25.0, 100.0, 2**33, 2**34, 500 * 2**20))
        for device in self._devices:
            watts, vram = WATTS[device.index], VRAM_BYTES[device.index]
            self._emit(DeviceSample(t_ns, device.index, power_w=watts, vram_used_bytes=vram, **self.changes))

    def wait_past(self, t_ns: int, timeout_s: float) -> bool:
        return True

    def stop(self) -> bool:
        self.stopped = True
        return True
