"""gemtop adopt: a copy of one of Ollama's own Gemma 3 files that llama.cpp loads."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gemtop.cli.signals import hear
from gemtop.config import paths
from gemtop.domain.errors import EXIT_INTERRUPTED, EXIT_OK, BadInputError
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.engine.adopt import Adoption


def add_parser(commands: Any) -> None:
    """Add `adopt` to the program's commands, an argparse subparsers action."""
    parser = commands.add_parser(
        "adopt",
        help="make a Gemma 3 of Ollama's loadable",
        description="Copy a Gemma 3 that Ollama keeps in a layout of its own, which llama.cpp refuses, into a file "
        "that llama.cpp loads: the text model, with the missing keys filled in. The copy is checked, and its path "
        "printed. Ollama's store is not touched.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="a name as Ollama has it, gemma3:27b-it-qat, or a path")
    parser.add_argument("--to", metavar="FILE", help="where to (default: gemtop/models in the XDG data folder)")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    hear(_interrupt, signal.SIGTERM, signal.SIGHUP)
    where = paths()
    from gemtop.cli.progress import Progress
    from gemtop.engine.adopt import Adoption, adopt, check_target
    from gemtop.engine.names import resolve

    progress = Progress()

    def say(text: str) -> None:
        progress.clear()
        sys.stderr.write(f"gemtop: {one_line(text)}\n")
        sys.stderr.flush()

    try:
        with Adoption(resolve(args.name, where, adopted=False)) as adoption:
            target = _target(args.to, adoption)
            check_target(adoption.header, target, force=args.force)
            say(f"{args.name}: {adoption.size_bytes / 1e9:.2f} GB to copy; left out: {adoption.left_out}")
            for filled in adoption.filled:
                say(f"filled in: {filled}")
            found = adopt(
                adoption,
                target,
                force=args.force,
                on_progress=lambda stage, fraction: progress.show(f"{stage} {fraction:4.0%}"),
            )
    except KeyboardInterrupt:
        say("interrupted; nothing was left behind")
        return EXIT_INTERRUPTED
    finally:
        progress.clear()
    say(f"checked: it recites a page it has read {found.distance:,} tokens before, perplexity {found.far:.3f}")
    sys.stdout.write(f"{target}\n")
    return EXIT_OK


def _target(given: str | None, adoption: Adoption) -> Path:
    """The file to write; the folder of gemtop's own models is made where it is not there."""
    if given is not None:
        target = Path(given).expanduser()
        if not os.path.isdir(target.parent):  # noqa: PTH112  (pathlib's raises where a folder may not be entered)
            raise BadInputError(
                f"{one_line(str(target.parent))} is no folder; make it first, or name another with --to"
            )
        return target
    from gemtop.engine.adopt_layout import file_name, models_folder
    from gemtop.engine.output import make_folder

    folder = models_folder()
    make_folder(folder, "--to")
    return folder / file_name(adoption.header)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
