"""Code blocks of Markdown, as models write them."""

from __future__ import annotations

import re
import textwrap

_FENCE = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n`]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)


def blocks(text: str) -> list[tuple[str, str]]:
    """Language, in small letters, and content of each fenced block; one that does not end goes to the text's end."""
    return [(match[2].lower(), textwrap.dedent(match[3])) for match in _FENCE.finditer(text.replace("\r\n", "\n"))]
