"""Where gemtop keeps things, and what the user has set: flags before environment before file before default.

The schema is `schema.Config`; it and what reads it are imported when they are needed.
"""

from __future__ import annotations

from gemtop.config.in_force import config_if_set, fleet_address, load_config, paths
from gemtop.config.places import Paths, config_file, in_home, new_session_id, places, read_state, write_state

__all__ = [
    "Paths",
    "config_file",
    "config_if_set",
    "fleet_address",
    "in_home",
    "load_config",
    "new_session_id",
    "paths",
    "places",
    "read_state",
    "write_state",
]
