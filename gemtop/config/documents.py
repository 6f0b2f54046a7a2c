"""The configuration as TOML: a first file to edit, and what is in force."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from gemtop.config.kinds import KeyTable, toml
from gemtop.config.places import places
from gemtop.config.reading import Reading, Source
from gemtop.config.schema import KEYS, TABLES, VERSION, Key
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line, without_password
from gemtop.keymap import ACTIONS

_WIDTH = 100


def sample() -> str:
    """A configuration file in which every key is explained and none is set."""
    lines = [
        "# gemtop's configuration. What begins with # is a comment: take it away from a key to set it.",
        "# Flags and environment variables go before what is said here; gemtop config shows what is in force.",
        f"version = {VERSION}",
    ]
    for table, keys in TABLES.items():
        lines += ["", f"[{table}]"]
        for number, key in enumerate(keys):
            lines += [""] * (number > 0)
            lines += [f"# {line}" for line in textwrap.wrap(_plain(f"{key.says} {_standing(key)}"), _WIDTH)]
            if isinstance(key.kind, KeyTable):
                lines += [f"# {toml(name)} = {toml(action.keys)}  # {action.help}" for name, action in ACTIONS.items()]
            else:
                lines.append(f"# {key.name} = {key.example}")
    return "\n".join(lines) + "\n"


def _standing(key: Key) -> str:
    """The sentence of what holds without the key, where that is not plain from what follows."""
    if isinstance(key.kind, KeyTable):
        return "These are the actions with the keys they have by default."
    return f"Default: {default_text(key)}."


def default_text(key: Key) -> str:
    """What holds where a key is not set, as Markdown."""
    if isinstance(key.kind, KeyTable):
        return "each action has its own"
    return key.unset or f"`{toml(key.default)}`"


def _plain(markdown: str) -> str:
    return markdown.replace("`", "")


def in_force(reading: Reading, only: Sequence[str] = ()) -> str:
    """Every key with its value and, in a comment, where that is from; or `only` those named. It is TOML itself.

    Raises BadInputError for a name that there is not.
    """
    lines: list[str] = []
    for table, keys in TABLES.items():
        rows = [row for key in keys for row in _rows(key, reading, only)]
        if rows:
            lines += ["", f"[{table}]", *rows]
    return "\n".join(lines[1:]) + "\n"


def as_data(reading: Reading, only: Sequence[str] = ()) -> dict[str, Any]:
    """The same in plain types, by the keys' full names. Raises BadInputError for a name that there is not."""
    found = {}
    for key in KEYS:
        for name, value, source in _values(key, reading, only):
            found[name] = {"value": value, "source": source.kind, "line": source.line, "variable": source.variable}
    return found


def check_names(only: Sequence[str]) -> None:
    """Raises BadInputError for what is neither a key nor a table."""
    from gemtop.config.kinds import nearest

    known = [*TABLES, *(key.full for key in KEYS), *(f"keys.{name}" for name in ACTIONS)]
    for name in only:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else "gemtop config shows them"
            raise BadInputError(f"there is no key {one_line(name)}; {hint}")


def _values(key: Key, reading: Reading, only: Sequence[str]) -> Iterator[tuple[str, Any, Source]]:
    """(full name, value, where it is from); of the keys for actions the default ones only where they are asked for."""
    default = Source("default")
    value = getattr(reading.config, key.field)
    if key.full == "history.file":
        value = value or str(places(None).history)
    if not isinstance(key.kind, KeyTable):
        if not only or key.full in only or key.table in only:
            if key.full == "history.fleet" and value:
                value = without_password(value)
            yield key.full, value, reading.sources.get(key.full, default)
        return
    for action, keys in {**{name: each.keys for name, each in ACTIONS.items()}, **value}.items():
        name = f"keys.{action}"
        if name in only or key.table in only or (not only and action in value):
            yield name, keys, reading.sources.get(name, default)


def _rows(key: Key, reading: Reading, only: Sequence[str]) -> Iterator[str]:
    for name, value, source in _values(key, reading, only):
        short = key.name or toml(name.removeprefix("keys."))
        where = source_text(source, reading)
        if value is None:
            yield f"# {short} is not set: {_plain(key.unset)}"
        else:
            yield f"{short} = {toml(value)}  # {where}"


def source_text(source: Source, reading: Reading) -> str:
    """Where a value is from, in a word or two."""
    if source.line:
        return f"{one_line(str(reading.file))}, line {source.line}"
    return source.variable or "default"
