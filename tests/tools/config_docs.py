"""Writes the table of keys in docs/config.md, from the schema.

python -m tests.tools.config_docs           writes it
python -m tests.tools.config_docs --print   shows it
"""

from __future__ import annotations

import sys
from pathlib import Path

from gemtop.config.documents import default_text
from gemtop.config.kinds import KeyTable
from gemtop.config.schema import KEYS

TARGET = Path(__file__).parents[2] / "docs" / "config.md"
BEGIN, END = "<!-- begin of the keys: python -m tests.tools.config_docs -->", "<!-- end of the keys -->"


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


def page() -> str:
    """docs/config.md with the table as the schema has it now."""
    before, rest = TARGET.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n{keys()}\n{END}{rest.split(END)[1]}"


def main() -> None:
    if "--print" in sys.argv[1:]:
        print(keys())
    else:
        TARGET.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
