"""What can be said of a model's file before llama.cpp, or anything else big, is loaded."""

from __future__ import annotations

import stat
from pathlib import Path

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line

MAGIC = b"GGUF"
_VERSION_BYTES = 4
_VERSIONS = (2, 3)
"""That ggml reads (ggml/src/gguf.cpp)."""


def show(file: Path) -> str:
    """A path for a message: on one line, harmless."""
    return one_line(str(file))


def check_file(path: str | Path) -> None:
    """Raises BadInputError for what is not there, not a file, not readable or not GGUF."""
    file = Path(path)
    try:
        is_folder = stat.S_ISDIR(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        raise BadInputError(f"{show(file)} does not exist; give the path of a GGUF file") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"{show(file)} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if is_folder:
        raise BadInputError(f"{show(file)} is a folder; give the path of a GGUF file in it")
    begun = read_beginning(file)
    if not begun:
        raise BadInputError(f"{show(file)} is empty; fetch it again")
    if begun[: len(MAGIC)] != MAGIC:
        raise BadInputError(f"{show(file)} is not a GGUF file; gemtop runs models in llama.cpp's GGUF format")
    _check_version(file, begun[len(MAGIC) :])


def _check_version(file: Path, data: bytes) -> None:
    """Raises BadInputError for a version of the format that llama.cpp does not read: fetching it again is no help."""
    version = int.from_bytes(data, "little")
    if len(data) < _VERSION_BYTES or version in _VERSIONS:
        return
    if int.from_bytes(data, "big") in _VERSIONS:
        raise BadInputError(f"{show(file)} is a GGUF file for big-endian machines; fetch the little-endian one")
    newer = "bring llama-cpp-python up to date" if version > max(_VERSIONS) else "convert the model anew"
    raise BadInputError(f"{show(file)} is of version {version} of GGUF, which this llama.cpp does not read; {newer}")


def read_beginning(file: Path) -> bytes:
    """The first eight bytes: the magic, and the version. Raises BadInputError where they cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(len(MAGIC) + _VERSION_BYTES)
    except OSError as error:
        raise BadInputError(f"{show(file)} cannot be read: {error.strerror}") from None
