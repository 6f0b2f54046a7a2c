"""What the user sees while Textual is still being imported: the first line and the last ones of the live screen.

Textual takes longer to import than everything else on the way to the first frame together, several times so
on a machine that has not run it yet. These lines stand where they will stand, so nothing jumps when it comes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from gemtop.domain.ascii_text import CELLS
from gemtop.keymap import KeyHint, Keys, fitting
from gemtop.tui.hints import LIVE_KEYS, PROMPT_PLACEHOLDER

SPAN_S = 60.0
"""What the live charts show at first, where nothing else is set."""
_LEAST_WIDTH, _LEAST_HEIGHT = 40, 10
"""Below this the live screen shows only that the terminal is too small."""


@contextlib.contextmanager
def first_paint(
    terminal: int,
    opening: str,
    *,
    title: str = "gemtop",
    hints: tuple[KeyHint, ...] = LIVE_KEYS,
    keys: Keys | None = None,
    prompt: str = PROMPT_PLACEHOLDER,
    ascii_only: bool = False,
) -> Iterator[None]:
    """Paint on this file descriptor; should the body raise, give the screen of before back.

    `opening` is what is being opened, harmless on a terminal.
    """
    with contextlib.suppress(OSError):
        size = os.get_terminal_size(terminal)
        fitted = fitting(hints, keys or Keys(), size.columns)
        encoding = ("ascii", CELLS) if ascii_only else ("utf-8", "replace")
        os.write(terminal, _picture(size, opening, title, fitted, prompt).encode(*encoding))
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.write(terminal, b"\x1b[?1049l\x1b[?25h")
        raise


def _picture(
    size: os.terminal_size, opening: str, title: str, hints: Sequence[tuple[int, str, KeyHint]], prompt: str
) -> str:
    width, height = size
    parts = ["\x1b[?1049h\x1b[?25l\x1b[2J"]
    if width >= _LEAST_WIDTH and height >= _LEAST_HEIGHT:
        parts.append(f"\x1b[H \x1b[1m{title}\x1b[m  {opening[: width - len(title) - 4]}")
        if prompt:
            parts.append(f"\x1b[{height - 1};2H\x1b[2m{prompt}\x1b[m")
        parts.extend(f"\x1b[{height};{x + 1}H\x1b[1m{label}\x1b[m {hint.text}" for x, label, hint in hints)
    return "".join(parts) + "\x1b[H"
