"""The Hugging Face cache: models--OWNER--NAME/snapshots/REVISION/FILE, links to blobs.

huggingface_hub, `hf download`, transformers and newer llama.cpp's -hf keep models there
(huggingface_hub's constants.py; llama.cpp's common/hf-cache.cpp, which asks LLAMA_CACHE first).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.engine.hub_names import PREFIX, choose
from gemtop.engine.stores.stored import StoredModel, exists, gguf_files, is_further_part, quant_in

STORE = "huggingface"
_FOLDER = "models--"
_DEPTH = 4


def roots() -> tuple[Path, ...]:
    """The cache, and llama.cpp's where it is told to have one of its own."""
    environ = os.environ.get
    cache = environ("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    home = environ("HF_HOME") or os.path.join(cache, "huggingface")  # noqa: PTH118
    hub = environ("HF_HUB_CACHE") or environ("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")  # noqa: PTH118
    found = [Path(os.path.expandvars(folder)).expanduser() for folder in (hub, environ("LLAMA_CACHE")) if folder]
    return tuple(dict.fromkeys(found))


def files_of(repo: str) -> dict[str, Path]:
    """The GGUF files of a repository by their names in it, of the newest revision that has each."""
    files: dict[str, Path] = {}
    for root in roots():
        folder = root / (_FOLDER + repo.replace("/", "--"))
        for snapshot in _snapshots(folder):
            for file in gguf_files(snapshot, _DEPTH):
                files.setdefault(str(file.relative_to(snapshot)), file)
    return files


def models() -> Iterator[StoredModel]:
    for root in roots():
        try:
            folders = sorted(name for name in os.listdir(root) if name.startswith(_FOLDER))  # noqa: PTH208
        except OSError:
            continue
        for folder in folders:
            repo = folder.removeprefix(_FOLDER).replace("--", "/")
            files = files_of(repo)
            for name, file in files.items():
                if is_further_part(name):
                    continue
                shown = typed(repo, name, list(files))
                yield StoredModel(shown, str(file), STORE, None if exists(file) else lost(shown))


def typed(repo: str, name: str, names: list[str]) -> str:
    """What to type for a file among those of its repository: by its format, or where others have that too its name."""
    quant = quant_in(name)
    try:
        alone = quant is not None and choose(repo, names, quant)[0] == name
    except BadInputError:
        alone = False
    return f"{PREFIX}{repo}:{quant if alone else name}"


def lost(name: str) -> str:
    """What to say of a link into a store whose file is gone."""
    return f"the file {one_line(name)} leads to is gone; fetch it again: gemtop pull {one_line(name)}"


def _snapshots(folder: Path) -> list[Path]:
    """Revisions of a repository: what `main` was last, then the others, the newest first."""
    try:
        found = [entry for entry in os.scandir(folder / "snapshots") if entry.is_dir()]
        found.sort(key=lambda entry: -entry.stat().st_mtime)
    except OSError:
        return []
    try:
        main = (folder / "refs" / "main").read_text().strip()
    except (OSError, ValueError):
        main = ""
    return [Path(entry.path) for entry in sorted(found, key=lambda entry: entry.name != main)]
