"""gemtop import: exports of gemtop's, and results of llama-bench."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop.cli import options
from gemtop.cli.histories import counted, emit, sayer, take_in
from gemtop.config import paths
from gemtop.domain.errors import EXIT_OK, BadInputError, GemtopError
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.history.importing import Folder
    from gemtop.history.llama_bench import Results

LARGEST_RESULTS_BYTES = 256 * 2**20
_say = sayer("import")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "import",
        help="exports of gemtop's, and results of llama-bench",
        description="Take in folders that gemtop export wrote, and files with what llama-bench -o jsonl, json or sql "
        "printed. Sessions that are there already are left out, so that it may be done again. All of it is taken in, "
        "or nothing.",
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="an export's folder, or results; - is stdin")
    parser.add_argument("--host", metavar="NAME", help="machine that llama-bench ran on (default: unknown)")
    options.add_db(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    try:
        _import(args)
    except GemtopError as error:
        _say(str(error))
        return error.exit_code
    return EXIT_OK


def _import(args: argparse.Namespace) -> None:
    from gemtop.cli.progress import Progress
    from gemtop.history.importing import take_all

    host = "unknown" if args.host is None else args.host.strip()
    if not host or host != one_line(host):
        raise BadInputError("--host names a machine, in one line")
    progress = Progress()
    try:
        sources = [_open(name, host, progress.show) for name in args.paths]
        where = paths(args.db)
        take_in(where, _say)
        brought = take_all(where, sources, _say, lambda what: progress.show(f"importing {what}"))
    finally:
        progress.clear()
    for name, one in zip(args.paths, brought, strict=True):
        for note in one.notes:
            _say(note)
        for session_id in one.new:
            emit(f"{one_line(session_id)}\n")
        there = ""
        if one.there:
            some = ", ".join(one.there[:3]) + (" and more" if len(one.there) > 3 else "")
            there = f", {counted(len(one.there), 'session')} there already ({some})"
        _say(f"{name}: {counted(len(one.new), 'session')} imported, {counted(one.rows, 'row')}{there}")


def _open(name: str, host: str, progress: Callable[[str], None]) -> Folder | Results:
    """What a path holds, checked. Raises BadInputError."""
    from gemtop.folders import MANIFEST
    from gemtop.history.importing import open_folder
    from gemtop.history.llama_bench import parse

    path = Path(name)
    try:
        if name == "-":
            return parse(sys.stdin.buffer.read(LARGEST_RESULTS_BYTES), "stdin", host)
        if path.is_dir() or path.name == MANIFEST:
            return open_folder(path if path.is_dir() else path.parent, progress)
        if path.stat().st_size > LARGEST_RESULTS_BYTES:
            raise BadInputError(f"{one_line(name)} is too large for results of llama-bench; nothing was imported")
        return parse(path.read_bytes(), name if path.name == "" else path.name, host)
    except OSError as error:
        raise BadInputError(f"{one_line(name)} cannot be read: {error.strerror}; nothing was imported") from error
