"""Writes the tables of keys and of actions in docs/config.md, from the schema and the key map.

python -m tests.tools.config_docs           writes them
python -m tests.tools.config_docs --print   shows the page
"""

from __future__ import annotations

import sys
from pathlib import Path

from gemtop.config.documents import default_text
from gemtop.config.kinds import KeyTable
from gemtop.config.schema import KEYS
from gemtop.keymap import ACTIONS, key_label

TARGET = Path(__file__).parents[2] / "docs" / "config.md"
MARKS = {name: (f"<!-- begin of the {name}: python -m tests.tools.config_docs -->", f"<!-- end of the {name} -->")
         for name in ("keys", "actions")}  # fmt: skip


def keys() -> str:
    """A row for each key."""
    rows = ["| key | value | default | variable | what it is for |", "|---|---|---|---|---|"]
    for key in KEYS:
        if isinstance(key.kind, KeyTable):
            name, form, example = '`[keys]` `"ACTION"`', "keys, with commas between them", '"live.stop" = "ctrl+x,f12"'
        else:
            name, form, example = f"`[{key.table}]` `{key.name}`", key.kind.words, f"{key.name} = {key.example}"
        cells = [name, form, default_text(key), f"`{key.variable}`", f"{key.says} `{example}`"]
        rows.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(rows)


def actions() -> str:
    """A row for each action that keys can be given to."""
    rows = ["| action | keys | what it does |", "|---|---|---|"]
    for name, action in ACTIONS.items():
        shown = ", ".join(f"`{key_label(key)}`" for key in action.keys.split(","))
        rows.append(f"| `{name}` | {shown} | {action.help} |".replace("`|`", "`&#124;`"))
    return "\n".join(rows)


def page() -> str:
    """docs/config.md with the tables as they are now."""
    text = TARGET.read_text(encoding="utf-8")
    for name, table in (("keys", keys()), ("actions", actions())):
        begin, end = MARKS[name]
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    if "--print" in sys.argv[1:]:
        print(page(), end="")
    else:
        TARGET.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
