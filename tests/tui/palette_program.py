"""A program that shows every role of the palette for tests on a real pseudo-terminal: a line for each."""

from __future__ import annotations

from textual.app import ComposeResult

from gemtop.charts.colours import VARIANTS
from gemtop.charts.grid import Canvas, Cells, badge
from gemtop.tui.themed_app import ThemedApp
from gemtop.tui.widgets.cells import CellWidget
from gemtop.tui.widgets.palette import ROLES

LINES = (*ROLES, *(badge(role) for role in (*VARIANTS, "other")), "text@prompt", "text@selection", "text@throttle")


class Roles(CellWidget):
    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        for y, role in enumerate(LINES):
            canvas.put(0, y, f"│{role}", role)
            canvas.put(40, y, "plain", "text")
        return canvas.freeze()


class PaletteProgram(ThemedApp):
    def compose(self) -> ComposeResult:
        yield Roles()

    def on_mount(self) -> None:
        self.query_one(Roles).rebuild()


if __name__ == "__main__":
    program = PaletteProgram()
    program.run()
