"""Shared fixtures: the real demo weights, and folders of its own for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gemtop.config import Paths, paths
from gemtop.engine.stores.demo import demo_model
from tests.engines import EngineDriver, FakeEngine

if TYPE_CHECKING:  # it needs llama.cpp, and tests of the history run without it
    from tests.stores import Machine

FLEET = find_spec("duckdb_extension_ducklake") is not None
collect_ignore = [] if FLEET else ["fleet"]


def pytest_report_header() -> str | None:
    return None if FLEET else "tests/fleet need pip install '.[fleet]' and PostgreSQL: .ci/run has them run apart"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """History, state, configuration and cache of the test alone, for this process and every one it starts."""
    monkeypatch.setenv("GEMTOP_DB", str(tmp_path / "data" / "history.duckdb"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in (("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("LC_ALL", "C.UTF-8")):
        monkeypatch.setenv(name, value)
    return paths()


@pytest.fixture
def machine(folders: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A home folder and stores of models of the test's own, for this process and every one it starts."""
    from tests.stores import Machine

    return Machine(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo model's GGUF. A test that needs it fails where it is missing; none is skipped."""
    state = tmp_path_factory.mktemp("demo")
    where = Paths(history=state / "h.duckdb", state=state, cache=state)
    return str(demo_model(where))


@pytest.fixture(scope="session")
def preflight_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder that outlives tests, so that the preflight runs once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def engine(folders: Paths, preflight_state: Path) -> Iterator[EngineDriver]:
    """The real engine, closed afterwards."""
    from gemtop.engine.worker import LlamaEngine

    where = Paths(history=folders.history, state=preflight_state, cache=folders.cache)
    driver = EngineDriver(lambda emit: LlamaEngine(emit, where))
    yield driver
    assert driver.engine.close(), "the engine thread did not end"


@pytest.fixture(params=["fake", "real"])
def any_engine(request: pytest.FixtureRequest, folders: Paths, preflight_state: Path) -> Iterator[EngineDriver]:
    """What holds for every engine is tested on both."""
    if request.param == "fake":
        driver = EngineDriver(FakeEngine)
    else:
        from gemtop.engine.worker import LlamaEngine

        where = Paths(history=folders.history, state=preflight_state, cache=folders.cache)
        driver = EngineDriver(lambda emit: LlamaEngine(emit, where))
    yield driver
    assert driver.engine.close()


def child_environment(**more: str) -> dict[str, str]:
    """The environment for a gemtop in a process of its own."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **more}
