"""How a comparison looks while it goes on and when it is done, and outputs side by side, at three sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, cast

import pytest

from gemtop.comparison.outcome import Outcome
from gemtop.comparison.runner import Doing
from gemtop.config import Paths
from gemtop.domain.settings import EngineSettings
from gemtop.tui.comparing import Chosen, Phase, State
from tests.comparison.synthetic import Made, comparison
from tests.tui.stills import SIZES, Size, at_sizes, hold, idle, still

FOUR = Made(labels=("F16", "QAT Q4_0", "PTQ Q8_0", "PTQ Q4_K_M"))
CHOSEN = Chosen(("f16.gguf", "qat.gguf"), None, EngineSettings(), {})


class Still:
    """A comparison at one moment."""

    chosen = CHOSEN
    is_prompt = False

    def __init__(self, state: State, settled: bool) -> None:
        self.state, self.settled = state, settled

    @property
    def outcome(self) -> Outcome | None:
        return self.state.outcome

    def close(self) -> None: ...


class Scene(NamedTuple):
    phase: Phase
    made: Made = FOUR
    keys: tuple[str, ...] = ()


_FAILED = replace(FOUR, failures={3: "2.4 GiB too little on CUDA0"}, until_run=20)
SCENES = {
    "preparing": Scene("preparing", replace(FOUR, until_run=0)),
    "running": Scene("running", replace(FOUR, until_run=40)),
    "done": Scene("done"),
    "eight variants": Scene("done", Made()),
    "stopped": Scene("stopped", _FAILED),
    "outputs": Scene("done", keys=("enter",)),
    "outputs diff": Scene("done", keys=("enter", "n", "d")),
    "ask": Scene("done", keys=("p",)),
}
"""By the name of the picture."""


def _state(scene: Scene) -> State:
    found = comparison(scene.made)
    match scene.phase:
        case "preparing":
            return State("preparing", "reading headers")
        case "running":
            doing = Doing("QAT Q4_0: p3, again 1 of 3", 41, 76)
            return State("running", doing.words, doing, "about 4 min left", outcome=found)
        case "done":
            return State("done", found.verdict, outcome=found)
    return State(scene.phase, "stopped; Enter goes on from here", outcome=found)


@at_sizes(*SIZES)
@pytest.mark.parametrize("name", SCENES)
async def test_compare(folders: Paths, name: str, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemtop.engine.catalogue.list_models", lambda *_args, **_more: [])
    scene = SCENES[name]
    async with still(folders, "ended", size) as (app, pilot):
        await pilot.press("2")
        await idle(pilot)
        screen = app._compare
        assert screen is not None
        goes_on = scene.phase in ("preparing", "running")
        app.comparison = screen._kept = cast("Any", Still(_state(scene), settled=not goes_on))
        screen._show_table(True)
        await pilot.press(*scene.keys)
        await pilot.pause()
        hold(app, f"compare {name}", size)
        app.comparison = None
