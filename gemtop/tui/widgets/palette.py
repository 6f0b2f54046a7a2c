"""Colours by what they stand for. The same role looks the same on every screen.

Not CSS component classes: each of those is a node of its own that Textual matches against every rule for every
widget, and two dozen of them on nine widgets doubled the time to the first frame.
"""

from __future__ import annotations

from rich.style import Style
from textual.color import Color
from textual.widget import Widget

# (dark, light) themes; a colour of the theme with its opacity, or colours that differ for every kind of sight
# (Okabe and Ito's set, darkened for light grounds).
_COLOURS: dict[str, tuple[str, str]] = {
    "text": ("$foreground", "$foreground"),
    "muted": ("$foreground 60%", "$foreground 60%"),
    "title": ("$foreground", "$foreground"),
    "frame": ("$foreground 25%", "$foreground 25%"),
    "frame-focus": ("$primary", "$primary"),
    "axis": ("$foreground 45%", "$foreground 45%"),
    "mark": ("$foreground 45%", "$foreground 45%"),
    "placeholder": ("$foreground 60%", "$foreground 60%"),
    "prompt": ("$accent", "$accent"),
    "key": ("$accent", "$accent"),
    "good": ("$success", "$success"),
    "warn": ("$warning", "$warning"),
    "bad": ("$error", "$error"),
    "prefill": ("#56b4e9", "#0072b2"),
    "decode": ("#e69f00", "#a66300"),
    "memory": ("#009e73", "#00734f"),
    "power": ("#d55e00", "#b84a00"),
    "load": ("#cc79a7", "#9c3f78"),
    "throttle": ("#f0e442", "#8a7d00"),
    "weights": ("#0072b2", "#0072b2"),
    "kv": ("#56b4e9", "#2f86bd"),
    "compute": ("#e69f00", "#a66300"),
    "other": ("$foreground 50%", "$foreground 50%"),
    "free": ("$foreground 20%", "$foreground 20%"),
    "fp16": ("#56b4e9", "#0072b2"),
    "ptq": ("#e69f00", "#a66300"),
    "qat": ("#009e73", "#00734f"),
    "selection": ("$primary", "$primary"),
    "removed": ("#d55e00", "#b84a00"),
    "added": ("#cc79a7", "#9c3f78"),
}
_BOLD = frozenset({"title", "key"})

ROLES = tuple(_COLOURS)
"""Roles a grid may name. Any other is drawn as text."""


_TINT = 0.18
"""How much of its colour a tinted ground has."""
_TINTS = {"selection": 0.5}
"""Those of which it has more."""


def role_style(widget: Widget, role: str) -> Style:
    """The style of a role on this widget, in the theme in force; `role@ground` has its ground tinted.

    A theme may give a role a colour of its own by a variable `gemtop-ROLE`.
    """
    name, _, tint = role.partition("@")
    known = name if name in _COLOURS else "text"
    ground = widget.background_colors[1]
    if tint:
        ground += _colour(widget, tint).multiply_alpha(_TINTS.get(tint, _TINT))
    colour = _colour(widget, known)
    return Style(color=(ground + colour).rich_color, bgcolor=ground.rich_color, bold=known in _BOLD or None)


def _colour(widget: Widget, role: str) -> Color:
    app = widget.app
    variables = app.theme_variables
    spec = variables.get(f"gemtop-{role}") or _COLOURS[role][0 if app.current_theme.dark else 1]
    name, _, opacity = spec.partition(" ")
    colour = Color.parse(variables[name[1:]] if name.startswith("$") else name)
    return colour.multiply_alpha(float(opacity.rstrip("%")) / 100) if opacity else colour
