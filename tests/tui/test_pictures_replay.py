"""How a replay looks: in the middle of a run, at its ends, and of a session that crashed, at three sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest

from gemtop.cli.replay import opened
from gemtop.config import Paths
from gemtop.domain.records import Record, SessionEnd, device_rows
from gemtop.domain.telemetry import DeviceSample, TelemetryStatus
from gemtop.tui.replay import ReplayApp
from tests.history.rows import STARTED_NS, S, put_in, session
from tests.tui.scenes import CARD, wave
from tests.tui.stills import SIZES, SMALLEST, Size, at_sizes, hold, until
from tests.tui.test_replay_screen import three_runs


def _with_card(rows: list[Record]) -> list[Record]:
    """The same on a card that is known, and never busier than it can be."""
    status = TelemetryStatus((CARD,), "570.00", None, "12.8")
    return [*device_rows(status), *(_as_read(row) if isinstance(row, DeviceSample) else row for row in rows)]


def _as_read(sample: DeviceSample) -> DeviceSample:
    t_s = (sample.t_ns - STARTED_NS) / S
    watts = 300.0 + 20 * wave(t_s)
    return replace(
        sample, gpu_util_pct=97.0, power_w=watts, power_average_w=watts, power_instant_w=watts, fan_pct=62.0,
        vram_used_bytes=18 * 2**30, vram_free_bytes=6 * 2**30, throttle_reasons=(), pstate=2,
    )  # fmt: skip


def whole() -> list[Record]:
    """Three runs."""
    return _with_card(three_runs())


def crashed() -> list[Record]:
    """The process died in the third."""
    return _with_card(three_runs(ends=False))


def nothing_ran() -> list[Record]:
    """Begun and ended."""
    return [session(), SessionEnd(STARTED_NS + 40 * S, None)]


class Scene(NamedTuple):
    records: Callable[[], list[Record]]
    at_s: float
    keys: tuple[str, ...] = ()


SCENES = {
    "beginning": Scene(whole, 0),
    "running": Scene(whole, 25),
    "at end": Scene(whole, 40),
    "crashed": Scene(crashed, 34),
    "nothing ran": Scene(nothing_ran, 10),
    "keys": Scene(whole, 25, ("question_mark",)),
    "themes": Scene(whole, 25, ("f9",)),
}
"""By the name of the picture."""


@at_sizes(SMALLEST, *SIZES)
@pytest.mark.parametrize("name", SCENES)
async def test_replay(folders: Paths, name: str, size: Size) -> None:
    scene = SCENES[name]
    put_in(folders, scene.records())
    app = ReplayApp(opened(folders, "last"), position_ns=round(scene.at_s * S))
    app.playback.pause(app.playback._since_ns)  # before a moment passes
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: not app.playback.waits and not app._replay_screen._reading, "it is read")
        app._replay_screen.show_text()
        app._replay_screen.show_frame()
        await pilot.pause()
        await pilot.press(*scene.keys)
        await pilot.pause()
        hold(app, f"replay {name}", size)
