"""Copies that `gemtop adopt` made of Ollama's files, told by the first bytes of a file.

The first keys of a copy say what it was made of. They are read without llama.cpp, which need not be there to find a
model by its name, and which would read the vocabulary as well.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gemtop.engine.files import MAGIC
from gemtop.engine.stores.stored import StoredModel

OWN_KEYS = "gemtop.adopted."
NAME_KEY, DIGEST_KEY = f"{OWN_KEYS}from", f"{OWN_KEYS}digest"
_BLOB = re.compile(r"sha256-([0-9a-f]{64})\Z")
_HEAD = struct.Struct("<4sIqq")
"""Magic, version, number of tensors, number of keys; the first key follows."""
_LENGTH, _TYPE = struct.Struct("<Q"), struct.Struct("<I")
_STRING = 8
_READ_BYTES = 4096
"""Room for the longest name that Ollama allows, the digest and the key after them."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a copy was made of."""

    name: str
    """Ollama's at that time, or a file's."""
    digest: str | None
    """SHA-256 of the blob in hexadecimal, as its name has it; None where it was no blob of Ollama's."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A file and what it was made of."""

    stored: StoredModel
    origin: Origin


def origin(file: str | Path) -> Origin | None:
    """What a file was adopted from; None for one that was not, or that cannot be read."""
    try:
        with open(file, "rb") as stream:  # noqa: PTH123  (of hundreds of files, and no object is needed)
            data = stream.read(_READ_BYTES)
        keys = _own_keys(data)
    except (OSError, ValueError, struct.error):
        return None
    return Origin(keys[NAME_KEY], keys.get(DIGEST_KEY)) if NAME_KEY in keys else None


def blob_digest(path: str) -> str | None:
    """The digest that a blob of Ollama's has for its name."""
    match = _BLOB.match(os.path.basename(os.path.realpath(path)))  # noqa: PTH119
    return match[1] if match else None


def outdated(copy: str | Path, blob: str) -> bool:
    """Whether a copy was made of another blob than this one: of what Ollama had under the name before."""
    found, digest = origin(copy), blob_digest(blob)
    return found is not None and None not in (found.digest, digest) and found.digest != digest


def copies(models: Iterable[StoredModel]) -> Iterator[Copy]:
    """Those of these files that are copies."""
    for model in models:
        found = origin(model.path)
        if found is not None:
            yield Copy(model, found)


def instead(model: StoredModel, among: Iterable[Copy]) -> StoredModel:
    """A model of Ollama's with the path of the copy that was made of its blob, where there is one.

    Where there is only one of what Ollama had under the name before, that is said of the model.
    """
    digest, names = blob_digest(model.path), (model.name, *model.also)
    stale: str | None = None
    for copy in among:
        if digest is not None and copy.origin.digest == digest:
            also = tuple(dict.fromkeys((*model.also, copy.stored.name, *copy.stored.also)))
            return StoredModel(model.name, copy.stored.path, model.store, None, also, adopted_from=model.path)
        if copy.origin.digest and copy.origin.name in names:
            stale = copy.stored.path
    return replace(model, outdated_copy=stale)


def _own_keys(data: bytes) -> dict[str, str]:
    """The keys of gemtop's own at the beginning of a file."""
    keys: dict[str, str] = {}
    at = _HEAD.size
    while data.startswith(MAGIC):
        key, at = _string(data, at)
        if not key.startswith(OWN_KEYS) or _TYPE.unpack_from(data, at)[0] != _STRING:
            break
        keys[key], at = _string(data, at + _TYPE.size)
    return keys


def _string(data: bytes, at: int) -> tuple[str, int]:
    begin = at + _LENGTH.size
    end = begin + _LENGTH.unpack_from(data, at)[0]
    if end > len(data):
        raise ValueError("it goes on beyond what was read")
    return data[begin:end].decode("utf-8", "replace"), end
