"""The tuning panel: over a fake engine with a planner that is one, and over the real weights."""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.domain.plan import GIB, Ledger, Memory, MemoryUse, Plan
from gemtop.domain.records import RunBegin
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from gemtop.engine.planner import PlanRequest
from gemtop.history.reader import Reader
from gemtop.tui.app import GemtopApp
from gemtop.tui.screens.live import LiveScreen
from gemtop.tui.screens.tune import TuneScreen
from gemtop.tui.startup import Startup
from tests.engines import fake_model
from tests.tui.sitting import Options, Screen, gemtop


class FakePlans:
    """Plans of a KV cache of 1 MiB a thousand tokens on a machine of 8 GiB, 4 of them free."""

    def __init__(self) -> None:
        self.asked: list[PlanRequest] = []
        self.closed = False

    def plan(self, request: PlanRequest) -> Plan:
        self.asked.append(request)
        context = request.settings.context
        n_ctx = context.n_ctx or 4096
        if context.type_k == "q5_0":
            raise BadInputError("llama.cpp refuses this: no such cache")
        use = MemoryUse(weights_bytes=GIB, kv_global_bytes=n_ctx << 10, compute_bytes=GIB // 2)
        return Plan(
            model={"name": "m", "variant": "QAT Q4_0", "n_layers": 63, "n_ctx_train": 131_072},
            settings={
                "n_ctx": n_ctx, "n_gpu_layers": 0, "type_k": context.type_k, "type_v": context.type_v,
                "flash_attn": "on", "n_batch": context.n_batch, "n_ubatch": context.n_ubatch, "swa_full": False,
            },
            devices=(),
            host=Ledger(Memory("host", "", 8 * GIB, 4 * GIB), use),
            max_n_ctx={"f16": 8192} if request.search else {},
        )  # fmt: skip

    def fit(self, request: PlanRequest, fingerprint: str) -> tuple[bool, str]:
        raise NotImplementedError("the panel asks for plans")

    def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def tuning(folders: Paths, options: Options | None = None) -> AsyncIterator[tuple[Screen, FakePlans]]:
    """The panel, open over a fake engine."""
    plans = FakePlans()
    async with gemtop(folders, options) as screen:
        screen.app.make_plans = lambda: plans
        await screen.pilot.press("t")
        await screen.until_shown("tune", "context", "nothing is changed yet")
        yield screen, plans


def on_live(screen: Screen) -> bool:
    return isinstance(screen.app.screen, LiveScreen)


async def test_a_change_shows_what_it_would_take_before_it_is_applied(folders: Paths) -> None:
    async with tuning(folders) as (screen, plans):
        await screen.pilot.press("right")
        await screen.until_shown("8,192", "fits", "keeps the weights loaded")
        assert screen.session.settings == EngineSettings()
        await screen.pilot.press("enter")
        await screen.until(lambda: screen.session.settings == EngineSettings(context=ContextSettings(n_ctx=8192)), "8K")
        await screen.until(lambda: on_live(screen), "the panel is gone")
        await screen.until(lambda: any("ctx 4096→8192" in said for said in screen.said), "it says what was applied")
        await screen.until(lambda: plans.closed, "the planner is closed")
    assert [begin.kind for begin in screen.recorder.of(RunBegin)] == ["apply"]


async def test_leaving_changes_nothing(folders: Paths) -> None:
    async with tuning(folders) as (screen, _):
        await screen.pilot.press("right", "right", "escape")
        await screen.until(lambda: on_live(screen), "the panel is gone")
        assert screen.session.settings == EngineSettings()


async def test_values_are_typed(folders: Paths) -> None:
    async with tuning(folders) as (screen, _):
        await screen.type("12288")
        await screen.until_shown("12,288")
        await screen.pilot.press("enter")
        await screen.until(lambda: screen.session.view().model is not None and on_live(screen), "applied")
        await screen.until(lambda: screen.session.settings.context.n_ctx == 12_288, "12,288")


async def test_what_no_memory_holds_is_refused_with_the_arithmetic(folders: Paths) -> None:
    async with tuning(folders) as (screen, _):
        await screen.type("9000000")
        await screen.until_shown("does not fit")
        await screen.pilot.press("enter", "enter", "enter")
        await screen.until_shown("host is 8.00 GiB")
        assert not on_live(screen) and screen.session.settings == EngineSettings()


async def test_what_only_others_keep_from_fitting_may_be_tried(folders: Paths) -> None:
    async with tuning(folders) as (screen, _):
        await screen.type("4000000")
        await screen.until_shown("too little")
        await screen.pilot.press("enter")
        await screen.until_shown("Enter again")
        await screen.pilot.press("enter")
        await screen.until(lambda: on_live(screen), "it is tried")


async def test_what_the_planner_refuses_is_said(folders: Paths) -> None:
    async with tuning(folders) as (screen, _):
        await screen.until_shown("no device but the CPU")
        await screen.pilot.press("down", "left", "left")
        assert screen.app.screen.chosen.context.type_k == "q5_1"
        await screen.pilot.press("left")
        await screen.until_shown("no such cache")


async def test_a_run_is_interrupted_and_goes_on(folders: Paths) -> None:
    gate = threading.Semaphore(2)
    options = Options(model=fake_model(chat_template=False), gate=gate, prompt="a b c d", n_predict=6)
    async with gemtop(folders, options) as screen:
        screen.app.make_plans = FakePlans
        await screen.until(lambda: screen.output.count("a b") >= 1, "two tokens")
        await screen.pilot.press("t")
        await screen.until_shown("nothing is changed yet")
        await screen.pilot.press("right", "enter")
        await screen.until(lambda: on_live(screen), "applied")
        for _ in range(8):
            gate.release()
        await screen.until(lambda: not screen.session.busy, "it has gone on and ended")
        await screen.until(lambda: screen.output.endswith("a b c d a b"), "the text goes on where it was")
        assert screen.text.count("> a b c d") == 1


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_it_fits_the_terminal(folders: Paths, size: tuple[int, int]) -> None:
    async with tuning(folders, Options(size=size)) as (screen, _):
        await screen.pilot.press("right")
        await screen.until_shown("context", "K cache", "threads", "host", "Enter apply")


async def test_on_a_narrow_terminal_what_would_be_goes_before_what_is(folders: Paths) -> None:
    async with tuning(folders, Options(size=(60, 20))) as (screen, _):
        await screen.pilot.press("right")
        await screen.until_shown("8,192", "fits, 2.49 GiB left", "then")
        (line,) = [line for line in screen.text.splitlines() if " context " in line and "‹" in line]
        assert line.count("8,192") == 2, "the value, and what it would be"


async def change_at_random(screen: Screen, chance: random.Random) -> None:
    """One change by keys. At the end of a scale nothing changes, and a context too small for the text is refused."""
    app = screen.app
    await screen.pilot.press("t")
    await screen.until(lambda: isinstance(app.screen, TuneScreen), "the panel")
    await screen.until_shown("no device but the CPU")
    row, way = chance.choice((0, 1, 2, 5, 6)), chance.choice(("left", "right"))  # that one is passed over
    await screen.pilot.press(*["down"] * row, way, "enter")
    stays = ("too small", "nothing is changed yet; Left")
    await screen.until(lambda: on_live(screen) or any(words in screen.text for words in stays), "applied or refused")
    if not on_live(screen):
        await screen.pilot.press("escape")
    await screen.until(lambda: on_live(screen) and not screen.session.busy, "the change is made")


async def resident_bytes(screen: Screen, settings: EngineSettings) -> int:
    """Memory of this process with these settings in force."""
    screen.session.apply(settings)
    await screen.until(lambda: not screen.session.busy, "applied")
    assert screen.session.settings == settings
    return int(psutil.Process().memory_info().rss)


async def test_fifty_changes_on_the_real_weights(folders: Paths, model_path: str) -> None:
    """Random keys in the panel: the conversation stays, the history has a run for each, memory does not grow."""
    context = ContextSettings(n_ctx=1024, n_threads=1, n_threads_batch=1)
    settings = EngineSettings(OffloadSettings(n_gpu_layers=0), context)
    startup = Startup(
        path=model_path, demo=False, settings=settings, sampling=SamplingSettings(temperature=0), n_predict=16,
        raw=False, prompt="The capital of France is", quit_when_done=False, session_id="20261124-000000-00000001",
    )  # fmt: skip
    app, chance = GemtopApp(startup, folders), random.Random(3)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = Screen(app, pilot, None)  # type: ignore[arg-type]
        await screen.until(lambda: app.session is not None and len(app.session.view().runs) == 1, "the first run")
        await screen.until(lambda: len(screen.output) >= len(app.session.text_since(1, 0)[2]) > 0, "all of its text")
        text = screen.output
        for _ in range(10):
            await change_at_random(screen, chance)
        before = await resident_bytes(screen, settings)
        held = screen.session.view().run
        for _ in range(40):
            await change_at_random(screen, chance)
        grown = await resident_bytes(screen, settings) - before
        assert screen.output == text
        after = screen.session.view().run
        assert held is not None and after is not None and held.context_used == after.context_used > 16
        assert grown < 20e6, f"{grown / 1e6:.0f} MB more after forty changes"
        await pilot.press("q")
        await screen.until_ended()
    with Reader.open(folders) as reader:
        kinds = [row[0] for row in reader.run_sql("SELECT kind FROM runs ORDER BY started_at").rows()]
    assert kinds[0] == "generate" and kinds.count("apply") == len(kinds) - 1
    assert len(kinds) > 25
