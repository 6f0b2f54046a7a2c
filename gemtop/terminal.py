"""What the terminal can show and how its user reads it, from the environment: the one place that decides."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping
from typing import Literal

UTF8 = "utf-8"
_WITHOUT_BRAILLE = frozenset({"linux", "ansi", "cons25", "cygwin", "dumb"})
_WITHOUT_COLOURS = ("vt52", "vt100", "vt102", "vt220", "vt320", "xterm-mono", "linux-m")
_TRUE_COLOUR = frozenset(
    {"alacritty", "contour", "foot", "foot-extra", "mlterm", "rio", "st-direct", "wezterm", "xterm-direct",
     "xterm-ghostty", "ghostty", "xterm-kitty"}
)  # fmt: skip
"""They show 24 bits and say so in COLORTERM, which SSH does not pass on."""

Depth = Literal["none", "sixteen", "256", "truecolour"]


def charset(environ: Mapping[str, str] = os.environ) -> str:
    """The encoding of the locale by LC_ALL, LC_CTYPE and LANG, the first that is set; UTF-8 where none is.

    LANG=C says ASCII, though Python itself sets LC_CTYPE to C.UTF-8 then. Nothing at all, as in most containers, says
    nothing of the terminal, and nearly all of them have UTF-8.
    """
    everything, characters, language = (environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    if not everything and language in ("C", "POSIX") and characters == "C.UTF-8":
        characters = language
    locale = everything or characters or language
    if not locale:
        return UTF8
    _, point, encoding = locale.partition("@")[0].partition(".")
    if point:
        name = encoding
    elif locale.upper() in ("UTF-8", "UTF8"):  # as macOS has it in LC_CTYPE
        name = UTF8
    else:
        name = "ascii" if locale in ("C", "POSIX") else "latin-1"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "ascii"


def ascii_screen(wanted: str = "auto", environ: Mapping[str, str] = os.environ) -> bool:
    """Whether screens are drawn in ASCII: `on`, `off`, or `auto` by the locale and the terminal.

    The Linux console and terminals of old have no font with braille.
    """
    if wanted != "auto":
        return wanted == "on"
    terminal = environ.get("TERM", "")
    return charset(environ) != UTF8 or terminal in _WITHOUT_BRAILLE or terminal.startswith("vt")


def colour_depth(environ: Mapping[str, str] = os.environ) -> Depth:
    """How many colours the terminal shows; `none` for NO_COLOR too."""
    terminal = environ.get("TERM", "")
    if environ.get("NO_COLOR") or terminal in ("", "dumb", *_WITHOUT_COLOURS):
        return "none"
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit") or terminal in _TRUE_COLOUR:
        return "truecolour"
    return "256" if terminal.endswith(("256color", "-256")) else "sixteen"


def reads_line_by_line(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the output is read aloud or goes into a log: ACCESSIBLE is set, and not to 0 or false; or TERM=dumb.

    Nothing is written over then, and nothing is drawn.
    """
    asked = environ.get("ACCESSIBLE", "").strip().lower()
    return environ.get("TERM") == "dumb" or asked not in ("", "0", "false", "no", "off")
