"""gemtop's own themes, for Textual's widgets and what gemtop draws itself."""

from __future__ import annotations

from textual.theme import Theme

from gemtop.charts.colours import DARK, LIGHT
from gemtop.domain.themes import OWN_THEMES

DARK_NAME, LIGHT_NAME = OWN_THEMES


def own_themes(*, sixteen: bool = False) -> tuple[Theme, Theme]:
    """The dark and the light one; for a terminal of sixteen colours made of those."""
    return (_dark_of_sixteen(), _light_of_sixteen()) if sixteen else (_dark(), _light())


def _dark() -> Theme:
    """Its grounds are so near to grey that a terminal of 256 colours has a grey for each of them."""
    return Theme(
        name=DARK_NAME,
        primary="#82aaff",
        secondary="#5b7fc7",
        accent="#82aaff",
        foreground="#dde3ea",
        background="#121417",
        surface="#1a1d21",
        panel="#23272e",
        success=DARK["good"],
        warning=DARK["warn"],
        error=DARK["bad"],
        variables={
            "block-cursor-foreground": "#0b0f14",
            "block-cursor-background": "#82aaff",
            "block-cursor-blurred-foreground": "#dde3ea",
            "block-cursor-blurred-background": "#303a48",
            "border-blurred": "#3a4452",
            "input-cursor-background": "#dde3ea",
            "input-cursor-foreground": "#121417",
            "input-selection-background": "#35507f",
            "screen-selection-background": "#35507f",
            "button-color-foreground": "#0b0f14",
            "scrollbar": "#4a5566",
            "scrollbar-hover": "#647084",
            "scrollbar-active": "#82aaff",
            "scrollbar-background": "#1a1d21",
            "scrollbar-background-hover": "#1a1d21",
            "scrollbar-background-active": "#1a1d21",
            "scrollbar-corner-color": "#1a1d21",
        },
    )


def _light() -> Theme:
    return Theme(
        name=LIGHT_NAME,
        dark=False,
        primary="#2b59c3",
        secondary="#5878bd",
        accent="#2b59c3",
        foreground="#1b222b",
        background="#fefefe",
        surface="#f4f5f6",
        panel="#eaecee",
        success=LIGHT["good"],
        warning=LIGHT["warn"],
        error=LIGHT["bad"],
        variables={
            "block-cursor-foreground": "#ffffff",
            "block-cursor-background": "#2b59c3",
            "block-cursor-blurred-foreground": "#1b222b",
            "block-cursor-blurred-background": "#d3dcec",
            "border-blurred": "#c3cbd6",
            "input-cursor-background": "#1b222b",
            "input-cursor-foreground": "#fefefe",
            "input-selection-background": "#bcd0f7",
            "screen-selection-background": "#bcd0f7",
            "button-color-foreground": "#ffffff",
            "scrollbar": "#aab4c2",
            "scrollbar-hover": "#8b97a8",
            "scrollbar-active": "#2b59c3",
            "scrollbar-background": "#f4f5f6",
            "scrollbar-background-hover": "#f4f5f6",
            "scrollbar-background-active": "#f4f5f6",
            "scrollbar-corner-color": "#f4f5f6",
        },
    )


def _dark_of_sixteen() -> Theme:
    return _of_sixteen(DARK_NAME, dark=True, ground="ansi_black", ink="ansi_bright_white", colour="ansi_bright_cyan",
                       muted="ansi_white", faint="ansi_bright_black", bright="bright_")  # fmt: skip


def _light_of_sixteen() -> Theme:
    return _of_sixteen(LIGHT_NAME, dark=False, ground="ansi_bright_white", ink="ansi_black", colour="ansi_blue",
                       muted="ansi_bright_black", faint="ansi_bright_black", bright="")  # fmt: skip


def _of_sixteen(
    name: str, *, dark: bool, ground: str, ink: str, colour: str, muted: str, faint: str, bright: str
) -> Theme:
    """Whole colours of the terminal's own, the ground too: what that is otherwise nobody can know."""
    return Theme(
        name=name,
        dark=dark,
        ansi=True,
        primary=colour,
        secondary=colour,
        accent=colour,
        foreground=ink,
        background=ground,
        surface=ground,
        panel=ground,
        boost=ground,
        success=f"ansi_{bright}green",
        warning=f"ansi_{bright}yellow" if dark else "ansi_magenta",
        error=f"ansi_{bright}red",
        variables={
            "ansi-background": ground,
            "ansi-foreground": ink,
            "surface": ground,
            "panel": ground,
            "boost": ground,
            "text": ink,
            "text-muted": muted,
            "text-disabled": faint,
            "foreground-muted": muted,
            "border": colour,
            "border-blurred": faint,
            "block-cursor-foreground": "ansi_bright_white",
            "block-cursor-background": "ansi_blue",
            "block-cursor-text-style": "bold",
            "block-cursor-blurred-foreground": "ansi_bright_white",
            "block-cursor-blurred-background": faint,
            "block-hover-background": ground,
            "input-cursor-foreground": ground,
            "input-cursor-background": ink,
            "input-cursor-text-style": "none",
            "input-selection-foreground": "ansi_bright_white",
            "input-selection-background": "ansi_blue",
            "screen-selection-foreground": "ansi_bright_white",
            "screen-selection-background": "ansi_blue",
            "button-foreground": ink,
            "scrollbar": faint,
            "scrollbar-hover": colour,
            "scrollbar-active": colour,
            "scrollbar-background": ground,
            "scrollbar-background-hover": ground,
            "scrollbar-background-active": ground,
            "scrollbar-corner-color": ground,
        },
    )
