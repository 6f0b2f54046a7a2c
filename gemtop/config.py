"""Where gemtop keeps things: the XDG folders, and what the environment overrides."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


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
    return Paths(history=history, state=_xdg("XDG_STATE_HOME", ".local/state") / "gemtop")
