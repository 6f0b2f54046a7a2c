"""What can be said of a model's file before llama.cpp, or anything else big, is loaded."""

from __future__ import annotations

import stat
from pathlib import Path

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line

MAGIC = b"GGUF"


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
    magic = read_magic(file)
    if not magic:
        raise BadInputError(f"{show(file)} is empty; fetch it again")
    if magic != MAGIC:
        raise BadInputError(f"{show(file)} is not a GGUF file; gemtop runs models in llama.cpp's GGUF format")


def read_magic(file: Path) -> bytes:
    """The first four bytes. Raises BadInputError where they cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(len(MAGIC))
    except OSError as error:
        raise BadInputError(f"{show(file)} cannot be read: {error.strerror}") from None
