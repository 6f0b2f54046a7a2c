"""What is in force: a flag, else the environment, else the configuration file, else the default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gemtop.config.places import DB_VARIABLE, Paths, config_file, places
from gemtop.domain.errors import BadInputError

if TYPE_CHECKING:  # the schema takes longer to import than most starts have use for
    from gemtop.config.schema import Config


def load_config() -> Config:
    """The configuration in force; without a file or variables its defaults.

    Raises BadInputError, with the place and what is wrong there, for one that cannot be used.
    """
    from gemtop.config.reading import read_config

    reading = read_config()
    if reading.problems:
        more = len(reading.problems) - 1
        also = f" (and {more} more: gemtop config shows {'it' if more == 1 else 'them'})" if more else ""
        raise BadInputError(f"{reading.problems[0]}{also}")
    return reading.config


def config_if_set() -> Config | None:
    """The same, but None where nothing is set: that is known in no time. Raises as load_config does."""
    return load_config() if _is_set() else None


def paths(db: str | None = None, config: Config | None = None) -> Paths:
    """The paths in force; `db` is the value of --db. Without a `config` it raises BadInputError as load_config does."""
    chosen = db or os.environ.get(DB_VARIABLE)
    if chosen:
        return places(str(Path(chosen).expanduser().absolute()))
    config = config or config_if_set()
    return places(config.history_file if config else None)


def _is_set() -> bool:
    """Whether there is a file, or a variable beside that of the history."""
    named = any(name.startswith("GEMTOP_") and name != DB_VARIABLE for name in os.environ)
    return named or os.path.lexists(config_file())


def fleet_address() -> str | None:
    """The address of the fleet; None where there is none. Raises BadInputError as load_config does."""
    return load_config().history_fleet
