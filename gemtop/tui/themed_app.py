"""What all of gemtop's screens have in common: themes, and how they are drawn on terminals that show less."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.color import ColorSystem
from textual.filter import LineFilter, Monochrome
from textual.theme import BUILTIN_THEMES

from gemtop import terminal
from gemtop.config import config_if_set
from gemtop.domain.ascii_text import CELLS
from gemtop.domain.errors import BadInputError
from gemtop.tui.terminal_app import TerminalApp
from gemtop.tui.themes import DARK_NAME, LIGHT_NAME, own_themes
from gemtop.tui.widgets.cells import CellWidget

if TYPE_CHECKING:
    from textual.command import CommandPalette
    from textual.theme import Theme

_SYSTEMS = {
    "none": ColorSystem.STANDARD,
    "sixteen": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolour": ColorSystem.TRUECOLOR,
}


OF_SIXTEEN = """
Screen:ansi { background: $background; color: $foreground; }
ModalScreen:ansi { background: transparent; }
TextArea:ansi .text-area--placeholder, Input:ansi > .input--placeholder { color: $text-muted; text-style: none; }
"""
"""Style of a terminal's own colours. There is nothing between two of them: what lies behind a dialog stays as it is."""


class ThemedApp(TerminalApp):
    """An application in a theme that is chosen live and kept."""

    DEFAULT_CSS = """
    CommandPalette.-themes {
        background: transparent; align-horizontal: right;
        & > Vertical, & > Vertical:dark { width: 32; margin-top: 1; background: $surface; }
        #--input { border: hkey $border-blurred; }
        SearchIcon { display: none; }
        CommandList { border-bottom: hkey $border-blurred; }
    }
    """

    def __init__(self, *, thrift: bool = False) -> None:
        super().__init__(thrift=thrift)
        config = config_if_set()
        depth = terminal.colour_depth()
        self.no_color = depth == "none"
        if self.no_color:
            from gemtop.tui.without_colours import WithoutColours

            filters: list[LineFilter] = [one for one in self._filters if not isinstance(one, Monochrome)]
            self._filters = [*filters, WithoutColours()]
        if "TEXTUAL_COLOR_SYSTEM" not in os.environ:
            self.console._color_system = _SYSTEMS[depth]
        self.ascii = terminal.ascii_screen(config.screen_ascii if config else "auto")
        CellWidget.ascii_only, CellWidget.coloured = self.ascii, not self.no_color
        self.stylesheet.add_source(OF_SIXTEEN, read_from=("", "ThemedApp"), is_default_css=False)
        self._offer_themes(sixteen=depth == "sixteen")
        self.theme = self._nearest(config.screen_theme if config else DARK_NAME)
        self._warnings = config.warnings if config else ()
        """What is to be said of the configuration."""
        self._theme_before: str | None = None
        """The theme in force before others were looked at."""

    def on_mount(self) -> None:
        for warning in self._warnings:
            self.notify(warning, title="configuration", severity="warning", timeout=15, markup=False)

    def _offer_themes(self, *, sixteen: bool) -> None:
        """gemtop's own and Textual's, of which only those remain that the terminal can show."""
        for name, theme in self.available_themes.items():
            if sixteen and not theme.ansi:
                self.unregister_theme(name)
        for theme in own_themes(sixteen=sixteen):
            self.register_theme(theme)

    def _nearest(self, name: str) -> str:
        """The theme, or where the terminal cannot show it gemtop's own that is as dark."""
        if name in self.available_themes:
            return name
        return DARK_NAME if BUILTIN_THEMES[name].dark else LIGHT_NAME

    def encoded(self, text: str) -> bytes:
        """What is sent to the terminal: where it shows ASCII alone, whatever else is drawn as many cells of that."""
        return text.encode("ascii", CELLS) if self.ascii else text.encode("utf-8", "backslashreplace")

    # Themes

    @property
    def themes_in_order(self) -> list[Theme]:
        """The one in force, gemtop's own, and Textual's by name."""
        own = {theme.name for theme in own_themes()}
        return sorted(
            self.available_themes.values(),
            key=lambda theme: (theme.name != self.theme, theme.name not in own, theme.name),
        )

    def action_theme(self) -> None:
        """Choose a theme, each shown as one goes past it."""
        self.search_themes()

    def search_themes(self) -> None:
        """As Textual does it; but what is highlighted is shown, and what is chosen is kept."""
        from textual.command import CommandPalette

        from gemtop.tui.theme_search import ThemeSearch

        self._theme_before = self.theme
        self.push_screen(CommandPalette(providers=[ThemeSearch], placeholder="Search for themes", classes="-themes"))

    def on_command_palette_option_highlighted(self, message: CommandPalette.OptionHighlighted) -> None:
        """Show the theme one is on; nothing is kept of that."""
        hit = getattr(message.highlighted_event.option, "hit", None)
        name = getattr(hit, "text", None)
        if self._theme_before is not None and name in self.available_themes:
            self.theme = name
            self.call_later(self._restyle_front)

    def _restyle_front(self) -> None:
        """Give the screen in front the theme as well: Textual 8.2 passes over it."""
        self.stylesheet.update(self.screen)

    def on_command_palette_closed(self, message: CommandPalette.Closed) -> None:
        """Back to the theme of before where none was chosen."""
        before, self._theme_before = self._theme_before, None
        if before is not None and not message.option_selected:
            self.theme = before

    def choose_theme(self, name: str) -> None:
        """Show this theme from now on, at the next start too."""
        from gemtop.config.schema import BY_NAME
        from gemtop.config.writing import save_setting

        self.theme = name
        try:
            save_setting("screen", "theme", name)
        except BadInputError as error:
            self.notify(str(error), title="the theme is not kept", severity="warning", markup=False)
            return
        variable = BY_NAME["screen.theme"].variable
        if os.environ.get(variable, name) != name:
            words = f"it is in the configuration, but {variable} goes before that at the next start"
            self.notify(words, title=name, severity="warning", markup=False)
