"""The models of this machine, to mark those that are to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from gemtop.charts.grid import Canvas
from gemtop.domain.plan import gib
from gemtop.domain.text import one_line
from gemtop.tui.bindings import bindings
from gemtop.tui.widgets.model_list import DEMO, ModelList
from gemtop.tui.widgets.side_list import Item

if TYPE_CHECKING:
    from gemtop.domain.model import ModelEntry


class ModelMarks(ModelList):
    """Space or a click marks, `b` makes a model the baseline."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("compare", "mark", "baseline"),
        Binding("enter", "screen.start", show=False),
    ]

    class Changed(Message):
        """Marks or the baseline are others."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marked: list[str] = []
        self._baseline: str | None = None

    def show_entries(self, entries: Sequence[ModelEntry], placeholder: str) -> None:
        """Show these; marks of those that are still there stay."""
        super().show_entries(entries, placeholder)
        self._marked = [key for key in self._marked if key in self._entries]
        self.rebuild()

    @property
    def marked(self) -> tuple[str | None, ...]:
        """Paths of the marked models, in the order they are listed; None is the demo model."""
        return tuple(None if key == DEMO else key for key in self._entries if key in self._marked)

    @property
    def baseline(self) -> int | None:
        """Which of the marked ones was made the baseline."""
        keys = [key for key in self._entries if key in self._marked]
        return keys.index(self._baseline) if self._baseline in keys else None

    def draw_item(self, canvas: Canvas, y: int, item: Item, width: int) -> None:
        entry = self._entries[item.key]
        marked = item.key in self._marked
        x = canvas.put(0, y, "[x] " if marked else "[ ] ", "key" if marked else "muted")
        base = marked and item.key == self._baseline
        end = " baseline" if base else "" if entry.size_bytes is None else gib(entry.size_bytes)
        self.draw_entry(canvas, y, entry, x, width, end, "key" if base else "muted")

    def action_mark(self) -> None:
        key = self.at
        entry = self._entries.get(key) if key is not None else None
        if key is None or entry is None:
            return
        why = entry.problem or (f"it needs {entry.adopt_command}" if entry.adopt_command else None)
        if why is not None:
            self.notify(f"{one_line(entry.name)} cannot be compared: {one_line(why)}", severity="warning", markup=False)
            return
        if key in self._marked:
            self._marked.remove(key)
        else:
            self._marked.append(key)
        self.rebuild()
        self.post_message(self.Changed())

    def action_baseline(self) -> None:
        """Make it the baseline, marked if it was not; that again has the baseline chosen by bits."""
        key = self.at
        if key is None:
            return
        if self._baseline == key:
            self._baseline = None
        else:
            if key not in self._marked:
                self.action_mark()
            self._baseline = key if key in self._marked else self._baseline
        self.rebuild()
        self.post_message(self.Changed())

    def action_choose(self) -> None:
        """A click marks; Enter is for the screen."""
        self.action_mark()
