"""Folders for what is only needed while a process lives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp


def new_scratch(cache: Path, kind: str) -> Path:
    """A new folder of this kind under the cache folder; those of killed processes are removed. Raises OSError."""
    cache.mkdir(parents=True, exist_ok=True)
    _clear_up(cache, kind)
    return Path(mkdtemp(prefix=f"{kind}-{os.getpid()}-", dir=cache))


@contextmanager
def scratch(cache: Path, kind: str) -> Iterator[Path]:
    """The same, for the length of a block."""
    folder = new_scratch(cache, kind)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear_up(cache: Path, kind: str) -> None:
    for left in cache.glob(f"{kind}-*-*"):
        try:
            os.kill(int(left.name.split("-")[1]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (ValueError, OSError):
            continue
