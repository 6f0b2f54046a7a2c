"""A program of the cell widgets for tests on a real pseudo-terminal.

Keys: u updates everything a little, e adds much text, f repaints the whole screen, n changes nothing. After
each key, what the screen should show is written as JSON to a file in the given folder.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal

from gemtop.charts.spec import ChartSpec, Mark, Reading, Series, stepped_window
from gemtop.tui.terminal_app import TerminalApp
from gemtop.tui.widgets.chart import Chart
from gemtop.tui.widgets.stream import StreamView
from gemtop.tui.widgets.values import Value, ValueGrid

WORDS = ["The", "council", "\x1b[31mred", "漢字", "the", "café", "e\u0301te\u0301", "budget,", "x" * 31, "\ttab\n"]


class CellProgram(TerminalApp):
    CSS = """
    Horizontal { height: 10; }
    StreamView { height: 1fr; }
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.rng = random.Random(3)
        self.step = 0
        self.points: list[tuple[float, float | None]] = []
        self.dumps = 0

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Chart(framed=True, id="left")
            yield Chart(id="right")
        yield ValueGrid(title="values")
        yield StreamView(framed=True, title="run 4")

    def on_mount(self) -> None:
        self.query_one(StreamView).focus()
        for _ in range(40):
            self.update(words=1)
        self.dump_later()

    def update(self, words: int) -> None:
        self.step += 1
        now = self.step * 0.5
        value = None if self.step % 17 == 0 else 34 + self.rng.gauss(0, 2)
        self.points.append((now, value))
        readings = (Reading("decode", f"{value or 0:.1f}", "decode"), Reading("step", str(self.step)))
        spec = ChartSpec(
            "tokens/s",
            "",
            (Series("decode", "decode", tuple(self.points)),),
            stepped_window(now, 60.0),
            (0.0, 50.0),
            "60 s",
            (Mark(8.0, "run 4"),),
            readings=readings,
        )
        self.query_one("#left", Chart).show_spec(spec)
        self.query_one("#right", Chart).show_spec(spec)
        rows = [[Value("power", f"{300 + self.step} W"), Value("state", "ok" if self.step % 2 else "漢字 cap", "warn")]]
        self.query_one(ValueGrid).show_rows(rows)
        self.query_one(StreamView).append(" ".join(self.rng.choice(WORDS) for _ in range(words)) + " ")

    def on_key(self, event: events.Key) -> None:
        if event.character == "u":
            self.update(words=3)
        elif event.character == "e":
            self.update(words=300)
        elif event.character == "f":
            self.screen.refresh()
        elif event.character != "n" and event.key not in ("pageup", "pagedown"):
            return
        self.dump_later()

    def dump_later(self) -> None:
        self.call_after_refresh(self.dump)

    def dump(self) -> None:
        cells = []
        for strip in self.screen._compositor.render_strips():
            line = []
            for text, style, _ in strip:
                colour = style.color.get_truecolor().hex if style and style.color else ""
                ground = style.bgcolor.get_truecolor().hex if style and style.bgcolor else ""
                line.append([text, colour.lstrip("#"), ground.lstrip("#"), bool(style and style.bold)])
            cells.append(line)
        self.dumps += 1
        part = self.folder / f"{self.dumps}.part"
        part.write_text(json.dumps({"size": list(self.size), "lines": cells}))
        part.rename(self.folder / f"{self.dumps}.json")


if __name__ == "__main__":
    CellProgram(Path(sys.argv[1])).run()
