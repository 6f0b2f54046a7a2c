"""Numbers as people and models write them."""

from __future__ import annotations

import math
import re

_DIGITS = r"(?:\d{1,3}(?:[,\u00a0\u2009\u202f'\u2019]\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?!\d)|\d+)"
_NUMBER = re.compile(
    rf"(?<![^\W_])(?<!\.)(?P<sign>(?<![)\]])[-+\u2212\u2013])?[$\u20ac\u00a3]?"
    rf"(?P<mantissa>{_DIGITS}(?:\.\d+)?|\.\d+)"
    r"(?:[eE](?P<e>[-+]?\d+)(?!\w)|\s*(?:[x*\u00d7\u22c5]|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?(?P<power>[-+\u2212]?\d+)\}?)?"
    r"(?:\s?/\s?(?P<under>\d+)(?!\d|/|\.\d))?"
)
_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}")
_ANSWER = re.compile(r"\banswer\b[^\n:=]{0,80}?(?::|=|\bis\b)|^#### *(?=\S+ *$)|\\boxed", re.IGNORECASE | re.MULTILINE)
_MOST_TRIED, _REACH = 8, 500
"""Last places looked at, and characters behind each: a model that repeats itself says "answer" thousands of times."""
_ASIDE = re.compile(r"\([^()\n]*\)(?=[^\n]*[:=])")


def numbers(text: str) -> list[float]:
    """All numbers of a text: signs, thousands separators, exponents, fractions of two integers, currency signs.

    A point is the decimal sign. `1,234`, `1 234` and `1'234` are one number; `1,23` is two.
    """
    text = _FRACTION.sub(r"\1/\2", text.replace("{,}", ",").replace("\\,", ","))
    found = (_value(match) for match in _NUMBER.finditer(text))
    return [value for value in found if math.isfinite(value)]


def whole(text: str) -> float | None:
    """The number that is the whole text, perhaps with a unit, percent or currency sign behind or before; else None."""
    stripped = text.strip().strip("$\u20ac\u00a3").strip()
    match = _NUMBER.match(stripped)
    if match is None or re.search(r"\d", stripped[match.end() :]):
        return None
    rest = stripped[match.end() :].strip()
    return _value(match) if re.fullmatch(r"[^\W\d]*[%$\u20ac\u00a3\u00b0]?[^\W\d]*", rest) else None


def answer(text: str) -> float | None:
    """The number a text gives as its answer: behind its last "answer is", `####` or `\\boxed`, or its last; else None.

    Behind the word it is the first of the line, in an equation the first of its last side: `Answer: 3 + 4 = 7 of 9`
    is 7. It may stand on a line of its own below.
    """
    for match in reversed(list(_ANSWER.finditer(text))[-_MOST_TRIED:]):
        lines = [line for line in text[match.end() :][:_REACH].split("\n") if line.strip("*_: $[\\")] or [""]
        said = _ASIDE.sub("", lines[0])
        found = numbers(said.rsplit("=", 1)[-1]) or numbers(said)
        if found:
            return found[0]
    every = numbers(text)
    return every[-1] if every else None


def _value(match: re.Match[str]) -> float:
    mantissa = float(re.sub(r"[^\d.]", "", match["mantissa"]))
    power = int((match["e"] or match["power"] or "0").replace("\u2212", "-")[:6])
    if match["sign"] in ("-", "\u2212", "\u2013"):
        mantissa = -mantissa
    if match["under"]:
        return mantissa / float(match["under"]) if float(match["under"]) else math.nan
    try:
        return mantissa * 10.0**power
    except OverflowError:
        return math.inf
