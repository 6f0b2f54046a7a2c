"""Prompts one may take into the prompt line: saved ones, those of sets, and those that were run before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.prompts import saved
from gemtop.prompts.model import Prompt
from gemtop.prompts.reading import default_set, read_set

EARLIER = "earlier"


@dataclass(frozen=True, slots=True)
class Entry:
    """A prompt in the list."""

    key: str
    group: str
    """The set it is of, or where else it comes from."""
    name: str
    text: str

    @property
    def is_saved(self) -> bool:
        return self.group == saved.SAVED


@dataclass(frozen=True, slots=True)
class Listed:
    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = field(default=())
    """Why some sets are not there, a line each."""


def listed(earlier: Sequence[str]) -> Listed:
    """Saved prompts, those of the user's own sets, earlier ones from the newest on, and those that ship."""
    found: list[Entry] = []
    problems: list[str] = []
    for name, file in saved.your_sets().items():
        try:
            prompts = saved.read_saved() if name == saved.SAVED else read_set(file).prompts
        except BadInputError as error:
            problems.append(str(error))
        else:
            found += _of_set(name, prompts)
    newest = enumerate(reversed(earlier))
    found += [Entry(f"{EARLIER}/{number}", EARLIER, one_line(text)[:200], text) for number, text in newest]
    for prompt in default_set().prompts:
        found += _of_set(prompt.kind, [prompt])
    return Listed(tuple(found), tuple(problems))


def _of_set(group: str, prompts: Iterable[Prompt]) -> list[Entry]:
    """Those with an excerpt are left out: it takes a model's tokenizer to cut them to length."""
    return [Entry(f"{group}/{p.id}", group, p.id, p.prompt) for p in prompts if p.excerpt is None]


def matching(entries: Iterable[Entry], typed: str) -> list[Entry]:
    """Those that hold every word, in their name, their set or their text."""
    words = typed.lower().split()
    found = []
    for entry in entries:
        whole = f"{entry.name} {entry.group} {entry.text}".lower()
        if all(word in whole for word in words):
            found.append(entry)
    return found
