"""How History looks: without and with sessions, rows, a plot, errors and its dialogs, at four sizes."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest
from textual.pilot import Pilot

from gemtop.config import Paths
from gemtop.domain.errors import QueryStoppedError
from gemtop.history.results import StoredResult
from gemtop.history.workbench import Workbench
from gemtop.tui.app import GemtopApp
from gemtop.tui.screens.history import HistoryScreen
from tests.tui.stills import SIZES, SMALLEST, Size, at_sizes, hold, still, until
from tests.tui.test_sql_screen import seed

SLOW = "SELECT count(*) FROM range(100000000000) AS a(i)"


class Sight:
    """The screen, and ways to what is to be seen of it."""

    def __init__(self, app: GemtopApp, pilot: Pilot[int]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def it(self) -> HistoryScreen:
        assert self.app._history is not None
        return self.app._history

    async def idle(self) -> None:
        await until(self.pilot, lambda: not self.it.busy, "nothing goes on")

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.idle()

    async def put(self, sql: str) -> None:
        self.it.editor.show_sql(sql)
        self.it.action_editor()
        await self.pilot.pause()


Look = Callable[[Sight], Awaitable[None]]


def _press(*keys: str) -> Look:
    return lambda sight: sight.press(*keys)


def _run(sql: str, *keys: str) -> Look:
    async def look(sight: Sight) -> None:
        await sight.put(sql)
        await sight.press("f5", *keys)

    return look


async def _completing(sight: Sight) -> None:
    await sight.put("SELECT  FROM runs")
    await sight.pilot.press(*("right",) * 7, "d", "e")


async def _running(sight: Sight) -> None:
    """A query that does not end before the picture is taken."""
    sight.app._still_running = threading.Event()  # type: ignore[attr-defined]
    release: threading.Event = sight.app._still_running  # type: ignore[attr-defined]

    def wait(*_args: object, **_more: object) -> StoredResult:
        release.wait()
        raise QueryStoppedError("stopped")

    sight.it.bench.run = wait  # type: ignore[method-assign]
    sight.it.bench.stop = release.set  # type: ignore[method-assign]
    await sight.put(SLOW)
    await sight.pilot.press("f5")


class Scene(NamedTuple):
    recorded: bool
    """There are sessions."""
    look: Look
    """How one comes to it."""


_RUNS = "SELECT variant, decode_tokens_per_s, energy_j, model_path FROM runs ORDER BY started_at"
_CURVE = "SELECT i AS context, 40 - 12 * ln(1 + i / 900) AS tokens_per_s FROM range(0, 8192, 64) AS t(i)"
SCENES = {
    "empty": Scene(False, _press()),
    "empty query": Scene(False, _press("enter")),
    "lists": Scene(True, _press("down", "down")),
    "sessions": Scene(True, _press("tab", "down")),
    "rows": Scene(True, _run(_RUNS, "f3")),
    "query": Scene(True, _press("down", "enter")),
    "session": Scene(True, _press("tab", "enter")),
    "editor": Scene(True, _run(_RUNS)),
    "completing": Scene(True, _completing),
    "error": Scene(True, _run("SELECT variant, tokens_per_second FROM runs WHERE status = 'finished'")),
    "running": Scene(True, _running),
    "plot": Scene(True, _run(_CURVE, "f3", "space", "right", "space", "p")),
    "save": Scene(True, _run(_RUNS, "ctrl+s")),
    "value": Scene(True, _run(_RUNS, "f3", "end", "enter")),
    "note": Scene(True, _press("tab", "e")),
    "write": Scene(True, _press("ctrl+w")),
    "writing": Scene(True, _press("ctrl+w", "enter")),
}
"""By the name of the picture."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of three sessions, to be copied."""
    folder = tmp_path_factory.mktemp("recorded")
    seed(Paths(history=folder / "history.duckdb", state=folder, cache=folder), 3)
    return folder / "history.duckdb"


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same time zone on every machine, and queries of the same length."""
    connect, made = duckdb.connect, StoredResult.__init__

    def in_utc(*args: object, **more: object) -> duckdb.DuckDBPyConnection:
        con = connect(*args, **more)  # type: ignore[arg-type]
        con.execute("SET GLOBAL TimeZone = 'UTC'")
        return con

    def in_a_moment(self: StoredResult, bench: Workbench, table: str, seconds: float) -> None:
        made(self, bench, table, 0.02)

    monkeypatch.setattr(duckdb, "connect", in_utc)
    monkeypatch.setattr(StoredResult, "__init__", in_a_moment)
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@at_sizes(SMALLEST, *SIZES)
@pytest.mark.parametrize("name", SCENES)
async def test_history(folders: Paths, recorded: Path, name: str, size: Size) -> None:
    scene = SCENES[name]
    if scene.recorded:
        folders.history.parent.mkdir(parents=True)
        shutil.copy(recorded, folders.history)
    async with still(folders, "ended", size) as (app, pilot):
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, HistoryScreen), "the screen")
        sight = Sight(app, pilot)
        await sight.idle()
        await scene.look(sight)
        await pilot.pause()
        hold(app, f"history {name}", size)
        if (release := getattr(app, "_still_running", None)) is not None:
            release.set()
            await sight.idle()
