"""The list of what may follow, at the cursor of the editor."""

from __future__ import annotations

from gemtop.charts.grid import Canvas, Cells
from gemtop.domain.text import one_line, text_width
from gemtop.tui.completing import Candidate, Completion
from gemtop.tui.widgets.cells import CellWidget, clip

_ROWS = 7
_WIDEST = 64
_OUTSIDE = 1000
"""A line below every screen."""


class CompletionList(CellWidget):
    """A few lines over everything else; the first of them is chosen until Up or Down."""

    DEFAULT_CSS = """
    CompletionList { layer: popup; height: 1; width: 1; offset: 0 1000; background: $panel; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.completion = Completion(0, ())
        self._chosen = 0
        self._top = 0
        self._place = (0, 0, 0, 0)
        self.is_open = False

    @property
    def chosen(self) -> Candidate:
        return self.completion.candidates[self._chosen]

    def open_at(self, completion: Completion, x: int, y: int, width: int, height: int) -> None:
        """Show it below cell (x, y) of the screen, or above where there is no room."""
        self.completion, self._chosen, self._top = completion, 0, 0
        words = completion.candidates
        rows = min(len(words), _ROWS)
        cells = min(_WIDEST, width)
        left = max(0, min(x - 1, width - cells))
        top = y + 1 if y + 1 + rows < height else max(0, y - rows)
        place = (left, top, cells, rows)
        if place[:3] != self._place[:3] or rows > self._place[3] or not self.is_open:
            # As long as it is open it does not get smaller: another size is another layout of the screen.
            self._place = place
            self.styles.width, self.styles.height = cells, rows
            self.styles.offset = (left, top)
            self.is_open = True
        self.rebuild()

    def close(self) -> None:
        """Out of sight, not away: a widget that comes or goes has Textual paint the whole screen."""
        if self.is_open:
            self.is_open = False
            self.styles.offset = (0, _OUTSIDE)

    def move(self, way: int) -> None:
        """To the next or the one before; from the last to the first."""
        count = len(self.completion.candidates)
        self._chosen = (self._chosen + way) % count
        self._top = min(max(self._top, self._chosen - _ROWS + 1), self._chosen)
        self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        words = self.completion.candidates
        longest = min(max((text_width(c.text) for c in words), default=0), max(0, width - 2))
        for y, candidate in enumerate(words[self._top : self._top + height]):
            chosen = self._top + y == self._chosen
            canvas.put(1, y, clip(candidate.text, width - 2), "title" if chosen else "text")
            room = width - longest - 4
            if room > 4:
                canvas.put(longest + 3, y, clip(one_line(candidate.note), room), "muted")
            if chosen:
                canvas.tint(0, y, width, "prompt")
        return canvas.freeze()
