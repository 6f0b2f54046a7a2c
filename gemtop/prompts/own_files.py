"""Files of prompts that several gemtops may change at once: held while they are changed, and replaced in one step."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_AGAIN_S = 0.01
_MODE = 0o600
"""Of new files: prompts are nobody else's business."""


@contextmanager
def held(file: Path, wait_s: float) -> Iterator[int]:
    """The file, made if need be, open for reading and writing while no other gemtop has it.

    Raises OSError where it cannot be opened, or others hold it for longer than `wait_s`.
    """
    descriptor = _lock(file, wait_s)
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # and with it the lock


def _lock(file: Path, wait_s: float) -> int:
    deadline = time.monotonic() + wait_s
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it before may have put another file in its place.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise
            time.sleep(_AGAIN_S)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def replace(file: Path, text: str) -> None:
    """Put a text in the place of a file's, all of it or nothing; its mode stays. Raises OSError."""
    half = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        mode = file.stat().st_mode & 0o777 if file.exists() else _MODE
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as out:
            out.write(text)
        half.replace(file)
    except BaseException:
        with suppress(OSError):
            half.unlink()
        raise
