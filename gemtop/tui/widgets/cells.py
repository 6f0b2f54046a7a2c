"""The base of widgets that hold a grid of cells and refresh only what changed of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from textwrap import wrap

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from gemtop.charts.grid import BLANK, Canvas, CellRow, Cells, blank_row, changed_runs
from gemtop.charts.spec import Reading
from gemtop.domain.ascii_text import to_ascii
from gemtop.domain.text import cell_width, one_line, text_width
from gemtop.tui.painting import Place, paint
from gemtop.tui.widgets.palette import role_style


class CellWidget(Widget):
    """A widget of fixed cells.

    Subclasses draw a grid of the widget's size in `draw`; `rebuild` and `show` put it on the screen and send
    only runs of changed cells. With `framed` a border with a title and current values is drawn as cells too,
    so that a value that changes costs a few bytes and not the whole border. Colours are the roles of
    gemtop.tui.widgets.palette.
    """

    ALLOW_SELECT = False
    """Textual would find no text in cells, and copy the widget's name."""
    ascii_only: bool = False
    """Draw frames and charts in plain ASCII; set on the class for a terminal without UTF-8."""
    coloured: bool = True
    """Whether colours are seen; set on the class for NO_COLOR."""

    def __init__(
        self,
        *,
        title: str = "",
        framed: bool = False,
        ascii_only: bool | None = None,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.framed = framed
        if ascii_only is not None:
            self.ascii_only = ascii_only
        self._title = title
        self._readings: tuple[Reading, ...] = ()
        self._cells = Cells(0, 0, ())
        self._styles_of: dict[str, Style] = {}
        self._strips: dict[int, tuple[CellRow, Strip]] = {}
        self._frame = self._cells
        self._frame_key: tuple[object, ...] = ()
        self.rows_below = 0
        """Rows that find no room and that one can go to: the frame says how many. `draw` sets it."""
        self._enclosed: dict[int, tuple[CellRow, CellRow]] = {}
        self._uncovered = Place()

    # What a subclass does -------------------------------------------------------------------------------

    def draw(self, width: int, height: int) -> Cells:
        """The content, exactly width x height cells."""
        return Canvas(width, height).freeze()

    @property
    def has_title_row(self) -> bool:
        """Whether a line above the content holds the title: always when framed, else if there is one."""
        return self.framed or bool(self._title or self._readings)

    def inner_size(self) -> tuple[int, int]:
        """(width, height) in cells that `draw` has to fill."""
        return self._inside(*self.size)

    def _inside(self, width: int, height: int) -> tuple[int, int]:
        if self.framed:
            return max(0, width - 4), max(0, height - 2)
        return width, max(0, height - (1 if self.has_title_row else 0))

    def set_title(self, title: str, readings: Sequence[Reading] = ()) -> None:
        """Change the title line; takes effect with the next `rebuild`."""
        if self.ascii_only:
            title, readings = to_ascii(title), [replace(one, text=to_ascii(one.text)) for one in readings]
        self._title = title
        self._readings = tuple(readings)

    # The screen -----------------------------------------------------------------------------------------

    @property
    def cells(self) -> Cells:
        """What the screen holds."""
        return self._cells

    def rebuild(self) -> None:
        """Draw anew and refresh what changed."""
        width, height = self.size  # Textual takes its time to find it
        if width > 0 and height > 0:
            self.show(self._drawn_anew(width, height))

    def _drawn_anew(self, width: int, height: int) -> Cells:
        content = self.draw(*self._inside(width, height))
        return self._enclose(content, width, height) if self.has_title_row else content

    def _enclose(self, content: Cells, width: int, height: int) -> Cells:
        """The content in its frame or below its title. Rows that are the same objects as before stay so."""
        key = (width, height, self._title, self._readings, self.has_focus, self.ascii_only, self.rows_below)
        if key != self._frame_key:
            canvas = Canvas(width, height)
            if self.framed:
                self._draw_frame(canvas)
            else:
                draw_title(canvas, 0, width, self._title, self._readings, " ")
            self._frame_key, self._frame = key, canvas.freeze()
            self._enclosed.clear()
        left = 2 if self.framed and content.width else 0
        rows = list(self._frame.rows)
        for y, row in enumerate(content.rows if content.width else (), 1):
            held = self._enclosed.get(y)
            if held is None or held[0] is not row:
                around = self._frame.rows[y]
                end = left + content.width
                held = (
                    row,
                    CellRow(
                        around.glyphs[:left] + row.glyphs + around.glyphs[end:],
                        around.roles[:left] + row.roles + around.roles[end:],
                    ),
                )
                self._enclosed[y] = held
            rows[y] = held[1]
        return Cells(width, height, tuple(rows))

    def show(self, cells: Cells) -> None:
        """Hold this grid; refresh the runs of cells in which it differs from the last, or all if of new size."""
        old, self._cells = self._cells, cells
        if (old.width, old.height) != (cells.width, cells.height):
            self._strips.clear()
            self.refresh()
            return
        regions = [
            Region(start, y, end - start, 1)
            for y, (was, is_now) in enumerate(zip(old.rows, cells.rows, strict=True))
            if was is not is_now
            for start, end in changed_runs(was, is_now)
        ]
        if regions and not paint(self, self._uncovered, cells.rows, regions, self._style_of):
            self.refresh(*regions)

    def on_resize(self, event: events.Resize) -> None:
        """Draw at the new size; the screen's own repaint was of the old grid."""
        self.rebuild()
        self.refresh()

    def notify_style_update(self) -> None:
        """A theme or a class changed: forget the colours."""
        super().notify_style_update()
        self._styles_of.clear()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """The strip of line y."""
        width, height = self.size
        if (self._cells.width, self._cells.height) != (width, height) and width > 0 and height > 0:
            # A screen that is shown for the first time paints before its widgets hear of their size.
            self._cells = self._drawn_anew(width, height)
            self._strips.clear()
        row = self._cells.rows[y] if 0 <= y < self._cells.height else blank_row(width)
        held = self._strips.get(y)
        if held is not None and held[0] is row:
            return held[1]
        strip = Strip(self._segments(row), len(row.glyphs))
        self._strips[y] = (row, strip)
        return strip

    def _segments(self, row: CellRow) -> list[Segment]:
        """The line in segments of one colour. Blanks take the colour before them: they look the same."""
        segments: list[Segment] = []
        start, role = 0, row.roles[0] if row.roles else ""
        for x, (glyph, next_role) in enumerate(zip(row.glyphs, row.roles, strict=True)):
            if next_role == role or (glyph == BLANK and not next_role and "@" not in role):
                continue
            if x > start:
                segments.append(Segment("".join(row.glyphs[start:x]), self._style_of(role)))
            start, role = x, next_role
        if start < len(row.glyphs):
            segments.append(Segment("".join(row.glyphs[start:]), self._style_of(role)))
        return segments

    def _style_of(self, role: str) -> Style:
        if role not in self._styles_of:
            self._styles_of[role] = role_style(self, role)
        return self._styles_of[role]

    # The frame ------------------------------------------------------------------------------------------

    def _stroke(self, unicode_stroke: str, ascii_stroke: str) -> str:
        return ascii_stroke if self.ascii_only else unicode_stroke

    def _draw_frame(self, canvas: Canvas) -> None:
        width, height = canvas.width, canvas.height
        role = "frame-focus" if self.has_focus else "frame"
        dash, side = self._stroke("─", "-"), self._stroke("│", "|")
        canvas.put(0, 0, self._stroke("┌", "+") + dash * (width - 2) + self._stroke("┐", "+"), role)
        for y in range(1, height - 1):
            canvas.put(0, y, side, role)
            canvas.put(width - 1, y, side, role)
        if height > 1:
            bottom = self._stroke("└", "+") + dash * (width - 2) + self._stroke("┘", "+")
            canvas.put(0, height - 1, bottom, role)
        draw_title(canvas, 2, width - 2, self._title, self._readings, dash, role)
        if self.rows_below > 0 and height > 1:
            note = f" {self._stroke('↓', 'v')} {self.rows_below} more "
            if (x := width - 2 - text_width(note)) > 1:
                canvas.put(x, height - 1, note, "muted")

    def watch_has_focus(self, has_focus: bool) -> None:
        """The frame shows where the keys go."""
        super().watch_has_focus(has_focus)
        if self.framed and self.is_attached:
            self.rebuild()


def plain(text: str) -> str:
    """The text as this terminal can show it, before it is laid out: it may get longer."""
    return to_ascii(text) if CellWidget.ascii_only else text


def put_words(canvas: Canvas, text: str, role: str = "placeholder") -> None:
    """Words from the upper left on, in as many lines as they take."""
    for y, line in enumerate(wrap(text, max(10, canvas.width))):
        canvas.put(0, y, clip(line, canvas.width), role)


def clip(text: str, width: int) -> str:
    """The text cut to at most `width` cells, with an ellipsis at the end if anything was cut."""
    if text_width(text) <= width:
        return text
    mark = ("..." if CellWidget.ascii_only else "…")[: max(0, width)]
    kept, used = [], len(mark)
    for char in text:
        used += cell_width(char)
        if used > width:
            break
        kept.append(char)
    return "".join(kept) + mark


def draw_title(
    canvas: Canvas,
    start: int,
    end: int,
    title: str,
    readings: Sequence[Reading],
    fill: str,
    fill_role: str = "",
) -> None:
    """Title at the left and readings at the right of line 0 in columns [start, end).

    Readings that find no room are left out from the last on; the values keep their places as they change.
    """
    room = end - start
    pad = "" if fill == " " else " "
    title = clip(one_line(title), max(0, room - 2 * len(pad)))
    if title:
        canvas.put(start, 0, f"{pad}{title}{pad}", "title")
    used = text_width(title) + (2 * len(pad) + 1 if title else 0)
    texts = [(reading, one_line(reading.text).rjust(reading.width)) for reading in readings]
    gap = 3
    while texts:
        needed = sum(text_width(r.label) + bool(r.label) + text_width(text) for r, text in texts)
        needed += gap * (len(texts) - 1) + 2 * len(pad)
        if used + needed <= room:
            break
        texts.pop()
    else:
        return
    x = canvas.put(end - needed, 0, pad, fill_role)
    for number, (reading, text) in enumerate(texts):
        if number:
            x = canvas.put(x, 0, " " * gap)
        if reading.label:
            x = canvas.put(x, 0, f"{reading.label} ", reading.colour_role or "muted")
        x = canvas.put(x, 0, text, "text")
    canvas.put(x, 0, pad, fill_role)
