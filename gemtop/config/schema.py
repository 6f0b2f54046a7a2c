"""Every key of the configuration: the one place that says what there is, what it may be and what it is by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, NamedTuple

from gemtop.config.kinds import Choice, Flag, KeyTable, Kind, Place, Places, Text
from gemtop.config.places import DB_VARIABLE
from gemtop.domain.themes import THEMES

VERSION = 1
"""What `version` in a file is for a gemtop with these keys. It goes up when one is added."""


class Key(NamedTuple):
    """A key of the configuration file."""

    table: str
    name: str
    """Empty for a table whose keys are free."""
    kind: Kind | KeyTable
    says: str
    """What it is for, in one sentence of Markdown."""
    example: str
    """A value, as TOML."""
    variable: str
    """The environment variable that goes before the file."""
    unset: str
    """What holds where it is not set and has no default."""
    field: str = ""
    """The attribute of Config."""
    default: Any = None

    @property
    def full(self) -> str:
        return f"{self.table}.{self.name}" if self.name else self.table


def _key(
    table: str,
    name: str,
    kind: Kind | KeyTable,
    default: Any,
    says: str,
    example: str,
    variable: str = "",
    unset: str = "",
) -> Any:
    variable = variable or f"GEMTOP_{table}_{name}".rstrip("_").upper()
    key = Key(table, name, kind, says, example, variable, unset)
    if default == {}:
        return field(default_factory=dict, metadata={"key": key})
    return field(default=default, metadata={"key": key})


@dataclass(frozen=True, slots=True)
class Config:
    """What the user has set, and the defaults of the rest. Each attribute is a key, but the last."""

    models_folders: tuple[str, ...] = _key(
        "models", "folders", Places(), (),
        "Folders that are looked through for GGUF files, besides the usual ones; a relative path begins at the folder "
        "of the configuration file.",
        '["~/gguf", "/srv/models"]',
    )  # fmt: skip
    history_file: str | None = _key(
        "history", "file", Place("the path of a file"), None,
        "The DuckDB file of the history, as `--db` names it.",
        '"~/gemtop.duckdb"', DB_VARIABLE, "`gemtop/history.duckdb` in `XDG_DATA_HOME`, else in `~/.local/share`",
    )  # fmt: skip
    history_text: bool = _key(
        "history", "text", Flag(), True,
        "Whether prompts and outputs go into the history; `--no-text` keeps them out of it for once.",
        "false",
    )  # fmt: skip
    history_fleet: str | None = _key(
        "history", "fleet", Text("an address"), None,
        "Address of the fleet, for `gemtop sync` without `--to` and for the SQL screen.",
        '"postgresql://gemtop@db/fleet"', "GEMTOP_FLEET", "no fleet",
    )  # fmt: skip
    screen_theme: str = _key(
        "screen", "theme", Choice(*THEMES, thing="theme"), "gemtop-dark",
        "The colours: `gemtop-dark`, `gemtop-light`, or one of Textual's themes.",
        '"nord"',
    )  # fmt: skip
    screen_thrift: bool = _key(
        "screen", "thrift", Flag(), False,
        "Sends half as much to the terminal, for a slow line.",
        "true",
    )  # fmt: skip
    screen_ascii: Literal["auto", "on", "off"] = _key(
        "screen", "ascii", Choice("auto", "on", "off"), "auto",
        "Whether screens are in plain ASCII; `auto` is so where the locale has no UTF-8, and on the Linux console.",
        '"on"',
    )  # fmt: skip
    screen_span_s: int = _key(
        "screen", "span_s", Choice(30, 60, 300, 900), 60,
        "Seconds that the live charts show at the start.",
        "300",
    )  # fmt: skip
    screen_keep_running: bool = _key(
        "screen", "keep_running", Flag(), False,
        "Goes on without a screen when the terminal is lost, as when an SSH line drops.",
        "true",
    )  # fmt: skip
    keys: Mapping[str, str] = _key(
        "keys", "", KeyTable(), {},
        "Other keys for an action of the screens, with commas between them.",
        '{ "live.stop" = "escape", "live.tune" = "t" }',
    )  # fmt: skip
    warnings: tuple[str, ...] = ()
    """Lines for the user: what a file of a newer gemtop has that this one does not know."""


def _keys() -> tuple[Key, ...]:
    found = []
    for each in fields(Config):
        if "key" in each.metadata:
            key: Key = each.metadata["key"]
            default = {} if each.default is MISSING else each.default
            found.append(key._replace(field=each.name, default=default))
    return tuple(found)


KEYS = _keys()
BY_NAME: Mapping[str, Key] = {key.full: key for key in KEYS}
TABLES: Mapping[str, tuple[Key, ...]] = {
    table: tuple(key for key in KEYS if key.table == table) for table in dict.fromkeys(key.table for key in KEYS)
}
