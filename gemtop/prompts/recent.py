"""Prompts of before, over sittings: one JSON object a line, the newest last, which makes a set of prompts too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from gemtop.domain.text import storable
from gemtop.prompts.own_files import held, replace

MOST_PROMPTS = 500
MOST_BYTES = 1 << 20
LONGEST_BYTES = MOST_BYTES // 4
"""A longer prompt is not kept: it would push out most of the others."""
_WAIT_S = 60.0
"""For other gemtops to be done with the file: nobody waits for this one."""
_MOST_READ = 4 * MOST_BYTES
"""Of a file that something else made large, its end."""


def load(file: Path) -> list[str]:
    """The prompts that are kept, the newest last; none where there is no file or it cannot be read."""
    try:
        with file.open("rb") as kept:
            return _bounded(_prompts(_tail(kept.fileno())))
    except OSError:
        return []


def keep(file: Path, prompt: str) -> None:
    """Put a prompt behind the others, once, and let the oldest go; a folder that cannot be written is no failure."""
    line = _line(prompt)
    if not prompt.strip() or len(line) > LONGEST_BYTES:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with held(file, _WAIT_S) as descriptor:
            raw = _tail(descriptor)
            before = _prompts(raw)
            after = _bounded([*before, storable(prompt)])
            if after == before:
                return
            if after[:-1] == before and raw[-1:] in (b"", b"\n"):
                os.write(descriptor, line)
            else:
                replace(file, "".join(_line(one).decode() for one in after))
    except OSError:
        pass


def _line(prompt: str) -> bytes:
    """In ASCII: whoever looks at the file sees escape sequences as what they are."""
    return json.dumps({"prompt": storable(prompt)}).encode() + b"\n"


def _tail(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    raw = os.pread(descriptor, _MOST_READ, max(0, size - _MOST_READ))
    while len(raw) < min(size, _MOST_READ):
        more = os.pread(descriptor, _MOST_READ, max(0, size - _MOST_READ) + len(raw))
        if not more:
            break
        raw += more
    return raw


def _prompts(raw: bytes) -> list[str]:
    """Lines that hold no prompt, such as the half of one that a full disk left, are passed over."""
    found = []
    for line in raw.split(b"\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        prompt = entry.get("prompt") if isinstance(entry, dict) else None
        if isinstance(prompt, str) and prompt.strip():
            found.append(storable(prompt))
    return found


def _bounded(prompts: Iterable[str]) -> list[str]:
    """Each prompt where it was last, and of them the newest that find room."""
    newest = list(dict.fromkeys(reversed(list(prompts))))[:MOST_PROMPTS]
    room = MOST_BYTES
    for count, prompt in enumerate(newest):
        room -= len(_line(prompt))
        if room < 0:
            newest = newest[:count]
            break
    return newest[::-1]
