"""What a value of the configuration may be: read from TOML, from an environment variable, and written as TOML."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gemtop.domain.text import one_line, storable

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class WrongValueError(ValueError):
    """A value that cannot be used; the text says what one is, and which is the nearest."""

    def __init__(self, words: str, *, newer: bool = False) -> None:
        super().__init__(words)
        self.newer = newer
        """A later version may know it: it is a word that is not among those known."""


class Kind(Protocol):
    """The type of a key."""

    @property
    def words(self) -> str:
        """What a value is, as in "folders is ..."."""

    def read(self, value: object, base: Path) -> Any:
        """A value out of TOML as the program has it; paths begin at `base`. Raises WrongValueError."""

    def parse(self, text: str) -> object:
        """What TOML would have for the text of an environment variable, not checked any further."""


class Flag:
    words = "true or false"

    def read(self, value: object, base: Path) -> bool:
        if not isinstance(value, bool):
            raise WrongValueError(f"{self.words}, not {shown(value)}")
        return value

    def parse(self, text: str) -> object:
        word = text.strip().lower()
        return word in _YES if word in _YES + _NO else text


class Text:
    """Some text that is not blank."""

    def __init__(self, words: str) -> None:
        self.words = words

    def read(self, value: object, base: Path) -> str:
        if not isinstance(value, str) or not value.strip():
            raise WrongValueError(f"{self.words}, not {shown(value)}")
        return value

    def parse(self, text: str) -> object:
        return text


class Place(Text):
    """The path of a file."""

    def read(self, value: object, base: Path) -> str:
        return absolute(super().read(value, base), base)


class Places:
    words = "a list of paths"

    def read(self, value: object, base: Path) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise WrongValueError(f"{self.words}, not {shown(value)}")
        wrong = next((path for path in value if not isinstance(path, str) or not path), None)
        if wrong is not None:
            raise WrongValueError(f"{self.words}, and {shown(wrong)} is none")
        return tuple(absolute(path, base) for path in value)

    def parse(self, text: str) -> object:
        return [path for path in text.split(os.pathsep) if path]


class Choice:
    """One of some words, or of some numbers."""

    def __init__(self, *values: str | int, thing: str = "") -> None:
        self.values = values
        self._thing = thing
        """What there are too many of to list them: "theme"."""

    @property
    def words(self) -> str:
        return f"the name of a {self._thing}" if self._thing else f"one of {', '.join(map(_plain, self.values))}"

    def read(self, value: object, base: Path) -> str | int:
        for known in self.values:
            if value == known and type(value) is type(known):
                return known
        near = self._nearest(value)
        hint = f"; did you mean {shown(near)}?" if near is not None else ""
        raise WrongValueError(f"{self.words}, not {shown(value)}{hint}", newer=True)

    def parse(self, text: str) -> object:
        if isinstance(self.values[0], int) and text.strip().lstrip("-").isdecimal():
            return int(text)
        return text.strip()

    def _nearest(self, value: object) -> str | int | None:
        numbers = [known for known in self.values if isinstance(known, int)]
        if isinstance(value, bool):
            word = "on" if value else "off"
            return word if word in self.values else None
        if isinstance(value, int | float) and numbers:
            return min(numbers, key=lambda number: abs(number - value))
        return nearest(str(value), [str(known) for known in self.values]) if isinstance(value, str) else None


class KeyTable:
    """The table [keys]: actions with the keys that stand for them, each an entry by itself."""

    words = 'a table of actions and their keys: "live.stop" = "escape"'

    def parse(self, text: str) -> dict[str, str]:
        """Entries out of ACTION=KEYS;ACTION=KEYS. Raises WrongValueError."""
        found = {}
        for part in text.split(";"):
            name, equals, keys = part.partition("=")
            if equals:
                found[name.strip()] = keys.strip()
            elif part.strip():
                raise WrongValueError(f"ACTION=KEYS;ACTION=KEYS, and {shown(part.strip())} is none")
        return found

    def entry(self, name: str, value: object) -> str:
        """The keys of an action, as Textual names them. Raises WrongValueError."""
        from gemtop.keymap import ACTIONS, normal_keys

        if name not in ACTIONS:
            near = nearest(name, list(ACTIONS))
            hint = f"did you mean {near}?" if near else "gemtop config show keys lists them"
            raise WrongValueError(f"there is no action {one_line(name)}; {hint}", newer=True)
        if not isinstance(value, str):
            raise WrongValueError(f'the keys of {name} are a text, not {shown(value)}: "{name}" = "ctrl+t"')
        try:
            return normal_keys(value)
        except ValueError as error:
            raise WrongValueError(f"{name}: {one_line(str(error))}") from None


def flat(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    """Values of a table and of those in it, each with its path."""
    found: list[tuple[tuple[str, ...], object]] = []
    for name, value in table.items():
        found += flat(value, (*above, name)) if isinstance(value, dict) else [((*above, name), value)]
    return found


def absolute(path: str, base: Path) -> str:
    return str(base / Path(path).expanduser())


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that is most like this one; None where none is."""
    import difflib

    lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    return lower[found[0]] if found else None


def _plain(value: object) -> str:
    return value if isinstance(value, str) else toml(value)


def shown(value: object) -> str:
    """A value in a message: as TOML has it, on one line, and not long."""
    if isinstance(value, dict):
        return "a table"
    line = one_line(toml(value))
    return line if len(line) <= 60 else line[:59] + "…"


def toml(value: object) -> str:
    """A value as TOML. Dates and whatever else no key takes are written as Python shows them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(storable(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return str(value)
