"""What the three programs with a screen share: keys, names of sizes, and the list of keys."""

from __future__ import annotations

from gemtop.keymap import Keys
from gemtop.tui.themed_app import ThemedApp

_WIDTHS: list[tuple[int, str]] = [(0, "-tiny"), (40, "-narrow"), (100, "-normal"), (160, "-wide")]
_HEIGHTS: list[tuple[int, str]] = [(0, "-tiny"), (10, "-flat"), (16, "-low"), (22, "-tall"), (32, "-high")]


class BaseApp(ThemedApp):
    """An application whose keys the user may have changed."""

    HORIZONTAL_BREAKPOINTS = _WIDTHS
    VERTICAL_BREAKPOINTS = _HEIGHTS

    def __init__(self, keys: Keys | None = None, *, thrift: bool = False) -> None:
        super().__init__(thrift=thrift)
        self.keys = keys or Keys()
        self.set_keymap(dict(self.keys.own))

    def action_keys(self) -> None:
        """The list of keys of the screen that is shown."""
        from gemtop.tui.screens.keys import KeysScreen

        scopes: tuple[str, ...] = getattr(self.screen, "key_scopes", ())
        if scopes and not isinstance(self.screen, KeysScreen):
            self.push_screen(KeysScreen(self.keys.listed(scopes)))
