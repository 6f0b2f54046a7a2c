"""A model file as its store has it, and the search for GGUF files in folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf\Z", re.IGNORECASE)
_QUANT = re.compile(r"[-._/]((?:UD-)?(?:I?Q|TQ)\d(?:_[A-Z0-9]+)*|BF16|FP?16|FP?32|MXFP4(?:_MOE)?)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model file of a store."""

    name: str
    """What to type for it."""
    path: str
    """The file; the first part of a split one."""
    store: str
    problem: str | None = None
    """What is wrong with it and what to do, in one line."""
    also: tuple[str, ...] = ()
    """Other names of the same file."""
    adopted_from: str | None = None
    """The blob of Ollama's that the file is the adopted copy of; the name is the blob's."""
    outdated_copy: str | None = None
    """A copy that was adopted from what Ollama had under the name before."""


def split_part(name: str) -> tuple[str, int, int] | None:
    """Stem, number and count of a part of a split GGUF (gguf-split's x-00002-of-00003.gguf), or None."""
    match = _PART.match(name)
    return (match[1], int(match[2]), int(match[3])) if match else None


def part_name(stem: str, number: int, count: int) -> str:
    """The file name of a part, as gguf-split gives it."""
    return f"{stem}-{number:05}-of-{count:05}.gguf"


def is_further_part(name: str) -> bool:
    """Whether this is the name of a part of a split GGUF that is not its first."""
    part = split_part(name)
    return part is not None and part[1] > 1


def is_projector(name: str) -> bool:
    """Whether a file's name says that it is a vision projector beside a model."""
    return "mmproj" in name.rpartition("/")[2].lower()


def exists(path: Path) -> bool:
    """Path.exists raises where a folder above may not be looked into."""
    return os.path.exists(path)  # noqa: PTH110


def quant_in(name: str) -> str | None:
    """The format a GGUF's file name ends in, in upper case: gemma-3-4b-it-q4_0.gguf is Q4_0."""
    part = split_part(name)
    match = _QUANT.search(part[0] if part else name.removesuffix(".gguf"))
    return match[1].upper() if match else None


def without_quant(stem: str) -> str:
    """A file name without the format it ends in: gemma-3-4b-it of gemma-3-4b-it-BF16."""
    return _QUANT.sub("", stem)


def gguf_files(folder: Path, depth: int) -> Iterator[Path]:
    """GGUF files at most `depth` levels deep, parts of split ones and links that lead nowhere included.

    Hidden folders and what cannot be read are passed over; a folder that links make appear twice is read once.
    """
    yield from _gguf_files(str(folder), depth, set())


def models_in(folder: Path, depth: int) -> Iterator[Path]:
    """`gguf_files` without the further parts of split ones."""
    return (file for file in gguf_files(folder, depth) if not is_further_part(file.name))


def _gguf_files(folder: str, depth: int, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = os.stat(folder)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.endswith(".gguf") and not entry.is_dir():
            yield Path(entry.path)
        elif depth > 1 and not entry.name.startswith(".") and entry.is_dir():
            yield from _gguf_files(entry.path, depth - 1, seen)
