"""Text for terminals that show ASCII alone.

Two ways: `to_ascii` says the same in as many characters as it takes, for text that is laid out afterwards;
`ascii_cells` keeps every character's cells, for what is laid out already. Both are names of error handlers too, by
which a stream writes what it cannot encode: the last place on the way out, whoever wrote the text.
"""

from __future__ import annotations

import codecs
import unicodedata
from functools import lru_cache

from gemtop.domain.text import cell_width

WORDS, CELLS = "gemtop.ascii-words", "gemtop.ascii-cells"
"""Error handlers for encodings: by `to_ascii` and by `ascii_cells`. Importing this module makes them known."""
_UNKNOWN = "?"
_LONGER = {
    "±": "+-", "…": "...", "→": "->", "←": "<-", "↔": "<->", "⇒": "=>", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~=",
    "°": " deg ", "µ": "u", "©": "(c)", "®": "(R)", "™": "(TM)", "«": "<<", "»": ">>", "—": "--", "ß": "ss", "æ": "ae",
    "Æ": "AE", "œ": "oe", "Œ": "OE", "×": "x", "€": "EUR", "½": "1/2", "¼": "1/4", "¾": "3/4", "␛": "^[", "␊": "\\n",
    "␉": "\\t", "␍": "\\r",
}  # fmt: skip
_ONE_CELL = {
    **dict.fromkeys("─━┄┅┈┉╌╍╴╶╸╺╼╾▔⎯⎺⎽―‐‑‒–—−", "-"),
    **dict.fromkeys("│┃┆┇┊┋╎╏╵╷╹╻╽╿▏▕⎸▌▐▍▎▉▊▋", "|"),
    **dict.fromkeys("═", "="),
    **dict.fromkeys("║", "|"),
    **dict(zip("▁▂▃▄▅▆▇█", ".:-=+*##", strict=True)),
    **dict.fromkeys("▀▒", "="),
    "▓": "#", "░": ".",
    **dict.fromkeys("■◼▪◾●⬤•◉⏺", "*"),
    **dict.fromkeys("□▢◻○◯◌", "o"),
    **dict.fromkeys("▲△▴▵⏶↑⌃˄", "^"),
    **dict.fromkeys("▼▽▾▿⏷↓˅⌄", "v"),
    **dict.fromkeys("▶▷▸▹►⏵›→❯❱⇒»", ">"),
    **dict.fromkeys("◀◁◂◃◄⏴‹←❮❰«", "<"),
    **dict.fromkeys("‘’‚‛′`´", "'"),
    **dict.fromkeys("“”„‟″", '"'),
    **dict.fromkeys("·∙⋅…", "."),
    **dict.fromkeys("✓✔☑", "x"),
    **dict.fromkeys("✗✘✕✖×", "x"),
    **dict(zip("øØłŁđĐħĦŧŦıðÐ", "oOlLdDhHtTidD", strict=True)),
    "±": "~", "°": "'", "≤": "<", "≥": ">", "≈": "~", "≠": "#", "µ": "u", "©": "c", "®": "r", "ß": "s", "↵": "$",
    "⏎": "$", "€": "E", "␛": "^", "␊": "$", "␉": ">", "␍": "$", "⭘": "O", "\u00a0": " ", "\u2007": " ", "\u202f": " ",
}  # fmt: skip
_BOXES = range(0x2500, 0x2580)
_BRAILLE = range(0x2800, 0x2900)
_UPPER, _LOWER = 0x01 | 0x02 | 0x08 | 0x10, 0x04 | 0x20 | 0x40 | 0x80
"""Dots of the upper and of the lower half of a braille cell."""


def to_ascii(text: str) -> str:
    """The text in ASCII, longer where that says more: `±` is `+-`, `…` is `...`, `°C` is `C`."""
    if text.isascii():
        return text
    text = text.replace("°C", "C").replace("°F", "F")
    return "".join(char if char.isascii() else _word(char) for char in text)


def ascii_cells(text: str) -> str:
    """The text in ASCII with the cells of every character: a wide one becomes two, a combining one none."""
    return text if text.isascii() else "".join(char if char.isascii() else _cells(char) for char in text)


def _word(char: str) -> str:
    return _LONGER.get(char) or _cells(char)


@lru_cache(maxsize=4096)
def _cells(char: str) -> str:
    cells = cell_width(char)
    if not cells:
        return ""
    one = _ONE_CELL.get(char)
    if one is not None:
        return one * cells
    code = ord(char)
    if code in _BOXES:
        return "+"
    if code in _BRAILLE:
        return _braille(code - _BRAILLE.start)
    plain = "".join(part for part in unicodedata.normalize("NFKD", char) if part.isascii() and part.isprintable())
    return plain if len(plain) == cells else _UNKNOWN * cells


def _braille(dots: int) -> str:
    if not dots:
        return " "
    return ":" if dots & _UPPER and dots & _LOWER else "'" if dots & _UPPER else "."


def _by_words(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text, after = error.object[error.start : error.end], error.object[error.end : error.end + 1]
    return to_ascii(text.removesuffix("°") if after in ("C", "F") else text), error.end


def _by_cells(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return ascii_cells(error.object[error.start : error.end]), error.end


codecs.register_error(WORDS, _by_words)
codecs.register_error(CELLS, _by_cells)
