"""The changelog's words about one version, for a release: python packaging/notes.py 1.2.3"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def notes(text: str, version: str) -> str:
    """What stands below the heading of that version, down to the next. Raises ValueError where there is nothing."""
    heading = rf"^## \[{re.escape(version)}\][^\n]*\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise ValueError(f"CHANGELOG.md has nothing below a heading: ## [{version}]")
    return found[1].strip() + "\n"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python packaging/notes.py VERSION\n")
        return 2
    try:
        sys.stdout.write(notes(CHANGELOG.read_text(encoding="utf-8"), arguments[0]))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
