"""Where gemtop keeps things, the XDG folders and what the environment overrides; and the user's configuration."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line


def _xdg(variable: str, fallback: str) -> Path:
    """An XDG base folder; relative values are ignored, as the specification asks."""
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback


@dataclass(frozen=True, slots=True)
class Paths:
    """Folders and files of one user. Nothing is created by looking."""

    history: Path
    """The DuckDB file: --db, else GEMTOP_DB, else gemtop/history.duckdb in the XDG data folder."""
    state: Path
    """What can be lost without harm: the model last used, preflight results, crash notes."""

    cache: Path
    """What can be made again."""

    @property
    def spools(self) -> Path:
        """Spool files of the sessions of this history, beside it."""
        return self.history.with_name(self.history.name + ".spool")


def paths(db: str | None = None) -> Paths:
    """The paths in force; `db` is the value of --db."""
    chosen = db or os.environ.get("GEMTOP_DB") or ""
    history = (
        Path(chosen).expanduser().absolute()
        if chosen
        else _xdg("XDG_DATA_HOME", ".local/share") / "gemtop" / "history.duckdb"
    )
    return Paths(
        history=history,
        state=_xdg("XDG_STATE_HOME", ".local/state") / "gemtop",
        cache=_xdg("XDG_CACHE_HOME", ".cache") / "gemtop",
    )


@dataclass(frozen=True, slots=True)
class Config:
    """What the user has written into the configuration file."""

    models_folders: tuple[str, ...] = ()
    """[models] folders: where GGUF files are looked for as well, absolute."""
    record_text: bool = True
    """[history] text: whether prompts and outputs go into the history."""
    fleet: str | None = None
    """[history] fleet: address of the fleet."""


_SETTINGS = {"models": ("folders",), "history": ("text", "fleet")}
"""Tables of the configuration file, each with its keys."""


def config_file() -> Path:
    """GEMTOP_CONFIG, else gemtop/config.toml in the XDG config folder."""
    given = os.environ.get("GEMTOP_CONFIG")
    if given:
        return Path(given).expanduser().absolute()
    return _xdg("XDG_CONFIG_HOME", ".config") / "gemtop" / "config.toml"


def load_config() -> Config:
    """The configuration in force; without a file its defaults.

    Raises BadInputError, with the file and what is wrong in it, for one that cannot be used.
    """
    file = config_file()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if os.environ.get("GEMTOP_CONFIG"):
            raise BadInputError(f"GEMTOP_CONFIG names {one_line(str(file))}, which does not exist") from None
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{one_line(str(file))} cannot be read: {error}") from None
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"{one_line(str(file))}: {one_line(str(error))}") from None
    return _config(file, text, data)


def _config(file: Path, text: str, data: dict[str, Any]) -> Config:
    def wrong(key: str, words: str) -> BadInputError:
        lines = text.splitlines()
        at = [n for n, line in enumerate(lines, 1) if re.match(rf"\s*\[?\s*[\"']?{re.escape(key)}\b", line)]
        where = f"{one_line(str(file))}, line {at[0]}" if at else one_line(str(file))
        return BadInputError(f"{where}: {words}")

    for table, values in data.items():
        if table not in _SETTINGS:
            raise wrong(table, f"there is no setting {one_line(table)}; there are [models] and [history]")
        if not isinstance(values, dict):
            raise wrong(table, f"{table} is a table: [{table}]")
        for key in values:
            if key not in _SETTINGS[table]:
                raise wrong(key, f"[{table}] has no setting {one_line(key)}; it has {' and '.join(_SETTINGS[table])}")
    folders = data.get("models", {}).get("folders", [])
    if not isinstance(folders, list) or not all(isinstance(folder, str) and folder for folder in folders):
        raise wrong("folders", 'folders is a list of paths: folders = ["~/gguf"]')
    record_text = data.get("history", {}).get("text", True)
    if not isinstance(record_text, bool):
        raise wrong("text", "text is true or false: whether prompts and outputs are kept")
    fleet = data.get("history", {}).get("fleet")
    if fleet is not None and (not isinstance(fleet, str) or not fleet.strip()):
        raise wrong("fleet", 'fleet is an address: fleet = "postgresql://gemtop@db/fleet"')
    return Config(tuple(str(file.parent / Path(folder).expanduser()) for folder in folders), record_text, fleet)


def fleet_address() -> str | None:
    """GEMTOP_FLEET, else [history] fleet; None where neither names a fleet. Raises BadInputError."""
    return os.environ.get("GEMTOP_FLEET") or load_config().fleet


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
