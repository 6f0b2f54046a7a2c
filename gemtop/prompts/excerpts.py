"""Long prompts: a piece of the default corpus of a given length in tokens, with something to find in it."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from dataclasses import dataclass

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.prompts import corpus

PLACE = "{excerpt}"
"""Stands for the excerpt in a prompt."""
TEMPLATE_TOKENS = 32
"""Room for BOS and the chat template around a prompt; Gemma 3's takes 10."""
FEWEST_CONTEXT_TOKENS = 256

CountTokens = Callable[[str], int]
"""Tokens of a text, without BOS, as the model to be asked counts them."""

_CHARACTERS_PER_TOKEN = 6
"""Few tokenizers reach that on English prose; where one does, the search goes on further."""
_SENTENCE_END = re.compile(r"[.!?][\"')]*(?=\s)")
_BREAK = "\n\n"


@dataclass(frozen=True, slots=True)
class Planted:
    """A sentence put into an excerpt for the prompt to ask for."""

    text: str
    depth: float
    """Where it stands: 0 before the excerpt's first paragraph, 1 behind its last."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of the default corpus, as long as a context has room for."""

    context_tokens: int
    """What the prompt, its chat template and the longest answer fill together."""
    begin: str
    """The first words of the paragraph that the excerpt begins with."""
    planted: tuple[Planted, ...] = ()


def fill(prompt: str, excerpt: Excerpt, max_tokens: int, count_tokens: CountTokens) -> str:
    """The prompt with as many whole sentences of the corpus as leave room for template and answer.

    Raises BadInputError where not one sentence has room, or the corpus ends before the context is full.
    """
    source = corpus.default().text[start(excerpt.begin) :]
    ends = [match.end() for match in _SENTENCE_END.finditer(source)]
    room = excerpt.context_tokens - max_tokens - TEMPLATE_TOKENS

    def text(sentences: int) -> str:
        return prompt.replace(PLACE, _plant(source[: ends[sentences - 1]], excerpt.planted))

    def tokens(sentences: int) -> int:
        return count_tokens(text(sentences))

    most = bisect.bisect_right(ends, room * _CHARACTERS_PER_TOKEN)
    while 0 < most < len(ends) and tokens(most) <= room:
        most = min(2 * most, len(ends))
    fits = bisect.bisect_right(range(1, most + 1), room, key=tokens)
    if fits == 0:
        raise BadInputError(
            f"a context of {excerpt.context_tokens} tokens has no room for this prompt and an answer of {max_tokens}"
        )
    if fits == len(ends):
        raise BadInputError(
            f"the corpus ends before a context of {excerpt.context_tokens} tokens is full; begin the excerpt earlier"
        )
    return text(fits)


def start(begin: str) -> int:
    """Where in the corpus the paragraph with these first words begins. Raises BadInputError where none does, or two."""
    text = corpus.default().text
    found = [match.start() for match in re.finditer(rf"^{re.escape(begin)}", text, re.MULTILINE)]
    if len(found) != 1:
        title, words = corpus.default().title, one_line(begin)
        what = f"{len(found)} paragraphs of {title} begin" if found else f"no paragraph of {title} begins"
        raise BadInputError(f'{what} with "{words}"; one must')
    return found[0]


def _plant(piece: str, planted: tuple[Planted, ...]) -> str:
    """The piece with each planted text as a paragraph of its own, where its depth in characters says."""
    paragraphs = piece.split(_BREAK)
    before = [0]
    for paragraph in paragraphs:
        before.append(before[-1] + len(paragraph) + len(_BREAK))
    for plant in sorted(planted, key=lambda one: one.depth)[::-1]:
        wanted = plant.depth * before[-1]
        nearest = min(range(len(before)), key=lambda place: abs(before[place] - wanted))
        paragraphs.insert(nearest, plant.text)
    return _BREAK.join(paragraphs)
