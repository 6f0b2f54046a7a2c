"""A model file that is being written: beside its place under another name, and moved there when it is whole."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from gemtop.domain.errors import BadInputError
from gemtop.engine.files import show

FreeBytes = Callable[[Path], int]

SYNC_BYTES = 512 << 20
"""Written to the disk in portions: one great flush at the end could not be interrupted and would show no progress."""


def free_bytes(folder: Path) -> int:
    """What the disk has for this user."""
    return shutil.disk_usage(folder).free


def make_folder(folder: Path, option: str) -> None:
    """Make a folder of gemtop's own where it is not there. Raises BadInputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"{show(folder)} cannot be made: {error.strerror}; name another place with {option}"
        ) from None


@contextmanager
def temporary(target: Path, option: str) -> Iterator[tuple[Path, int]]:
    """An empty file beside the target, locked, and removed where it was not moved away.

    Its name is always the same, so what a killed program left behind is written over by the next. `option` is the
    flag that names another place. Raises BadInputError where there can be no such file.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        cannot_write(target, error, option)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInputError(f"{show(target)} is being written by another gemtop; wait for it") from None
        try:
            os.ftruncate(descriptor, 0)
            yield part, descriptor
        finally:
            part.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def cannot_write(target: Path, error: OSError, option: str) -> NoReturn:
    """Raises BadInputError with the reason."""
    if error.errno == errno.ENOSPC:
        raise BadInputError(
            f"the disk of {show(target.parent)} is full; what was written of {show(Path(target.name))} was removed"
        ) from None
    raise BadInputError(
        f"{show(target)} cannot be written: {error.strerror}; give another place with {option}"
    ) from None
