"""The application over a fake engine, on a terminal that is not there: ways to type and to look."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from textual.pilot import Pilot

from gemtop.config import Paths
from gemtop.domain.model import LoadedModel
from gemtop.domain.settings import EngineSettings, SamplingSettings
from gemtop.domain.telemetry import DeviceInfo
from gemtop.keymap import Keys
from gemtop.session import Session, begin_session
from gemtop.tui.app import GemtopApp
from gemtop.tui.startup import Startup
from gemtop.tui.widgets.prompt import PromptArea
from gemtop.tui.widgets.stream import StreamView
from gemtop.view import SessionEvent
from tests.engines import FakeEngine, fake_model
from tests.fakes import FakeSampler, ListRecorder
from tests.tui.program import LIMIT_S


@dataclass
class Options:
    """How a sitting begins."""

    path: str | None = "fake.gguf"
    model: LoadedModel | None = field(default_factory=lambda: fake_model(chat_template=False))
    gate: threading.Semaphore | None = None
    devices: tuple[DeviceInfo, ...] = ()
    prompt: str | None = None
    quit_when_done: bool = False
    n_predict: int = 6
    keys: Keys | None = None
    resumed: bool = False
    size: tuple[int, int] = (120, 40)
    parts_at: dict[str, int] = field(default_factory=dict)
    """Files that answer otherwise from a token on."""
    ready: bool = True
    """Wait until the model is loaded."""


class Screen:
    """The application, and ways to type and look."""

    def __init__(self, app: GemtopApp, pilot: Pilot[int], recorder: ListRecorder) -> None:
        self.app, self.pilot, self.recorder = app, pilot, recorder

    @property
    def text(self) -> str:
        """What is on the terminal now."""
        size = self.app.size
        strips = self.app.screen._compositor.render_strips(size)
        return "\n".join(strip.text.rstrip() for strip in strips)

    @property
    def prompt(self) -> PromptArea:
        return self.app.live.query_one("#prompt", PromptArea)

    @property
    def output(self) -> str:
        return self.app.live.query_one("#output", StreamView).text

    @property
    def said(self) -> list[str]:
        """Notices that are shown."""
        return [notice.message for notice in self.app._notifications]

    @property
    def session(self) -> Session:
        assert self.app.session is not None
        return self.app.session

    async def type(self, text: str) -> None:
        """Type as a person does: one key after another, without waiting."""
        names = {" ": "space", "\n": "enter"}
        await self.pilot.press(*(names.get(char, char) for char in text))

    async def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {LIMIT_S} s: {what}; the screen reads\n{self.text}"
            await self.pilot.pause(0.01)

    async def until_shown(self, *texts: str) -> None:
        await self.until(lambda: all(text in self.text for text in texts), f"the screen shows {texts}")

    async def until_ended(self) -> None:
        await self.until(lambda: self.app.return_value is not None, "the application has ended")


@asynccontextmanager
async def gemtop(folders: Paths, options: Options | None = None) -> AsyncIterator[Screen]:
    """The application on a terminal that is not there, over a session of fakes."""
    chosen = options or Options()
    recorder = ListRecorder()

    def make_session(listener: Callable[[SessionEvent], None]) -> Session:
        return Session(
            begin_session("tui"),
            lambda emit: FakeEngine(emit, chosen.model, chosen.gate, chosen.parts_at),
            lambda emit, on_status: FakeSampler(emit, on_status, chosen.devices),
            recorder,
            listener,
        )

    startup = Startup(
        path=chosen.path,
        demo=False,
        settings=EngineSettings(),
        sampling=SamplingSettings(),
        n_predict=chosen.n_predict,
        raw=False,
        prompt=chosen.prompt,
        quit_when_done=chosen.quit_when_done,
        session_id="20261123-221412-9f3ac1d2",
        resumed=chosen.resumed,
    )
    app = GemtopApp(startup, folders, make_session, keys=chosen.keys)
    async with app.run_test(size=chosen.size) as pilot:
        screen = Screen(app, pilot, recorder)
        if chosen.ready:
            # The screen hears of it after the session, and takes the settings over that were used.
            await screen.until(lambda: app.live._loaded is not None, "the model is loaded")
        yield screen
        app._leaving = True  # nothing more is told to a screen that goes
    assert app._exception is None
    if app.session is not None:
        app.session.close()
