"""LM Studio's folder: OWNER/NAME/FILE.gguf, as its repositories on Hugging Face."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gemtop.engine.stores.stored import StoredModel, gguf_files, models_in

STORE = "lmstudio"
_DEPTH = 5


def roots() -> tuple[Path, ...]:
    """The folder set in LM Studio, and the places it has used by default (lmstudio.js, find-lmstudio-home)."""
    home = Path.home()
    found = []
    for base in (_pointed_to(home), home / ".lmstudio", home / ".cache" / "lm-studio"):
        if base is not None:
            found += [folder for folder in (_downloads_folder(base), base / "models") if folder is not None]
    return tuple(dict.fromkeys(found))


def files_of(repo: str) -> dict[str, Path]:
    """The GGUF files of a repository by their names in it."""
    files: dict[str, Path] = {}
    for root in roots():
        folder = root / repo
        for file in gguf_files(folder, _DEPTH):
            files.setdefault(str(file.relative_to(folder)), file)
    return files


def models() -> Iterator[StoredModel]:
    for root in roots():
        for file in models_in(root, _DEPTH):
            yield StoredModel(str(file.relative_to(root)), str(file), STORE)


def _pointed_to(home: Path) -> Path | None:
    try:
        pointed = (home / ".lmstudio-home-pointer").read_text().strip()
    except (OSError, ValueError):
        return None
    return Path(pointed) if pointed.startswith("/") else None


def _downloads_folder(base: Path) -> Path | None:
    import json

    try:
        folder = json.loads((base / "settings.json").read_bytes()).get("downloadsFolder")
    except (OSError, ValueError, AttributeError):
        return None
    return Path(os.path.expanduser(folder)) if isinstance(folder, str) and folder else None  # noqa: PTH111
