"""The editor of SQL: colours, and completion as one types."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widgets import TextArea

from gemtop.domain.sql_text import Kind, tokens
from gemtop.domain.text import printable
from gemtop.tui.bindings import bindings
from gemtop.tui.widgets.palette import role_style

_ROLES: dict[Kind, str] = {
    "keyword": "prefill",
    "string": "memory",
    "number": "decode",
    "comment": "muted",
    "parameter": "load",
    "quoted": "text",
}
_KEYS_OF_LIST = {"tab": "accept", "escape": "close", "up": "up", "down": "down"}


class SqlEditor(TextArea):
    """A text area that colours SQL by its own words, since it has to know DuckDB's dialect as it is typed.

    While a list of completions is open, Tab, Esc, Up and Down are its keys; the screen shows it.
    """

    DEFAULT_CSS = """
    SqlEditor {
        border: solid $foreground 25%; padding: 0 1; background: $background;
        scrollbar-size: 1 1; scrollbar-size-horizontal: 0;
        border-title-color: $foreground; border-title-style: bold;
        &:focus { border: solid $primary; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("history", "complete", "undo", "redo"),
    ]

    class ListKey(Message):
        """A key for the list of completions: accept, close, up or down."""

        def __init__(self, what: str) -> None:
            self.what = what
            super().__init__()

    class CompletionAsked(Message):
        """What may follow is wanted; `asked` before a first letter as well."""

        def __init__(self, asked: bool) -> None:
            self.asked = asked
            super().__init__()

    def __init__(self, *, id: str | None = None) -> None:
        self._comparing = False
        self._painted: dict[int, Strip] = {}
        """Lines as they were painted last."""
        super().__init__(
            id=id,
            soft_wrap=False,
            show_line_numbers=False,
            highlight_cursor_line=False,
            tab_behavior="focus",
            placeholder="SQL over runs, samples, tokens, sessions ...; F5 runs it",
        )
        self.border_title = "SQL"
        self.cursor_blink = False  # a cursor that blinks sends its line twice a second
        self.list_open = False
        """A list of completions is shown."""

    @property
    def offset_of_cursor(self) -> int:
        """Characters before the cursor."""
        row, column = self.cursor_location
        return sum(len(line) + 1 for line in self.document.lines[:row]) + column

    def location_of(self, offset: int) -> tuple[int, int]:
        """(row, column) of a character."""
        before = self.text[:offset]
        return before.count("\n"), len(before) - before.rfind("\n") - 1

    def put(self, start: int, text: str) -> None:
        """Replace the characters from `start` to the cursor."""
        self.replace(text, self.location_of(start), self.cursor_location, maintain_selection_offset=False)

    def show_sql(self, sql: str) -> None:
        """Another text; what was there can be had back by undoing."""
        self.history.checkpoint()
        self.replace(sql, (0, 0), self.document.end, maintain_selection_offset=False)
        self.history.checkpoint()
        self.move_cursor((0, 0))

    # The screen

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Have lines repainted that look different, where Textual would send all of them for a cursor that moves."""
        if regions or recompose or not repaint or not self._painted:
            return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        if layout:
            super().refresh(repaint=False, layout=True)
        if not self._comparing:
            self._comparing = True
            self.call_later(self._refresh_changed)
        return self

    def _refresh_changed(self) -> None:
        self._comparing = False
        width, height = self.size
        if self._theme is not None:
            self._theme.apply_css(self)
        changed = [y for y in range(height) if self._painted.get(y) != super(SqlEditor, self).render_line(y)]
        if changed:
            super().refresh(*(Region(0, y, width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        self._painted[y] = strip
        return strip

    def notify_style_update(self) -> None:
        """Other colours: everything is painted anew."""
        self._painted = {}
        super().notify_style_update()

    # Colours

    def _set_theme(self, theme: str) -> None:
        super()._set_theme(theme)
        self._take_colours()

    def _take_colours(self) -> None:
        if self._theme is not None and self.is_attached:
            styles = {str(kind): Style(color=role_style(self, role).color) for kind, role in _ROLES.items()}
            self._theme = replace(self._theme, syntax_styles=styles)

    def on_mount(self) -> None:
        self._take_colours()

    def _build_highlight_map(self) -> None:
        """What Textual asks tree-sitter for, where that is installed: (first byte, end byte, name) by line."""
        self._line_cache.clear()
        highlights = self._highlights
        highlights.clear()
        text = self.document.text
        starts = [0]
        for line in self.document.lines:
            starts.append(starts[-1] + len(line) + 1)
        row = 0
        for token in tokens(text):
            if token.kind not in _ROLES:
                continue
            while starts[row + 1] <= token.start:
                row += 1
            for y, piece in enumerate(token.text.split("\n"), row):
                line = self.document.lines[y]
                first = token.start - starts[y] if y == row else 0
                begin = len(line[:first].encode())
                if piece:
                    highlights[y].append((begin, begin + len(piece.encode()), token.kind))

    # Keys

    async def _on_key(self, event: events.Key) -> None:
        if self.list_open and event.key in _KEYS_OF_LIST:
            event.prevent_default()
            event.stop()
            self.post_message(self.ListKey(_KEYS_OF_LIST[event.key]))
            return
        await super()._on_key(event)
        typed = event.character or ""
        in_word = typed.isprintable() and (typed.isalnum() or typed in ("_", "."))
        if in_word or (event.key == "backspace" and self.list_open):
            self.post_message(self.CompletionAsked(False))
        elif self.list_open and event.key not in ("ctrl+space", "ctrl+@"):
            self.post_message(self.ListKey("close"))

    async def _on_paste(self, event: events.Paste) -> None:
        event.text = printable(event.text)
        await super()._on_paste(event)

    def action_complete(self) -> None:
        self.post_message(self.CompletionAsked(True))

    def on_blur(self) -> None:
        self.post_message(self.ListKey("close"))
