"""gemtop sync: the sessions of this machine, sent to the fleet."""

from __future__ import annotations

import argparse
from typing import Any

from gemtop.cli import options
from gemtop.cli.histories import counted, emit, sayer, take_in
from gemtop.config import paths
from gemtop.domain.errors import EXIT_OK, BadInputError, GemtopError
from gemtop.domain.plan import gib
from gemtop.domain.text import one_line

_say = sayer("sync")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "sync",
        help="send the sessions of this machine to the fleet",
        description="Send every session that has ended to a fleet: a DuckLake with its catalogue in PostgreSQL and "
        "its data as Parquet files. Those that are there already are left out, so that it may be done again, and "
        "goes on where it was broken off. Nothing is removed from the fleet.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--to", metavar="URL",
        help="postgresql://USER@HOST/DATABASE with the catalogue (default: $GEMTOP_FLEET, else [history] fleet)",
    )  # fmt: skip
    parser.add_argument(
        "--data", metavar="PLACE", help="begin a fleet whose Parquet files are in this folder, or s3://BUCKET/PREFIX"
    )
    parser.add_argument("--no-text", action="store_true", help="leave prompts, outputs and token ids out")
    parser.add_argument(
        "--compact", action="store_true", help="then join the fleet's small files and drop states older than a week"
    )
    parser.add_argument(
        "--forget", nargs="+", metavar="SESSION", help="send nothing; delete these sessions, by their whole id"
    )
    options.add_db(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    try:
        _sync(args)
    except GemtopError as error:
        _say(str(error))
        return error.exit_code
    return EXIT_OK


def _sync(args: argparse.Namespace) -> None:
    from gemtop.cli.progress import Progress
    from gemtop.history import lake
    from gemtop.history.syncing import forget, sync

    where = lake.configured(args.to, args.data)
    if args.forget:
        if args.compact or args.no_text or args.data:
            raise BadInputError("--forget goes alone: it sends nothing")
        found = forget(where, args.forget, _say)
        missing = [one_line(name) for name in args.forget if name not in found]
        if missing:
            _say(f"the fleet has no session {', '.join(missing)}")
        emit(f"{where.shown}: {counted(len(found), 'session')} deleted\n")
        return
    history = paths(args.db)
    take_in(history, _say)
    progress = Progress()
    try:
        done = sync(history, where, text=not args.no_text, compact=args.compact, on_wait=_say, progress=progress.show)
    finally:
        progress.clear()
    for note in done.notes:
        _say(note)
    parts = [f"{counted(done.sent, 'session')} sent, {counted(done.rows, 'row')}"]
    if done.changed:
        parts.append(f"{done.changed:,} of them there before, and changed since")
    if done.there:
        parts.append(f"{done.there:,} there already")
    if done.live:
        parts.append(f"{done.live:,} going on")
    emit(f"{where.shown}: {', '.join(parts)}\n")
    if done.compacted is not None:
        small = done.compacted
        emit(
            f"{counted(small.files_before, 'file')}, {gib(small.size_bytes_before)}, became"
            f" {counted(small.files, 'file')}, {gib(small.size_bytes)}\n"
        )
