"""Named queries: files NNN_name.sql whose header says what they show and what can be chosen.

    -- Title
    -- One sentence.
    -- param: name type = default  description

The type is text, integer, number or boolean; the default may be null. In the SQL a parameter is $name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gemtop.domain.errors import BadInputError

Value = str | int | float | bool | None
ParameterType = Literal["text", "integer", "number", "boolean"]

_FILE = re.compile(r"(?P<number>\d{3})_(?P<name>[a-z][a-z0-9_]*)\.sql\Z")
_PARAMETER = re.compile(
    r"param:\s*(?P<name>[a-z]\w*)\s+(?P<type>text|integer|number|boolean)\s*=\s*(?P<default>\S+)"
    r"(?:\s+(?P<description>.*))?\Z"
)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Parameter:
    """What can be chosen in a query."""

    name: str
    type: ParameterType
    default: Value
    description: str

    def parse(self, text: str) -> Value:
        """A value as given on the command line. Raises BadInputError."""
        if text.lower() == "null":
            return None
        try:
            if self.type == "integer":
                return int(text)
            if self.type == "number":
                return float(text)
        except ValueError:
            raise BadInputError(f"{self.name} is {self.type}, not '{text}'") from None
        if self.type == "boolean":
            if text.lower() not in _TRUE + _FALSE:
                raise BadInputError(f"{self.name} is true or false, not '{text}'")
            return text.lower() in _TRUE
        return text

    def __str__(self) -> str:
        default = "null" if self.default is None else str(self.default).lower()
        return f"{self.name}={default}"


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that ships with gemtop."""

    name: str
    title: str
    sentence: str
    parameters: tuple[Parameter, ...]
    sql: str
    path: Path

    def bind(self, given: Mapping[str, str]) -> dict[str, Value]:
        """Values of all parameters, the defaults where none is given. Raises BadInputError."""
        known = {p.name: p for p in self.parameters}
        for name in given:
            if name not in known:
                choice = f"it has {', '.join(known)}" if known else "it has none"
                raise BadInputError(f"query {self.name} has no parameter {name}; {choice}")
        return {name: p.parse(given[name]) if name in given else p.default for name, p in known.items()}


def folder() -> Path:
    """Where the shipped queries are: in the package, or beside it in a clone."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "queries"
    return inside if inside.is_dir() else package.parent / "queries"


def parse(name: str, sql: str, path: Path) -> NamedQuery:
    """A query from its text. Raises ValueError where the header is not as it must be."""
    header: list[str] = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        header.append(line[2:].strip())
    prose = [line for line in header if line and not line.startswith("param:")]
    if len(prose) < 2:
        raise ValueError(f"{path}: the header needs a title and a sentence")
    parameters: list[Parameter] = []
    for line in header:
        if not line.startswith("param:"):
            continue
        match = _PARAMETER.match(line)
        if match is None:
            raise ValueError(f"{path}: '{line}' is not 'param: name type = default  description'")
        blank = Parameter(match["name"], match["type"], None, (match["description"] or "").strip())  # type: ignore[arg-type]
        parameters.append(Parameter(blank.name, blank.type, blank.parse(match["default"]), blank.description))
    return NamedQuery(name, prose[0], " ".join(prose[1:]), tuple(parameters), sql, path)


def all_queries(where: Path | None = None) -> tuple[NamedQuery, ...]:
    """The queries of a folder, by number."""
    found: list[NamedQuery] = []
    for path in sorted((where or folder()).glob("*.sql")):
        match = _FILE.match(path.name)
        if match:
            found.append(parse(match["name"], path.read_text(encoding="utf-8"), path))
    return tuple(found)


def find(name: str, queries: Sequence[NamedQuery]) -> NamedQuery:
    """The query of this name. Raises BadInputError with the nearest names."""
    by_name = {q.name: q for q in queries}
    if name in by_name:
        return by_name[name]
    import difflib

    near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "gemtop query --list shows them"
    raise BadInputError(f"there is no query '{name}'; {hint}")
