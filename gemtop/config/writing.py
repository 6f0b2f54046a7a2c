"""Changes one key of the configuration file and leaves the rest of it as the user wrote it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from gemtop.config.kinds import KeyTable, WrongValueError
from gemtop.config.places import config_file
from gemtop.config.schema import BY_NAME, TABLES, VERSION
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line


def save_setting(table: str, key: str, value: str | int | bool | list[str]) -> Path:
    """Set [table] key in the configuration file, which is made where there is none; returns the file.

    Comments, order and layout stay. The file is replaced in one step, at the end of the link where it is one. For
    [keys] the key is an action's name. What an environment variable says still goes before it. Raises BadInputError
    for a value that cannot be used, and where the file cannot be read, changed or written.
    """
    file = config_file()
    shown = one_line(str(file))
    _check(table, key, value, file)
    target = Path(os.path.realpath(file))
    try:
        before = target.read_bytes().decode("utf-8-sig") if target.exists() else f"version = {VERSION}\n"
        after = _changed(before, table, key, value)
        if after != before or not target.exists():
            _replace(target, after)
    except UnicodeDecodeError:
        raise BadInputError(f"{shown} cannot be read: it is not UTF-8") from None
    except OSError as error:
        raise BadInputError(f"{shown} cannot be written: {error.strerror or error}") from None
    except _UnchangeableError as error:
        raise BadInputError(f"{shown}: [{table}] {key} could not be set there{error}; set it with an editor") from None
    return file


class _UnchangeableError(Exception):
    pass


def _check(table: str, key: str, value: object, file: Path) -> None:
    try:
        if table == "keys":
            KeyTable().entry(key, value)
            return
        found = BY_NAME.get(f"{table}.{key}")
        if found is None or isinstance(found.kind, KeyTable):
            raise BadInputError(f"there is no key {key} under [{table}]; tables are {', '.join(TABLES)}")
        found.kind.read(value, file.parent)
    except WrongValueError as error:
        raise BadInputError(str(error) if table == "keys" else f"{key} is {error}") from None


def _changed(text: str, table: str, key: str, value: Any) -> str:
    """The document with the key set. Raises _UnchangeableError where that is not all that would change."""
    import tomllib

    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        wanted = tomllib.loads(text.replace("\r\n", "\n"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _UnchangeableError(f", since it is not TOML: {one_line(str(error))}") from None
    held = wanted.setdefault(table, {})
    if not isinstance(held, dict):
        raise _UnchangeableError(f", since {table} is no table")
    name = key.split(".") if table == "keys" and isinstance(held.get(key.partition(".")[0]), dict) else [key]
    try:
        document = tomlkit.parse(text)
        if table not in document:
            document[table] = tomlkit.table()
        inner: Any = document[table]
        for part in name[:-1]:
            held, inner = held[part], inner[part]
        held[name[-1]] = value
        _set(inner, name[-1], value)
        result = document.as_string()
        if tomllib.loads(result.replace("\r\n", "\n")) != wanted:
            raise _UnchangeableError("")
    except (TOMLKitError, tomllib.TOMLDecodeError, LookupError, TypeError, AttributeError):
        raise _UnchangeableError("") from None
    return result


def _set(table: Any, key: str, value: Any) -> None:
    """Set a key of a tomlkit table; a new one comes behind the last key, before the comments that follow it."""
    from tomlkit.items import Table

    behind: list[Any] = []
    if isinstance(table, Table) and key not in table:
        body = table.value.body
        while body and body[-1][0] is None:
            behind.append(body.pop()[1])
    table[key] = value
    for item in reversed(behind):
        table.append(None, item)


def _replace(target: Path, text: str) -> None:
    """Write the file beside its place and put it there; its mode stays. A new one is its owner's alone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = target.stat().st_mode & 0o7777 if target.exists() else 0o600
    fd, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(fd, "wb") as stream:
            os.fchmod(fd, mode)
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(fd)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
