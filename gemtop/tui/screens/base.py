"""What every screen of the program is: one that another may lie over, and that goes on then."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.geometry import Size
from textual.screen import Screen, ScreenResultType

from gemtop.tui.widgets.header import HeaderLine
from gemtop.tui.widgets.tabs import SCREENS, TabsLine


class BaseScreen(Screen[ScreenResultType]):
    """Behind a dialog it has what changed repainted and no more; behind another screen nothing."""

    def _compositor_refresh(self) -> None:
        """Paint, here or through the dialog in front.

        Textual 8.2 has the screen in front repaint these regions in place of its own changes, which are lost: it goes
        on showing what it showed before. It does so even where that screen hides this one, and behind a dialog it marks
        this screen as a whole for the next repaint as well, sixty times a second: 125 KB/s for nothing.
        """
        front = self.app.screen
        if front is self or self.app.is_inline:
            super()._compositor_refresh()
            return
        regions = self._compositor._dirty_regions
        laid_out = front._compositor.size == self._compositor.size  # else all of it is to be painted anyway
        if regions and front.is_modal and self.is_current and laid_out:
            front._compositor._dirty_regions.update(regions)
            front._compositor.update_widgets(front._dirty_widgets)
            front._compositor_refresh()
        regions.clear()
        self._dirty_widgets.clear()

    def _refresh_layout(self, size: Size | None = None, scroll: bool = False) -> None:
        """Behind a dialog, have the dialog paint all that it lets through: what was moved is marked nowhere."""
        super()._refresh_layout(size, scroll)
        front = self.app.screen
        if front is not self and front.is_modal and self.is_current and not scroll:
            front.refresh()


class ModeScreen(BaseScreen[None]):
    """One of the screens that a key leads to from every other, and that stays as it is while it is left."""

    MODE: ClassVar[str]
    """Its name among gemtop.tui.widgets.tabs.SCREENS."""
    key_scopes: ClassVar[tuple[str, ...]]
    """Scopes of gemtop.keymap whose keys it lists."""

    def compose_top(self) -> ComposeResult:
        """The first two lines."""
        yield HeaderLine(id="header")
        yield TabsLine(self.MODE)

    def show_marks(self) -> None:
        """Say what goes on in the other screens."""
        marks = getattr(self.app, "marks_of_screens", None)
        if marks is not None:
            self.query_one(TabsLine).show_marks(marks())

    async def action_next_screen(self) -> None:
        """To the screen behind this one; from the last to the first."""
        order = list(SCREENS)
        await self.app.run_action(f"show('{order[(order.index(self.MODE) + 1) % len(order)]}')")

    async def action_to_live(self) -> None:
        await self.app.run_action("show('live')")
