"""What the three programs with a screen share: keys, names of sizes, and the list of keys."""

from __future__ import annotations

from textual import events
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget

from gemtop.keymap import Keys
from gemtop.tui.themed_app import ThemedApp

_WIDTHS: list[tuple[int, str]] = [(0, "-tiny"), (40, "-narrow"), (100, "-normal"), (160, "-wide")]
_HEIGHTS: list[tuple[int, str]] = [(0, "-tiny"), (10, "-flat"), (16, "-low"), (22, "-tall"), (32, "-high")]
_SETTLED_S = 0.1
"""Textual takes up a new size 1/120 s after the last of those that follow on each other."""


class BaseApp(ThemedApp):
    """An application whose keys the user may have changed."""

    HORIZONTAL_BREAKPOINTS = _WIDTHS
    VERTICAL_BREAKPOINTS = _HEIGHTS

    def __init__(self, keys: Keys | None = None, *, thrift: bool = False) -> None:
        super().__init__(thrift=thrift)
        self.keys = keys or Keys()
        self.set_keymap(dict(self.keys.own))
        self._had_focus: tuple[Screen[object], Widget] | None = None
        """What had it when the terminal became too small to show anything; Textual takes it from what is hidden."""

    def action_keys(self) -> None:
        """The list of keys of the screen that is shown."""
        from gemtop.tui.screens.keys import KeysScreen

        scopes: tuple[str, ...] = getattr(self.screen, "key_scopes", ())
        if scopes and not isinstance(self.screen, KeysScreen):
            self.push_screen(KeysScreen(self.keys.listed(scopes)))

    def on_resize(self, event: events.Resize) -> None:
        """Where the terminal becomes too small to show anything, give the focus back when it is enlarged."""
        if _has_room(event.size):  # the application's own is still that of before
            if self._had_focus is not None:
                self.set_timer(_SETTLED_S, self._give_focus_back)
        elif self._had_focus is None and self.screen_stack and self.screen.focused is not None:
            self._had_focus = self.screen, self.screen.focused

    def _give_focus_back(self) -> None:
        if self._had_focus is None or not _has_room(self.size):
            return
        screen, widget = self._had_focus
        if widget.is_attached and "-tiny" in screen.classes:  # the size is not taken up yet
            self.set_timer(_SETTLED_S, self._give_focus_back)
            return
        self._had_focus = None
        if widget.is_attached:
            screen.set_focus(widget, scroll_visible=False)


def _has_room(size: Size) -> bool:
    """Whether anything is shown in a terminal of this size."""
    return size.width >= _WIDTHS[1][0] and size.height >= _HEIGHTS[1][0]
