"""What the three programs with a screen share: keys, names of sizes, and the list of keys."""

from __future__ import annotations

from textual.app import App

from gemtop.keymap import Keys

_WIDTHS: list[tuple[int, str]] = [(0, "-tiny"), (40, "-narrow"), (100, "-normal"), (160, "-wide")]
_HEIGHTS: list[tuple[int, str]] = [(0, "-tiny"), (10, "-flat"), (16, "-low"), (22, "-tall"), (32, "-high")]


class BaseApp(App[int]):
    """An application whose keys the user may have changed."""

    HORIZONTAL_BREAKPOINTS = _WIDTHS
    VERTICAL_BREAKPOINTS = _HEIGHTS

    def __init__(self, keys: Keys | None = None) -> None:
        super().__init__()
        self.keys = keys or Keys()
        self.set_keymap(dict(self.keys.own))

    def action_keys(self) -> None:
        """The list of keys of the screen that is shown."""
        from gemtop.tui.screens.keys import KeysScreen

        scopes: tuple[str, ...] = getattr(self.screen, "key_scopes", ())
        if scopes and not isinstance(self.screen, KeysScreen):
            self.push_screen(KeysScreen(self.keys.listed(scopes)))
