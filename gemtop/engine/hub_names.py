"""What `hf:OWNER/NAME[:QUANT|:FILE.gguf]` means: which of a repository's files are the model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line

PREFIX = "hf:"
DEFAULT_REVISION = "main"
DEFAULT_QUANTS = ("Q4_K_M", "Q8_0")
"""Looked for in this order where none is named, as llama.cpp does (find_best_model in its common/download.cpp)."""

_NO_MODEL = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
"""What llama.cpp passes over: GGUF files that lie beside a model and are none."""

_OWNER_OR_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_HOST = r"(?:(?:hf\.co|huggingface\.co)/(?=[^/:]+/))?"
"""As Ollama's users type it, and as it is copied from a browser."""
_SPEC = re.compile(rf"hf:{_HOST}(?P<repo>{_OWNER_OR_NAME}/{_OWNER_OR_NAME})(?::(?P<choice>.+))?\Z")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\Z")
_PART = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf\Z", re.IGNORECASE)
_TAG = re.compile(r"[-.]([A-Za-z0-9_]+)\Z")
_LONGEST_REPO = 96
_MOST_NAMED = 40


@dataclass(frozen=True, slots=True)
class HubSpec:
    """A model on the hub, as the user names it."""

    repo: str
    """OWNER/NAME."""
    choice: str | None
    """A quantization or a file's name; None leaves it to the defaults."""
    revision: str
    """A branch, a tag or a commit."""


def parse_spec(text: str, revision: str | None = None) -> HubSpec:
    """Read `hf:OWNER/NAME[:QUANT|:FILE.gguf]`; `hf.co/` may stand before OWNER. Raises BadInputError for all else."""
    match = _SPEC.match(text)
    repo = match["repo"] if match else ""
    if not match or "--" in repo or ".." in repo or repo.endswith(".git") or len(repo) > _LONGEST_REPO:
        raise BadInputError(f"{one_line(text)} names no repository; write hf:OWNER/NAME or hf:OWNER/NAME:Q4_0")
    wanted = DEFAULT_REVISION if revision is None else revision
    if not _REVISION.match(wanted) or ".." in wanted:
        raise BadInputError(f"{one_line(wanted) or 'an empty text'} is no revision; give a branch, a tag or a commit")
    return HubSpec(repo, match["choice"], wanted)


def is_safe(name: str) -> bool:
    """Whether a file's name from a server stays inside a folder and is harmless on a terminal."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(parts) and max(map(len, parts)) < 200


def choose(repo: str, names: Iterable[str], choice: str | None) -> tuple[str, ...]:
    """The files of one model among a repository's: all parts, the first one first.

    A quantization is found as llama.cpp's -hf finds it, whatever the case. Raises BadInputError, which lists what
    is there, where nothing or more than one model is meant.
    """
    groups = _groups([name for name in names if name.lower().endswith(".gguf")])
    if not groups:
        raise BadInputError(f"{repo} holds no GGUF file; repositories that do often end in -GGUF")
    if choice is not None and choice.lower().endswith(".gguf"):
        found = [group for group in groups if any(choice in (name, name.rpartition("/")[2]) for name in group)]
        listed = [name for group in groups for name in group]
    else:
        models = [group for group in groups if not any(word in group[0].rpartition("/")[2] for word in _NO_MODEL)]
        found = _of_quant(models, choice)
        listed = [_label(group[0]) for group in models]
    if len(found) > 1:
        both = _listing([group[0] for group in found])
        raise BadInputError(
            f"{repo} holds several files for {one_line(choice or DEFAULT_QUANTS[0])}: name one of {both}"
        )
    if not found:
        raise BadInputError(f"{repo} has no {one_line(choice or 'model')}; it has {_listing(listed) or 'none at all'}")
    return _whole(repo, found[0])


def _groups(names: list[str]) -> list[list[str]]:
    """Files that belong together: the parts of a split model, or one file by itself; the order is kept."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in names:
        part = _PART.match(name)
        groups.setdefault((part["stem"], part["count"]) if part else (name, ""), []).append(name)
    return [sorted(group) for group in groups.values()]


def _of_quant(models: list[list[str]], quant: str | None) -> list[list[str]]:
    """The models of a quantization; of the first default that is there, or else the first model, where it is None."""
    for wanted in DEFAULT_QUANTS if quant is None else (quant,):
        loose = re.compile(re.escape(wanted) + "[.-]", re.IGNORECASE)
        # llama.cpp takes the first file that matches, so that F16 may give BF16: a word of its own goes first here.
        exact = re.compile(r"(?<![A-Za-z0-9])" + loose.pattern, re.IGNORECASE)
        for pattern in (exact, loose):
            found = [group for group in models if pattern.search(group[0])]
            if found:
                return found
    return models[:1] if quant is None else []


def _whole(repo: str, group: list[str]) -> tuple[str, ...]:
    """All parts of a split model; raises BadInputError where the repository lacks one."""
    part = _PART.match(group[0])
    if part:
        there = {int(_PART.match(name)["index"]) for name in group}  # type: ignore[index]
        missing = [str(i) for i in range(1, int(part["count"]) + 1) if i not in there]
        if missing:
            raise BadInputError(f"{repo} lacks part {_listing(missing)} of {int(part['count'])} of {_label(group[0])}")
    return tuple(group)


def _label(name: str) -> str:
    """What a file would be asked for by: its quantization, or its name where that holds none."""
    part = _PART.match(name)
    tag = _TAG.search(part["stem"] if part else name[: -len(".gguf")])
    return tag[1] if tag and any(char.isdigit() for char in tag[1]) else name


def _listing(words: Iterable[str]) -> str:
    unique = list(dict.fromkeys(words))
    more = f" and {len(unique) - _MOST_NAMED} more" if len(unique) > _MOST_NAMED else ""
    return one_line(", ".join(unique[:_MOST_NAMED])) + more
