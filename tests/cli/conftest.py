"""Shared by the tests of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemtop.config import Paths, paths


@pytest.fixture(scope="session")
def command_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder for all commands, so that llama.cpp is tried out once and not for every one."""
    return tmp_path_factory.mktemp("command-state")


@pytest.fixture
def warm(folders: Paths, command_state: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """The history of the test alone, the state of all."""
    monkeypatch.setenv("XDG_STATE_HOME", str(command_state))
    return paths()
