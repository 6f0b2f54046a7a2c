"""Takes out of a report what names a person: it is asked for in bug reports, which the world can read."""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path
from typing import Any

_EVERYBODY = {"root", "user", "gemtop", "localhost", ""}
"""Names of accounts and machines that tell nothing."""


def without_names(value: Any, home: Path | None = None, names: tuple[str, ...] | None = None) -> Any:
    """The same lists, dicts and texts: the home folder is ~, and the account's and the machine's name in a path is …"""
    folders = [str(home or Path.home())]
    folders += [real for real in [str((home or Path.home()).resolve())] if real not in folders]
    patterns = [
        (re.compile(rf"(?<![\w.-]){re.escape(folder)}(?=/|$|[^\w.-])"), "~") for folder in folders if folder != "/"
    ]
    told = [name for name in (_own_names() if names is None else names) if name not in _EVERYBODY]
    patterns += [(re.compile(rf"(?<=[/@]){re.escape(name)}(?![\w.-])"), "…") for name in told]
    return _replaced(value, patterns)


def _own_names() -> tuple[str, ...]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in a container
        user = ""
    host = socket.gethostname()
    return (user, host, host.partition(".")[0])


def _replaced(value: Any, patterns: list[tuple[re.Pattern[str], str]]) -> Any:
    if isinstance(value, str):
        for pattern, instead in patterns:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, dict):
        return {name: _replaced(one, patterns) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(one, patterns) for one in value]
    return value
