"""In which line of a TOML document each key stands. Python's tomllib does not say, nor does tomlkit."""

from __future__ import annotations

import re
from collections.abc import Mapping

Path = tuple[str, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BLANK_OR_COMMA = re.compile(r"(?:[ \t\r\n,]+|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:"{0,2}(?:\\.|[^"\\]))*"{3,5}'
    r"|'''(?:'{0,2}[^'])*'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[^\s.=\]\"'#]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]*")
_BETWEEN_PARTS = re.compile(r"[ \t]*(\.?)[ \t]*")


def lines_of(text: str) -> Mapping[Path, int]:
    """The line, counted from 1, in which each key and table is first named; the path of both is from the top.

    The text is TOML that tomllib has read: nothing is checked here.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._counted_at, self._line = 0, 1

    def document(self) -> None:
        table: Path = ()
        while self._skip(_BLANK):
            if self._next() == "[":
                self._at += 2 if self._text.startswith("[[", self._at) else 1
                self._skip(_BLANK)
                table = self._key(())
                self._at = self._text.index("]", self._at)
                while self._next() == "]":
                    self._at += 1
            else:
                self._pair(table)

    def _pair(self, table: Path) -> None:
        """KEY = VALUE."""
        path = self._key(table)
        self._at = self._text.index("=", self._at) + 1
        self._skip(_BLANK)
        self._value(path)

    def _key(self, table: Path) -> Path:
        """A key with points in it; each of its parts is noted with the line of this one."""
        path = table
        while True:
            quoted = _STRING.match(self._text, self._at)
            match = quoted or _BARE_KEY.match(self._text, self._at)
            assert match is not None
            part = match.group()
            path = (*path, _unquoted(part) if quoted else part)
            self.lines.setdefault(path, self._line_here())
            point = _BETWEEN_PARTS.match(self._text, match.end())
            assert point is not None
            self._at = point.end() if point[1] else match.end()
            if not point[1]:
                return path

    def _value(self, path: Path) -> None:
        match = _STRING.match(self._text, self._at)
        if match:
            self._at = match.end()
        elif self._next() in "[{":
            end = "]" if self._next() == "[" else "}"
            self._at += 1
            while self._skip(_BLANK_OR_COMMA) and self._next() != end:
                if end == "}":
                    self._pair(path)
                else:
                    self._value(path)
            self._at += 1
        else:
            self._skip(_BARE_VALUE)

    def _skip(self, what: re.Pattern[str]) -> bool:
        """Go past it; whether there is more."""
        match = what.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return self._at < len(self._text)

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_at, self._at)
        self._counted_at = self._at
        return self._line


def _unquoted(key: str) -> str:
    import tomllib

    return str(tomllib.loads(f"key = {key}")["key"])
