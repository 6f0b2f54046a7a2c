"""The monitor: rounds, what it keeps and records, and what counts as now."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from gemtop.domain.records import SessionEnd
from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample, TelemetryStatus
from gemtop.monitor import Monitor, read_once
from gemtop.session import begin_session
from gemtop.telemetry.exporter import Exporter
from tests.fakes import CARD_0, CARD_1, FakeSampler, ListRecorder


class Watched:
    """A monitor on a sampler that reads when it is poked."""

    def __init__(self, *cards: DeviceInfo, recorder: ListRecorder | None = None, period_s: float = 1.0) -> None:
        self.rounds = 0
        self.samplers: list[FakeSampler] = []

        def make(emit, on_status):  # type: ignore[no-untyped-def]
            self.samplers.append(FakeSampler(emit, on_status, cards))
            return self.samplers[0]

        self.monitor = Monitor(begin_session("top"), make, recorder, period_s, self._on_round)
        self.monitor.start()
        self.sampler = self.samplers[0]

    def _on_round(self) -> None:
        self.rounds += 1


@pytest.mark.parametrize("cards", [(), (CARD_0,), (CARD_0, CARD_1)])
def test_a_round_is_over_when_the_last_device_was_read(cards: tuple[DeviceInfo, ...]) -> None:
    watched = Watched(*cards)
    watched.sampler.poke()
    assert watched.rounds == 2
    found = watched.monitor.latest()
    assert found is not None and found.host is not None
    assert [sample.device for sample in found.devices] == [card.index for card in cards]


def test_everything_read_is_recorded_and_the_session_ends() -> None:
    recorder = ListRecorder()
    watched = Watched(CARD_0, recorder=recorder)
    watched.monitor.close("interrupted")
    assert watched.sampler.stopped
    assert len(recorder.of(HostSample)) == len(recorder.of(DeviceSample)) == 1
    (end,) = recorder.of(SessionEnd)
    assert (end.reason, end.crashed) == ("interrupted", False)


def test_readings_of_three_periods_ago_are_none_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(CARD_0, CARD_1, period_s=2.0)
    now_ns = time.monotonic_ns()
    assert watched.monitor.stale_s(now_ns) is None
    found = watched.monitor.fresh()
    assert found is not None and len(found.devices) == 2

    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns + 6_500_000_000)
    found = watched.monitor.fresh()
    assert found is not None
    assert (found.devices, found.host) == ((), None)
    assert watched.monitor.stale_s(time.monotonic_ns()) == pytest.approx(6.5, abs=0.5)

    watched.monitor.readings.add(DeviceSample(time.monotonic_ns(), CARD_1.index, power_w=1.0))
    found = watched.monitor.fresh()
    assert found is not None and [sample.device for sample in found.devices] == [CARD_1.index]


def test_stale_readings_are_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    from prometheus_client import generate_latest

    watched = Watched(CARD_0)
    exporter = Exporter(watched.monitor.fresh)
    assert b"gemtop_gpu_power_watts" in generate_latest(exporter._registry)
    now_ns = time.monotonic_ns()
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns + 10**10)
    stale = generate_latest(exporter._registry)
    assert b"gemtop_gpu_info" in stale
    assert b"gemtop_gpu_power_watts" not in stale and b"gemtop_host" not in stale


def test_every_metric_of_a_card_that_tells_everything() -> None:
    from prometheus_client import generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    from gemtop.monitor import Snapshot
    from tests.tui.test_devices_table import CARD, HOST, SAMPLE

    snapshot = Snapshot(TelemetryStatus((CARD,), "570", None, "12.8"), (SAMPLE,), HOST)
    text = generate_latest(Exporter(lambda: snapshot)._registry).decode()
    found = {
        (s.name, *(s.labels[key] for key in s.labels if key not in ("gpu", "name", "uuid"))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    for key, value in {
        ("gemtop_gpu_power_watts", "average"): 312.0,
        ("gemtop_gpu_power_watts", "instant"): 318.0,
        ("gemtop_gpu_throttled", "SwPowerCap"): 1.0,
        ("gemtop_gpu_ecc_errors_total", "corrected"): 4.0,
        ("gemtop_gpu_pcie_bytes_per_second", "in"): 120_000_000.0,
        ("gemtop_gpu_clock_max_hertz", "sm"): 2.1e9,
        ("gemtop_gpu_fan_ratio",): 0.62,
        ("gemtop_gpu_processes",): 2.0,
        ("gemtop_host_cpu_core_ratio", "1"): 0.5,
        ("gemtop_host_package_energy_joules_total",): 10.0,
    }.items():
        assert found[key] == pytest.approx(value)
    for words in ('driver_version="570"', 'cuda_version="12.8"', 'pci_bus_id="0000:1a:00.0"'):
        assert words in text


class SlowlyCounting:
    """A machine whose load needs two readings, and whose probe has slow readings too."""

    def __init__(self) -> None:
        self.read_ns: list[int] = []
        self.refreshed = 0

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def refresh(self) -> None:
        self.refreshed += 1

    def read(self, t_ns: int) -> HostSample:
        self.read_ns.append(t_ns)
        return HostSample(t_ns)


class NoCards:
    spent_ns = 0

    def refresh(self) -> None: ...

    def start(self) -> TelemetryStatus:
        return TelemetryStatus((), None, "none here")

    def stop(self) -> None: ...

    def read(self, t_ns: int) -> list[DeviceSample]:
        raise AssertionError("there is nothing to read")


def test_one_reading_begins_the_machine_first_and_ends_it_last() -> None:
    """What its load is taken over passes while the driver is asked; the slow reading waits for what is left."""
    host = SlowlyCounting()
    found = read_once(NoCards(), host)
    first, second = host.read_ns
    assert second > first and host.refreshed == 1
    assert found.host is not None and found.host.t_ns == second
    assert replace(found, host=None).devices == ()
