"""SQL as text: its words and what they are, for colours and completion. DuckDB itself says whether it is right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["keyword", "name", "quoted", "string", "number", "comment", "parameter", "operator"]

_TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))"
    r"|(?P<string>[eE]?'(?:[^']|'')*(?:'|\Z)|\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))"
    r'|(?P<quoted>"(?:[^"]|"")*(?:"|\Z))'
    r"|(?P<parameter>\$\w+)"
    r"|(?P<number>(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<operator>::|\S)",
    re.DOTALL,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


RESERVED = _words(
    "all analyze and any array as asc between both by case cast check collate column constraint create cross default"
    " deferrable desc describe distinct do else end except exists false fetch filter for foreign from full glob group"
    " having ilike in index inner intersect into is isnull join lateral leading left like limit natural not notnull"
    " null offset on only or order outer over pivot primary qualify references returning right select set show similar"
    " some summarize symmetric table then to trailing true try_cast union unique unpivot using values when where"
    " window with"
)
"""Words that stand for themselves; a column of such a name has to be quoted somewhere."""
_MORE = _words(
    "alter anti asof attach begin checkpoint columns commit comment copy delete detach drop exclude explain first"
    " ignore insert interval last materialized nulls ordinality partition positional preceding range recursive rename"
    " replace respect rollback rows sample semi temp temporary unbounded update vacuum view within"
)
KEYWORDS = RESERVED | _MORE
WRITING = _words(
    "alter attach begin checkpoint comment commit copy create delete detach drop insert into rename returning rollback"
    " set temp temporary unique update vacuum"
)
"""Keywords that a query which only reads has no use for."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a sign: characters [start, end) of the text."""

    kind: Kind
    start: int
    end: int
    text: str

    @property
    def plain(self) -> str:
        """A name without its quotes; a keyword in small letters."""
        if self.kind == "quoted":
            return self.text.strip('"').replace('""', '"')
        return self.text.lower() if self.kind == "keyword" else self.text


def tokens(sql: str) -> Iterator[Token]:
    """The words and signs of a text, however incomplete it is."""
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup if match.lastgroup != "tag" else "string"
        text = match.group()
        if kind == "word":
            kind = "keyword" if text.lower() in KEYWORDS else "name"
        yield Token(kind, match.start(), match.end(), text)  # type: ignore[arg-type]


def parameters(sql: str) -> tuple[str, ...]:
    """Names of the parameters ($name) in it, in the order they come."""
    return tuple(dict.fromkeys(t.text[1:] for t in tokens(sql) if t.kind == "parameter"))


def bare(statement: str) -> str:
    """A statement without the comments and semicolons around it."""
    found = [t for t in tokens(statement) if t.kind != "comment" and t.text != ";"]
    return statement[found[0].start : found[-1].end] if found else ""


def without_header(sql: str) -> str:
    """The SQL of a named query without the comment lines it begins with."""
    lines = sql.split("\n")
    while lines and lines[0].startswith("--"):
        lines.pop(0)
    return "\n".join(lines).strip("\n")


def needs_quotes(name: str) -> bool:
    """Whether a name is no plain identifier."""
    return not re.fullmatch(r"[A-Za-z_]\w*", name) or name.lower() in RESERVED


def as_identifier(name: str) -> str:
    """A name as it stands in SQL: quoted where it must be."""
    return '"' + name.replace('"', '""') + '"' if needs_quotes(name) else name
