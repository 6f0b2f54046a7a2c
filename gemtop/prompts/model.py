"""A prompt, what a right answer to it is, and a set of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from gemtop.prompts import corpus, excerpts
from gemtop.prompts.excerpts import CountTokens, Excerpt

KINDS = ("summarise", "extract", "code", "reasoning", "translate", "long_context", "other")
"""What prompts ask for. The shipped set has ten of each but the last, which is a user's prompt that says nothing."""

DEFAULT_MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class JsonCheck:
    """The output holds a JSON object with these fields."""

    fields: Mapping[str, object]
    """Name to value: text, number, true or false, a list, or a mapping of the same. Other fields may be there too."""


@dataclass(frozen=True, slots=True)
class NumberCheck:
    """The output's answer is this number."""

    value: float
    tolerance: float = 0.0
    """Largest distance from `value` that is still right."""


@dataclass(frozen=True, slots=True)
class TextCheck:
    """What the output says, and how long it is. All that is given must hold."""

    contains: tuple[tuple[str, ...], ...] = ()
    """Of each group one wording is in the output as whole words; a `*` at a wording's end stands for any ending."""
    lacks: tuple[str, ...] = ()
    """Wordings, as above, that are not in the output."""
    matches: str | None = None
    """A regular expression found somewhere in the output."""
    equals: tuple[str, ...] = ()
    """The output is one of these."""
    words: tuple[int, int] | None = None
    """Least and most words of the output."""


@dataclass(frozen=True, slots=True)
class CodeCheck:
    """The output holds Python that defines a name and passes assertions."""

    defines: str
    asserts: str
    """Python statements, run one by one behind the output's code."""


Check = JsonCheck | NumberCheck | TextCheck | CodeCheck


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked."""

    id: str
    prompt: str
    """The text; of a long prompt the part around the excerpt, which stands for `{excerpt}` in it."""
    kind: str = "other"
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Longest answer."""
    check: Check | None = None
    """What a right answer is; None where only a reader can tell."""
    excerpt: Excerpt | None = None

    def text(self, count_tokens: CountTokens) -> str:
        """What the model is given, without chat template.

        A long prompt is cut to length by `count_tokens`, which costs about a dozen calls on the whole text: make
        it once for all variants. The same tokenizer gives the same text.
        """
        if self.excerpt is None:
            return self.prompt
        return excerpts.fill(self.prompt, self.excerpt, self.max_tokens, count_tokens)


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts in the order they are asked; their ids are unique."""

    title: str
    prompts: tuple[Prompt, ...]

    def texts(self, count_tokens: CountTokens) -> dict[str, str]:
        """Id to text of every prompt: what `Prompt.text` gives, made once."""
        return {prompt.id: prompt.text(count_tokens) for prompt in self.prompts}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides what is asked and what is right, whatever file it was read from."""
        told: list[object] = [[asdict(prompt), type(prompt.check).__name__] for prompt in self.prompts]
        if any(prompt.excerpt for prompt in self.prompts):
            told.append(corpus.default().sha256)
        text = json.dumps(told, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()
