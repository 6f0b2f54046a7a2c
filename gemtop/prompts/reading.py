"""Sets of prompts from files: TOML, or one JSON object a line."""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import shortened
from gemtop.prompts import fields
from gemtop.prompts.model import KINDS, Prompt, PromptSet

MOST_BYTES = 64 << 20
MOST_PROMPTS = 10_000
_FOLDER = Path(__file__).parent / "shipped" / "sets"
_LONGEST_NAME = 200
_LONGEST_SHOWN = 80
HEADER = re.compile(r"^[ \t]*\[\[[ \t]*prompt[ \t]*\]\]", re.MULTILINE)
_JSON_KINDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True, slots=True)
class _Entry:
    place: str
    """Line of the file as far as it is known, and number of the prompt."""
    values: dict[str, Any]


@functools.cache
def default_set() -> PromptSet:
    """The sixty prompts that ship with gemtop, ten of each kind."""
    sets = [read_set(_FOLDER / f"{kind}.toml") for kind in KINDS if kind != "other"]
    return PromptSet("gemtop's own prompts", tuple(prompt for one in sets for prompt in one.prompts))


def few_of_each_kind(count: int, wanted: Collection[str] = KINDS) -> PromptSet:
    """So many of the shipped prompts of each kind, without those that need a long context."""
    every = default_set()
    kinds = dict.fromkeys(prompt.kind for prompt in every.prompts if prompt.kind in wanted and prompt.excerpt is None)
    few = [prompt for kind in kinds for prompt in [p for p in every.prompts if p.kind == kind][:count]]
    return PromptSet(f"{every.title}, {len(few)} of them", tuple(few))


def read_set(path: Path) -> PromptSet:
    """A set from a TOML or JSON Lines file. Raises BadInputError, which names file, place and key."""
    name = shortened(str(path), _LONGEST_NAME)
    try:
        title, entries = _entries(_text(path), path)
        prompts = _prompts(entries)
    except fields.Problem as problem:
        raise BadInputError(f"{name}: {problem}") from problem
    return PromptSet(shortened(title, _LONGEST_SHOWN), prompts)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise fields.Problem(f"cannot be read: {error.strerror or error}") from error
    if len(raw) > MOST_BYTES:
        raise fields.Problem(f"larger than {MOST_BYTES >> 20} MiB; a set of prompts is not that large")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise fields.Problem(
            f"line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def _entries(text: str, path: Path) -> tuple[str, list[_Entry]]:
    """Title and entries, by the file's ending or else by its first character."""
    if path.suffix in (".jsonl", ".ndjson") or (path.suffix != ".toml" and text.lstrip().startswith("{")):
        title, entries, how = path.stem, list(_from_lines(text)), 'one JSON object a line, like {"prompt": "..."}'
    else:
        title, entries = _from_toml(text, path)
        how = '[[prompt]] and, below it, prompt = "..."'
    if not entries:
        raise fields.Problem(f"no prompts in it; write {how}")
    return title, entries


def _from_lines(text: str) -> Iterator[_Entry]:
    number = 0
    for at, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        number += 1
        _check_count(number)
        place = f"line {at}"
        try:
            values = json.loads(line, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
            json.dumps(values, ensure_ascii=False).encode("utf-8")
        except json.JSONDecodeError as error:
            raise fields.Problem(f"{place}, column {error.colno}: no JSON: {error.msg}") from error
        except UnicodeEncodeError as error:
            raise fields.Problem(f"{place}: half of a surrogate pair in a text, which is no character") from error
        except RecursionError as error:
            raise fields.Problem(f"{place}: nested too deeply") from error
        except ValueError as error:
            raise fields.Problem(f"{place}: {shortened(str(error), _LONGEST_SHOWN)}") from error
        if not isinstance(values, dict):
            kind = _JSON_KINDS.get(type(values), "a number")
            raise fields.Problem(f'{place}: {kind}; each line is to be an object like {{"prompt": "..."}}')
        yield _Entry(place, values)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'the key "{next(key for key in keys if keys.count(key) > 1)}" is there twice')
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _from_toml(text: str, path: Path) -> tuple[str, list[_Entry]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "; JSON lines go into a file named .jsonl" if text.lstrip().startswith(("{", "[{")) else ""
        raise fields.Problem(f"no TOML: {shortened(str(error), _LONGEST_SHOWN)}{hint}") from error
    except RecursionError as error:
        raise fields.Problem("nested too deeply") from error
    table = fields.Table(document, "", ("title", "prompt"))
    rows = table.value("prompt") if "prompt" in table else []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise fields.Problem("prompt is to be tables; write [[prompt]] above each")
    _check_count(len(rows))
    # tomllib does not tell where a table began: the headers do, unless a text holds something like one.
    lines = [text.count("\n", 0, match.start()) + 1 for match in HEADER.finditer(text)]
    places = [f"line {line}, " for line in lines] if len(lines) == len(rows) else [""] * len(rows)
    entries = [_Entry(f"{place}prompt {at}", row) for at, (place, row) in enumerate(zip(places, rows, strict=True), 1)]
    return table.text("title") if "title" in table else path.stem, entries


def _check_count(number: int) -> None:
    if number > MOST_PROMPTS:
        raise fields.Problem(f"more than {MOST_PROMPTS} prompts")


def _prompts(entries: list[_Entry]) -> tuple[Prompt, ...]:
    prompts: dict[str, Prompt] = {}
    places: dict[str, str] = {}
    for number, entry in enumerate(entries, start=1):
        try:
            prompt = fields.prompt(entry.values, number)
        except fields.Problem as problem:
            raise fields.Problem(f"{entry.place}: {problem}") from problem
        if prompt.id in prompts:
            raise fields.Problem(f'{entry.place}: the id "{prompt.id}" is that of {places[prompt.id]} too')
        prompts[prompt.id], places[prompt.id] = prompt, entry.place
    return tuple(prompts.values())
