"""Cells that go into the picture of the terminal at once, past Textual's compositor.

The compositor finds out for each changed run which widgets it may belong to and renders their lines anew: two thirds
of what a frame costs. Widgets of cells know what has changed and where they are. Textual's own picture stays right,
since it asks the same widgets for their lines whenever it paints; what lies below another widget is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.style import Style
from textual.geometry import Region

from gemtop.tui.terminal_app import TerminalApp

if TYPE_CHECKING:
    from textual.screen import Screen
    from textual.widget import Widget

    from gemtop.charts.grid import CellRow


class Place:
    """Where a widget may paint, as long as the layout it was found in stands."""

    def __init__(self) -> None:
        self._layout: object = None
        self._region: Region | None = None

    def region(self, widget: Widget, screen: Screen[Any]) -> Region | None:
        """Where its content is on this screen, if all of the widget is seen and nothing lies over it."""
        visible = screen._compositor.visible_widgets
        if visible is not self._layout:
            own = _uncovered(widget, visible)
            self._layout, self._region = visible, own.shrink(widget.gutter) if own is not None else None
        return self._region


def _uncovered(widget: Widget, visible: dict[Widget, tuple[Region, Region]]) -> Region | None:
    own, clip = visible.get(widget, (None, None))
    if own is None or clip is None or not clip.contains_region(own):
        return None
    for other, (region, its_clip) in visible.items():  # those on top come first
        if other is widget:
            return own
        if region.intersection(its_clip).overlaps(own):
            return None
    return None


def paint(
    widget: Widget, place: Place, rows: Sequence[CellRow], runs: Sequence[Region], style_of: Callable[[str], Style]
) -> bool:
    """Put these runs of cells, one line each, into the picture. False where Textual has to paint them."""
    app: Any = widget.app
    if not isinstance(app, TerminalApp) or not app.is_drawn or app._batch_count or app.no_color:
        return False
    screen = app.screen  # the widget's own would be looked for through all around it
    if screen._layout_required or widget in screen.selections:
        return False
    picture, region = app.picture, place.region(widget, screen)
    if region is None or region.size != widget.size or (picture.width, picture.height) != app.size:
        return False
    inset = widget.content_offset
    widget._styles_cache.set_dirty(*(run.translate(inset) for run in runs))  # the lines Textual keeps are wrong now
    picture.tick()
    pens = app.pens
    for x, y, width, _ in runs:
        row, end = rows[y], x + width
        pen_of = {role: pens(style_of(role)) for role in set(row.roles[x:end])}
        picture.put_cells(region.x + x, region.y + y, row.glyphs[x:end], [pen_of[role] for role in row.roles[x:end]])
    app.send_soon()
    return True
