"""Text on its last step to the terminal, and on its first one from there."""

from __future__ import annotations

import codecs
import sys
from functools import partial
from typing import Any

from textual.drivers import linux_driver

from gemtop.domain.ascii_text import CELLS
from gemtop.terminal import UTF8, charset


def install(*, ascii_only: bool) -> None:
    """Have Textual's driver send ASCII alone, or UTF-8, and read what is typed in the terminal's own encoding.

    Where only ASCII is sent, whatever else a widget draws becomes as many cells of it.
    """
    stream: Any = sys.__stderr__  # what Textual draws on
    if stream is not None and hasattr(stream, "reconfigure"):
        if ascii_only:
            stream.reconfigure(encoding="ascii", errors=CELLS)
        else:
            stream.reconfigure(encoding=UTF8, errors="backslashreplace")
    linux_driver.getincrementaldecoder = _decoder  # type: ignore[assignment,attr-defined]


def _decoder(_: str) -> Any:
    """Textual's driver asks for UTF-8, and an error in what it reads would end the program."""
    own = charset()
    return partial(codecs.getincrementaldecoder(UTF8 if own == "ascii" else own), errors="replace")
