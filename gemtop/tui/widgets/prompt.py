"""The line where prompts are typed."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from gemtop.tui.hints import PROMPT_PLACEHOLDER, TYPING_PLACEHOLDER


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
        Binding("enter", "submit", "Run"),
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
            placeholder=PROMPT_PLACEHOLDER,
        )
        self._earlier: list[str] = []
        self._recalled = 0

    def on_focus(self) -> None:
        self.placeholder = TYPING_PLACEHOLDER

    def on_blur(self) -> None:
        self.placeholder = PROMPT_PLACEHOLDER

    def action_submit(self) -> None:
        text = self.text
        if text.strip() and (not self._earlier or self._earlier[-1] != text):
            self._earlier.append(text)
        self._recalled = len(self._earlier)
        self.clear()
        self.screen.set_focus(None)  # at once: a key typed behind Enter is a command, not text
        self.post_message(self.Submitted(text))

    def action_new_line(self) -> None:
        self.insert("\n")

    def action_leave(self) -> None:
        self.post_message(self.Left())

    async def _on_key(self, event: events.Key) -> None:
        """Enter submits; Up on the first line and Down on the last go through the prompts of this sitting.

        Keys wait in this widget's queue: one that came before Enter had moved the focus belongs elsewhere.
        """
        row, _ = self.cursor_location
        if self.screen.focused is not self:
            self._take(event)
            self.app.post_message(events.Key(event.key, event.character))
        elif event.key == "enter":
            self._take(event)
            self.action_submit()
        elif event.key == "up" and row == 0 and self._recalled > 0:
            self._take(event)
            self._recall(self._recalled - 1)
        elif event.key == "down" and row == self.document.line_count - 1 and self._recalled < len(self._earlier):
            self._take(event)
            self._recall(self._recalled + 1)
        else:
            await super()._on_key(event)

    @staticmethod
    def _take(event: events.Key) -> None:
        event.prevent_default()
        event.stop()

    def _recall(self, index: int) -> None:
        self._recalled = index
        self.text = self._earlier[index] if index < len(self._earlier) else ""
        self.move_cursor(self.document.end)
