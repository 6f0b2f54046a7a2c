"""Colours by what they stand for. The same role looks the same on every screen.

Not CSS component classes: each of those is a node of its own that Textual matches against every rule for every
widget, and two dozen of them on nine widgets doubled the time to the first frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.color import Color as RichColor
from rich.style import Style
from textual.color import Color

from gemtop.charts import colours
from gemtop.charts.colours import contrast
from gemtop.charts.grid import BADGE, badge

if TYPE_CHECKING:
    from textual.app import App
    from textual.widget import Widget

__all__ = ["ROLES", "badge", "role_style"]

_OF_THE_THEME = {
    "text": "foreground",
    "muted": "foreground 60%",
    "title": "foreground",
    "frame": "foreground 25%",
    "frame-focus": "primary",
    "axis": "foreground 55%",
    "mark": "foreground 55%",
    "placeholder": "foreground 60%",
    "prompt": "accent",
    "key": "accent",
    "selection": "primary",
    "other": "foreground 50%",
    "free": "foreground 25%",
}
"""A colour of the theme, with its opacity; all other roles are of gemtop.charts.colours."""
ROLES = (*_OF_THE_THEME, *colours.DARK)
"""Roles a grid may name. Any other is drawn as text."""
_BOLD = frozenset({"title", "key"})
_DIM = frozenset({"muted", "placeholder", "axis", "mark", "frame", "free"})
_LEAST = {"muted": 3.0, "placeholder": 3.0, "axis": 3.0, "mark": 3.0, "other": 3.0, "frame-focus": 3.0}
"""Contrast with the ground that a role has in every theme, by WCAG's formula."""
_LEAST_OF_TEXT = 4.5
_ORNAMENTS = frozenset({"frame", "free"})
"""Nobody has to read them."""
_INKS = (Color.parse(colours.DARK_INK), Color.parse(colours.LIGHT_INK))
_TINT = 0.18
"""How much of its colour a tinted ground has."""
_TINTS = {"selection": 0.5}
"""Those of which it has more."""
_CURSORS = frozenset({"prompt", "key", "selection"})
"""Grounds of the line or the screen one is on, and of what is selected."""


def role_style(widget: Widget, role: str) -> Style:
    """The style of a role on this widget, in the theme in force.

    `role@ground` has its ground tinted, `badge@role` is filled with the role's colour. A colour that would not stand
    out from its ground is made lighter or darker until it does.
    """
    name, _, ground = role.partition("@")
    app = widget.app
    if app.no_color:
        return _without_colours(name, ground)
    if app.current_theme.ansi:
        return _of_sixteen(widget, name, ground, dark=app.current_theme.dark)
    below = widget.background_colors[1]
    if name == BADGE:
        filled = below + _of(app, ground)
        ink = max(_INKS, key=lambda ink: contrast(filled.rgb, ink.rgb))
        return Style(color=ink.rich_color, bgcolor=standing_out(filled, ink, _LEAST_OF_TEXT).rich_color, bold=True)
    if ground:
        below += _of(app, ground).multiply_alpha(_TINTS.get(ground, _TINT))
    known = name if name in ROLES else "text"
    colour = below + _of(app, known)
    if known not in _ORNAMENTS:
        colour = standing_out(colour, below, _LEAST.get(known, _LEAST_OF_TEXT))
    return Style(color=colour.rich_color, bgcolor=below.rich_color, bold=known in _BOLD or None)


def _of(app: App[object], role: str) -> Color:
    of_the_theme = _OF_THE_THEME.get(role)
    if of_the_theme is None:
        return Color.parse((colours.DARK if app.current_theme.dark else colours.LIGHT)[role])
    name, _, opacity = of_the_theme.partition(" ")
    colour = Color.parse(app.theme_variables[name])
    return colour.multiply_alpha(float(opacity.rstrip("%")) / 100) if opacity else colour


def standing_out(colour: Color, ground: Color, least: float) -> Color:
    """The colour, mixed with as much black or white as it needs for this contrast with its ground, if it needs any."""
    if contrast(colour.rgb, ground.rgb) >= least:
        return colour
    towards = max((Color(255, 255, 255), Color(0, 0, 0)), key=lambda end: contrast(end.rgb, ground.rgb))
    for step in range(1, 20):
        mixed = colour.blend(towards, step / 20)
        if contrast(mixed.rgb, ground.rgb) >= least:
            return mixed
    return towards


# Terminals that show less ----------------------------------------------------------------------------------

_ANSI_GROUNDS = {**dict.fromkeys(_CURSORS, colours.BLUE), "other": colours.GREY, "removed": colours.RED,
                 "added": colours.MAGENTA}  # fmt: skip
"""Of what is tinted elsewhere; throttled times are not, their line above them has to do."""


def _of_sixteen(widget: Widget, name: str, ground: str, *, dark: bool) -> Style:
    """The terminal's own sixteen colours; grounds are whole ones, since there is nothing between."""
    table, colour = colours.ANSI_DARK if dark else colours.ANSI_LIGHT, RichColor.from_ansi
    if name == BADGE:
        return Style(color=colour(colours.BLACK), bgcolor=colour(colours.ANSI_BADGES[ground]))
    below = widget.background_colors[1].rich_color
    if ground in _ANSI_GROUNDS:
        return Style(color=colour(colours.BRIGHT + colours.WHITE), bgcolor=colour(_ANSI_GROUNDS[ground]))
    return Style(color=colour(table.get(name, table["text"])), bgcolor=below, bold=name in _BOLD or None)


def _without_colours(name: str, ground: str) -> Style:
    """Bold, faint, underlined and reversed alone."""
    if name == BADGE or ground in _CURSORS:
        return Style(reverse=True, bold=name == BADGE or None)
    underlined = ground in ("other", "removed", "added")
    return Style(bold=name in (*_BOLD, "bad") or None, dim=name in _DIM or None, underline=underlined or None)
