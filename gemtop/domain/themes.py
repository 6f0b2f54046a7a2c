"""Names of the themes that may be chosen. Textual's are listed here since it takes long to import."""

from __future__ import annotations

OWN_THEMES = ("gemtop-dark", "gemtop-light")

TEXTUAL_THEMES = (
    "ansi-dark", "ansi-light", "atom-one-dark", "atom-one-light", "catppuccin-frappe", "catppuccin-latte",
    "catppuccin-macchiato", "catppuccin-mocha", "dracula", "flexoki", "gruvbox", "monokai", "nord", "rose-pine",
    "rose-pine-dawn", "rose-pine-moon", "solarized-dark", "solarized-light", "textual-dark", "textual-light",
    "tokyo-night",
)  # fmt: skip

THEMES = OWN_THEMES + TEXTUAL_THEMES
