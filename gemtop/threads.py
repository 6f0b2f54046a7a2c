"""Names of threads as the kernel has them, by which their CPU time is told apart."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

_LIMIT = 15
"""Bytes of a name that the kernel keeps."""


def name_thread(name: str) -> None:
    """Name the calling thread for the kernel (`ps -T`, `top -H`), cut to 15 bytes.

    A thread inherits the name of the one that makes it: what llama.cpp starts from the engine's thread
    has its name. Where the kernel does not take names, nothing happens.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_bytes(name.encode()[:_LIMIT])
