"""What is on the screen as text, with the colours it has: a picture that can be read and compared."""

from __future__ import annotations

import os
import string
from pathlib import Path

from rich.style import Style
from textual.app import App

FOLDER = Path(__file__).parent / "pictures"
UPDATE = "GEMTOP_UPDATE_PICTURES"
"""Set to anything: pictures are written and not compared."""
_LETTERS = string.ascii_letters + string.digits


def picture(app: App[int]) -> str:
    """The lines, then the same lines with a letter for each pair of colours, then what the letters are."""
    names: dict[str, str] = {}
    lines, colours = [], []
    for strip in app.screen._compositor.render_strips(app.size):
        text, shades = "", ""
        for segment in strip:
            letter = names.setdefault(_name(segment.style), _LETTERS[len(names) % len(_LETTERS)])
            text += segment.text
            shades += letter * len(segment.text)
        lines.append(text.rstrip())
        colours.append(_runs(shades))
    legend = [f"{letter} {name}" for name, letter in names.items()]
    return "\n".join([*lines, "", *colours, "", *legend]) + "\n"


def _runs(shades: str) -> str:
    """aaab as a3 b1: colours seldom change."""
    found: list[tuple[str, int]] = []
    for letter in shades:
        if found and found[-1][0] == letter:
            found[-1] = (letter, found[-1][1] + 1)
        else:
            found.append((letter, 1))
    return " ".join(f"{letter}{count}" for letter, count in found)


def _name(style: Style | None) -> str:
    if style is None:
        return "plain"
    ground = style.bgcolor.triplet.hex if style.bgcolor and style.bgcolor.triplet else "-"
    ink = style.color.triplet.hex if style.color and style.color.triplet else "-"
    return f"{ink} on {ground}" + (" bold" if style.bold else "") + (" dim" if style.dim else "")


def compare(name: str, found: str) -> None:
    """Hold a picture against the one that is kept."""
    kept = FOLDER / f"{name}.txt"
    if os.environ.get(UPDATE):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(found, encoding="utf-8")
        return
    assert kept.exists(), f"there is no picture {kept.name}; {UPDATE}=1 makes it"
    assert found == kept.read_text(encoding="utf-8"), f"{kept.name} looks otherwise; {UPDATE}=1 keeps this one"
