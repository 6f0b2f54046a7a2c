"""Chooses the command. Each lives in a module of its own, imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from gemtop import __version__
from gemtop.domain.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, GemtopError

COMMANDS = {
    "run": "run a prompt without a screen: text on stdout, figures on stderr",
    "bench": "llama-bench's prompt and generation tests, recorded",
    "query": "SQL over the history",
    "doctor": "what this llama.cpp build can do and what it sees here",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str]) -> int:
    """Run a command line and return the exit code."""
    try:
        args = _parse(argv)
        return int(args.func(args))
    except GemtopError as error:
        sys.stderr.write(f"gemtop: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    if argv and argv[0] in COMMANDS:
        parser = Parser(prog="gemtop", allow_abbrev=False)
        commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
        importlib.import_module(f"gemtop.cli.{argv[0]}").add_parser(commands)
        return parser.parse_args(argv)
    from gemtop.cli import live

    parser = Parser(
        prog="gemtop",
        usage="gemtop [MODEL] [options]\n       gemtop COMMAND ...",
        description="Run Gemma 3 in this process and watch tokens/s, memory and power live.",
        epilog="commands:\n" + "".join(f"  {name:<8} {text}\n" for name, text in COMMANDS.items())
        + "\n'gemtop COMMAND --help' says more. Exit codes: 0 done, 1 failed, 2 bad input, 70 llama.cpp or the "
        "program\ndied, 130 interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"gemtop {__version__}")
    live.add_options(parser)
    return parser.parse_args(argv)
