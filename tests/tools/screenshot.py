"""Draws docs/images/live.svg: the real screen at 120x40 while the demo model generates.

    python -m tests.tools.screenshot [FILE.svg]

Nothing is staged: engine, sampler and recorder are the ones a user gets; only the history lies in a temporary
folder. Takes about a minute.
"""

from __future__ import annotations

import asyncio
import html
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.events import Paste
from textual.pilot import Pilot

from gemtop.config import Paths, new_session_id
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from gemtop.tui.app import GemtopApp
from gemtop.tui.startup import Startup

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "images" / "live.svg"
PROMPTS = (
    (ROOT / "LICENSE").read_text(encoding="utf-8")[:7000],  # long enough to see its prefill
    "The sea was calm that morning, and the keeper of the lighthouse",
    "Lighthouses were first built in",
)
RUN_S = (19.0, 12.0, 7.0)
"""How long each prompt runs; the picture is taken at the end of the last."""
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_TEXT = re.compile(r'x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"([^>]*)>([^<]*)</text>')


async def _until(pilot: Pilot[int], condition: Callable[[], bool]) -> None:
    while not condition():
        await pilot.pause(0.1)


async def _picture(folder: Path) -> str:
    paths = Paths(history=folder / "history.duckdb", state=folder / "state", cache=folder / "cache")
    startup = Startup(
        path=None,
        demo=True,
        settings=EngineSettings(OffloadSettings(), ContextSettings(n_threads=1)),
        sampling=SamplingSettings(temperature=0.6, seed=2),
        n_predict=-1,
        raw=False,
        prompt=None,
        quit_when_done=False,
        session_id=new_session_id(),
    )
    app = GemtopApp(startup, paths)
    svg = ""
    async with app.run_test(size=(120, 40)) as pilot:
        await _until(pilot, lambda: app.session is not None and app.session.ready)
        for prompt, run_s in zip(PROMPTS, RUN_S, strict=True):
            await _until(pilot, lambda: app.session is not None and not app.session.busy)
            await pilot.pause(2.0)
            app.post_message(Paste(prompt))
            await pilot.pause(0.1)
            await pilot.press("enter")
            await pilot.pause(run_s)
            svg = app.export_screenshot(title="gemtop")
            await pilot.press("escape")
        await pilot.press("q")
        await _until(pilot, lambda: app.session is None)
    return svg


def without_fonts(svg: str) -> str:
    """The picture in the reader's own monospace font, asked of nobody, with every character in its own cell."""
    svg = _FONT_FACE.sub("", svg).replace("Fira Code, monospace", "monospace").replace('"Fira Code"', "monospace")
    return _TEXT.sub(_placed, svg)


def _placed(match: re.Match[str]) -> str:
    """A run of text whose characters each say where they stand: no font has every character equally wide."""
    x, y, length, rest, escaped = match.groups()
    text = html.unescape(escaped).replace("\u00a0", " ")
    begin, step = len(text) - len(text.lstrip()), float(length) / max(len(text), 1)
    kept = text.strip()
    places = " ".join(f"{float(x) + step * (begin + i):.1f}".removesuffix(".0") for i in range(len(kept)))
    return f'x="{places}" y="{y}"{rest}>{html.escape(kept).replace(" ", "&#160;")}</text>' if kept else "></text>"


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    with tempfile.TemporaryDirectory(prefix="gemtop-screenshot-") as folder:
        svg = without_fonts(asyncio.run(_picture(Path(folder))))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(svg, encoding="utf-8")
    print(f"{target.name}: {len(svg):,} characters")


if __name__ == "__main__":
    main()
