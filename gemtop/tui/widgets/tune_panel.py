"""The tuning panel's cells: settings, the memory they would take, what the change costs, what stands against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from gemtop.charts.grid import Canvas, Cells
from gemtop.domain.text import text_width
from gemtop.keymap import fitting
from gemtop.tui.bindings import keys_of
from gemtop.tui.hints import TUNE_KEYS
from gemtop.tui.tuning import LedgerLine
from gemtop.tui.widgets.cells import CellWidget, clip, plain

TYPED = frozenset("0123456789.,-")
"""Characters that begin a value or go on with one."""
MESSAGE_LINES = 4
"""Kept free for what stands against a change, so that nothing moves when it comes."""
_LEAST_ROWS = 4
"""Settings in view where they have to scroll."""
_MARK, _LABEL, _FIELD, _COLUMN = 2, 20, 18, 14
"""Cells of the mark of the selected row, of labels, of the value with its arrows, and of now and then."""


@dataclass(frozen=True, slots=True)
class Row:
    """A setting as it is drawn."""

    label: str
    value: str
    now: str
    then: str
    """Empty where it is as now."""
    fixed: bool
    typing: bool


@dataclass(frozen=True, slots=True)
class PanelText:
    """All that the panel says."""

    rows: tuple[Row, ...] = ()
    selected: int = 0
    memory: tuple[LedgerLine, ...] = ()
    limits: str = ""
    cost: str = ""
    message: str = ""
    bad: bool = False
    """The message says why it cannot be."""
    stale: bool = False
    """What is predicted is of an earlier choice: the answer is under way."""


class TunePanel(CellWidget, can_focus=True):
    """Draws a PanelText, and says what keys and mouse ask for. Only cells that changed are sent."""

    DEFAULT_CSS = """
    TunePanel { width: 76; max-width: 100%; height: auto; max-height: 100%; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,shift+tab", "move(-1)", "Up", show=False),
        Binding("down,tab", "move(1)", "Down", show=False),
        Binding("left", "step(-1)", "Less", show=False),
        Binding("right", "step(1)", "More", show=False),
        Binding("space", "switch", "Switch", show=False),
        Binding("backspace", "type('')", "Delete", show=False),
    ]

    class Selected(Message):
        """Another row, by its number."""

        def __init__(self, row: int) -> None:
            self.row = row
            super().__init__()

    class Moved(Message):
        """So many rows down (1) or up (-1) from the one that is selected when this is read: keys may come in bursts."""

        def __init__(self, way: int) -> None:
            self.way = way
            super().__init__()

    class Stepped(Message):
        """One value up or down in the selected row; 0 is the space bar's switch."""

        def __init__(self, way: int) -> None:
            self.way = way
            super().__init__()

    class Typed(Message):
        """A character of a value; the empty one takes the last away."""

        def __init__(self, character: str) -> None:
            self.character = character
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(title="tune", framed=True, id=id)
        self._text = PanelText()
        self._first = 0
        """The first row in view, where not all find room."""
        self._shown_rows = 0
        self._key_spans: list[tuple[int, int, str]] = []

    def show_text(self, text: PanelText) -> None:
        if text == self._text:
            return
        before, self._text = self._text, text
        if self._wanted_lines(before) != self._wanted_lines(text):
            self.refresh(layout=True)
        self.rebuild()

    @staticmethod
    def _wanted_lines(text: PanelText) -> int:
        return len(text.rows) + 2 * len(text.memory) + 2 + MESSAGE_LINES

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """As high as all there is to say."""
        return self._wanted_lines(self._text) + 2

    # Drawing

    def draw(self, width: int, height: int) -> Cells:
        """Settings above, the rest below. Where room is short, details go first, and then settings scroll."""
        canvas, text = Canvas(width, height), self._text
        if not text.rows:
            return canvas.freeze()
        below = self._below(width, height)
        self._shown_rows = max(1, min(len(text.rows), height - len(below)))
        last = len(text.rows) - self._shown_rows
        self._first = min(max(self._first, text.selected - self._shown_rows + 1, 0), text.selected, last)
        for y in range(self._shown_rows):
            index = self._first + y
            self._draw_row(canvas, y, text.rows[index], selected=index == text.selected)
        for y, (words, role) in enumerate(below, self._shown_rows):
            canvas.put(_MARK, y, clip(plain(words), width - _MARK), role)
        return canvas.freeze()

    def _below(self, width: int, height: int) -> list[tuple[str, str]]:
        """The lines under the settings, with their roles."""
        text, predicted = self._text, "muted" if self._text.stale else "text"
        said = [(line, "bad" if text.bad else "warn") for line in _message_lines(text.message, width - _MARK)]
        memory = [self._memory_line(line, predicted, width) for line in text.memory]
        details = [pair for line, own in zip(text.memory, memory, strict=True) for pair in (own, _parts_line(line))]
        limits, cost = [(text.limits, "muted")], [(text.cost, predicted)]
        choices = (
            [*details, *limits, *cost, *said],
            [*memory, *limits, *cost, *said],
            [*memory, *cost, *said],
        )
        for rows in (len(text.rows), _LEAST_ROWS):
            for lines in choices:
                if len(lines) + rows <= height:
                    return lines
        return said if text.message else memory

    def _memory_line(self, line: LedgerLine, role: str, width: int) -> tuple[str, str]:
        beginning = f"memory {clip(line.name, 7):<7}"
        words = f"{beginning}{plain(line.total):>22}  {line.difference:>10}  {line.left}"
        if text_width(words) > width - _MARK:  # whether it fits goes before by how much it differs
            words = f"{beginning}{plain(line.total):>16}  {line.left or line.difference}"
        return words, role if line.fits or self._text.stale else "bad"

    def _draw_row(self, canvas: Canvas, y: int, row: Row, *, selected: bool) -> None:
        width = canvas.width
        if selected:
            canvas.put(0, y, self._stroke("▸", ">"), "key")
        label_cells = min(_LABEL, max(8, width - _MARK - _FIELD))
        canvas.put(_MARK, y, clip(row.label, label_cells - 1), "title" if selected else "muted")
        x = _MARK + label_cells
        if row.fixed:
            canvas.put(x, y, clip(row.value, width - x), "muted")
            return
        arrow = "key" if selected else "muted"
        canvas.put(x, y, self._stroke("‹", "<"), arrow)
        shown = row.value + ("_" if row.typing else "")
        canvas.put(x + 2, y, clip(shown, _FIELD - 6), "key" if row.typing else "text")
        canvas.put(x + _FIELD - 3, y, self._stroke("›", ">"), arrow)
        for end, words, role in self._columns(width, row):
            canvas.put(end - text_width(words), y, words, role)

    def _columns(self, width: int, row: Row) -> list[tuple[int, str, str]]:
        """Now and then, right-aligned, as far as there is room for them."""
        ends = _column_ends(width)
        now, then = (row.now, "muted"), (row.then, "muted" if self._text.stale else "text")
        pairs = (now, then) if len(ends) > 1 else (then if row.then else now,)
        return [(end, clip(words, _COLUMN - 1), role) for end, (words, role) in zip(ends, pairs, strict=False)]

    def _draw_frame(self, canvas: Canvas) -> None:
        super()._draw_frame(canvas)
        ends = _column_ends(canvas.width - 4)
        for end, words in zip(ends, ("now", "then") if len(ends) > 1 else ("then",), strict=False):
            canvas.put(end + 2 - len(words) - 1, 0, f" {words} ", "muted")
        if canvas.height < 2:
            return
        x, y = 2, canvas.height - 1
        self._key_spans = []
        for start, label, hint in fitting(TUNE_KEYS, keys_of(self.app), canvas.width - x - 2):
            end = canvas.put(x + start - 1, y, f" {label} ", "key")
            end = canvas.put(end, y, f"{hint.text} ", "text")
            self._key_spans.append((x + start - 1, end, hint.action))

    # Keys and mouse

    def on_key(self, event: events.Key) -> None:
        if event.character and event.character in TYPED:
            event.stop()
            self.post_message(self.Typed(event.character))

    def action_move(self, way: int) -> None:
        self.post_message(self.Moved(way))

    def action_step(self, way: int) -> None:
        self.post_message(self.Stepped(way))

    def action_switch(self) -> None:
        self.post_message(self.Stepped(0))

    def action_type(self, character: str) -> None:
        self.post_message(self.Typed(character))

    def _row_at(self, y: int) -> int | None:
        inside = 0 <= y - 1 < self._shown_rows
        return self._first + y - 1 if inside else None

    async def on_click(self, event: events.Click) -> None:
        """A row is selected; its arrows change it; the words in the lower edge do what they say."""
        event.stop()
        if event.y == self.size.height - 1:
            for start, end, action in self._key_spans:
                if start <= event.x < end and action:
                    await self.screen.run_action(action)
            return
        row = self._row_at(event.y)
        if row is None:
            return
        self.post_message(self.Selected(row))
        inner = self.inner_size()[0]
        x = event.x - 2 - _MARK - min(_LABEL, max(8, inner - _MARK - _FIELD))
        if -1 <= x <= 1:
            self.post_message(self.Stepped(-1))
        elif _FIELD - 5 <= x <= _FIELD - 2:
            self.post_message(self.Stepped(1))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel changes the row under it."""
        self._wheel(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """See `on_mouse_scroll_up`."""
        self._wheel(event, -1)

    def _wheel(self, event: events.MouseEvent, way: int) -> None:
        event.stop()
        row = self._row_at(event.y)
        if row is not None:
            self.post_message(self.Selected(row))
            self.post_message(self.Stepped(way))


def _message_lines(message: str, width: int) -> list[str]:
    """As many lines as are kept for it; what is beyond them is cut off with an ellipsis when it is drawn."""
    lines = wrap(message, max(10, width))
    over = [" ".join(lines[MESSAGE_LINES - 1 :])] if len(lines) > MESSAGE_LINES else lines[MESSAGE_LINES - 1 :]
    found = [*lines[: MESSAGE_LINES - 1], *over]
    return found + [""] * (MESSAGE_LINES - len(found))


def _column_ends(width: int) -> Sequence[int]:
    """Where now and then end; what finds no room is left out."""
    first = _MARK + _LABEL + _FIELD + _COLUMN
    return [end for end in (first, first + _COLUMN) if end <= width]


def _parts_line(line: LedgerLine) -> tuple[str, str]:
    return f"{'':<14}{line.parts}", "muted"
