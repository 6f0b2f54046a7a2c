"""The models of this machine, to mark those that are to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from gemtop.charts.colours import variant_role
from gemtop.charts.grid import Canvas
from gemtop.domain.plan import gib
from gemtop.domain.text import one_line, text_width
from gemtop.tui.widgets.cells import clip
from gemtop.tui.widgets.side_list import Item, SideList

if TYPE_CHECKING:
    from gemtop.domain.model import ModelEntry

_DEMO = "demo"
_VARIANT_CELLS = 16


class ModelMarks(SideList):
    """Space or a click marks, `b` makes a model the baseline."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", show=False),
        Binding("b", "baseline", show=False),
        Binding("enter", "screen.start", show=False),
    ]

    class Changed(Message):
        """Marks or the baseline are others."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("models", "looking for GGUF files ...", id=id)
        self._entries: dict[str, ModelEntry] = {}
        self._marked: list[str] = []
        self._baseline: str | None = None

    def show_entries(self, entries: Sequence[ModelEntry], placeholder: str) -> None:
        """Show these; marks of those that are still there stay."""
        self._entries = {_DEMO if entry.store == _DEMO else entry.path: entry for entry in entries}
        self._marked = [key for key in self._marked if key in self._entries]
        self.show_items([Item(key, entry.name) for key, entry in self._entries.items()], placeholder)

    @property
    def marked(self) -> tuple[str | None, ...]:
        """Paths of the marked models, in the order they are listed; None is the demo model."""
        return tuple(None if key == _DEMO else key for key in self._entries if key in self._marked)

    @property
    def baseline(self) -> int | None:
        """Which of the marked ones was made the baseline."""
        keys = [key for key in self._entries if key in self._marked]
        return keys.index(self._baseline) if self._baseline in keys else None

    def draw_item(self, canvas: Canvas, y: int, item: Item, width: int) -> None:
        entry = self._entries[item.key]
        marked = item.key in self._marked
        x = canvas.put(0, y, "[x] " if marked else "[ ] ", "key" if marked else "muted")
        room = width - x
        if entry.problem or entry.adopt_command:
            why = entry.problem or f"needs {entry.adopt_command}"
            canvas.put(x, y, clip(f"{one_line(entry.name)}  {one_line(why)}", room), "muted")
            return
        base = marked and item.key == self._baseline
        end = " baseline" if base else "" if entry.size_bytes is None else gib(entry.size_bytes)
        canvas.put(width - text_width(end), y, end, "key" if base else "muted")
        room -= 11
        variant = clip(one_line(entry.variant or ""), _VARIANT_CELLS)
        if entry.store == _DEMO:
            name, variant = "the demo model, Gemma 3 270M", variant or "Q4_K_M"
        else:
            name = one_line(entry.name)
        canvas.put(x, y, clip(name, room - _VARIANT_CELLS - 1), "text")
        canvas.put(x + room - _VARIANT_CELLS, y, variant, variant_role(entry.training or "", entry.quantization or ""))

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
