"""The text of a model as it streams: wrapped, harmless, with a scroll of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.geometry import Offset
from textual.selection import Selection
from textual.timer import Timer

from gemtop.charts.grid import Canvas, CellRow, Cells, blank_row
from gemtop.domain.text import text_width
from gemtop.tui.bindings import bindings
from gemtop.tui.widgets import selecting
from gemtop.tui.widgets.cells import CellWidget, clip
from gemtop.tui.widgets.selecting import Place, Stretch
from gemtop.tui.widgets.wrap import VisualRow, WrappedText

WHEEL_ROWS = 3
_DRAG_SCROLL_S = 0.1
"""While the mouse is held beyond the edge, a row is scrolled so often."""


class StreamView(CellWidget, can_focus=True):
    """Streaming text that follows its end until the reader scrolls up.

    When the text reaches the bottom the view moves up by half its height at once: a view that scrolls at
    every line end sends itself whole for every line. Scrolled up, it stays there until End, or until it has
    been scrolled down to the end again.

    The mouse selects text, a double click a word, a third one the paragraph. What is selected is kept with the
    screen's selections, as Textual's own widgets have it, so that what copies those copies this; finding and drawing
    it is done here, because Textual takes repaints of the whole screen for it.
    """

    DEFAULT_CSS = """
    StreamView { height: 1fr; width: 1fr; min-height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("text")

    def __init__(
        self,
        *,
        title: str = "",
        placeholder: str = "",
        keep_chars: int = 200_000,
        framed: bool = False,
        ascii_only: bool | None = None,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(title=title, framed=framed, ascii_only=ascii_only, name=name, id=id, classes=classes)
        self._wrapped = WrappedText(keep_chars=keep_chars)
        self._placeholder = placeholder
        self._top = 0
        self._follow = True
        self._dropped = 0
        self._in_view: list[VisualRow] = []
        self._selected: Stretch | None = None
        self._anchor: Stretch | None = None
        """Where the mouse was pressed, while it is held."""
        self._mouse = Offset(0, 0)
        self._drag_scroll: Timer | None = None

    @property
    def text(self) -> str:
        """The raw text appended since the last `clear`, without marks; at least the last `keep_chars` of it."""
        return self._wrapped.text

    @property
    def follows(self) -> bool:
        """Whether the view keeps to the end of the text."""
        return self._follow

    @property
    def top(self) -> int:
        """The first row shown, counted from the oldest kept."""
        return self._top

    @property
    def row_count(self) -> int:
        """Rows the text takes at this width."""
        return len(self._wrapped.rows)

    def append(self, text: str) -> None:
        """Add text of the model to the end; costs as much as the new text, however long the old is."""
        if text:
            self._wrapped.append(text)
            self.rebuild()

    def mark(self, text: str, role: str = "prompt") -> None:
        """Add a line of its own in another colour, such as the prompt; a blank line sets it off."""
        rows = self._wrapped.rows
        if rows and rows[-1].glyphs:
            self._wrapped.line("\n", role)
        self._wrapped.line(text, role)
        self.rebuild()

    def add_line(self, text: str, role: str = "text") -> None:
        """Add a line of its own right below the last, as a log does."""
        self._wrapped.line(text, role)
        self.rebuild()

    def add_lines(self, lines: Iterable[tuple[str, str]]) -> None:
        """Add many lines, (text, role) each, and draw once."""
        for text, role in lines:
            self._wrapped.line(text, role)
        self.rebuild()

    def clear(self) -> None:
        """Forget the text and follow again."""
        self._wrapped.clear()
        self._top = self._dropped = 0
        self._follow = True
        if self._selected is not None:
            self.screen.clear_selection()
        self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        """The rows in view; a note at the lower right says when there are more below."""
        if not width or not height:
            return Canvas(width, height).freeze()
        self._rewrap(width)
        self._settle(height)
        rows = self._wrapped.rows
        if not rows:
            canvas = Canvas(width, height)
            canvas.put(0, 0, clip(self._placeholder, width), "placeholder")
            return canvas.freeze()
        visible = rows[self._top : self._top + height]
        if self._in_view and (self._in_view[0] is not visible[0] or len(self._in_view) > len(visible)):
            for row in self._in_view:
                row.drawn = None  # cells take ten times as much as the text they are made of
        self._in_view = visible
        shown = [row.cells(width) for row in visible]
        if self._selected is not None:
            pairs = zip(visible, shown, strict=True)
            shown = [selecting.tinted(row, cells, self._selected) for row, cells in pairs]
        shown.extend([blank_row(width)] * (height - len(shown)))
        if not self._follow and self._top + height < len(rows):
            shown[-1] = self._with_note(shown[-1], width)
        return Cells(width, height, tuple(shown))

    def _with_note(self, row: CellRow, width: int) -> CellRow:
        note = self._stroke(" ↓ End ", " v End ")
        canvas = Canvas(width, 1)
        canvas.paste(0, 0, Cells(width, 1, (row,)))
        canvas.put(width - text_width(note), 0, note, "prompt")
        return canvas.freeze().rows[0]

    def _rewrap(self, width: int) -> None:
        """Take the width, and find the text at the top of the view again."""
        if width == self._wrapped.width:
            return
        before = sum(len(row.glyphs) for row in self._wrapped.rows[: self._top])
        self._wrapped.resize(width)
        self._top = 0
        for row in self._wrapped.rows:
            if len(row.glyphs) > before:
                break
            before -= len(row.glyphs)
            self._top += 1

    def _settle(self, height: int) -> None:
        """Where the view begins: in place while the end is in it, else half a view further on."""
        self._top -= self._wrapped.dropped_rows - self._dropped
        self._dropped = self._wrapped.dropped_rows
        last = len(self._wrapped.rows) - 1
        if self._follow and not self._top <= last < self._top + height:
            # What is kept in view is sent again in its new place.
            kept = 1 if getattr(self.app, "thrift", False) else height // 2
            self._top = last - kept
        self._top = max(0, min(self._top, last))

    # Scrolling ------------------------------------------------------------------------------------------

    def _scroll_rows(self, top: int) -> None:
        height = self.inner_size()[1]
        end = max(0, len(self._wrapped.rows) - height)
        if top < self._top:
            self._follow = False
        elif top >= end:
            self._follow = True
        # Following leaves room below the text; going down must not take that room away.
        self._top = max(0, top if top < self._top else min(top, max(end, self._top)))
        self.rebuild()

    def action_move(self, rows: int) -> None:
        """Scroll by rows; negative is up."""
        if rows < 0 and self._top == 0:
            return
        self._scroll_rows(self._top + rows)

    def action_page(self, pages: int) -> None:
        """Scroll by views less one row."""
        self.action_move(pages * max(1, self.inner_size()[1] - 1))

    def action_top(self) -> None:
        """To the oldest text."""
        if len(self._wrapped.rows) > self.inner_size()[1]:
            self._follow = False
            self._top = 0
            self.rebuild()

    def action_bottom(self) -> None:
        """To the end, and follow it."""
        self._follow = True
        self._top = max(self._top, len(self._wrapped.rows) - self.inner_size()[1])
        self.rebuild()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel."""
        event.stop()
        self.action_move(-WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel."""
        event.stop()
        self.action_move(WHEEL_ROWS)

    # Selecting ------------------------------------------------------------------------------------------

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text that is selected, lines whole again where they were wrapped, and what separates it from more."""
        rows = self._wrapped.rows
        if not rows:
            return None
        return selecting.text_between(rows, self._stretch(selection)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Draw what is selected."""
        self._selected = self._stretch(selection) if selection is not None and self._wrapped.rows else None
        self.rebuild()

    def _stretch(self, selection: Selection) -> Stretch:
        first, last = self._wrapped.rows[0], self._wrapped.rows[-1]
        start, end = selection
        return (
            Place(first.paragraph, first.start) if start is None else Place(start.y, start.x),
            Place(last.paragraph, last.end) if end is None else Place(end.y, end.x),
        )

    def _select(self, stretch: Stretch) -> None:
        start, end = (Offset(place.character, place.paragraph) for place in stretch)
        self.screen.selections = {self: Selection(start, end)}

    def _at_mouse(self, where: Offset) -> Stretch:
        """The glyph under the mouse; beyond the upper and lower edge that of the first and last row in view."""
        height = self.inner_size()[1]
        left, top = (2, 1) if self.framed else (0, int(self.has_title_row))
        y = max(0, min(where.y - top, height - 1))
        return selecting.glyph_at(self._wrapped.rows, self._top + y, max(0, where.x - left))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin to select; a click that goes nowhere selects nothing."""
        if event.button == 1 and self._wrapped.rows:
            self._anchor = self._at_mouse(event.offset)
            self._mouse = event.offset
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._anchor is None or event.offset == self._mouse:
            return
        self._mouse = event.offset
        self._extend()
        if self._drag_scroll is None and self._beyond():
            self._drag_scroll = self.set_interval(_DRAG_SCROLL_S, self._scroll_on)

    def _extend(self) -> None:
        assert self._anchor is not None
        self._select(selecting.together(self._anchor, self._at_mouse(self._mouse)))

    def _beyond(self) -> int:
        """Whether the mouse is above (-1) or below (1) the text."""
        top = int(self.has_title_row)
        y = self._mouse.y - top
        return -1 if y < 0 else 1 if y >= self.inner_size()[1] else 0

    def _scroll_on(self) -> None:
        way = self._beyond()
        if way and self._anchor is not None:
            self.action_move(way)
            self._extend()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """What is selected stays until the next click."""
        self._let_go()

    def on_mouse_release(self) -> None:
        """The mouse was taken away."""
        self._let_go()

    def _let_go(self) -> None:
        if self._anchor is None:
            return
        self._anchor = None
        if self._drag_scroll is not None:
            self._drag_scroll.stop()
            self._drag_scroll = None
        self.release_mouse()

    def on_click(self, event: events.Click) -> None:
        """Twice: the word; three times: the paragraph."""
        rows = self._wrapped.rows
        if event.chain not in (2, 3) or not rows:
            return
        event.stop()
        place = self._at_mouse(event.offset)[0]
        self._select((selecting.word_at if event.chain == 2 else selecting.paragraph_at)(rows, place))
