"""How the screens look, at three sizes and in the states a sitting can be in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from gemtop.config import Paths
from gemtop.domain.model import ModelEntry
from gemtop.domain.settings import EngineSettings, SamplingSettings
from gemtop.tui.app import GemtopApp
from gemtop.tui.screens.models import ModelsScreen, PlanMade
from gemtop.tui.startup import Startup
from gemtop.tui.widgets.stream import StreamView
from tests.tui.pictures import compare, picture
from tests.tui.scenes import PROMPT, SCENES, TEXT, StillSession

SIZES = [(80, 24), (120, 40), (200, 60)]
MODELS = (
    ModelEntry("gemma-3-27b-it-BF16.gguf", "/m/gemma-3-27b-it-BF16.gguf", "folder", (), 54_000_000_000, None,
               quantization="BF16", training="none", variant="BF16",
               trained_context=131_072, evidence="file type BF16"),
    ModelEntry("gemma3:27b-it-qat", "/m/blobs/sha256-1", "ollama", (), 18_100_000_000, None, quantization="Q4_0",
               training="qat", variant="QAT Q4_0", trained_context=131_072, evidence="QAT in its name"),
    ModelEntry("gemma3:27b", "/m/blobs/sha256-2", "ollama", (), 17_400_000_000, None, quantization="Q4_K_M",
               training="none", variant="PTQ Q4_K_M", refused="it holds the vision tensors as well"),
    ModelEntry("notes.gguf", "/m/notes.gguf", "folder", (), 20_000, "is not a GGUF file"),
)  # fmt: skip


@asynccontextmanager
async def still(folders: Paths, scene: str, size: tuple[int, int]) -> AsyncIterator[tuple[GemtopApp, Pilot[int]]]:
    """The application over a sitting that does not move."""
    session = StillSession(SCENES[scene])
    startup = Startup(
        path="gemma-3-27b-it-qat-q4_0.gguf",
        demo=False,
        settings=EngineSettings(),
        sampling=SamplingSettings(),
        n_predict=256,
        raw=False,
        prompt=None,
        quit_when_done=False,
        session_id="20261127-101500-5ce9e000",
    )
    app = GemtopApp(startup, folders, lambda _listener: cast("Any", session))
    async with app.run_test(size=size) as pilot:
        while app.session is None:
            await pilot.pause()
        await pilot.pause()
        if session.shown.run is not None:
            output = app.live.query_one("#output", StreamView)
            output.mark(f"> {PROMPT}")
            output.append(TEXT)
        app.live.show_frame()
        await pilot.pause()
        yield app, pilot
        app._leaving = True


def _name(scene: str, size: tuple[int, int]) -> str:
    return f"{scene.replace(' ', '-')}-{size[0]}x{size[1]}"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scene", SCENES)
async def test_live(folders: Paths, scene: str, size: tuple[int, int]) -> None:
    async with still(folders, scene, size) as (app, _):
        compare(_name(f"live {scene}", size), picture(app))


async def test_live_on_the_smallest_terminal(folders: Paths) -> None:
    async with still(folders, "generating", (60, 20)) as (app, _):
        compare(_name("live generating", (60, 20)), picture(app))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_models(folders: Paths, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelsScreen, "action_again", lambda self: self._show(MODELS))
    monkeypatch.setattr(ModelsScreen, "_plan", lambda self: None)
    async with still(folders, "ended", size) as (app, pilot):
        await pilot.press("4", "down")
        screen = app.screen
        assert isinstance(screen, ModelsScreen)
        screen._asked = "gemma3"
        words = "gemma-3-27b-it-qat, QAT Q4_0, 16.9 GiB\n8,192 tokens, f16 cache\n\nfits"
        screen.on_plan_made(PlanMade("gemma3", [(words, "text")], words))
        await pilot.pause()
        compare(_name("models", size), picture(app))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_log_compare_and_the_keys(folders: Paths, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemtop.engine.catalogue.list_models", lambda *_args, **_more: list(MODELS))
    async with still(folders, "ended", size) as (app, pilot):
        await pilot.press("5")
        await pilot.pause()
        compare(_name("log", size), picture(app))
        await pilot.press("2")
        await app.workers.wait_for_complete()
        await pilot.pause()
        await pilot.press("space", "down", "space")
        await pilot.pause()
        compare(_name("compare choosing", size), picture(app))
        await pilot.press("question_mark")
        await pilot.pause()
        compare(_name("keys", size), picture(app))
