"""What the commands share that work on sessions of the history."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gemtop.config import Paths
from gemtop.domain.text import one_line


def sayer(command: str) -> Callable[[str], None]:
    """Talk on stderr, in one line that begins with the command's name."""

    def say(text: str) -> None:
        sys.stderr.write(f"gemtop {command}: {one_line(text)}\n")
        sys.stderr.flush()

    return say


def take_in(where: Paths, say: Callable[[str], None]) -> None:
    """Take in the sessions of processes that are gone, where there are any."""
    from gemtop.history.spool import spools_in

    if spools_in(where.spools):  # else what takes them in need not be imported
        from gemtop.history.ingest import take_in_dead

        for note in take_in_dead(where, wait_s=2.0, on_wait=say).notes:
            say(note)


def confirmed(question: str) -> bool:
    """Ask on the terminal; only y or yes is a yes."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def counted(number: int, word: str) -> str:
    """1 session, 2 sessions."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def emit(text: str) -> None:
    """Text on stdout, now."""
    sys.stdout.write(text)
    sys.stdout.flush()
