"""What the three commands with a screen share: whether there is a terminal, and how it is to be used."""

from __future__ import annotations

import argparse
import os
import sys

from gemtop.config import config_if_set
from gemtop.terminal import ascii_screen
from gemtop.tui.first_paint import SPAN_S


def add_thrift(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--thrift", action="store_true", help="send as little as can be to the terminal, for a slow line"
    )


def add_keep_running(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--keep-running",
        action="store_true",
        help="when the terminal goes away, end the run or the comparison without it, and leave then",
    )


def thrift(args: argparse.Namespace) -> bool:
    """Whether little is sent to the terminal: --thrift, or the configuration. Raises BadInputError."""
    config = config_if_set()
    return bool(args.thrift) or (config is not None and config.screen_thrift)


def keep_running(args: argparse.Namespace) -> bool:
    """Whether a run goes on without its terminal: --keep-running, or the configuration. Raises BadInputError."""
    config = config_if_set()
    return bool(args.keep_running) or (config is not None and config.screen_keep_running)


def span_s() -> float:
    """Seconds that the live charts show at first. Raises BadInputError."""
    config = config_if_set()
    return float(config.screen_span_s) if config else SPAN_S


def is_ascii() -> bool:
    """Whether the screen is drawn in plain ASCII. Raises BadInputError."""
    config = config_if_set()
    return ascii_screen(config.screen_ascii if config else "auto")


def why_no_screen() -> str | None:
    """Why no screen can be drawn here; None where one can."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "there is no terminal here to draw on"
    term = os.environ.get("TERM", "")
    if term in ("dumb", "unknown"):
        return f"TERM={term} says that this terminal cannot show a screen"
    if not term:
        return "TERM is not set, so nobody knows what this terminal can show; set it, to xterm-256color for most"
    return None


def drawing_file() -> int:
    """The terminal's descriptor: Textual draws on stderr; where that goes to a file, the terminal is on stdout."""
    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        sys.__stderr__ = sys.__stdout__  # type: ignore[misc]
    assert sys.__stderr__ is not None
    return sys.__stderr__.fileno()
