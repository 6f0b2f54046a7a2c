"""Where a replay is: a line with the time, the runs along it, and the speed. A click goes there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.message import Message

from gemtop.charts.grid import Canvas, Cells
from gemtop.domain.playback import moment_text
from gemtop.tui.widgets.cells import CellWidget

_LEAST_BAR = 8
"""Cells below which words give way to the bar."""


@dataclass(frozen=True, slots=True)
class TimeBarState:
    """Everything the bar shows; moments are nanoseconds since the session began."""

    position_ns: int = 0
    duration_ns: int = 0
    speed: float = 1.0
    word: str = ""
    """playing, paused, reading or at the end."""
    role: str = "muted"
    run: str = ""
    """Which of the runs is shown."""
    spans: tuple[tuple[int, int], ...] = ()
    """From when to when something was run."""


class TimeBar(CellWidget):
    """Shows a TimeBarState."""

    DEFAULT_CSS = """
    TimeBar { height: 1; width: 1fr; }
    """

    class Sought(Message):
        """The user wants to see this moment."""

        def __init__(self, position_ns: int) -> None:
            super().__init__()
            self.position_ns = position_ns

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._state = TimeBarState()
        self._bar = (0, 0)
        """First column of the bar, and the one behind it."""
        self._dragged = False

    def show_state(self, state: TimeBarState) -> None:
        if state != self._state:
            self._state = state
            self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        state = self._state
        end = moment_text(state.duration_ns)
        left = [
            (state.word.ljust(7), state.role),
            (f"{moment_text(state.position_ns).rjust(len(end))} of {end}", "text"),
        ]
        right = [(f"{state.speed:g}x".rjust(5), "text"), (state.run, "muted")]
        while right and self._room(width, left, right) < _LEAST_BAR:
            right.pop()
        x = 1
        for text, role in left:
            x = canvas.put(x, 0, text, role) + 2
        room = max(0, self._room(width, left, right))
        self._bar = (x, x + room)
        self._draw_bar(canvas, x, room)
        x += room + 1
        for text, role in right:
            x = canvas.put(x, 0, text, role) + 2
        return canvas.freeze()

    @staticmethod
    def _room(width: int, left: Sequence[tuple[str, str]], right: Sequence[tuple[str, str]]) -> int:
        return width - 1 - sum(len(text) + 2 for text, _ in left) - sum(len(text) + 2 for text, _ in right) - 1

    def _draw_bar(self, canvas: Canvas, x: int, room: int) -> None:
        state = self._state
        if not room:
            return
        ran = self._cells_with_runs(room)
        here = self._cell_of(state.position_ns, room)
        for cell in range(room):
            stroke = self._stroke("━", "=") if cell in ran else self._stroke("─", "-")
            role = "decode" if cell in ran else "text"
            canvas.put(x + cell, 0, stroke, role if cell < here else "free")
        canvas.put(x + here, 0, self._stroke("●", "O"), "key")

    def _cell_of(self, position_ns: int, room: int) -> int:
        return min(room - 1, position_ns * room // self._state.duration_ns) if self._state.duration_ns else 0

    def _cells_with_runs(self, room: int) -> set[int]:
        return {
            cell
            for start, end in self._state.spans
            for cell in range(self._cell_of(start, room), self._cell_of(end, room) + 1)
        }

    # The mouse

    def _seek_to(self, column: int) -> None:
        first, behind = self._bar
        if behind > first and self._state.duration_ns:
            share = min(1.0, max(0.0, (column - first) / max(1, behind - first - 1)))
            self.post_message(self.Sought(round(share * self._state.duration_ns)))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        first, behind = self._bar
        if first <= event.x < behind:
            event.stop()
            self._dragged = True
            self.capture_mouse()
            self._seek_to(event.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged:
            event.stop()
            self._seek_to(event.x)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._dragged:
            event.stop()
            self._dragged = False
            self.release_mouse()
