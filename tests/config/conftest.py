"""Shared by the tests of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemtop.config import config_file
from gemtop.config.schema import KEYS


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the configuration lies by default; it is not there yet, and no variable says otherwise."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "conf"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("GEMTOP_CONFIG", *(key.variable for key in KEYS)):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "conf" / "gemtop").mkdir(parents=True)
    assert config_file() == tmp_path / "conf" / "gemtop" / "config.toml"
    return config_file()
