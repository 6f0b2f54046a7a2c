"""gemtop config: what is set and where, and the configuration file in an editor."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop.config import config_file
from gemtop.domain.errors import EXIT_BAD_INPUT, EXIT_OK, BadInputError
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.config.reading import Reading

_ACTIONS = ("show", "edit", "path")
_EDITORS = ("nano", "vi")
"""Where neither VISUAL nor EDITOR names one."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "config",
        help="what is set, and where",
        description="Show what is set and where that is from (the default), open the configuration file in an editor "
        "and check it afterwards, or print its path.",
        epilog="gemtop config · gemtop config show screen.theme keys · gemtop config edit",
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", choices=_ACTIONS, default="show", help="show, edit or path")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="show only these, as in screen.theme; or a whole table")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(func=main, reads_config=True)


def main(args: argparse.Namespace) -> int:
    if args.action != "show" and (args.keys or args.json):
        raise BadInputError(f"gemtop config {args.action} takes nothing more")
    if args.action == "path":
        sys.stdout.write(f"{config_file()}\n")
        return EXIT_OK
    return _edit(config_file()) if args.action == "edit" else _show(args)


def _show(args: argparse.Namespace) -> int:
    from gemtop.config.documents import as_data, check_names, in_force
    from gemtop.config.reading import read_config

    check_names(args.keys)
    reading = read_config()
    if args.json:
        data = {
            "file": str(reading.file),
            "exists": reading.exists,
            "settings": as_data(reading, args.keys),
            "problems": [*map(str, reading.problems), *reading.config.warnings],
        }
        sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")
    elif not reading.problems:
        sys.stdout.write(in_force(reading, args.keys))
    return tell_problems(reading)


def tell_problems(reading: Reading) -> int:
    """Say what is wrong, a line each; returns the exit code."""
    lines = [*map(str, reading.problems), *reading.config.warnings]
    for line in lines:
        sys.stderr.write(f"gemtop: {line}\n")
    return EXIT_BAD_INPUT if lines else EXIT_OK


def _edit(file: Path) -> int:
    from gemtop.config.documents import sample
    from gemtop.config.reading import read_config

    editor = _editor()
    if not os.path.lexists(file):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(0o600, exist_ok=False)  # it may come to hold the fleet's password
            file.write_text(sample(), encoding="utf-8")
        except OSError as error:
            raise BadInputError(f"{one_line(str(file))} cannot be made: {error.strerror or error}") from None
    sys.stdout.flush()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the editor's
    try:
        ended = subprocess.run([*editor, str(file)], check=False).returncode
    except OSError as error:
        raise BadInputError(f"the editor {one_line(editor[0])} cannot be started: {error.strerror or error}") from None
    finally:
        signal.signal(signal.SIGINT, before)
    if ended:
        raise BadInputError(f"the editor {one_line(editor[0])} ended with {ended}; the file is {one_line(str(file))}")
    return tell_problems(read_config())


def _editor() -> list[str]:
    """The command of the user's editor. Raises BadInputError where there is none."""
    for variable in ("VISUAL", "EDITOR"):
        given = os.environ.get(variable, "").strip()
        if given:
            try:
                return shlex.split(given)
            except ValueError:
                raise BadInputError(f"{variable} has a quotation that is not closed: {one_line(given)}") from None
    found = next((path for path in map(shutil.which, _EDITORS) if path), None)
    if found is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInputError(f"there is no editor; set EDITOR, or edit {one_line(str(config_file()))} yourself")
    return [found]
