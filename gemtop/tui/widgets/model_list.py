"""The models of this machine in lines: name, size, format, trained context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gemtop.charts.grid import Canvas
from gemtop.domain.plan import gib
from gemtop.domain.text import one_line, text_width
from gemtop.tui.widgets.cells import clip
from gemtop.tui.widgets.header import variant_badge
from gemtop.tui.widgets.side_list import Item, SideList

if TYPE_CHECKING:
    from gemtop.domain.model import ModelEntry

DEMO = "demo"
"""The key of the demo model, which may not be put together yet."""
_VARIANT_CELLS = 16
_END_CELLS = 11


class ModelList(SideList):
    """Models with the cursor on one of them."""

    def __init__(self, title: str = "models", *, id: str | None = None) -> None:
        super().__init__(title, "looking for GGUF files ...", id=id)
        self._entries: dict[str, ModelEntry] = {}

    @property
    def entry(self) -> ModelEntry | None:
        """The model with the cursor."""
        return self._entries.get(self.at) if self.at is not None else None

    def show_entries(self, entries: Sequence[ModelEntry], placeholder: str) -> None:
        """Show these, at first with the cursor on one that can be opened; `placeholder` where there are none."""
        fresh = not self._entries
        self._entries = {DEMO if entry.store == DEMO else entry.path: entry for entry in entries}
        self.show_items([Item(key, entry.name) for key, entry in self._entries.items()], placeholder)
        if fresh:
            sound = [at for at, entry in enumerate(self._entries.values()) if not entry.problem and not entry.refused]
            self.action_move(sound[0] if sound else 0)

    def draw_item(self, canvas: Canvas, y: int, item: Item, width: int) -> None:
        entry = self._entries[item.key]
        self.draw_entry(canvas, y, entry, 0, width, "" if entry.size_bytes is None else gib(entry.size_bytes), "muted")

    def draw_entry(
        self, canvas: Canvas, y: int, entry: ModelEntry, x: int, width: int, end: str, end_role: str
    ) -> None:
        """Name, format, and `end` at the right, from column x on."""
        room = width - x
        if entry.problem or entry.adopt_command:
            why = entry.problem or f"needs {entry.adopt_command}"
            canvas.put(x, y, clip(f"{one_line(entry.name)}  {one_line(why)}", room), "muted")
            return
        canvas.put(width - text_width(end), y, end, end_role)
        room -= _END_CELLS
        variant = clip(one_line(entry.variant or ""), _VARIANT_CELLS - 2)
        if entry.store == DEMO:
            name, variant = "the demo model, Gemma 3 270M", variant or "Q4_K_M"
        else:
            name = one_line(entry.name)
        canvas.put(x, y, clip(name, room - _VARIANT_CELLS - 1), "text")
        if variant:
            words, role = variant_badge(variant, entry.training or "", entry.quantization or "")
            canvas.put(x + room - _VARIANT_CELLS, y, words, role)
