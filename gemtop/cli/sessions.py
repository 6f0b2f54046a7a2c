"""gemtop sessions: list, show, tag, note, delete, prune and merge the sessions of the history."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gemtop.cli import options
from gemtop.cli.histories import confirmed, counted, emit, sayer, take_in
from gemtop.config import Paths, paths
from gemtop.domain.errors import EXIT_OK, BadInputError, GemtopError
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.history.manage import Session

_say = sayer("sessions")
_SOME = 20
"""Sessions that are named one by one before they are deleted."""
_NAMES = "A SESSION is named by its id, by a beginning or an end of it that no other has, or by 'last'."


def add_parser(commands: Any) -> None:
    """Add `sessions` and what it can do, an argparse subparsers action."""
    parser = commands.add_parser(
        "sessions",
        help="list, show, tag, note, delete and merge sessions",
        description="The sessions of the history: list them (the default), show one, give it tags and a note, delete "
        f"some, and bring those of another history in. {_NAMES}",
        allow_abbrev=False,
    )
    _add_list_options(parser, top=True)
    options.add_db(parser)
    parser.set_defaults(func=main, action=_list)
    actions = parser.add_subparsers(metavar="list|show|tag|note|delete|prune|merge", title="what to do")
    _add_reading(actions)
    _add_labels(actions)
    _add_removing(actions)
    merge = _action(actions, "merge", _merge, "bring in the sessions of another history file")
    merge.add_argument("files", nargs="+", metavar="FILE", help="a history of any gemtop up to this one; not changed")
    merge.add_argument(
        "--unfinished", action="store_true", help="also sessions without an end, as crashed (default: they are left)"
    )


def _action(actions: Any, name: str, function: Callable[..., None], text: str) -> Any:
    parser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
    parser.add_argument("--db", metavar="FILE", default=argparse.SUPPRESS, help="history file, as above")
    parser.set_defaults(action=function)
    return parser


def _add_list_options(parser: Any, *, top: bool) -> None:
    def default(value: object) -> object:
        return value if top else argparse.SUPPRESS  # what was said before the word `list` holds

    parser.add_argument("--tag", metavar="TAG", default=default(None), help="only sessions with this tag")
    parser.add_argument("--limit", type=int, metavar="N", default=default(None), help="the newest N (default: all)")
    parser.add_argument("--json", action="store_true", default=default(False), help="JSON on stdout")


def _add_reading(actions: Any) -> None:
    _add_list_options(_action(actions, "list", _list, "list the sessions, newest first"), top=False)
    show = _action(actions, "show", _show, "show a session: its devices, loads and runs, with figures and verdicts")
    show.add_argument("session", metavar="SESSION", help="an id, a beginning or an end of one, or last")
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one object on stdout")


def _add_labels(actions: Any) -> None:
    tag = _action(actions, "tag", _tag, "give a session tags, or take them away")
    tag.add_argument("session", metavar="SESSION", help="an id, a beginning or an end of one, or last")
    tag.add_argument("tags", nargs="+", metavar="TAG", help="one word, without a comma")
    tag.add_argument("--remove", action="store_true", help="take these tags away")
    note = _action(actions, "note", _note, "write a note of a session, in the place of the one it had")
    note.add_argument("session", metavar="SESSION", help="an id, a beginning or an end of one, or last")
    note.add_argument("text", nargs="+", metavar="TEXT", help="the note; - reads it from stdin, '' removes it")


def _add_removing(actions: Any) -> None:
    delete = _action(actions, "delete", _delete, "delete sessions with everything that was recorded in them")
    delete.add_argument("sessions", nargs="+", metavar="SESSION", help="an id, a beginning or an end of one, or last")
    delete.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    prune = _action(actions, "prune", _prune, "delete old sessions; tagged and live ones stay")
    prune.add_argument("--older-than", required=True, metavar="AGE", help="began longer ago than: 12h, 90d, 4w")
    prune.add_argument("--keep-tagged", dest="tagged_too", action="store_false", help="keep tagged ones (default)")
    prune.add_argument("--tagged-too", dest="tagged_too", action="store_true", help="tagged ones go as well")
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    prune.add_argument("--yes", action="store_true", help="do not ask on a terminal")
    prune.set_defaults(tagged_too=False)


def main(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code, 2 with one clear line for anything that cannot be used."""
    try:
        where = paths(args.db)
        take_in(where, _say)
        args.action(args, where)
    except GemtopError as error:
        _say(str(error))
        return error.exit_code
    return EXIT_OK


def _list(args: argparse.Namespace, where: Paths) -> None:
    from gemtop.cli import sessions_report
    from gemtop.history.manage import Sessions

    if args.limit is not None and args.limit < 0:
        raise BadInputError(f"--limit {args.limit}: a number of sessions cannot be negative")
    with Sessions(where, _say) as sessions:
        found = sessions.all(args.tag)
        if not sessions.is_there and not found:
            _say(f"there is no history yet at {where.history}")
    sessions_report.write_list(found[: args.limit], as_json=args.json)


def _show(args: argparse.Namespace, where: Paths) -> None:
    from gemtop.cli import sessions_report
    from gemtop.history.manage import Sessions

    with Sessions(where, _say) as sessions:
        session = sessions.find(args.session)
        rows = {name: sessions.view(name, session.session_id) for name in ("sessions", "devices", "ledger", "runs")}
    sessions_report.write_session(session, rows, as_json=args.json)


def _tag(args: argparse.Namespace, where: Paths) -> None:
    from gemtop.history import manage
    from gemtop.history.database import Database

    given = manage.checked_tags(args.tags)
    with manage.Sessions(where, _say) as sessions:
        session = sessions.find(args.session)
        early = sessions.row_in_spool(session.session_id)
    missing = [tag for tag in given if tag not in session.tags]
    if args.remove and missing:
        raise BadInputError(f"session {session.session_id} has no tag {', '.join(missing)}")
    tags = set(session.tags) - set(given) if args.remove else {*session.tags, *given}
    manage.set_tags(Database(where.history), session, early, tags, _say)
    _say(f"session {session.session_id} has {'the tags ' + ', '.join(sorted(tags)) if tags else 'no tags'}")


def _note(args: argparse.Namespace, where: Paths) -> None:
    from gemtop.history import manage
    from gemtop.history.database import Database

    with manage.Sessions(where, _say) as sessions:
        session = sessions.find(args.session)
        early = sessions.row_in_spool(session.session_id)
    text = sys.stdin.read(manage.LONGEST_NOTE * 2) if args.text == ["-"] else " ".join(args.text)
    manage.set_note(Database(where.history), session, early, text, _say)
    _say(f"session {session.session_id} has {'a new' if text.strip() else 'no'} note")


def _delete(args: argparse.Namespace, where: Paths) -> None:
    from gemtop.history import manage

    with manage.Sessions(where, _say) as sessions:
        found = sessions.find_all(args.sessions)
    manage.refuse_live(found, "delete")
    if not args.yes:
        if not sys.stdin.isatty():
            raise BadInputError(f"--yes is needed to delete {counted(len(found), 'session')} where nobody can be asked")
        for session in found:
            _say(_described(session))
        if not confirmed(f"delete {counted(len(found), 'session')} with everything recorded in them?"):
            _say("nothing was deleted")
            return
    _remove(where, found)


def _prune(args: argparse.Namespace, where: Paths) -> None:
    from gemtop.history import manage

    age = manage.age(args.older_than)
    with manage.Sessions(where, _say) as sessions:
        everything = sessions.all()
    found = manage.to_prune(everything, age, tagged_too=args.tagged_too)
    with_tags = 0 if args.tagged_too else len(manage.to_prune(everything, age, tagged_too=True)) - len(found)
    shown = found if args.dry_run else found[:_SOME]
    for session in shown:
        _say(_described(session))
    if len(shown) < len(found):
        _say(f"and {len(found) - len(shown):,} more; --dry-run names all")
    if with_tags:
        _say(f"{counted(with_tags, 'session')} as old as that stay: they have tags (--tagged-too)")
    if not found:
        _say(f"no session goes: none without a tag is older than {args.older_than}")
    elif args.dry_run:
        _say(f"{counted(len(found), 'session')} would be deleted")
    elif not args.yes and sys.stdin.isatty() and not confirmed(f"delete {counted(len(found), 'session')}?"):
        _say("nothing was deleted")
    else:
        _remove(where, found)


def _remove(where: Paths, found: Sequence[Session]) -> None:
    from gemtop.history.database import Database
    from gemtop.history.manage import delete

    rows = delete(where, Database(where.history), [session.session_id for session in found], _say)
    _say(
        f"{counted(len(found), 'session')} deleted, {counted(rows, 'row')}; the history uses the room again, and"
        f" 'gemtop sessions merge {where.history} --db NEW' writes a smaller one"
    )


def _described(session: Session) -> str:
    """A session in one line, for those who decide about it."""
    when = f"{session.started_at.astimezone():%Y-%m-%d %H:%M}"
    what = [session.command, counted(session.runs, "run"), *session.models, *session.tags, session.note]
    parts = [session.session_id, when, *what]
    return one_line("  ".join(part for part in parts if part))[:200]


def _merge(args: argparse.Namespace, where: Paths) -> None:
    from pathlib import Path

    from gemtop.cli.progress import Progress
    from gemtop.history.merging import merge

    progress = Progress()
    for name in args.files:

        def show(what: str, name: str = name) -> None:
            progress.show(f"merging {name}: {what}")

        try:
            brought = merge(where, Path(name), unfinished=args.unfinished, on_wait=_say, progress=show)
        finally:
            progress.clear()
        for note in brought.notes:
            _say(f"{name}: {note}")
        for session_id in brought.new:
            emit(f"{one_line(session_id)}\n")
        there = f", {counted(len(brought.there), 'session')} there already" if brought.there else ""
        _say(f"{name}: {counted(len(brought.new), 'session')} merged, {counted(brought.rows, 'row')}{there}")
        if brought.left:
            some = ", ".join(brought.left[:3]) + (" and more" if len(brought.left) > 3 else "")
            _say(f"{name}: {some} left: no end is recorded, it may be going on (--unfinished takes it as crashed)")
