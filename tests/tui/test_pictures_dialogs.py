"""How the dialogs look over the live screen, at three sizes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast

import pytest
from textual.pilot import Pilot

from gemtop.config import Paths
from gemtop.domain.plan import GIB, Ledger, Memory, MemoryUse, Plan
from gemtop.engine.planner import PlanRequest
from gemtop.prompts import saved
from gemtop.tui.app import GemtopApp
from gemtop.tui.screens.prompts import PromptsScreen
from gemtop.tui.screens.tune import TuneScreen
from gemtop.tui.widgets.prompt import PromptArea
from tests.tui.scenes import PROMPT
from tests.tui.stills import Size, at_sizes, hold, idle, still, until

Look = Callable[[GemtopApp, Pilot[int]], Awaitable[None]]


class CardPlans:
    """Plans for a card of 24 GiB: the weights of the scene's model, and 96 KiB of cache for each token."""

    def plan(self, request: PlanRequest) -> Plan:
        context = request.settings.context
        n_ctx = context.n_ctx or 8192
        card = MemoryUse(16 * GIB, n_ctx * 90_000, n_ctx * 6_000 + GIB // 2, GIB // 2)
        host = MemoryUse(GIB + GIB // 4, 0, 0, GIB // 32, 0, GIB)
        return Plan(
            model={"name": "gemma-3-27b-it-qat", "variant": "QAT Q4_0", "n_layers": 63, "n_ctx_train": 131_072},
            settings={
                "n_ctx": n_ctx, "n_gpu_layers": 63, "type_k": context.type_k, "type_v": context.type_v,
                "flash_attn": "on", "n_batch": context.n_batch, "n_ubatch": context.n_ubatch, "swa_full": False,
            },
            devices=(Ledger(Memory("CUDA0", "NVIDIA GeForce RTX 3090", 24 * GIB, GIB // 2), card),),
            host=Ledger(Memory("host", "", 64 * GIB, 9 * GIB), host),
            max_n_ctx={"f16": 66_304, "q8_0": 122_880, "q4_0": 131_072},
            max_n_gpu_layers=63,
        )  # fmt: skip

    def fit(self, request: PlanRequest, fingerprint: str) -> tuple[bool, str]:
        raise NotImplementedError("the panel asks for plans")

    def close(self) -> None: ...


async def _tune(app: GemtopApp, pilot: Pilot[int], *keys: str) -> None:
    app.make_plans = CardPlans
    app.change_s = {False: 6.4, True: 0.4}
    app.session.settings_given = True  # type: ignore[union-attr]
    await pilot.press("t")
    await pilot.press(*keys)
    screen = cast(TuneScreen, app.screen)
    await until(pilot, lambda: screen._answered and screen._plan is not None, "the plan")


async def _tune_too_much(app: GemtopApp, pilot: Pilot[int]) -> None:
    await _tune(app, pilot, *"131072")


async def _prompts(app: GemtopApp, pilot: Pilot[int]) -> None:
    saved.save("minutes", PROMPT)
    app.live.query_one("#prompt", PromptArea)._add_earlier(["Why is the sky blue?"])
    await pilot.press("p")
    screen = app.screen
    assert isinstance(screen, PromptsScreen)
    await idle(pilot)


def _press(*keys: str) -> Look:
    async def look(app: GemtopApp, pilot: Pilot[int]) -> None:
        await pilot.press(*keys)
        await idle(pilot)

    return look


class Dialog(NamedTuple):
    scene: str
    open: Look


DIALOGS = {
    "tune": Dialog("ended", _tune),
    "tune too much": Dialog("ended", _tune_too_much),
    "sampling": Dialog("ended", _press("s")),
    "sampling refused": Dialog("ended", _press("s", "9", "9", "9", "enter")),
    "prompts": Dialog("ended", _prompts),
    "runs": Dialog("throttled", _press("v")),
    "runs none": Dialog("first start", _press("v")),
    "charts": Dialog("generating", _press("x")),
    "zoomed": Dialog("generating", _press("z")),
    "palette": Dialog("ended", _press("ctrl+p")),
    "themes": Dialog("ended", _press("f9")),
    "typing": Dialog("ended", _press("T", "e", "l", "l")),
}
"""By the name of the picture: in which state, and how one comes to it."""


@at_sizes()
@pytest.mark.parametrize("name", DIALOGS)
async def test_dialog(folders: Paths, name: str, size: Size) -> None:
    async with still(folders, DIALOGS[name].scene, size) as (app, pilot):
        await DIALOGS[name].open(app, pilot)
        await pilot.pause()
        hold(app, f"dialog {name}", size)
