"""What may follow in an SQL text: views, columns of the views it names, keywords. Pure; the widget shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemtop.domain.sql_text import KEYWORDS, WRITING, Token, as_identifier, tokens

if TYPE_CHECKING:
    from gemtop.history.workbench import View

_BEFORE_VIEWS = frozenset({"from", "join", "describe", "summarize", "table", "into", "update", "pivot", "unpivot"})
_AGGREGATES = (
    ("avg", "mean"), ("count", "how many"), ("max", "largest"), ("median", "middle value"), ("min", "smallest"),
    ("quantile_cont", "quantile, interpolated"), ("stddev_samp", "standard deviation"), ("sum", "total"),
    ("round", "to so many digits"), ("coalesce", "the first that is not NULL"), ("epoch", "seconds since 1970"),
    ("lag", "value of the row before"), ("row_number", "number of the row"), ("string_agg", "texts joined"),
    ("date_trunc", "start of the day, hour ..."), ("count_if", "how many rows hold it"),
)  # fmt: skip
_WORDS = tuple(sorted(KEYWORDS - WRITING))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word that can be put in."""

    text: str
    """As it stands in SQL."""
    note: str
    """What it is, and for a view or a column what it means."""


@dataclass(frozen=True, slots=True)
class Completion:
    """Candidates for the characters [start, cursor) of the text."""

    start: int
    candidates: tuple[Candidate, ...]


_NOTHING = Completion(0, ())


def complete(text: str, cursor: int, views: Sequence[View], *, asked: bool = False, limit: int = 50) -> Completion:
    """What the word before the cursor may become. `asked`: the user wants to see it even before a first letter."""
    found = list(tokens(text))
    before = [t for t in found if t.end <= cursor and t.kind != "comment"]
    inside = next((t for t in found if t.start < cursor < t.end or (t.end == cursor and _open(t))), None)
    if inside is not None and inside.kind in ("string", "comment", "quoted", "number", "parameter"):
        return _NOTHING
    last = before[-1] if before else None
    typed, start = "", cursor
    if inside is not None and inside.kind in ("name", "keyword"):
        typed, start = text[inside.start : cursor], inside.start
    elif last is not None and last.end == cursor and last.kind in ("name", "keyword"):
        typed, start = last.text, last.start
    before = [t for t in before if t.end <= start]
    if last is not None and last.end == cursor and last.kind in ("number", "parameter", "string"):
        return _NOTHING
    dotted = bool(before) and before[-1].text == "." and before[-1].end == start
    if not (typed or dotted or asked):
        return _NOTHING
    offered = _offered(found, before, dotted, views)
    fitting = _fitting(offered, typed)
    if len(fitting) == 1 and fitting[0].text.casefold() == typed.casefold():
        return _NOTHING
    return Completion(start, tuple(fitting[:limit]))


def _open(token: Token) -> bool:
    """Whether what is typed behind the token still belongs to it."""
    if token.kind == "comment":
        return token.text.startswith("--") or not token.text.endswith("*/")
    if token.kind == "string":
        return len(token.text) < 2 or not token.text.endswith(token.text[0])
    return token.kind == "quoted" and (len(token.text) < 2 or not token.text.endswith('"'))


def _fitting(offered: Iterable[Candidate], typed: str) -> list[Candidate]:
    """Those that begin with what is typed, then, from three letters on, those that contain it."""
    low = typed.lower()
    by_text: dict[str, Candidate] = {}
    for candidate in offered:
        by_text.setdefault(candidate.text, candidate)
    first = [c for c in by_text.values() if c.text.lower().lstrip('"').startswith(low)]
    if len(low) < 3:
        return first
    return first + [c for c in by_text.values() if low in c.text.lower() and c not in first]


def _offered(found: Sequence[Token], before: Sequence[Token], dotted: bool, views: Sequence[View]) -> list[Candidate]:
    by_name = {view.name.lower(): view for view in views}
    named = _named(found, by_name)
    if dotted:
        owner = before[-2].plain.lower() if len(before) > 1 else ""
        view = named.get(owner) or by_name.get(owner)
        return _columns([view]) if view is not None else []
    tables = [Candidate(as_identifier(view.name), _about("view", view.comment)) for view in views]
    tables += [Candidate(name, "of this query") for name in _with_names(found)]
    if before and (before[-1].plain in _BEFORE_VIEWS or _in_list_of_views(before)):
        return tables
    columns = _columns(dict.fromkeys(named.values()) or views)
    words = [Candidate(word.upper(), "keyword") for word in _WORDS]
    calls = [Candidate(name, f"function: {what}") for name, what in _AGGREGATES]
    return [*columns, *tables, *words, *calls] if named else [*tables, *words, *columns, *calls]


def _about(kind: str, comment: str) -> str:
    return f"{kind}: {comment}" if comment else kind


def _columns(views: Iterable[View]) -> list[Candidate]:
    return [
        Candidate(as_identifier(column.name), _about(column.type.split("(")[0].lower(), column.comment))
        for view in views
        for column in view.columns
    ]


def _named(found: Sequence[Token], by_name: dict[str, View]) -> dict[str, View]:
    """The views in the text by their names and by their aliases."""
    named: dict[str, View] = {}
    for index, token in enumerate(found):
        view = by_name.get(token.plain.lower()) if token.kind in ("name", "quoted") else None
        if view is None or not index or (found[index - 1].plain not in _BEFORE_VIEWS and found[index - 1].text != ","):
            continue
        named[token.plain.lower()] = view
        after = [t for t in found[index + 1 : index + 3] if t.plain != "as"]
        if after and after[0].kind in ("name", "quoted"):
            named[after[0].plain.lower()] = view
    return named


def _with_names(found: Sequence[Token]) -> list[str]:
    """Names that WITH gives: name AS (."""
    return [
        name.text
        for name, word, bracket in zip(found, found[1:], found[2:], strict=False)
        if name.kind == "name" and word.plain == "as" and bracket.text == "("
    ]


def _in_list_of_views(before: Sequence[Token]) -> bool:
    """Behind a comma of FROM a, b."""
    if before[-1].text != ",":
        return False
    for token in reversed(before):
        if token.kind == "keyword" and token.plain != "as":
            return token.plain == "from"
        if token.text in "()":
            return False
    return False
