"""The screen for NO_COLOR: the terminal's own colours, and what colours told told by attributes."""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

from gemtop.charts.colours import contrast

_ANOTHER_GROUND = 1.12
"""Contrast between two grounds from which one of them is a cursor, a selection or a button."""
_FAINT = 4.5
"""Contrast below which text is meant to stand back."""


class WithoutColours(LineFilter):
    """Takes colours away. A ground that is not the widget's own is reversed, faint text is faint."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments without colours."""
        ground = background.rich_color.triplet
        return [
            Segment(text, style and _plain(style, ground), control)  # a style that says nothing stays
            for text, style, control in segments
        ]


@lru_cache(maxsize=1024)
def _plain(style: Style, ground: tuple[int, int, int] | None) -> Style:
    colour = style.color.triplet if style.color else None
    own = style.bgcolor.triplet if style.bgcolor else None
    plain = style.without_color
    if own is not None and ground is not None and contrast(own, ground) >= _ANOTHER_GROUND:
        return plain + Style(reverse=not style.reverse)
    if colour is not None and own is not None and not style.dim and contrast(colour, own) < _FAINT:
        return plain + Style(dim=True)
    return plain
