"""gemtop replay: a recorded session on the screen, at its own pace or another."""

from __future__ import annotations

import argparse
import gc
import sys
from typing import TYPE_CHECKING, Any

from gemtop.cli import options, screens
from gemtop.config import Paths, paths
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.playback import moment_of, moment_text, speed_of
from gemtop.supervisor import supervise

if TYPE_CHECKING:
    from gemtop.replay import Replay


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `replay` to the program's commands."""
    parser = commands.add_parser(
        "replay",
        help="a recorded session on the screen again",
        description="Show a recorded session on the live screen again, fed from the history: pause, scrub, go from "
        "run to run, faster or slower. Nothing is run, read or recorded.",
        epilog="gemtop replay last · gemtop replay last --speed 4x --from 1:30 · gemtop sessions lists them",
        allow_abbrev=False,
    )
    parser.add_argument(
        "session",
        metavar="SESSION",
        help="id of the session, a beginning or an end of it that no other session has, or last",
    )
    parser.add_argument("--speed", default="1x", metavar="N", help="how fast, 0.25x to 64x (default: 1x)")
    parser.add_argument(
        "--from", dest="start", default="0", metavar="TIME", help="where to begin: seconds, or minutes:seconds"
    )
    screens.add_thrift(parser)
    options.add_db(parser)
    parser.set_defaults(func=main, draws=True)


def main(args: argparse.Namespace) -> int:
    speed, start_ns = speed_of(args.speed), moment_of(args.start)
    if why := screens.why_no_screen():
        raise BadInputError(f"{why}; gemtop query runs SQL over the history without a screen")

    args.thrift = screens.thrift(args)

    def describe(died_of: str) -> str:
        return f"the replay was ended by {died_of}; nothing was being recorded"

    return supervise(lambda _attempt: _show(args, paths(args.db), speed, start_ns), describe)


def _show(args: argparse.Namespace, where: Paths, speed: float, start_ns: int) -> int:
    """The replay, in the process of the screen. What is wrong is said before the screen is drawn."""
    try:
        replay = opened(where, args.session)
        if start_ns > replay.duration_ns:
            raise BadInputError(f"--from {args.start}: the session ends at {moment_text(replay.duration_ns)}")
    except GemtopError as error:
        sys.stderr.write(f"gemtop: {error}\n")
        return error.exit_code
    from gemtop.tui.first_paint import first_paint
    from gemtop.tui.hints import REPLAY_KEYS

    terminal = screens.drawing_file()
    gc.disable()  # until the first frame: nothing made on the way to it is garbage
    keys, name = options.screen_keys(), replay.session_id
    shown = {"title": "gemtop replay", "prompt": ""}
    with first_paint(terminal, name, **shown, hints=REPLAY_KEYS, keys=keys, ascii_only=screens.is_ascii()):
        options.start_log(args)
        from gemtop.tui.replay import ReplayApp

        app = ReplayApp(replay, position_ns=start_ns, speed=speed, thrift=args.thrift, keys=keys)
    return app.run_and_report()


def opened(where: Paths, name: str) -> Replay:
    """The session of this name, ready to be shown. Raises BadInputError and HistoryError."""
    from gemtop.history.named import named_session
    from gemtop.history.reader import Reader
    from gemtop.history.replaying import SessionReader
    from gemtop.history.spool import spools_in
    from gemtop.replay import Replay

    if spools_in(where.spools):  # a session whose process died is in its spool yet
        from gemtop.history.ingest import take_in_dead

        for note in take_in_dead(where, wait_s=2.0, on_wait=_say).notes:
            _say(note)
    with Reader.open(where, on_wait=_say) as reader:
        if reader.path is None:
            raise BadInputError(f"there is no history yet at {where.history}")
        session_id = named_session(reader, name)
    source = SessionReader(where, session_id, on_wait=None)
    return Replay(source.recording(), source)


def _say(text: str) -> None:
    sys.stderr.write(f"gemtop replay: {text}\n")
    sys.stderr.flush()
