"""Wordings compared as a reader would: without regard to case, spacing and the shape of quotation marks."""

from __future__ import annotations

import functools
import re
import unicodedata

_PLAIN = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u2032": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"',
        "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00ad": None,
    }
)  # fmt: skip
_EDGES = " \t\n.,;:!?\"'`*_()[]"


def plain(text: str) -> str:
    """The text in one case and Unicode form (NFKC), white space as single spaces, quotes and dashes as in ASCII."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_PLAIN).casefold().split())


def same(one: str, other: str) -> bool:
    """Whether two texts are the same but for `plain` and the punctuation around them."""
    return plain(one).strip(_EDGES) == plain(other).strip(_EDGES)


def says(text: str, wording: str) -> bool:
    """Whether a text that is `plain` already has the wording as whole words; a `*` at its end is any ending."""
    return _pattern(wording).search(text) is not None


@functools.lru_cache(maxsize=4096)
def _pattern(wording: str) -> re.Pattern[str]:
    begun = wording.endswith("*")
    words = re.escape(plain(wording.removesuffix("*")))
    return re.compile(rf"(?<!\w){words}" + ("" if begun else r"(?!\w)"))
