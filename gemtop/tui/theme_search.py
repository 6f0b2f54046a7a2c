"""The list of themes in the command palette."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

if TYPE_CHECKING:
    from gemtop.tui.themed_app import ThemedApp


class ThemeSearch(Provider):
    """Themes, the one in force first: the first is highlighted, and so shown, as soon as the list opens."""

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args, **named)  # type: ignore[arg-type]
        app = cast("ThemedApp", self.app)
        self._commands = [(theme.name, partial(app.choose_theme, theme.name)) for theme in app.themes_in_order]

    async def discover(self) -> Hits:
        for name, choose in self._commands:
            yield DiscoveryHit(name, choose, text=name)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for name, choose in self._commands:
            score = matcher.match(name)
            if score > 0:
                yield Hit(score, matcher.highlight(name), choose, text=name)
