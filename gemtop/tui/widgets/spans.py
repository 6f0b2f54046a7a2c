"""Partial screen updates that send the changed cells and nothing to the left of them.

Textual 8.2 sends a span from the left edge of its widget on (Textualize/textual #5625), and the full colours
of every segment with a reset behind it. Over a slow line that is most of what a live chart costs.
"""

from __future__ import annotations

import inspect
from functools import lru_cache

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style
from textual import _compositor
from textual._cells import cell_len
from textual._compositor import ChopsUpdate
from textual.strip import Strip

_RESET = "\x1b[0m"
Pen = tuple[tuple[str, ...], str, str]
"""(attributes, foreground, background) as parameters of the SGR sequence."""
_BARE: Pen = ((), "", "")


@lru_cache(maxsize=1024)
def _pen(style: Style, color_system: ColorSystem) -> Pen | None:
    """What the terminal's pen must be for a style; None for one that is more than a pen, such as a link."""
    before, _, after = Strip.render_style(style, "\0", color_system).partition("\0")
    if not before and not after:
        return _BARE
    if after != _RESET or not before.startswith("\x1b[") or not before.endswith("m"):
        return None
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
    return (tuple(attributes), colours["3"], colours["4"])


@lru_cache(maxsize=1024)
def _change(held: Pen, wanted: Pen) -> str:
    """The shortest sequence from one pen to another."""
    if held == wanted:
        return ""
    if wanted == _BARE:
        return _RESET
    if held[0] != wanted[0]:
        start = ("0",) if held != _BARE else ()
        codes = [code for code in (*start, *wanted[0], wanted[1], wanted[2]) if code]
    else:
        codes = []
        if held[1] != wanted[1]:
            codes.append(wanted[1] or "39")
        if held[2] != wanted[2]:
            codes.append(wanted[2] or "49")
    return f"\x1b[{';'.join(codes)}m"


class SpanUpdate(ChopsUpdate):
    """A partial update cut to its spans on both sides."""

    def render_segments(self, console: Console) -> str:
        """The update as terminal sequences."""
        color_system = console._color_system or ColorSystem.TRUECOLOR
        pieces: list[str] = []
        held = _BARE
        for y, x1, x2 in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= x2 or end <= x1:
                    continue
                left, right = max(x, x1), min(end, x2)
                text = strip.text
                if left > x and not text.isascii() and len(text) != cell_len(text):
                    # A cut through a wide character would blank its other half; our own widgets never ask
                    # for one, others may.
                    left = x
                pieces.append(f"\x1b[{y + 1};{left + 1}H")
                for piece, style, _ in strip.crop(left - x, right - x):
                    pen = _BARE if style is None else _pen(style, color_system)
                    if style is not None and pen is None:
                        pieces.append(_change(held, _BARE))
                        pieces.append(Strip.render_style(style, piece, color_system))
                        held = _BARE
                        continue
                    assert pen is not None
                    pieces.append(_change(held, pen))
                    pieces.append(piece)
                    held = pen
        pieces.append(_change(held, _BARE))
        return "".join(pieces)


def install() -> bool:
    """Let every screen of this process send spans. False, and nothing changed, where Textual has moved on."""
    expected = ["self", "chops", "spans", "chop_ends"]
    if list(inspect.signature(ChopsUpdate.__init__).parameters) != expected:
        return False
    if not hasattr(ChopsUpdate, "render_segments"):
        return False
    _compositor.ChopsUpdate = SpanUpdate  # type: ignore[misc]
    return True
