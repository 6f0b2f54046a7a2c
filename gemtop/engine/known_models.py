"""Names of the models on this machine, fast: for a shell that completes them while the user waits."""

from __future__ import annotations

import threading

from gemtop.config import Paths, read_state, write_state
from gemtop.engine.names import stored_models
from gemtop.engine.stores.stored import StoredModel

Names = list[tuple[str, str]]
"""Each name with its store."""

_STATE = "model-names"
_LONGEST_S = 1.0
"""A folder on a machine that does not answer holds nobody up for longer."""


def known_models(paths: Paths) -> Names:
    """Every name that `gemtop models` lists, its headers unread; those seen last where the folders do not answer."""
    from gemtop.config.reading import read_config

    configured = read_config().config.models_folders
    stored: list[StoredModel] = []
    thread = threading.Thread(target=lambda: stored.extend(stored_models(configured)), name="gemtop-names", daemon=True)
    thread.start()
    thread.join(_LONGEST_S)
    if thread.is_alive():
        return _remembered(paths)
    return remember(paths, stored)


def remember(paths: Paths, stored: list[StoredModel]) -> Names:
    """Keep the names of all these models for when they cannot be looked up in time."""
    names = [(name, model.store) for model in stored for name in (model.name, *model.also)]
    if names != _remembered(paths):
        write_state(paths, _STATE, {"names": names})
    return names


def _remembered(paths: Paths) -> Names:
    found = read_state(paths, _STATE).get("names")
    return [(str(name), str(store)) for name, store in found] if isinstance(found, list) else []
