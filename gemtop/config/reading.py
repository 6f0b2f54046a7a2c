"""Reads the configuration file and the environment against the schema, and says of each value where it is from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gemtop.config.kinds import KeyTable, WrongValueError, flat, nearest, shown
from gemtop.config.lines import lines_of
from gemtop.config.places import CONFIG_VARIABLE, config_file
from gemtop.config.schema import KEYS, TABLES, VERSION, Config, Key
from gemtop.domain.text import one_line

_AT = re.compile(r" ?\(at (?:line (\d+), column (\d+)|end of document)\)\Z")


class Source(NamedTuple):
    """Where a value is from."""

    kind: Literal["default", "file", "environment"]
    line: int | None = None
    """Of the file."""
    variable: str | None = None
    """Of the environment."""


class Problem(NamedTuple):
    """Something that cannot be used, and is left at its default."""

    where: str
    """FILE, line N; or the environment variable."""
    words: str
    newer: bool
    """A newer gemtop may know it."""

    def __str__(self) -> str:
        return f"{self.where}: {self.words}"


class Reading(NamedTuple):
    """All that file and environment say."""

    file: Path
    exists: bool
    config: Config
    sources: Mapping[str, Source]
    """By the key's full name: screen.theme, keys.live.stop."""
    problems: tuple[Problem, ...]
    """What makes it unusable, in the order of the file."""


def read_config() -> Reading:
    """The configuration file and the environment. Raises nothing: what is wrong is among the problems."""
    return _Reader(config_file()).read()


class _Reader:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.values: dict[str, Any] = {}
        """By the attribute of Config."""
        self.sources: dict[str, Source] = {}
        self.problems: list[tuple[int, Problem]] = []
        """With their lines, by which they are ordered."""
        self.lines: Mapping[tuple[str, ...], int] = {}
        self.version = VERSION
        self.own_keys: dict[str, str] = {}

    def read(self) -> Reading:
        text = self._text()
        if text is not None:
            self._read_file(text)
        self._read_environment()
        if self.own_keys:
            self._check_keys()
        self.problems.sort(key=lambda found: found[0])
        problems = [problem for _, problem in self.problems]
        warnings: tuple[str, ...] = ()
        if self.version > VERSION:
            newer = f"the file is of a newer gemtop (version = {self.version}, this one knows {VERSION})"
            warnings = tuple(f"{problem}; it is left out, since {newer}" for problem in problems if problem.newer)
            problems = [problem for problem in problems if not problem.newer]
        config = Config(**self.values, keys=self.own_keys, warnings=warnings)
        return Reading(self.file, text is not None, config, self.sources, tuple(problems))

    def _text(self) -> str | None:
        """What is in the file; None where there is none, or none that can be read."""
        try:
            return self.file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        except FileNotFoundError:
            if os.environ.get(CONFIG_VARIABLE):
                self._wrong(CONFIG_VARIABLE, f"{one_line(str(self.file))} does not exist; gemtop config edit makes it")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self._wrong(one_line(str(self.file)), f"it cannot be read: {why}")
        return None

    # The file

    def _read_file(self, text: str) -> None:
        import tomllib

        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            at = _AT.search(str(error))
            line, column = (int(at[1]), f", column {at[2]}") if at and at[1] else (text.count("\n") + 1, "")
            self._wrong(f"{self._at(line)}{column}", one_line(_AT.sub("", str(error))))
            return
        except RecursionError:
            self._wrong(one_line(str(self.file)), "its values lie too deep in each other")
            return
        self.lines = lines_of(text)
        self._read_version(data.pop("version", VERSION))
        for table, values in data.items():
            if table not in TABLES:
                self._unknown_table(table, values)
            elif not isinstance(values, dict):
                self._wrong_at((table,), f"{table} is a table: [{table}]")
            elif table == "keys":
                self._read_keys(values)
            else:
                self._read_table(table, values)

    def _read_version(self, version: object) -> None:
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            self._wrong_at(("version",), f"version is a number from 1, not {shown(version)}: version = {VERSION}")
        else:
            self.version = version

    def _unknown_table(self, name: str, values: object) -> None:
        known = ", ".join(f"[{table}]" for table in TABLES)
        if isinstance(values, dict):
            near = nearest(name, list(TABLES))
            hint = f"did you mean [{near}]?" if near else f"there are {known}"
            self._wrong_at((name,), f"there is no table [{one_line(name)}]; {hint}", newer=True)
            return
        home = next((key for key in KEYS if key.name == name), None)
        hint = f"it belongs under [{home.table}]" if home else f"keys stand under {known}"
        self._wrong_at((name,), f"there is no key {one_line(name)} outside of a table; {hint}", newer=True)

    def _read_table(self, table: str, values: dict[str, Any]) -> None:
        keys = {key.name: key for key in TABLES[table]}
        for name, value in values.items():
            line = self.lines.get((table, name))
            if name in keys:
                self._set(keys[name], value, self.file.parent, Source("file", line=line))
                continue
            elsewhere = next((key for key in KEYS if key.name == name), None)
            near = nearest(name, list(keys))
            if elsewhere:
                hint = f"it belongs under [{elsewhere.table}]"
            else:
                hint = f"did you mean {near}?" if near else f"it has {', '.join(keys)}"
            self._wrong_at((table, name), f"[{table}] has no key {one_line(name)}; {hint}", newer=True)

    def _read_keys(self, values: dict[str, Any]) -> None:
        for path, value in flat(values):
            self._set_keys(".".join(path), value, Source("file", line=self.lines.get(("keys", *path))))

    # The environment

    def _read_environment(self) -> None:
        for key in KEYS:
            text = os.environ.get(key.variable)
            if not text:
                continue
            source = Source("environment", variable=key.variable)
            if not isinstance(key.kind, KeyTable):
                self._set(key, key.kind.parse(text), Path.cwd(), source)
                continue
            try:
                entries = key.kind.parse(text)
            except WrongValueError as error:
                self._wrong_value(source, f"it is {error}")
            else:
                for name, value in entries.items():
                    self._set_keys(name, value, source)

    # Values

    def _set(self, key: Key, value: object, base: Path, source: Source) -> None:
        assert not isinstance(key.kind, KeyTable)
        try:
            self.values[key.field] = key.kind.read(value, base)
        except WrongValueError as error:
            hint = f": {key.name} = {key.example}" if source.line and not error.newer else ""
            self._wrong_value(source, f"{key.name if source.line else 'it'} is {error}{hint}", error.newer)
        else:
            self.sources[key.full] = source

    def _set_keys(self, name: str, value: object, source: Source) -> None:
        """The keys of one action."""
        try:
            self.own_keys[name] = KeyTable().entry(name, value)
        except WrongValueError as error:
            self._wrong_value(source, str(error), error.newer)
        else:
            self.sources[f"keys.{name}"] = source

    def _check_keys(self) -> None:
        """A key that means two things: said of the action that was given it."""
        from gemtop.keymap import Keys

        clash = Keys(self.own_keys).clash()
        if clash is not None:
            named = [name for name in self.own_keys if name in clash.split()]
            self._wrong_value(self.sources[f"keys.{(named or list(self.own_keys))[-1]}"], clash)

    # What is wrong

    def _wrong_value(self, source: Source, words: str, newer: bool = False) -> None:
        if source.variable:
            self._wrong(source.variable, words, newer=False)  # the environment is of this machine
        else:
            self._wrong(self._at(source.line), words, newer, source.line or 0)

    def _wrong_at(self, path: tuple[str, ...], words: str, newer: bool = False) -> None:
        line = self.lines.get(path)
        self._wrong(self._at(line), words, newer, line or 0)

    def _wrong(self, where: str, words: str, newer: bool = False, line: int = 0) -> None:
        self.problems.append((line, Problem(where, words, newer)))

    def _at(self, line: int | None) -> str:
        return one_line(str(self.file)) + (f", line {line}" if line else "")
