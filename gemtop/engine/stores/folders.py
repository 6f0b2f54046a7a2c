"""Plain folders with GGUF files in them: the current one, gemtop's own, ~/models, and those of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gemtop.engine.stores.stored import StoredModel, models_in

STORE = "folder"
_DEPTH = 6


def models(configured: Sequence[str]) -> Iterator[StoredModel]:
    """Files are called by their names; of the current folder only those that lie in it itself."""
    from gemtop.engine.adopt_layout import models_folder

    deep = [models_folder(), Path.home() / "models", *map(Path, configured)]
    places = [(Path.cwd(), 1), *((folder, _DEPTH) for folder in deep)]
    for folder, depth in places:
        for file in models_in(folder, depth):
            yield StoredModel(file.name, str(file), STORE)
