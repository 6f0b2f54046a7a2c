"""The XDG folders, what the environment puts in their place, and small files of the state folder."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG_VARIABLE = "GEMTOP_CONFIG"
DB_VARIABLE = "GEMTOP_DB"


@dataclass(frozen=True, slots=True)
class Paths:
    """Folders and files of one user. Nothing is created by looking."""

    history: Path
    """The DuckDB file."""
    state: Path
    """What can be lost without harm: the model last used, preflight results, crash notes, the log."""

    cache: Path
    """What can be made again."""

    @property
    def spools(self) -> Path:
        """Spool files of the sessions of this history, beside it."""
        return self.history.with_name(self.history.name + ".spool")


def _xdg(variable: str, fallback: str) -> Path:
    """An XDG base folder; relative values are ignored, as the specification asks."""
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback


def places(history: str | None) -> Paths:
    """The paths with this history; None is gemtop/history.duckdb in the XDG data folder."""
    return Paths(
        history=Path(history) if history else _xdg("XDG_DATA_HOME", ".local/share") / "gemtop" / "history.duckdb",
        state=_xdg("XDG_STATE_HOME", ".local/state") / "gemtop",
        cache=_xdg("XDG_CACHE_HOME", ".cache") / "gemtop",
    )


def config_file() -> Path:
    """GEMTOP_CONFIG, else gemtop/config.toml in the XDG config folder."""
    given = os.environ.get(CONFIG_VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    return _xdg("XDG_CONFIG_HOME", ".config") / "gemtop" / "config.toml"


def in_home(path: str) -> str:
    """A path as `~/...` where it lies in the home folder: shorter, and it names nobody to whom it is shown."""
    with suppress(RuntimeError, ValueError):
        return f"~/{Path(path).relative_to(Path.home())}"
    return path


def new_session_id() -> str:
    """UTC time and eight random digits: sorts by time, unique among machines. 20261123-221412-9f3ac1d2."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(4).hex()}"


def read_state(paths: Paths, name: str) -> dict[str, Any]:
    """A small JSON object from the state folder; empty where there is none or it cannot be read."""
    import json

    try:
        data = json.loads((paths.state / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_state(paths: Paths, name: str, data: dict[str, Any]) -> None:
    """Replace a JSON object of the state folder in one step; a folder that cannot be written is no failure."""
    import json

    try:
        paths.state.mkdir(parents=True, exist_ok=True)
        temporary = paths.state / f"{name}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(data))
        temporary.replace(paths.state / f"{name}.json")
    except OSError:
        pass
