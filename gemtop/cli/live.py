"""gemtop [MODEL]: the screen."""

from __future__ import annotations

import argparse
import gc
import os
from typing import TYPE_CHECKING

from gemtop.cli import options, screens
from gemtop.config import Paths, new_session_id, paths
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.supervisor import supervise
from gemtop.tui.first_paint import first_paint

if TYPE_CHECKING:
    from gemtop.tui.app import GemtopApp


def add_options(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    options.add_model(model)
    run = parser.add_argument_group("run")
    run.add_argument("-p", "--prompt", metavar="TEXT", help="run this prompt as soon as the model is loaded")
    run.add_argument("--quit-when-done", action="store_true", help="leave when that run has ended")
    options.add_sampling(run)
    options.add_engine(parser.add_argument_group("engine"))
    screen = parser.add_argument_group("screen")
    screens.add_thrift(screen)
    screens.add_keep_running(screen)
    history = parser.add_argument_group("history")
    options.add_db(history)
    options.add_no_text(history)
    parser.set_defaults(func=main, draws=True)


def main(args: argparse.Namespace) -> int:
    where = paths(args.db)
    name = options.named_model(args)
    path = _resolve(name, where) if name else None
    if why := screens.why_no_screen():
        raise BadInputError(f"{why}; without a screen there is: gemtop run MODEL -p TEXT")
    if args.quit_when_done and not args.prompt:
        raise BadInputError("--quit-when-done needs a prompt; give one with --prompt")
    if args.prompt is not None and not args.prompt.strip():
        raise BadInputError("the prompt is empty; give some text with --prompt")
    record_text = options.record_text(args)
    args.thrift, args.keep_running = screens.thrift(args), screens.keep_running(args)
    sessions: list[str] = []

    def child(attempt: int) -> int:
        return _show(args, where, path, sessions[-1], attempt, record_text)

    def describe(died_of: str) -> str:
        cause = ", as the kernel does when memory runs out" if died_of == "SIGKILL" else ""
        return (
            f"the program was ended by {died_of}{cause}; session {sessions[-1]} is kept in {where.spools} "
            "and comes into the history at the next start"
        )

    sessions.append(new_session_id())
    try:
        return supervise(child, describe)
    finally:
        _forget_conversation(where)


def _forget_conversation(where: Paths) -> None:
    """What a program that was to be started anew left for the next one, where that did not come to take it."""
    from gemtop.tui.startup import forget_resume

    forget_resume(where)


def _resolve(name: str, where: Paths) -> str:
    from gemtop.engine.names import resolve

    return resolve(name, where)


def _show(
    args: argparse.Namespace, where: Paths, path: str | None, session_id: str, attempt: int, record_text: bool
) -> int:
    gc.disable()  # until the first frame: nothing made on the way to it is garbage
    terminal = screens.drawing_file()
    name = options.named_model(args)
    if name == path and name:
        name = os.path.basename(name)  # noqa: PTH119
    what = f"opening {one_line(name)}" if name else "starting"
    with first_paint(terminal, what, keys=options.screen_keys(), ascii_only=screens.is_ascii()):
        options.start_log(args)
        app = _make_app(args, where, path, session_id, attempt, record_text)
    return app.run_and_report()


def _make_app(
    args: argparse.Namespace, where: Paths, path: str | None, session_id: str, attempt: int, record_text: bool
) -> GemtopApp:
    from gemtop.tui.app import GemtopApp
    from gemtop.tui.startup import Startup

    startup = Startup(
        path=path,
        demo=args.demo,
        settings=options.engine_settings(args),
        sampling=options.sampling(args),
        n_predict=args.n_predict,
        raw=args.raw,
        prompt=args.prompt,
        quit_when_done=args.quit_when_done,
        session_id=session_id if not attempt else new_session_id(),
        resumed=attempt > 0,
        record_text=record_text,
        span_s=screens.span_s(),
        thrift=args.thrift,
        keep_running=args.keep_running,
    )
    return GemtopApp(startup, where, keys=options.screen_keys())
