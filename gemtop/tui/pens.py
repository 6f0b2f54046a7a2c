"""What a terminal's pen must be for a style, and the shortest sequence from one pen to another."""

from __future__ import annotations

from functools import lru_cache

from rich.color import ColorSystem
from rich.style import Style
from textual.strip import Strip

RESET = "\x1b[0m"
Pen = tuple[tuple[str, ...], str, str]
"""(attributes, foreground, background) as parameters of the SGR sequence. Equal pens are one object."""
BARE: Pen = ((), "", "")
_SEEN_ON_BLANKS = frozenset({"4", "5", "7", "9", "21", "53"})
"""Attributes that show where nothing is written: lines over, through and below, and swapped colours."""
_pens: dict[Pen, Pen] = {BARE: BARE}


@lru_cache(maxsize=2048)
def pen_of(style: Style | None, color_system: ColorSystem) -> Pen:
    """The pen for a style; links are left out of it."""
    if style is None:
        return BARE
    if style.link:
        style = style.update_link(None)
    before, _, after = Strip.render_style(style, "\0", color_system).partition("\0")
    if after != RESET or not before.startswith("\x1b[") or not before.endswith("m"):
        return BARE
    attributes: list[str] = []
    colours = {"3": "", "4": ""}
    codes = iter(before[2:-1].split(";"))
    for code in codes:
        if code in ("38", "48"):
            kind = next(codes)
            rest = [next(codes) for _ in range(3 if kind == "2" else 1)]
            colours[code[0]] = ";".join([code, kind, *rest])
        elif len(code) >= 2 and code[:-1] in ("3", "4", "9", "10") and code[-1] in "012345679":
            colours["3" if code[:-1] in ("3", "9") else "4"] = code
        else:
            attributes.append(code)
    return _one((tuple(attributes), colours["3"], colours["4"]))


def _one(pen: Pen) -> Pen:
    return _pens.setdefault(pen, pen)


@lru_cache(maxsize=2048)
def blank_pen(pen: Pen) -> Pen:
    """The pen as far as it shows on a blank: mostly its ground."""
    return pen if seen_on_blanks(pen) else _one(((), "", pen[2]))


@lru_cache(maxsize=2048)
def seen_on_blanks(pen: Pen) -> bool:
    """Whether a blank of this pen shows more than its ground."""
    return not _SEEN_ON_BLANKS.isdisjoint(pen[0])


@lru_cache(maxsize=4096)
def change(held: Pen, wanted: Pen) -> str:
    """The shortest sequence from one pen to another."""
    if held == wanted:
        return ""
    if wanted == BARE or any(code not in _OFF for code in held[0]):
        return RESET + change(BARE, wanted)
    codes = [*_attributes(held[0], wanted[0])]
    if held[1] != wanted[1]:
        codes.append(wanted[1] or "39")
    if held[2] != wanted[2]:
        codes.append(wanted[2] or "49")
    return f"\x1b[{';'.join(codes)}m"


_OFF = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "7": "27", "8": "28", "9": "29", "21": "24", "53": "55"}


def _attributes(held: tuple[str, ...], wanted: tuple[str, ...]) -> list[str]:
    """Codes that end the attributes no longer wanted, and begin those that are not in force then."""
    ended = {_OFF[code] for code in held if code not in wanted}
    kept = {code for code in held if _OFF[code] not in ended}
    return [*sorted(ended), *(code for code in wanted if code not in kept)]
