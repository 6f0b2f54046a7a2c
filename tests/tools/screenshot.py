"""Draws the pictures of docs/images from real sessions: the screens at 120x40 over the demo model.

python -m tests.tools.screenshot                 writes them
python -m tests.tools.screenshot --check FOLDER  draws them there; ends with 1 where those of docs/images are stale

Nothing is staged: engine, sampler and recorder are the ones a user gets; only history and state lie in a temporary
folder, and what `gemtop top` watches is a benchmark that was started for it. Takes about four minutes. A picture has
gone stale where its second line, the screens, or its last, the keys, are others.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from textual.events import Paste
from textual.pilot import Pilot

from gemtop.config import Paths, new_session_id
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from gemtop.tui.app import GemtopApp
from gemtop.tui.startup import Startup
from gemtop.tui.top import TopApp, TopOptions

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "images"
PROMPTS = (
    (ROOT / "LICENSE").read_text(encoding="utf-8")[:7000],  # long enough to see its prefill
    "The sea was calm that morning, and the keeper of the lighthouse",
    "Lighthouses were first built in",
)
RUN_S = (19.0, 12.0, 7.0)
"""How long each prompt runs; the picture is taken at the end of the last."""
_ASKED = "capitals.toml"
_CAPITALS = 'title = "Capitals"\n' + "".join(
    f'[[prompt]]\nid = "{country}"\nprompt = "The capital of {country.title()} is"\n'
    for country in ("france", "italy", "spain", "kenya")
)
_WATCHED_S = 40.0
"""How long `gemtop top` has watched when its picture is taken."""
_FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_TEXT = re.compile(r'x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"([^>]*)>([^<]*)</text>')
_PLACED = re.compile(r'<text[^>]* y="([\d.]+)"[^>]*>([^<]*)</text>')


async def _until(pilot: Pilot[int], condition: Callable[[], bool]) -> None:
    while not condition():
        await pilot.pause(0.1)


class Sitting:
    """One sitting, and the pictures taken of it by their names."""

    def __init__(self, app: GemtopApp, pilot: Pilot[int]) -> None:
        self.app, self.pilot = app, pilot
        self.pictures: dict[str, str] = {}

    def take(self, name: str) -> None:
        self.pictures[name] = without_fonts(self.app.export_screenshot(title="gemtop"))

    async def until_idle(self) -> None:
        await _until(self.pilot, lambda: self.app.session is not None and not self.app.session.busy)

    async def live(self) -> None:
        """Three prompts, one after the other."""
        for prompt, run_s in zip(PROMPTS, RUN_S, strict=True):
            await self.until_idle()
            await self.pilot.pause(2.0)
            self.app.post_message(Paste(prompt))
            await self.pilot.pause(0.1)
            await self.pilot.press("enter")
            await self.pilot.pause(run_s)
            self.take("live")
            await self.pilot.press("escape")
        await self.until_idle()
        await self.pilot.press("t")
        await self.pilot.pause(4.0)
        await self.pilot.press("right", "down", "down", "right")
        await self.pilot.pause(4.0)
        self.take("tune")
        await self.pilot.press("escape")

    async def models(self) -> None:
        await self.pilot.press("4")
        plan = lambda: "longest context" in self.app.screen.query_one("#plan").cells.text  # type: ignore[attr-defined]  # noqa: E731
        await _until(self.pilot, plan)
        self.take("models")

    async def log(self) -> None:
        await self.pilot.press("5")
        await self.pilot.pause(1.0)
        self.take("log")

    async def history(self) -> None:
        """A query, once the runs have come into the history."""
        await self.pilot.press("3")
        await self.pilot.pause(6.0)
        screen = self.app._history
        assert screen is not None
        screen.editor.show_sql(
            "SELECT variant, prompt_tokens AS prompt, generated_tokens AS generated,\n"
            "       round(ttft_s, 3) AS ttft_s, round(decode_tokens_per_s, 1) AS decode_tokens_per_s, valid\n"
            "FROM runs ORDER BY run_id"
        )
        await self.pilot.press("f5")
        await _until(self.pilot, lambda: not screen.busy and screen.table.result is not None)
        await self.pilot.pause(0.6)
        self.take("history")

    async def compare(self) -> None:
        """Two formats of the demo model, on two prompts and a piece of a novel."""
        await self.pilot.press("alt+2")
        await _until(self.pilot, lambda: self.app._compare is not None and len(self.app._compare.marks._entries) > 1)
        screen = self.app._compare
        assert screen is not None
        await self.pilot.press("space", "down", "space")
        for name, value in {"prompts": _ASKED, "answer": "48", "chunks": "6", "repeats": "3"}.items():
            screen.query_one(f"#{name}").value = value  # type: ignore[attr-defined]
        await self.pilot.press("enter")
        await _until(self.pilot, lambda: self.app.comparison is not None and self.app.comparison.settled)
        await self.pilot.pause(1.0)
        self.take("compare")


@contextmanager
def _model_beside(folder: Path) -> Iterator[None]:
    """A second format of the demo model in the folder that is looked through."""
    from gemtop.engine.stores.demo import demo_model
    from tests.derived import derive

    derive(str(demo_model(Paths(folder / "h", folder / "state", folder / "cache"))), folder, "Q4_0")
    (folder / _ASKED).write_text(_CAPITALS, encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


async def pictures(folder: Path) -> dict[str, str]:
    """SVG by name."""
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
    async with app.run_test(size=(120, 40)) as pilot:
        await _until(pilot, lambda: app.session is not None and app.session.ready)
        sitting = Sitting(app, pilot)
        for part in (sitting.live, sitting.models, sitting.log, sitting.history, sitting.compare):
            await part()
        await pilot.press("alt+1", "q")
        await _until(pilot, lambda: app.session is None)
    return sitting.pictures | {"top": await picture_of_top()}


async def picture_of_top() -> str:
    """The monitor, while a benchmark runs in another process."""
    command = [sys.executable, "-m", "gemtop", "bench", "--demo", "-t", "1", "-p", "512", "-n", "256", "-r", "99"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    app = TopApp(TopOptions(1.0, None, None, False))
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as watched:
        try:
            async with app.run_test(size=(120, 40)) as pilot:
                await pilot.pause(_WATCHED_S)
                svg = without_fonts(app.export_screenshot(title="gemtop top"))
                await pilot.press("q")
        finally:
            watched.terminate()
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


def steady_words(svg: str) -> list[str]:
    """What a picture's second line and last line say: the screens there are, and the keys."""
    lines: dict[float, str] = {}
    for y, words in _PLACED.findall(svg):
        lines[float(y)] = lines.get(float(y), "") + html.unescape(words).replace("\u00a0", " ")
    rows = [lines[y] for y in sorted(lines)]
    kept = [row for row in rows if "2 Compare" in row or "? Keys" in row]
    return [word for row in kept for word in re.findall(r"[A-Za-z][A-Za-z-]+", row) if word != "running"]


def main() -> int:
    checks = sys.argv[1:2] == ["--check"]
    target = Path(sys.argv[2]) if checks else TARGET
    os.environ.update(COLORTERM="truecolor", TERM="xterm-256color")
    with tempfile.TemporaryDirectory(prefix="gemtop-screenshot-") as name:
        folder = Path(name)
        os.environ.update(XDG_CONFIG_HOME=name, XDG_DATA_HOME=name, HOME=os.environ.get("HOME", name))
        with _model_beside(folder):
            made = asyncio.run(pictures(folder))
    target.mkdir(parents=True, exist_ok=True)
    stale = []
    for picture, svg in made.items():
        (target / f"{picture}.svg").write_text(svg, encoding="utf-8")
        kept = TARGET / f"{picture}.svg"
        if checks and (not kept.exists() or steady_words(kept.read_text(encoding="utf-8")) != steady_words(svg)):
            stale.append(picture)
        print(f"{picture}: {len(svg):,} characters")
    if stale:
        print(f"docs/images: {', '.join(stale)} have gone stale; run python -m tests.tools.screenshot", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
