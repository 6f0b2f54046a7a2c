"""How `gemtop top` looks: two cards, eight, none, one that is lost, at four sizes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from textual.pilot import Pilot

from gemtop.domain.telemetry import CostSample, DeviceInfo, DeviceSample, Sample, TelemetryStatus
from gemtop.monitor import Monitor, MonitorView
from gemtop.session import begin_session
from gemtop.tui.top import TopApp, TopOptions
from tests.fakes import ListRecorder
from tests.tui.scenes import wave
from tests.tui.stills import SIZES, SMALLEST, Size, at_sizes, hold, until
from tests.tui.test_devices_table import CARD, HOST, SAMPLE

S = 1_000_000_000
GIB = 2**30
SPAN_S = 180
"""How long it has been read: longer than a chart shows."""
LOST = "GPU is lost"
NO_DRIVER = "libnvidia-ml.so.1 not found"
OTHER = replace(CARD, index="1", name="NVIDIA T4", pci_bus_id="0000:b3:00.0", memory_total_bytes=16 * GIB,
                power_limit_w=70.0, architecture="Turing", compute_capability="7.5")  # fmt: skip
COST = CostSample(SPAN_S * S, 41.0, 1.8, 0.4, 900.0, 0)


@dataclass(frozen=True)
class Scene:
    """A machine, and what it has come to."""

    cards: tuple[DeviceInfo, ...] = ()
    reason: str | None = None
    lost: Sequence[str] = ()
    """Cards that are lost after 160 seconds."""
    stale_s: float | None = None
    recorded: bool = False
    problem: str | None = None
    keys: Sequence[str] = ()


SCENES = {
    "one card": Scene((CARD,), recorded=True),
    "two cards": Scene((CARD, OTHER)),
    "eight cards": Scene(tuple(replace(CARD, index=str(number)) for number in range(8))),
    "no card": Scene(reason=NO_DRIVER),
    "card lost": Scene((CARD, OTHER), lost=("0",)),
    "all lost": Scene((CARD,), lost=("0",)),
    "hangs": Scene((CARD,), stale_s=12.0),
    "not recorded": Scene((CARD,), recorded=True, problem="no room to write /data/history.duckdb: make room"),
    "paused": Scene((CARD, OTHER), keys=("p",)),
    "keys": Scene((CARD,), keys=("question_mark",)),
    "themes": Scene((CARD,), keys=("f9",)),
}
"""By the name of the picture."""


def _sample(card: DeviceInfo, t_s: float, lost: bool) -> DeviceSample:
    fields = {name: getattr(SAMPLE, name) for name in DeviceSample.__slots__}
    if lost:
        measured = {name for name, value in fields.items() if name not in ("t_ns", "device", "reasons")}
        fields |= dict.fromkeys(measured) | {"reasons": dict.fromkeys(measured, LOST)}
    else:
        share = wave(t_s + 4 * int(card.index))
        watts = (card.power_limit_w or 350.0) * (0.4 + 0.5 * share)
        fields |= {"gpu_util_pct": round(60 + 39 * share), "power_instant_w": watts + 5}
        fields |= dict.fromkeys(("power_w", "power_average_w"), watts)
        if card.memory_total_bytes == 16 * GIB:
            fields |= {"vram_used_bytes": 11 * GIB, "vram_free_bytes": 5 * GIB}
        if card.index != "0":
            fields |= {"throttle_reasons": (), "processes": ()}
    return DeviceSample(**(fields | {"t_ns": round(t_s * S), "device": card.index}))


class StillMonitor(Monitor):
    """Three minutes of readings, and a clock that stands at its end."""

    def __init__(self, scene: Scene, on_round: Callable[[], None]) -> None:
        begin = replace(begin_session("top"), started_ns=0, host="workstation")
        recorder = ListRecorder() if scene.recorded else None
        if recorder is not None:
            recorder.problem = scene.problem
        super().__init__(begin, self._sampler, recorder, 1.0, on_round)
        self._scene = scene

    def _sampler(
        self, emit: Callable[[Sample], None], on_status: Callable[[TelemetryStatus], None]
    ) -> StillMonitor._Sampler:
        return self._Sampler()

    class _Sampler:
        def start(self) -> None: ...

        def stop(self) -> bool:
            return True

    def start(self) -> None:
        scene = self._scene
        version = None if scene.reason else "570.00"
        self._on_status(TelemetryStatus(scene.cards, version, scene.reason, "12.8" if version else None))
        for t_s in range(SPAN_S + 1):
            for card in scene.cards:
                self.readings.add(_sample(card, t_s, t_s > 160 and card.index in scene.lost))
            self.readings.add(replace(HOST, t_ns=t_s * S, host_cpu_pct=34.0 + round(20 * wave(t_s))))
        self.readings.add(COST)
        self._on_round()

    def view(self, span_s: float) -> MonitorView:
        since_ns = SPAN_S * S - round(span_s * S)
        return MonitorView(
            t_ns=SPAN_S * S,
            status=self.readings.status,
            latest=self.latest(),
            device_samples=tuple(self.readings.devices_since(since_ns)),
            host_samples=tuple(self.readings.hosts_since(since_ns)),
            recording=self.recording,
            problem=self.problem,
            notes=(),
            stale_s=self._scene.stale_s,
        )

    def stale_s(self, now_ns: int) -> float | None:
        return self._scene.stale_s


@asynccontextmanager
async def monitoring(scene: Scene, size: Size) -> AsyncIterator[tuple[TopApp, Pilot[int]]]:
    """The monitor's screen over minutes that have passed."""
    app = TopApp(TopOptions(1.0, None, None, False), lambda on_round: StillMonitor(scene, on_round))
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: app.monitor is not None and app.monitor.latest() is not None, "the readings")
        app._top.show_frame()
        await pilot.pause()
        app._top.show_frame()  # in the layout that the first one led to
        await pilot.press(*scene.keys)
        await pilot.pause()
        yield app, pilot


@at_sizes(SMALLEST, *SIZES)
@pytest.mark.parametrize("name", SCENES)
async def test_top(name: str, size: Size) -> None:
    async with monitoring(SCENES[name], size) as (app, _):
        hold(app, f"top {name}", size)
