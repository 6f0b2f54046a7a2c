"""The text that perplexity is taken on by default, and that long prompts are cut from."""

from __future__ import annotations

import functools
import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "shipped" / "corpus"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text and where it is from."""

    text: str
    """Paragraphs, each one line, with an empty line between."""
    title: str
    author: str
    published: int
    """Year of the first edition."""
    origin: str
    licence: str
    sha256: str
    """Of the text in UTF-8."""


@functools.cache
def default() -> Corpus:
    """The corpus that ships with gemtop."""
    about = tomllib.loads((_FOLDER / "persuasion.toml").read_text(encoding="utf-8"))
    raw = (_FOLDER / "persuasion.txt").read_bytes()
    corpus = Corpus(text=raw.decode("utf-8"), **about)
    if hashlib.sha256(raw).hexdigest() != corpus.sha256:
        raise RuntimeError(f"{_FOLDER / 'persuasion.txt'} is not the text that gemtop ships; install gemtop again")
    return corpus
