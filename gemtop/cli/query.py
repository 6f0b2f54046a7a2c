"""gemtop query: SQL over the history, and named queries: those that ship with it and the user's."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gemtop.domain.errors import EXIT_OK, BadInputError, GemtopError
from gemtop.history import VIEWS

if TYPE_CHECKING:
    from gemtop.history.queries import Value
    from gemtop.history.reader import Reader

FORMATS = ("table", "csv", "json", "parquet", "markdown")
_NAME = re.compile(r"[A-Za-z_][\w-]*\Z")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)\Z", re.DOTALL)


def add_parser(commands: Any) -> None:
    """Add `query` to the program's commands, an argparse subparsers action."""
    parser = commands.add_parser(
        "query",
        help="SQL over the history",
        description="Run SQL over the history, or a named query: one that ships with gemtop, or your own in the folder "
        f"queries beside the configuration file. The views are {', '.join(VIEWS[:-1])} and {VIEWS[-1]}; nothing can be "
        "changed from here.",
        epilog="gemtop query sessions · gemtop query slowest_tokens n=5 · "
        'gemtop query "SELECT variant, avg(decode_tokens_per_s) FROM runs GROUP BY variant"',
        allow_abbrev=False,
    )
    parser.add_argument("query", nargs="?", metavar="SQL|NAME", help="SQL, or the name of a query (--list)")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="value of a $NAME in the query")
    parser.add_argument("--list", action="store_true", help="the named queries and their parameters")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to stdout")
    parser.add_argument("--fleet", metavar="URL", help="ask a fleet (gemtop sync) and not the history")
    parser.add_argument("--db", metavar="FILE", help="history file (default: $GEMTOP_DB, else the XDG data folder)")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code, 2 with one clear message for anything that cannot be used."""
    try:
        _query(args)
    except GemtopError as error:
        sys.stderr.write(f"gemtop query: {error}\n")
        return error.exit_code
    return EXIT_OK


def _say(text: str) -> None:
    sys.stderr.write(f"gemtop query: {text}\n")
    sys.stderr.flush()


def _assignments(given: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in given:
        match = _ASSIGNMENT.match(text)
        if match is None:
            raise BadInputError(f"'{text}' is not NAME=VALUE; SQL has to be one argument, in quotes")
        values[match["name"]] = match["value"]
    return values


def _literal(text: str) -> Value:
    """A value for a parameter whose type nobody has declared: a number where it reads as one."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return None if text.lower() == "null" else text


def _sql(text: str, given: dict[str, str]) -> tuple[str, dict[str, Value]]:
    """The SQL to run and the values to bind. A single word is a name; everything else is SQL."""
    from gemtop.history import queries

    if not text.strip():
        raise BadInputError("the query is empty; gemtop query --list shows the named ones")
    if _NAME.match(text):
        try:
            named = queries.library().find(text)
        except BadInputError as error:
            if text in VIEWS:
                raise BadInputError(f"there is no query '{text}'; the view is \"FROM {text}\"") from error
            raise
        return named.sql, dict(named.bind(given))
    return text, {name: _literal(value) for name, value in given.items()}


def _query(args: argparse.Namespace) -> None:
    if args.list:
        if args.query:
            raise BadInputError("--list takes no query")
        _list(args)
        return
    if args.query is None:
        raise BadInputError("give SQL or the name of a query; gemtop query --list shows them")
    if args.format == "parquet" and args.output is None and sys.stdout.isatty():
        raise BadInputError("Parquet is no text for a terminal: give --output FILE, or pipe it into one")
    sql, values = _sql(args.query, _assignments(args.parameters))

    with _reader(args) as reader:
        if args.format == "parquet":
            _parquet(reader, sql, values, args.output)
            return
        result = reader.run_sql(sql, values)
        _write(args, [c.name for c in result.columns], [c.numeric for c in result.columns], result.rows())


def _reader(args: argparse.Namespace) -> Reader:
    """The history, or the fleet."""
    from gemtop.config import paths
    from gemtop.history.reader import Reader
    from gemtop.history.spool import spools_in

    if args.fleet is not None:
        from gemtop.history import lake

        if args.db is not None:
            raise BadInputError("--fleet and --db each name what is asked: give one of them")
        return lake.open_reader(lake.address(args.fleet))
    where = paths(args.db)
    if spools_in(where.spools):  # else what takes them in need not be imported
        from gemtop.history.ingest import take_in_dead

        for note in take_in_dead(where, wait_s=2.0, on_wait=_say).notes:
            _say(note)
    reader = Reader.open(where, on_wait=_say)
    if reader.path is None:
        _say(f"there is no history yet at {where.history}; this is an empty one")
    return reader


def _list(args: argparse.Namespace) -> None:
    from gemtop.history import queries

    library = queries.library()
    if args.format == "parquet":
        raise BadInputError("--list has no Parquet")
    for problem in library.problems.values():
        _say(problem)
    if args.format == "table" and args.output is None:
        for query in library.queries:
            sys.stdout.write(f"{query.name}{'  (yours)' if query.yours else ''}\n")
            sys.stdout.write(f"    {query.title}. {query.sentence}\n")
            for parameter in query.parameters:
                sys.stdout.write(f"    {parameter}  {parameter.description}\n")
        sys.stdout.flush()
        return
    rows = [
        (q.name, q.title, " ".join(map(str, q.parameters)), q.sentence, "yours" if q.yours else "gemtop")
        for q in library.queries
    ]
    _write(args, ["name", "title", "parameters", "sentence", "whose"], [False] * 5, rows)


def _write(
    args: argparse.Namespace, names: Sequence[str], numeric: Sequence[bool], rows: Iterable[tuple[Any, ...]]
) -> None:
    from gemtop.history import formats

    with ExitStack() as stack:
        out: TextIO = sys.stdout
        if args.output is not None:
            out = stack.enter_context(_create(args.output))
        terminal = out.isatty()
        width = shutil.get_terminal_size((80, 24)).columns if terminal else None
        count = formats.write(args.format, names, numeric, rows, out, terminal_width=width)
        out.flush()
    if terminal and args.format == "table":
        sys.stderr.write(f"({count:,} {'row' if count == 1 else 'rows'})\n")


def _create(name: str) -> TextIO:
    try:
        return Path(name).open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise BadInputError(f"cannot write {name}: {error.strerror}") from error


def _parquet(reader: Any, sql: str, values: dict[str, Value], output: str | None) -> None:
    """Parquet ends in an index of itself, so it is made as a file first and then brought to stdout."""
    if output is not None:
        reader.save_parquet(sql, values, Path(output))
        return
    with tempfile.TemporaryDirectory(prefix="gemtop-") as scratch:
        path = Path(scratch) / "result.parquet"
        reader.save_parquet(sql, values, path)
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
