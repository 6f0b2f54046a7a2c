"""gemtop completion: the script by which a shell completes gemtop's commands, flags and names."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gemtop.domain.errors import EXIT_OK

SHELLS = ("bash", "zsh", "fish")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "completion",
        help="completion for bash, zsh and fish",
        description="Print the script that completes commands, flags, models, queries, sessions and files with Tab.",
        epilog='In ~/.bashrc: eval "$(gemtop completion bash)". In ~/.zshrc, behind compinit: source <(gemtop '
        "completion zsh). For fish: gemtop completion fish > ~/.config/fish/completions/gemtop.fish",
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS, help="bash, zsh or fish")
    parser.set_defaults(func=main, reads_config=True)


def main(args: argparse.Namespace) -> int:
    sys.stdout.write(script(args.shell))
    return EXIT_OK


def script(shell: str) -> str:
    """The script for one of SHELLS."""
    return (Path(__file__).parent / "shells" / f"gemtop.{shell}").read_text(encoding="utf-8")
