"""Where gemtop keeps things, and what the user has set: flags before environment before file before default."""

from __future__ import annotations

from gemtop.config.in_force import fleet_address, load_config, paths
from gemtop.config.places import Paths, config_file, new_session_id, read_state, write_state
from gemtop.config.schema import Config

__all__ = [
    "Config",
    "Paths",
    "config_file",
    "fleet_address",
    "load_config",
    "new_session_id",
    "paths",
    "read_state",
    "write_state",
]
