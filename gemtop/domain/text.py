"""Text from models, files and prompts made safe for a screen."""

from __future__ import annotations

import math
import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]")


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"<{code:04X}>"


def printable(text: str) -> str:
    """The text with control, bidirectional and line-separator characters shown as pictures.

    Newline and tab stay. ESC becomes U+241B, so no escape sequence of a model reaches the terminal.
    """
    return _CONTROL.sub(_picture, text)


def storable(text: str) -> str:
    """The text with halves of surrogate pairs, which no file takes, written as their codes: \\udc80."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """`printable`, with line ends folded to spaces: for names, paths and messages."""
    return printable(" ".join(text.split()))


def shortened(text: str, most: int) -> str:
    """`one_line` and `storable`, cut to `most` characters with an ellipsis."""
    line = one_line(storable(text))
    return line if len(line) <= most else line[: most - 1] + "\u2026"


def without_password(address: str) -> str:
    """An address with asterisks for the password, that of a URL and that of PostgreSQL's `password=...`."""
    shown = re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", address)
    return re.sub(r"(?i)\bpassword\s*=\s*('(?:\\.|[^'])*'|\S+)", "password=***", shown)


def cell_width(char: str) -> int:
    """Terminal cells of one character: 0 for combining marks, 2 for wide ones, else 1."""
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def text_width(text: str) -> int:
    """Terminal cells of a line of text."""
    return len(text) if text.isascii() else sum(map(cell_width, text))


def plus_minus(value: float, error: float) -> str:
    """A value with its error, both to two figures of the error: 9.10 ± 0.23, 312.0 ± 4.1."""
    places = 2 if error <= 0 else min(4, max(0, 1 - math.floor(math.log10(error))))
    return f"{value:,.{places}f} ± {error:.{places}f}"
