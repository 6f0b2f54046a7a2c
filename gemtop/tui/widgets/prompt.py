"""The line where prompts are typed."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea


class PromptArea(TextArea):
    """A prompt of one or more lines: Enter runs it, Ctrl-J breaks the line, Up and Down recall earlier ones."""

    DEFAULT_CSS = """
    PromptArea {
        height: auto; max-height: 6; min-height: 1; border: none; padding: 0 1;
        background: $boost; scrollbar-size: 1 1;
        &:focus { border: none; background: $surface; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Run", priority=True),
        Binding("ctrl+j", "new_line", "New line", show=False),
        Binding("escape", "leave", "Leave", show=False),
    ]

    class Submitted(Message):
        """Enter was pressed on a prompt."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    class Left(Message):
        """Escape was pressed."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            id=id,
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            compact=True,
            tab_behavior="focus",
            placeholder="Enter or a capital letter starts a prompt",
        )
        self._earlier: list[str] = []
        self._recalled = 0

    def action_submit(self) -> None:
        text = self.text
        if text.strip() and (not self._earlier or self._earlier[-1] != text):
            self._earlier.append(text)
        self._recalled = len(self._earlier)
        self.clear()
        self.post_message(self.Submitted(text))

    def action_new_line(self) -> None:
        self.insert("\n")

    def action_leave(self) -> None:
        self.post_message(self.Left())

    def on_key(self, event: events.Key) -> None:
        """Up on the first line and Down on the last go through the prompts of this sitting."""
        row, _ = self.cursor_location
        if event.key == "up" and row == 0 and self._recalled > 0:
            self._recall(self._recalled - 1, event)
        elif event.key == "down" and row == self.document.line_count - 1 and self._recalled < len(self._earlier):
            self._recall(self._recalled + 1, event)

    def _recall(self, index: int, event: events.Key) -> None:
        event.prevent_default()
        event.stop()
        self._recalled = index
        self.text = self._earlier[index] if index < len(self._earlier) else ""
        self.move_cursor(self.document.end)
