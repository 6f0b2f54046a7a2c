"""The line where prompts are typed."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TextArea

from gemtop.domain.text import one_line, printable, text_width
from gemtop.tui.bindings import bindings, keys_of
from gemtop.tui.hints import PROMPT_PLACEHOLDER, TYPING_PLACEHOLDER
from gemtop.tui.widgets.cells import CellWidget, clip
from gemtop.tui.widgets.pasted import LongTexts

_LONGEST_QUERY = 60
"""What stands in the line is looked for, unless it is longer."""
_LEAST_MATCH = 12


@dataclass(slots=True)
class _Search:
    """Earlier prompts are looked for by what stands in the line."""

    draft: str
    """What stood there before."""
    at: int = 0
    """Which of the prompts that were found is shown, from the newest on."""


class PromptArea(TextArea):
    """A prompt of one or more lines: Enter runs it, Ctrl-J breaks the line, Up and Down recall earlier ones.

    Ctrl-R looks for one among them: what is typed then is looked for, the prompt that was found stands behind it, Up
    and Down go on to older and newer ones, Enter takes it into the line, Esc leaves. Ctrl-S saves the prompt, Ctrl-O
    lists those that are saved.
    """

    DEFAULT_CSS = """
    PromptArea {
        height: auto; max-height: 6; min-height: 1; border: none; padding: 0 1;
        background: $boost; scrollbar-size: 1 1;
        &:focus { border: none; background: $surface; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings("prompt")

    class Submitted(Message):
        """Enter was pressed on a prompt."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    class Left(Message):
        """Escape was pressed."""

    def __init__(self, *, id: str | None = None) -> None:
        self._search: _Search | None = None
        self._long = LongTexts()
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
        self._draft = ""
        """What stood in the line before an earlier prompt was recalled."""
        self._taken = ("", "")
        """The last prompt that was put into the line: as it is shown, and as it is."""
        self._file: Path | None = None
        self._loaded = False
        self._unkept: deque[str] = deque()
        self._keeping = threading.Lock()

    def keep_in(self, file: Path | None) -> None:
        """Recall the prompts of this file too, and put those that are run into it; None is this sitting alone."""
        self._file, self._loaded = file, file is None

    @property
    def earlier(self) -> tuple[str, ...]:
        """Prompts that were run before, the newest last."""
        return tuple(self._earlier)

    def put(self, text: str) -> None:
        """Put a prompt into the line, to be changed or run. Escape sequences in it are shown and run as data."""
        shown = self._long.words_for(printable(text.replace("\r\n", "\n")))
        self._taken = (shown, text)
        self._show(shown)

    @property
    def prompt(self) -> str:
        """What stands in the line, all of it."""
        return self._taken[1] if self.text == self._taken[0] else self._long.whole(self.text)

    def add(self, text: str) -> None:
        """Put what was pasted where the cursor is."""
        self.replace(self._long.words_for(text), *self.selection)

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        self.add(event.text)
        self.focus()

    def action_delete_left(self) -> None:
        """What stands for a long text goes as a whole."""
        row, column = self.cursor_location
        words = self._long.words_before(self.document.get_line(row)[:column]) if self.selection.is_empty else ""
        if words:
            self.delete((row, column - len(words)), (row, column))
        else:
            super().action_delete_left()

    def _show(self, text: str) -> None:
        self.text = text
        self.move_cursor(self.document.end)

    # Focus

    def on_focus(self) -> None:
        self.placeholder = TYPING_PLACEHOLDER
        if not self._loaded and self._file is not None:
            self._loaded = True
            self.run_worker(self._load, thread=True, name="prompts", exit_on_error=False)

    def _load(self) -> None:
        from gemtop.prompts import recent

        assert self._file is not None
        self.app.call_from_thread(self._add_earlier, recent.load(self._file))

    def _add_earlier(self, prompts: list[str]) -> None:
        older = [prompt for prompt in prompts if prompt not in self._earlier]
        self._earlier[:0] = older
        self._recalled += len(older)

    def on_blur(self) -> None:
        self._leave_search()
        self.placeholder = PROMPT_PLACEHOLDER

    # Running and leaving

    def action_submit(self) -> None:
        if self._search is not None:
            self._take()
            return
        text = self.prompt
        if text.strip():
            self._remember(text)
        self._recalled, self._draft = len(self._earlier), ""
        self._long.forget()
        self.clear()
        self.screen.set_focus(None)  # at once: a key typed behind Enter is a command, not text
        self.post_message(self.Submitted(text))

    def _remember(self, text: str) -> None:
        if text in self._earlier:
            self._earlier.remove(text)
        self._earlier.append(text)
        if self._file is not None:
            self._unkept.append(text)
            self.run_worker(self._keep, thread=True, name="prompts", exit_on_error=False)

    def _keep(self) -> None:
        """Write down what was run, in its order; on a thread, since a folder may be far away."""
        from gemtop.prompts import recent

        with self._keeping:
            while self._unkept and self._file is not None:
                recent.keep(self._file, self._unkept.popleft())

    def action_new_line(self) -> None:
        if self._search is not None:
            self._take()
        else:
            self.insert("\n")

    def action_leave(self) -> None:
        if self._search is not None:
            self._leave_search()
        else:
            self.post_message(self.Left())

    # Saved prompts

    def action_save(self) -> None:
        """Ask for a name, and save what stands in the line under it."""
        from gemtop.tui.screens.prompts import SavePromptScreen

        if self._search is not None:
            self._take()
        text = self.prompt
        if text.strip():
            self.app.push_screen(SavePromptScreen(text))
        else:
            self.notify("the prompt is empty; type what is to be saved", severity="warning")

    def action_pick(self) -> None:
        """List saved prompts, earlier ones and those of the sets; the one that is chosen comes into the line."""
        from gemtop.tui.screens.prompts import PromptsScreen

        self._leave_search()
        self.app.push_screen(PromptsScreen(self.earlier), self._picked)

    def _picked(self, text: str | None) -> None:
        if text is not None:
            self.put(text)
            self.focus()

    # Keys

    async def _on_key(self, event: events.Key) -> None:
        """Enter submits; Up on the first line and Down on the last go through earlier prompts.

        Keys wait in this widget's queue: one that came before Enter had moved the focus belongs elsewhere.
        """
        row, _ = self.cursor_location
        if self.screen.focused is not self:
            self._take_key(event)
            self.app.post_message(events.Key(event.key, event.character))
        elif event.key in keys_of(self.app).of("prompt.submit"):
            self._take_key(event)
            self.action_submit()
        elif self._search is not None and event.key in ("up", "down"):
            self._take_key(event)
            self._go_on(1 if event.key == "up" else -1)
        elif event.key == "up" and row == 0 and self._recalled > 0:
            self._take_key(event)
            self._recall(self._recalled - 1)
        elif event.key == "down" and row == self.document.line_count - 1 and self._recalled < len(self._earlier):
            self._take_key(event)
            self._recall(self._recalled + 1)
        else:
            await super()._on_key(event)

    @staticmethod
    def _take_key(event: events.Key) -> None:
        event.prevent_default()
        event.stop()

    def _recall(self, index: int) -> None:
        if self._recalled == len(self._earlier):
            self._draft = self.text
        self._recalled = index
        if index < len(self._earlier):
            self.put(self._earlier[index])
        else:
            self._show(self._draft)

    # Searching

    def action_search(self) -> None:
        """Look for an earlier prompt by what stands in the line; again: the one before."""
        if self._search is not None:
            self._go_on(1)
            return
        if not self._earlier:
            self.notify("no prompt was run yet; those that are can be searched here", timeout=4)
            return
        draft = self.text
        self._search = _Search(draft)
        self._show(draft if "\n" not in draft and len(draft) <= _LONGEST_QUERY else "")
        self._show_match()

    @property
    def _matches(self) -> list[str]:
        """Earlier prompts that hold every word that was typed, the newest first."""
        words = self.text.lower().split()
        found = (prompt for prompt in reversed(self._earlier) if all(word in prompt.lower() for word in words))
        return list(found)

    def _go_on(self, way: int) -> None:
        assert self._search is not None
        self._search.at = max(0, min(self._search.at + way, len(self._matches) - 1))
        self._show_match()

    def update_suggestion(self) -> None:
        """Textual calls this after each change of the text."""
        if self._search is not None:
            self._search.at = 0
            self._show_match()

    def _show_match(self) -> None:
        """The prompt that was found behind what is looked for; where that is empty, in place of it."""
        assert self._search is not None
        matches, typed = self._matches, self.text
        where = f"  {self._search.at + 1} of {len(matches)}"
        if not matches:
            self.suggestion = "  no earlier prompt holds this; Esc leaves"
            return
        arrow = "  <- " if CellWidget.ascii_only else "  ← "
        note = "" if typed else "; type a part of one, Enter takes it"
        room = self.size.width - text_width(typed) - text_width(arrow + where + note) - 3
        words = clip(one_line(matches[self._search.at]), max(_LEAST_MATCH, room)) + where + note
        self.suggestion = arrow + words if typed else ""
        self.placeholder = TYPING_PLACEHOLDER if typed else words

    def action_cursor_right(self, select: bool = False) -> None:
        if self._search is not None and self.cursor_location == self.document.end:
            self._take()
        else:
            super().action_cursor_right(select)

    def _take(self) -> None:
        """Put the prompt that was found into the line."""
        assert self._search is not None
        matches = self._matches
        if matches:
            found = matches[self._search.at]
            self._end_search()
            self._recalled = len(self._earlier)
            self.put(found)

    def _leave_search(self) -> None:
        if self._search is not None:
            self._show(self._end_search())

    def _end_search(self) -> str:
        """What stood in the line before."""
        assert self._search is not None
        draft, self._search = self._search.draft, None
        self.suggestion, self.placeholder = "", TYPING_PLACEHOLDER
        return draft
