"""llama.cpp's own download folder, of the years before it took to Hugging Face's: OWNER_NAME_FILE.gguf, all flat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gemtop.engine.stores.stored import StoredModel, gguf_files, models_in

STORE = "llama.cpp"


def root() -> Path:
    """LLAMA_CACHE, else llama.cpp in the XDG cache folder (fs_get_cache_directory in its common/common.cpp)."""
    given = os.environ.get("LLAMA_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llama.cpp"


def files_of(repo: str) -> dict[str, Path]:
    """The GGUF files of a repository by their names in it."""
    prefix = repo.replace("/", "_") + "_"
    files = (file for file in gguf_files(root(), 1) if file.name.startswith(prefix))
    return {file.name.removeprefix(prefix): file for file in files}


def models() -> Iterator[StoredModel]:
    for file in models_in(root(), 1):
        yield StoredModel(file.name, str(file), STORE)
