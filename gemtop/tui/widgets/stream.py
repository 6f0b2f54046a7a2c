"""The text of a model as it streams: wrapped, harmless, with a scroll of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.binding import BindingType

from gemtop.charts.grid import Canvas, CellRow, Cells, blank_row
from gemtop.domain.text import text_width
from gemtop.tui.bindings import bindings
from gemtop.tui.widgets.cells import CellWidget, clip
from gemtop.tui.widgets.wrap import WrappedText

WHEEL_ROWS = 3


class StreamView(CellWidget, can_focus=True):
    """Streaming text that follows its end until the reader scrolls up.

    When the text reaches the bottom the view moves up by half its height at once: a view that scrolls at
    every line end sends itself whole for every line. Scrolled up, it stays there until End, or until it has
    been scrolled down to the end again.
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
        shown = [row.cells(width) for row in rows[self._top : self._top + height]]
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
            self._top = last - height // 2
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
