"""Named queries: files NNN_name.sql whose header says what they show and what can be chosen.

    -- Title
    -- One sentence.
    -- param: name type = default  description

The type is text, integer, number or boolean; the default may be null. In the SQL a parameter is $name.
Users put their own into the folder `queries` beside the configuration file, with or without a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gemtop.config import config_file
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line

Value = str | int | float | bool | None
ParameterType = Literal["text", "integer", "number", "boolean"]

_FILE = re.compile(r"(?P<number>\d{3})_(?P<name>[a-z][a-z0-9_]*)\.sql\Z")
_YOURS = re.compile(r"(?:\d{3}_)?(?P<name>[a-z][a-z0-9_]*)\.sql\Z")
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
    """A query that ships with gemtop, or one of the user's."""

    name: str
    title: str
    sentence: str
    parameters: tuple[Parameter, ...]
    sql: str
    path: Path
    yours: bool = False
    """From the user's folder."""

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


def your_folder() -> Path:
    """Where the user's own queries are: beside the configuration file. It need not exist."""
    return config_file().parent / "queries"


class HeaderError(ValueError):
    """The header of a query is not as it must be; says in which file and line."""

    def __init__(self, path: Path, line: int, words: str) -> None:
        super().__init__(f"{one_line(str(path))}, line {line}: {words}")


def parse(name: str, sql: str, path: Path) -> NamedQuery:
    """A query from its text. Raises HeaderError where the header is not as it must be."""
    prose: list[str] = []
    parameters: list[Parameter] = []
    end = 1
    for number, text in enumerate(sql.splitlines(), start=1):
        end = number
        if not text.startswith("--"):
            break
        line = text[2:].strip()
        if line.startswith("param:"):
            parameters.append(_parameter(line, path, number))
        elif line:
            prose.append(line)
    if len(prose) < 2:
        raise HeaderError(path, end, "the header needs a title and a sentence, a line each that begins with --")
    return NamedQuery(name, prose[0], " ".join(prose[1:]), tuple(parameters), sql, path)


def _parameter(line: str, path: Path, number: int) -> Parameter:
    match = _PARAMETER.match(line)
    if match is None:
        form = "param: name text|integer|number|boolean = default  description"
        raise HeaderError(path, number, f"'{one_line(line)}' is not '{form}'")
    blank = Parameter(match["name"], match["type"], None, (match["description"] or "").strip())  # type: ignore[arg-type]
    try:
        return replace(blank, default=blank.parse(match["default"]))
    except BadInputError as error:
        raise HeaderError(path, number, f"the default of {error}") from None


def all_queries(where: Path | None = None) -> tuple[NamedQuery, ...]:
    """The shipped queries, or those of a folder, by number."""
    found: list[NamedQuery] = []
    for path in sorted((where or folder()).glob("*.sql")):
        match = _FILE.match(path.name)
        if match:
            found.append(parse(match["name"], path.read_text(encoding="utf-8"), path))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Library:
    """All queries there are, the shipped ones first."""

    queries: tuple[NamedQuery, ...]
    problems: Mapping[str, str]
    """Names that cannot be used, each with what is wrong in one line."""

    def find(self, name: str) -> NamedQuery:
        """The query of this name. Raises BadInputError with what is wrong with it, or with the nearest names."""
        if name in self.problems:
            raise BadInputError(self.problems[name])
        return find(name, self.queries)


def library(yours: Path | None = None) -> Library:
    """The shipped queries and the user's. A file that cannot be used spoils no other.

    Where two have one name neither is run: which was meant cannot be known, and a script must not find another
    query under a name after an update.
    """
    by_name = {query.name: query for query in all_queries()}
    problems: dict[str, str] = {}
    for path in sorted((yours or your_folder()).glob("*.sql")):
        match = _YOURS.match(path.name)
        if match is None:
            problems[path.stem] = (
                f"{one_line(str(path))}: a query's name is of small letters, digits and _, and begins with a letter"
            )
            continue
        name = match["name"]
        if name in by_name:
            both = f"{one_line(str(by_name[name].path))} and {one_line(str(path))}"
            problems[name] = f"two queries are named {name}: {both}; rename yours"
            continue
        try:
            by_name[name] = replace(parse(name, path.read_text(encoding="utf-8"), path), yours=True)
        except HeaderError as error:
            problems[name] = str(error)
        except (OSError, UnicodeDecodeError) as error:
            problems[name] = f"{one_line(str(path))} cannot be read: {one_line(str(error))}"
    return Library(tuple(query for name, query in by_name.items() if name not in problems), problems)


def find(name: str, queries: Sequence[NamedQuery]) -> NamedQuery:
    """The query of this name. Raises BadInputError with the nearest names."""
    by_name = {q.name: q for q in queries}
    if name in by_name:
        return by_name[name]
    import difflib

    near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "gemtop query --list shows them"
    raise BadInputError(f"there is no query '{name}'; {hint}")
