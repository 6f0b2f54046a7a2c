"""Files of /proc and /sys that are read many times a second."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


class KernelFile:
    """A file that is kept open: to open it takes several times as long as to read it.

    The kernel writes its content anew whenever it is read from the beginning. `size` is how many bytes of it are
    read at most. Use it from one thread.
    """

    def __init__(self, path: Path, size: int, open_file: Callable[[Path, int], int] = os.open) -> None:
        self._path = path
        self._size = size
        self._open_file = open_file
        self._descriptor: int | None = None

    def read(self) -> bytes:
        """The content from its beginning. Raises OSError; the reading after that opens the file again."""
        if self._descriptor is None:
            self._descriptor = self._open_file(self._path, os.O_RDONLY)
        try:
            return os.pread(self._descriptor, self._size, 0)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. May be called again; a later `read` opens it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
