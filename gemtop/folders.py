"""Folders of results that are whole or not there: checked before the work, made beside their place and moved."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gemtop.domain.errors import BadInputError, HistoryError
from gemtop.domain.text import one_line

MANIFEST = "manifest.json"


def check_target(
    target: Path, what: str, flag: str, *, force: bool, is_ours: Callable[[Path], bool],
    goes_on: Callable[[Path], bool] = lambda _: False,
) -> None:  # fmt: skip
    """Raises BadInputError where the folder cannot or must not be put there.

    `what` is an export or a report; `is_ours` says whether a folder holds one and nothing else, and `goes_on` whether
    it may be replaced without `force`.
    """
    name = one_line(str(target))
    if not target.parent.is_dir():
        raise BadInputError(f"there is no folder {one_line(str(target.parent))} to put {one_line(target.name)} in")
    try:
        _half_of(target).mkdir(mode=0o700)
        _half_of(target).rmdir()
    except OSError as error:
        raise BadInputError(f"{name} cannot be written: {error.strerror or error}") from error
    if not target.exists():
        return
    if not target.is_dir():
        raise BadInputError(f"{name} is a file: {flag} names a folder that is made, or is empty")
    try:
        if not any(target.iterdir()):
            return
        ours = is_ours(target)
    except OSError as error:
        raise BadInputError(f"{name} cannot be read: {error.strerror}") from error
    if ours and goes_on(target):
        return
    if not force:
        raise BadInputError(f"{name} is not empty: choose another folder, or --force to replace {what}")
    if not ours:
        raise BadInputError(f"{name} holds other things than {what} of gemtop's: it is not replaced")


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A new folder to write into, beside `target`; at the end of the block it takes its place, else nothing is left.

    Only its owner can read it. Raises HistoryError for what the system refuses.
    """
    half = _half_of(target)
    try:
        half.mkdir(mode=0o700)  # prompts and outputs are in it
        yield half
        _put_in_place(half, target)
    except OSError as error:
        shutil.rmtree(half, ignore_errors=True)
        raise HistoryError(f"{one_line(str(target))} could not be written: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


def _half_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def _put_in_place(half: Path, target: Path) -> None:
    """Give it its name; what was there before is deleted only then."""
    if not target.exists() or not any(target.iterdir()):
        half.rename(target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    try:
        half.rename(target)
    except OSError:
        with suppress(OSError):
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
