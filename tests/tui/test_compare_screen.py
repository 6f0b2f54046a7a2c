"""The Compare screen over a fake engine, driven by keys; models are small files with real headers."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.widgets import Input

from gemtop.comparison.pairs import Pair
from gemtop.domain.plan import Plan
from gemtop.domain.records import RunBegin
from gemtop.engine.planner import PlanRequest
from gemtop.tui.screens.compare import AskScreen, CompareScreen
from gemtop.tui.screens.keys import COMPARE_SCREEN_KEYS, OUTPUT_SCREEN_KEYS, KeysScreen
from gemtop.tui.screens.live import LiveScreen
from gemtop.tui.screens.outputs import OutputsScreen
from tests.gguf_bytes import write_small
from tests.stores import Machine
from tests.tui.test_live_screen import Options, Screen, gemtop

PROMPTS = """
title = "three"
[[prompt]]
id = "fox"
prompt = "the quick brown fox"
max_tokens = 6
check = {type = "text", contains = ["fox"]}
[[prompt]]
id = "dog"
prompt = "a lazy dog"
max_tokens = 2
[[prompt]]
id = "bird"
prompt = "one bird sings here"
max_tokens = 5
"""


class Fits:
    """A planner for which everything fits but files it is told of."""

    def __init__(self, *too_large: str) -> None:
        self.too_large = too_large

    def plan(self, request: PlanRequest) -> Plan:
        raise NotImplementedError("a comparison asks what fits")

    def fit(self, request: PlanRequest, fingerprint: str) -> tuple[bool, str]:
        fits = Path(request.path).name not in self.too_large
        return fits, "it fits" if fits else "2 GiB too little"

    def close(self) -> None: ...


@pytest.fixture
def models(machine: Machine) -> list[Path]:
    """Two models in the folder gemtop is started in, and a set of prompts."""
    (machine.here / "prompts.toml").write_text(PROMPTS)
    return [
        write_small(machine.here / "gemma-tiny-f16.gguf", "Gemma Tiny", "F16"),
        write_small(machine.here / "gemma-tiny-qat-q4_0.gguf", "Gemma Tiny QAT", "Q4_0"),
    ]


class Compare:
    """The screen, and ways to choose."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.pilot, self.app = screen, screen.pilot, screen.app

    @property
    def it(self) -> CompareScreen:
        found = self.app._compare
        assert found is not None
        return found

    @property
    def said(self) -> str:
        return str(self.it.query_one("#said").render())

    @property
    def table(self) -> str:
        return self.it.query_one("#table").cells.text  # type: ignore[attr-defined,no-any-return]

    async def opened(self) -> None:
        await self.pilot.press("c")
        await self.screen.until(lambda: isinstance(self.app.screen, CompareScreen), "the screen")
        await self.screen.until_shown("gemma-tiny")

    async def mark(self, *keys: str) -> None:
        """Mark both models."""
        await self.pilot.press("space", "down", "space", *keys)
        await self.screen.until(lambda: len(self.it.marks.marked) == 2, "both are marked")

    def fill(self, **values: str) -> None:
        for name, value in values.items():
            self.it.query_one(f"#{name}", Input).value = value

    async def start(self, **values: str) -> None:
        await self.mark()
        self.fill(**{"prompts": "prompts.toml", "chunks": "0", "answer": "", "repeats": "1", **values})
        await self.pilot.press("enter")
        await self.screen.until(lambda: self.app.comparison is not None, "it has begun")

    async def ended(self) -> None:
        await self.screen.until(lambda: self.app.comparison is not None and not self.app.comparing, "it has ended")
        await self.pilot.pause()

    @property
    def pair(self) -> Pair:
        assert isinstance(self.app.screen, OutputsScreen)
        shown = self.app.screen.shown
        assert isinstance(shown, Pair), shown
        return shown


@asynccontextmanager
async def comparing(models: Sequence[Path], options: Options | None = None) -> AsyncIterator[Compare]:
    """The screen, opened over a fake engine that has loaded the first model; the second one answers otherwise."""
    from gemtop.config import paths

    chosen = options or Options()
    chosen.model, chosen.path = None, str(models[0])
    chosen.parts_at = chosen.parts_at or {models[1].name: 3}
    async with gemtop(paths(), chosen) as screen:
        screen.app.make_plans = Fits
        compare = Compare(screen)
        await compare.opened()
        yield compare


# Choosing


async def test_two_models_are_compared_from_choosing_to_the_verdict(models: list[Path]) -> None:
    async with comparing(models) as compare:
        await compare.screen.until_shown("FP16", "QAT Q4_0", "Space marks two", "longest answer")
        await compare.start(chunks="2")
        await compare.ended()
        await compare.screen.until_shown("Against FP16", "FP16 (baseline)", "QAT Q4_0", "perplexity", "KL mean", "done")
        assert "33.3%" in compare.table, "of three prompts one has the same output"
        assert "100.0% of 1" in compare.table


async def test_one_model_is_nothing_to_compare(models: list[Path]) -> None:
    async with comparing(models) as compare:
        await compare.pilot.press("space", "enter")
        await compare.screen.until(lambda: "mark two models or more" in compare.said, "it says so")
        assert compare.app.comparison is None
