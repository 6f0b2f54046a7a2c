"""A framed list of lines with a cursor that sends two lines when it moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from gemtop.charts.grid import Canvas, Cells
from gemtop.domain.text import one_line, text_width
from gemtop.tui.bindings import bindings
from gemtop.tui.widgets.cells import CellWidget, clip, put_words

_FAR = 1_000_000_000
_NOTED = 36
"""Columns of a list from which it is wide."""
_LEAST_CUT = 16
"""Columns in which a piece of a note still says something."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line: what it is known by, its text, and words at its right end where there is room."""

    key: str
    text: str
    note: str = ""
    extra: bool = False
    """The note is shown in wide lists alone: in others there would be room for few of them."""


class SideList(CellWidget, can_focus=True):
    """Enter or a click chooses."""

    DEFAULT_CSS = "SideList { height: 1fr; width: 1fr; min-height: 3; }"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("list"), Binding("enter", "choose", show=False)]

    quiet = False
    """The cursor is drawn only while the keys go here."""

    class Chosen(Message):
        """Enter was pressed on a line, or it was clicked."""

        def __init__(self, owner: SideList, key: str) -> None:
            self.owner, self.key = owner, key
            super().__init__()

    class Moved(Message):
        """The cursor is on another line."""

        def __init__(self, owner: SideList, key: str) -> None:
            self.owner, self.key = owner, key
            super().__init__()

    def __init__(self, title: str, placeholder: str = "", *, id: str | None = None) -> None:
        super().__init__(title=title, framed=True, id=id)
        self._items: tuple[Item, ...] = ()
        self._placeholder = placeholder
        self._at = 0
        self._top = 0

    @property
    def at(self) -> str | None:
        """The key of the line with the cursor."""
        return self._items[self._at].key if self._items else None

    def show_items(self, items: Sequence[Item], placeholder: str | None = None) -> None:
        """Show these; the cursor stays on the line it was on."""
        held = self.at
        self._items = tuple(items)
        if placeholder is not None:
            self._placeholder = placeholder
        keys = [item.key for item in self._items]
        self._at = keys.index(held) if held in keys else min(self._at, max(0, len(keys) - 1))
        self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        if not self._items:
            put_words(canvas, self._placeholder)
        if not height or not self._items:
            return canvas.freeze()
        if not self._top <= self._at < self._top + height:
            # By half a view: a list that moves at every step sends itself whole at every step.
            self._top = self._at - height // 2
        self._top = max(0, min(self._top, len(self._items) - height))
        self.rows_below = len(self._items) - self._top - height
        for y, item in enumerate(self._items[self._top : self._top + height]):
            self.draw_item(canvas, y, item, width)
            if self._top + y == self._at and (self.has_focus or not self.quiet):
                canvas.tint(0, y, width, "prompt" if self.has_focus else "other")
        return canvas.freeze()

    def draw_item(self, canvas: Canvas, y: int, item: Item, width: int) -> None:
        """A line without its cursor."""
        text = clip(one_line(item.text), width)
        canvas.put(0, y, text, "text")
        note = self._note(item, width, width - text_width(text) - 2)
        canvas.put(width - text_width(note), y, note, "muted")

    @staticmethod
    def _note(item: Item, width: int, room: int) -> str:
        """As much of an item's note as is worth showing: up to its first comma where there is room for little."""
        note = one_line(item.note)
        if item.extra and width < _NOTED:
            return ""
        if text_width(note) > room < _LEAST_CUT:
            note = note.partition(",")[0]
            return note if text_width(note) <= room else ""
        return clip(note, max(0, room))

    def action_move(self, way: int) -> None:
        at = max(0, min(self._at + way, len(self._items) - 1))
        if at != self._at:
            self._at = at
            self.rebuild()
            self.post_message(self.Moved(self, self._items[at].key))

    def action_first(self) -> None:
        self.action_move(-_FAR)

    def action_last(self) -> None:
        self.action_move(_FAR)

    def action_page(self, way: int) -> None:
        self.action_move(way * max(1, self.inner_size()[1] - 1))

    def action_choose(self) -> None:
        if self._items:
            self.post_message(self.Chosen(self, self._items[self._at].key))

    def on_click(self, event: events.Click) -> None:
        at = self._top + event.y - 1
        if 1 <= event.y <= self.inner_size()[1] and at < len(self._items):
            event.stop()
            self._at = at
            self.rebuild()
            self.action_choose()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_move(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_move(3)
