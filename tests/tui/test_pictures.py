"""How the screens look, at three sizes and in the states a sitting can be in."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gemtop.config import Paths
from gemtop.domain.events import EngineCrashed, LoadFailed, ModelLoaded
from gemtop.domain.model import ModelEntry
from gemtop.domain.settings import EngineSettings, SamplingSettings
from gemtop.tui.messages import SessionHappened
from gemtop.tui.screens.models import ModelsScreen, PlanMade
from gemtop.tui.startup import Resume, save_resume
from gemtop.view import SessionEvent
from tests.tui.scenes import MODEL, NOW_NS, PROMPT, SCENES, TEXT
from tests.tui.stills import SMALLEST, Size, at_sizes, hold, idle, still

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
ABORTED = "CUDA error: out of memory\n  current device: 0, in function alloc at ggml-cuda.cu:433"
NO_ROOM = (
    "llama.cpp could not load gemma-3-27b-it-BF16.gguf: cudaMalloc failed: out of memory (allocating 50,286.27 MiB on "
    "device 0); t, gemtop plan and the models' screen say what fits"
)


class Happened(NamedTuple):
    """Something that the session tells, in a scene of tests.tui.scenes."""

    scene: str
    event: SessionEvent


HAPPENED = {
    "out of memory": Happened("first start", LoadFailed(NO_ROOM)),
    "gave up": Happened("crashed", EngineCrashed(NOW_NS, ABORTED)),
}
"""By the state that it leads to."""


@at_sizes()
@pytest.mark.parametrize("scene", SCENES)
async def test_live(folders: Paths, scene: str, size: Size) -> None:
    async with still(folders, scene, size) as (app, _):
        hold(app, f"live {scene}", size)


@at_sizes(SMALLEST)
@pytest.mark.parametrize("scene", ["generating", "throttled"])
async def test_live_on_the_smallest_terminal(folders: Paths, scene: str, size: Size) -> None:
    async with still(folders, scene, size) as (app, _):
        hold(app, f"live {scene}", size)


@at_sizes()
@pytest.mark.parametrize("state", HAPPENED)
async def test_live_when_something_happened(folders: Paths, state: str, size: Size) -> None:
    async with still(folders, HAPPENED[state].scene, size) as (app, pilot):
        app.on_session_happened(SessionHappened(HAPPENED[state].event, 0, None))
        await pilot.pause()
        hold(app, f"live {state}", size)


@at_sizes()
async def test_live_after_llama_cpp_crashed_before(folders: Paths, size: Size) -> None:
    """It was started anew: the conversation is there, the model is loaded again."""
    left = Resume("gemma.gguf", EngineSettings(), SamplingSettings(), 256, ((PROMPT, TEXT),), PROMPT)
    save_resume(folders, left)
    async with still(folders, "first start", size, resumed=True) as (app, pilot):
        app.session.shown = SCENES["loaded"]  # type: ignore[union-attr]
        app.on_session_happened(SessionHappened(ModelLoaded(MODEL, EngineSettings()), 0, None))
        await pilot.pause()
        hold(app, "live crashed before", size)


@at_sizes()
async def test_models(folders: Paths, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
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
        hold(app, "models", size)


@at_sizes()
async def test_no_models(folders: Paths, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelsScreen, "action_again", lambda self: self._show(()))
    async with still(folders, "first start", size) as (app, pilot):
        await pilot.press("4")
        await idle(pilot)
        hold(app, "models none", size)


@at_sizes()
async def test_log_compare_and_the_keys(folders: Paths, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemtop.engine.catalogue.list_models", lambda *_args, **_more: list(MODELS))
    async with still(folders, "ended", size) as (app, pilot):
        await pilot.press("5")
        await pilot.pause()
        hold(app, "log", size)
        await pilot.press("2")
        await idle(pilot)
        await pilot.press("space", "down", "space")
        await pilot.pause()
        hold(app, "compare choosing", size)
        await pilot.press("question_mark")
        await pilot.pause()
        hold(app, "keys", size)
