"""What is in force: a flag, else the environment, else the configuration file, else the default."""

from __future__ import annotations

import os
from pathlib import Path

from gemtop.config.places import Paths, places
from gemtop.config.reading import read_config
from gemtop.config.schema import BY_NAME, Config
from gemtop.domain.errors import BadInputError


def load_config() -> Config:
    """The configuration in force; without a file or variables its defaults.

    Raises BadInputError, with the place and what is wrong there, for one that cannot be used.
    """
    reading = read_config()
    if reading.problems:
        more = len(reading.problems) - 1
        also = f" (and {more} more: gemtop config shows {'it' if more == 1 else 'them'})" if more else ""
        raise BadInputError(f"{reading.problems[0]}{also}")
    return reading.config


def paths(db: str | None = None, config: Config | None = None) -> Paths:
    """The paths in force; `db` is the value of --db. Without a `config` it raises BadInputError as load_config does."""
    chosen = db or os.environ.get(BY_NAME["history.file"].variable)
    if chosen:
        return places(str(Path(chosen).expanduser().absolute()))
    return places((config or load_config()).history_file)


def fleet_address() -> str | None:
    """The address of the fleet; None where there is none. Raises BadInputError as load_config does."""
    return load_config().history_fleet
