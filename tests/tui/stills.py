"""The application over a sitting that stands still, at the sizes that pictures are taken at."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from textual.app import App
from textual.pilot import Pilot

from gemtop.config import Paths
from gemtop.domain.settings import EngineSettings, SamplingSettings
from gemtop.tui.app import GemtopApp
from gemtop.tui.startup import Startup
from gemtop.tui.widgets.stream import StreamView
from gemtop.view import SessionView
from tests.tui.pictures import compare, picture
from tests.tui.program import LIMIT_S
from tests.tui.scenes import PROMPT, SCENES, TEXT, StillSession

Size = tuple[int, int]
SIZES: list[Size] = [(80, 24), (120, 40), (200, 60)]
SMALLEST: Size = (60, 20)


def at_sizes(*sizes: Size) -> pytest.MarkDecorator:
    """A test of each of these sizes of the terminal, as its `size`."""
    return pytest.mark.parametrize("size", sizes or SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


def hold(app: App[int], scene: str, size: Size) -> None:
    """The screen against the picture of this scene."""
    compare(f"{scene.replace(' ', '-')}-{size[0]}x{size[1]}", picture(app))


async def until(pilot: Pilot[int], condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, and then for what is drawn of it."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {LIMIT_S} s: {what}; the screen reads\n{picture(pilot.app)}"
        await pilot.pause(0.01)
    await pilot.pause()


async def idle(pilot: Pilot[int]) -> None:
    """Wait for work on threads, and for what is drawn of it."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()
    await pilot.pause()


@asynccontextmanager
async def still(
    folders: Paths, scene: str | SessionView, size: Size, **startup: Any
) -> AsyncIterator[tuple[GemtopApp, Pilot[int]]]:
    """The application over a sitting that does not move; `startup` is how it began, where it is not as usual."""
    session = StillSession(SCENES[scene] if isinstance(scene, str) else scene)
    usual: dict[str, Any] = {
        "path": "gemma-3-27b-it-qat-q4_0.gguf",
        "demo": False,
        "settings": EngineSettings(),
        "sampling": SamplingSettings(),
        "n_predict": 256,
        "raw": False,
        "prompt": None,
        "quit_when_done": False,
        "session_id": "20261127-101500-5ce9e000",
    }
    app = GemtopApp(Startup(**(usual | startup)), folders, lambda _listener: cast("Any", session))
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
    assert app._exception is None
