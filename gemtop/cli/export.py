"""gemtop export: sessions as a folder of Parquet, CSV or JSON files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gemtop.cli import options
from gemtop.cli.histories import counted, emit, sayer, take_in
from gemtop.config import paths
from gemtop.domain.errors import EXIT_OK, BadInputError, GemtopError

FORMATS = ("parquet", "csv", "json")
_say = sayer("export")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="sessions as a folder of files",
        description="Write everything of some sessions into a folder: a file for each table, and manifest.json with "
        "the hashes of the files. gemtop import takes it in again, here or elsewhere. Prompts and outputs are in it.",
        allow_abbrev=False,
    )
    parser.add_argument("sessions", nargs="*", metavar="SESSION", help="ids, beginnings or ends of them, or last")
    parser.add_argument("--all", action="store_true", help="all sessions that have ended")
    parser.add_argument("--to", required=True, metavar="DIR", help="folder to write; it is made, or is empty")
    parser.add_argument("--format", choices=FORMATS, default="parquet", help="default: parquet")
    parser.add_argument("--force", action="store_true", help="replace an export that is in DIR")
    options.add_db(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    try:
        _export(args)
    except GemtopError as error:
        _say(str(error))
        return error.exit_code
    return EXIT_OK


def _export(args: argparse.Namespace) -> None:
    if bool(args.sessions) == args.all:
        raise BadInputError("name sessions or give --all; gemtop sessions lists them")
    from gemtop.cli.progress import Progress
    from gemtop.history.exporting import check_target, export
    from gemtop.history.manage import WAIT_S, Sessions, refuse_live
    from gemtop.history.reader import Reader

    target = Path(args.to)
    check_target(target, force=args.force)
    where = paths(args.db)
    take_in(where, _say)
    with Sessions(where, _say) as sessions:
        found = sessions.all() if args.all else sessions.find_all(args.sessions)
    live = [session for session in found if session.status == "live"]
    if args.all and live:
        found = [session for session in found if session not in live]
        _say(f"{counted(len(live), 'live session')} left out: {', '.join(session.session_id for session in live[:3])}")
    refuse_live(found, "export")
    if not found:
        raise BadInputError(f"there are no sessions to export in {where.history}")
    progress = Progress()
    with Reader.open(where, wait_s=WAIT_S, on_wait=_say) as reader:
        try:
            ids = sorted(session.session_id for session in found)
            done = export(
                reader, ids, target, args.format, force=args.force,
                progress=lambda what: progress.show(f"exporting {what}"),
            )  # fmt: skip
        finally:
            progress.clear()
    emit(f"{done.folder}\n")
    _say(f"{counted(done.sessions, 'session')}, {counted(done.rows, 'row')}, {done.size_bytes / 2**20:.1f} MiB")
