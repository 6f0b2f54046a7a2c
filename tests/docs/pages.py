"""The pages of the documentation, and the commands in them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = {"sh", "bash", "console"}


def pages() -> list[Path]:
    """Those at the top, and everything in docs/."""
    top = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@dataclass(frozen=True, slots=True)
class Statement:
    """What a shell takes in one go: a command, a pipeline, a text that goes into a file."""

    page: str
    line: int
    text: str


@cache
def statements(page: Path) -> tuple[Statement, ...]:
    """The statements of the page's shell blocks, in their order."""
    found: list[Statement] = []
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match[1] in SHELL:
            first = text.count("\n", 0, match.start(2)) + 1
            found += [Statement(name(page), first + offset, one) for offset, one in _split(match[2])]
    return tuple(found)


def _split(block: str) -> Iterator[tuple[int, str]]:
    """Each statement with the number of lines before it. Bash says where one ends."""
    pending: list[str] = []
    lines = block.splitlines()
    for number, line in enumerate(lines):
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending.append(line)
        if is_whole("\n".join(pending)):
            yield number + 1 - len(pending), "\n".join(pending)
            pending = []
    assert not pending, f"this is no whole statement:\n{block}"


def shown_after(page: Path, statement: Statement) -> str:
    """What the page says that the statement's block prints: the next block, of text."""
    blocks = list(FENCE.finditer(page.read_text(encoding="utf-8")))
    begins = f"\n{statement.text}\n"
    at = next(i for i, block in enumerate(blocks) if block[1] in SHELL and begins in f"\n{block[2]}")
    assert blocks[at + 1][1] == "text", f"{statement.page} shows nothing after {statement.text}"
    return blocks[at + 1][2]


def is_whole(text: str) -> bool:
    """Whether bash finds nothing that is still open, a text for a file included."""
    if text.rstrip().endswith("\\"):
        return False
    done = subprocess.run(["bash", "-n"], input=text + "\n", capture_output=True, text=True, check=False)
    return done.returncode == 0 and not done.stderr
