"""Chooses the command. Each lives in a module of its own, imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from gemtop import __version__
from gemtop.cli import options
from gemtop.cli.streams import exit_code
from gemtop.config import config_if_set
from gemtop.domain.ascii_text import WORDS
from gemtop.domain.errors import EXIT_BAD_INPUT
from gemtop.domain.text import one_line
from gemtop.terminal import UTF8, charset

COMMANDS = {
    "run": "run a prompt without a screen: text on stdout, figures on stderr",
    "bench": "llama-bench's prompt and generation tests, recorded",
    "compare": "variants held against each other: quality, speed, memory, energy",
    "tune": "measure which context, cache type, offload and micro-batch are worth having here",
    "pull": "fetch a model from the Hugging Face hub",
    "adopt": "a copy of one of Ollama's own Gemma 3 files that llama.cpp loads",
    "quantize": "other formats of a model's file, by llama.cpp's own quantiser",
    "models": "the models on this machine, and whether they fit",
    "plan": "whether a model fits, with how much context, and what would",
    "devices": "the devices llama.cpp sees here and on RPC servers",
    "query": "SQL over the history",
    "replay": "a recorded session on the screen again",
    "sessions": "list, show, tag, note, delete, prune and merge the sessions of the history",
    "export": "sessions as a folder of Parquet, CSV or JSON files",
    "import": "exports of gemtop's, and results of llama-bench",
    "sync": "send the sessions of this machine to the fleet",
    "top": "watch GPUs and machine without a model",
    "completion": "Tab completion for bash, zsh and fish",
    "config": "what is set and where, and the configuration file in an editor",
    "doctor": "what this llama.cpp build can do and what it sees here",
}
_MODULES = {"import": "import_"}
"""Modules that cannot have their command's name."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """Prints gemtop's version, and that of llama.cpp as a child process finds it, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from gemtop.engine.describe import describe_build

        sys.stdout.write(f"gemtop {__version__}\n")
        sys.stdout.flush()
        build = describe_build()
        if build.problem is None:
            backends = f", backends: {', '.join(build.backends)}" if build.backends else ""
            sys.stdout.write(f"{one_line(build.llama_build or 'llama.cpp')}{backends}\n")
        else:
            sys.stdout.write(f"llama.cpp: {one_line(build.problem)}; see gemtop doctor\n")
        parser.exit()


def main(argv: Sequence[str]) -> int:
    """Run a command line and return the exit code."""
    _prepare_streams()
    if argv[:1] == ["__complete"]:  # a shell asks, in the scripts of gemtop completion
        from gemtop.cli import complete

        return complete.main(argv[1:])

    def command() -> int:
        args = _parse(argv)
        args.argv = list(argv)  # a report says what made it
        if not args.draws:  # a screen starts the log when its first lines stand
            options.start_log(args)
        if not args.reads_config:
            config = config_if_set()
            for warning in config.warnings if config and not args.draws else ():  # a screen shows them itself
                sys.stderr.write(f"gemtop: {warning}\n")
        code = int(args.func(args))
        if args.verbose:
            options.log_end(code)
        return code

    return exit_code(command)


_ERRORS = {"stdin": "surrogateescape", "stdout": "replace", "stderr": "backslashreplace"}
_SIZES = ("--gpu-memory", "--memory")
"""Flags whose values begin with a number and are none."""
_NEGATIVE = re.compile(r"-\.?\d")


def _prepare_streams() -> None:
    """Streams that the caller closed lead nowhere; text is UTF-8 whatever the locale, and never an error.

    A terminal of another locale is sent ASCII: what it would make of UTF-8 cannot be read.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # the files opened from here on would else take its place
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors=_ERRORS[name])
            if name != "stdin" and stream.isatty() and charset() != UTF8:
                stream.reconfigure(encoding="ascii", errors=WORDS)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    command = argv[0] if argv and argv[0] in COMMANDS else None
    args, unknown = build_parser(command).parse_known_args(_with_negative_sizes(argv))
    if unknown:  # said by the command's own name, whose --help shows its flags
        Parser(prog=f"gemtop {command}" if command else "gemtop").error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


def _with_negative_sizes(argv: Sequence[str]) -> list[str]:
    """Join `--gpu-memory -5GiB`: argparse would take the size for a flag and miss a value, of which better is said."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1] in _SIZES and _NEGATIVE.match(argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def build_parser(command: str | None) -> Parser:
    """The parser of a command line that begins with this command, or of one without a command."""
    if command is not None:
        parser = Parser(prog="gemtop", allow_abbrev=False)
        commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
        importlib.import_module(f"gemtop.cli.{_MODULES.get(command, command)}").add_parser(commands)
        options.add_common(commands.choices[command])
        return parser
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
    parser.add_argument("--version", action=_Version, nargs=0, help="show the versions of gemtop and of llama.cpp")
    live.add_options(parser)
    options.add_common(parser)
    return parser
