"""A prompt from the table that a file has for it. What is wrong is said with the key it is wrong in."""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import shortened
from gemtop.prompts import excerpts
from gemtop.prompts.excerpts import FEWEST_CONTEXT_TOKENS, PLACE, Excerpt, Planted
from gemtop.prompts.model import DEFAULT_MAX_TOKENS, KINDS, Check, CodeCheck, JsonCheck, NumberCheck, Prompt, TextCheck

MOST_TOKENS = 131_072
"""Gemma 3's longest context."""
_LARGEST = 1e300
_LONGEST_ID = 80
_LONGEST_SHOWN = 60


class Problem(Exception):
    """What is wrong with a value, without the place; one line."""


def prompt(values: Mapping[str, Any], number: int) -> Prompt:
    """The prompt of a table, the `number`th of its file. Raises Problem."""
    table = Table(values, "", ("id", "kind", "prompt", "max_tokens", "check", "excerpt"))
    text = table.text("prompt")
    excerpt = _excerpt(table.table("excerpt", ("context_tokens", "begin", "planted"))) if "excerpt" in values else None
    if excerpt is not None and text.count(PLACE) != 1:
        raise Problem(f"prompt has {PLACE} {text.count(PLACE)} times; with an excerpt it stands there once")
    made = Prompt(
        id=_id(table, str(number)),
        prompt=text,
        kind=table.choice("kind", KINDS, "other"),
        max_tokens=table.integer("max_tokens", 1, MOST_TOKENS, DEFAULT_MAX_TOKENS),
        check=_check(table) if "check" in values else None,
        excerpt=excerpt,
    )
    if excerpt is not None and excerpt.context_tokens <= made.max_tokens + excerpts.TEMPLATE_TOKENS:
        raise Problem(f"excerpt.context_tokens leaves no room beside an answer of {made.max_tokens} tokens")
    return made


class Table:
    """Values by key, each asked for as what it should be. All raise Problem."""

    def __init__(self, values: Mapping[str, Any], path: str, known: Sequence[str]) -> None:
        self._values = values
        self._path = path
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise Problem(f'unknown key "{shortened(self.at(key), _LONGEST_SHOWN)}"; {hint}')

    def at(self, key: str) -> str:
        """The key with the tables it lies in."""
        return f"{self._path}.{key}" if self._path else key

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def value(self, key: str) -> Any:
        if key not in self._values:
            raise Problem(f'the key "{self.at(key)}" is missing')
        return self._values[key]

    def table(self, key: str, known: Sequence[str]) -> Table:
        return Table(self.mapping(key), self.at(key), known)

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.value(key)
        if not isinstance(value, Mapping):
            raise self.wrong(key, "a table")
        return value

    def text(self, key: str) -> str:
        value = self.value(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a text in quotes")
        if not value.strip():
            raise Problem(f"{self.at(key)} is empty")
        return value

    def number(self, key: str, least: float, most: float) -> float:
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(key, "a number")
        if not least <= value <= most:
            raise self.wrong(key, f"a number from {least:g} to {most:g}")
        return float(value)

    def integer(self, key: str, least: int, most: int, default: int | None = None) -> int:
        value = default if default is not None and key not in self else self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(key, f"a whole number from {least} to {most}")
        return value

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        value = default if default is not None and key not in self else self.text(key)
        if value not in choices:
            near = difflib.get_close_matches(value, choices, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Problem(
                f'{self.at(key)} is "{shortened(value, _LONGEST_SHOWN)}", not one of {", ".join(choices)}{hint}'
            )
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A text, or a list of them."""
        value = [self.value(key)] if isinstance(self.value(key), str) else self.value(key)
        if not isinstance(value, list) or not value or not all(isinstance(one, str) and one.strip() for one in value):
            raise self.wrong(key, "a list of texts")
        return tuple(value)

    def wrong(self, key: str, wanted: str) -> Problem:
        return Problem(f"{self.at(key)} is {shortened(repr(self.value(key)), _LONGEST_SHOWN)}; it is to be {wanted}")


def _id(table: Table, default: str) -> str:
    if "id" not in table:
        return default
    value = table.value("id")
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else table.text("id")
    if len(text) > _LONGEST_ID or not text.isprintable() or re.search(r"\s", text):
        raise table.wrong("id", f"at most {_LONGEST_ID} letters, digits and signs without spaces")
    return text


def _excerpt(table: Table) -> Excerpt:
    begin = table.text("begin")
    try:
        excerpts.start(begin)
    except BadInputError as error:
        raise Problem(f"{table.at('begin')}: {error}") from error
    rows = table.value("planted") if "planted" in table else []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise table.wrong("planted", "a list of tables with text and depth")
    planted = (Table(row, f"{table.at('planted')}[{at}]", ("text", "depth")) for at, row in enumerate(rows))
    return Excerpt(
        context_tokens=table.integer("context_tokens", FEWEST_CONTEXT_TOKENS, MOST_TOKENS),
        begin=begin,
        planted=tuple(Planted(row.text("text"), row.number("depth", 0, 1)) for row in planted),
    )


def _check(outer: Table) -> Check:
    values = outer.mapping("check")
    keys, make = _CHECKS[Table(values, "check", tuple(values)).choice("type", tuple(_CHECKS))]
    return make(outer.table("check", ("type", *keys)))


def _json(table: Table) -> JsonCheck:
    fields = table.mapping("fields")
    if not fields:
        raise Problem(f"{table.at('fields')} is empty")
    return JsonCheck({key: _plain(value, f"{table.at('fields')}.{key}") for key, value in fields.items()})


def _plain(value: Any, path: str) -> object:
    """A value that JSON has too."""
    if isinstance(value, Mapping):
        return {key: _plain(one, f"{path}.{key}") for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, f"{path}[{at}]") for at, one in enumerate(value)]
    if value is not None and not isinstance(value, (str, bool, int, float)):
        raise Problem(f"{shortened(path, _LONGEST_SHOWN)} is nothing JSON has; write {value} in quotes")
    if isinstance(value, float) and not math.isfinite(value):
        raise Problem(f"{shortened(path, _LONGEST_SHOWN)} is {value}, which JSON has no number for")
    return value


def _number(table: Table) -> NumberCheck:
    tolerance = table.number("tolerance", 0, _LARGEST) if "tolerance" in table else 0.0
    return NumberCheck(table.number("value", -_LARGEST, _LARGEST), tolerance)


def _text(table: Table) -> TextCheck:
    check = TextCheck(
        contains=_groups(table, "contains") if "contains" in table else (),
        lacks=table.texts("lacks") if "lacks" in table else (),
        matches=_pattern(table, "matches") if "matches" in table else None,
        equals=table.texts("equals") if "equals" in table else (),
        words=_range(table, "words") if "words" in table else None,
    )
    if check == TextCheck():
        raise Problem(f"check says nothing of the text; there are {', '.join(_CHECKS['text'][0])}")
    return check


def _groups(table: Table, key: str) -> tuple[tuple[str, ...], ...]:
    value = [table.value(key)] if isinstance(table.value(key), str) else table.value(key)
    if not isinstance(value, list) or not value:
        raise table.wrong(key, "a list of texts, or of lists of texts of which one will do")
    names = [f"{key}[{at}]" for at in range(len(value))]
    groups = Table(dict(zip(names, value, strict=True)), "check", names)
    return tuple(map(groups.texts, names))


def _pattern(table: Table, key: str) -> str:
    try:
        re.compile(table.text(key))
    except (re.error, RecursionError, OverflowError) as error:
        raise Problem(f"{table.at(key)} is no regular expression: {shortened(str(error), _LONGEST_SHOWN)}") from error
    return table.text(key)


def _range(table: Table, key: str) -> tuple[int, int]:
    value = table.value(key)
    whole = isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value)
    if not whole or not 0 <= value[0] <= value[1]:
        raise table.wrong(key, "the least and the most, like [20, 80]")
    return value[0], value[1]


def _code(table: Table) -> CodeCheck:
    asserts, defines = table.text("asserts"), table.text("defines")
    if not defines.isidentifier():
        raise table.wrong("defines", "the name of a function or class")
    try:
        ast.parse(asserts)
    except (SyntaxError, ValueError) as error:
        raise Problem(f"{table.at('asserts')} is no Python: {shortened(str(error), _LONGEST_SHOWN)}") from error
    return CodeCheck(defines, asserts)


_CHECKS: Mapping[str, tuple[Sequence[str], Callable[[Table], Check]]] = {
    "json": (("fields",), _json),
    "number": (("value", "tolerance"), _number),
    "text": (("contains", "lacks", "matches", "equals", "words"), _text),
    "code": (("defines", "asserts"), _code),
}
