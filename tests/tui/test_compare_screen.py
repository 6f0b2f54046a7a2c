"""The Compare screen over a fake engine, driven by keys; models are small files with real headers."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from textual.widgets import Input

from gemtop.comparison.pairs import Pair
from gemtop.config import Paths, paths
from gemtop.domain.plan import Plan
from gemtop.domain.records import RunBegin
from gemtop.engine.planner import PlanRequest
from gemtop.tui.screens.compare import AskScreen, CompareScreen
from gemtop.tui.screens.live import LiveScreen
from gemtop.tui.screens.outputs import OutputsScreen
from gemtop.tui.widgets.prompt import PromptArea
from tests.gguf_bytes import write_small
from tests.history.rows import STARTED_NS, S, SessionEnd, put_in, run, run_end, session
from tests.stores import Machine
from tests.tui.sitting import Options, Screen, gemtop
from tests.tui.test_sql_screen import opened, seed

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
        return cast("Plan", SimpleNamespace(max_n_gpu_layers=None))

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


async def test_the_baseline_is_chosen(models: list[Path]) -> None:
    async with comparing(models) as compare:
        await compare.mark("b")
        await compare.screen.until_shown("baseline: as chosen")
        compare.fill(prompts="prompts.toml", chunks="0")
        await compare.pilot.press("enter")
        await compare.ended()
        await compare.screen.until_shown("QAT Q4_0 (baseline)", "Against QAT Q4_0")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("answer", "short", "longest answer short: a whole number of 1 or more"),
        ("chunks", "-1", "chunks of the text -1: at least 0"),
        ("repeats", "0", "repeats 0: at least 1"),
        ("prompts", "poems", "prompts poems: few, all, none, some of summarise"),
        ("prompts", "missing.toml", "missing.toml: cannot be read"),
    ],
)
async def test_a_setting_that_cannot_be_is_named(models: list[Path], field: str, value: str, words: str) -> None:
    async with comparing(models) as compare:
        await compare.start(**{field: value})
        await compare.screen.until(lambda: words in compare.said, words)
        assert not compare.it.has_class("-table")
        assert compare.screen.session.ready, "the model that was loaded is still there"


async def test_kinds_of_the_shipped_prompts(models: list[Path]) -> None:
    async with comparing(models) as compare:
        await compare.start(prompts="translate, reasoning", answer="1")
        await compare.ended()
        found = compare.app.comparison
        assert found is not None and found.outcome is not None
        assert {asked.kind for asked in found.outcome.job.prompts} == {"translate", "reasoning"}
        assert len(found.outcome.job.prompts) == 20


async def test_a_model_that_does_not_fit_is_left_out(models: list[Path]) -> None:
    async with comparing(models) as compare:
        compare.app.make_plans = lambda: Fits(models[1].name)
        await compare.start()
        await compare.ended()
        await compare.screen.until_shown("QAT Q4_0: 2 GiB too little")
        assert "could not be measured (2 GiB too little)" in compare.app.comparison.state.words  # type: ignore[union-attr]


# While it goes on


_OF_RUNS = {1: 16 + 6, 2: 2, 4: 5 + 16 + 6}
"""Tokens until so many runs are done, the warm-ups of 16 among them, since the count before."""


async def gated(compare: Compare, gate: threading.Semaphore, *counts: int) -> None:
    """Let it go on until so many runs are done, and no further."""
    for runs in counts:
        for _ in range(_OF_RUNS[runs]):
            gate.release()
        await compare.screen.until(lambda runs=runs: len(_seen(compare)) == runs, f"{runs} runs")  # type: ignore[misc]


def _seen(compare: Compare) -> Collection[object]:
    comparison = compare.app.comparison
    return comparison.outcome.seen if comparison is not None and comparison.outcome is not None else ()


async def test_escape_stops_it_and_enter_goes_on(models: list[Path]) -> None:
    gate = threading.Semaphore(0)
    async with comparing(models, Options(gate=gate)) as compare:
        await compare.start()
        await gated(compare, gate, 1, 2)
        await compare.screen.until_shown("2 of 6", "running")
        await compare.pilot.press("escape")
        await compare.ended()
        await compare.screen.until_shown("stopped; Enter goes on from here", "Go on")
        await compare.pilot.press("enter")
        await compare.screen.until(lambda: compare.app.comparing, "it goes on")
        for _ in range(100):
            gate.release()
        await compare.ended()
        assert any("going on with 2 runs" in words for words in compare.app.comparison.state.said)  # type: ignore[union-attr]
        await compare.screen.until_shown("Against FP16")
        prompts = [begin.prompt for begin in compare.screen.recorder.of(RunBegin)]
        assert prompts.count("the quick brown fox") == 4, "two warm-ups and two runs, none of them repeated"


async def test_it_goes_on_while_the_screen_is_left_and_nothing_else_runs(models: list[Path]) -> None:
    gate = threading.Semaphore(0)
    async with comparing(models, Options(gate=gate)) as compare:
        await compare.start()
        await gated(compare, gate, 1)
        await compare.pilot.press("1")
        await compare.screen.until(lambda: isinstance(compare.app.screen, LiveScreen), "the live screen")
        await compare.screen.until_shown("gemtop (comparing)", "> the quick brown fox")
        await compare.screen.type("Mine\n")
        await compare.screen.until(lambda: any("a comparison goes on" in said for said in compare.screen.said), "said")
        assert compare.screen.prompt.text == "Mine", "the prompt is kept"
        await compare.pilot.press("t", "r", "n")
        assert isinstance(compare.app.screen, LiveScreen)
        for _ in range(100):
            gate.release()
        await compare.ended()
        await compare.screen.until(lambda: any("Against FP16" in said for said in compare.screen.said), "it is told")
        await compare.pilot.press("c")
        await compare.screen.until_shown("Against FP16", "done")


async def test_what_was_loaded_comes_back_with_its_conversation(models: list[Path]) -> None:
    async with comparing(models) as compare:
        compare.screen.session.conversation.append(("hello", "good day"))
        await compare.start()
        await compare.ended()
        await compare.screen.until(lambda: compare.screen.session.ready, "the model is loaded again")
        view = compare.screen.session.view()
        assert view.model is not None and view.model.header.path == str(models[0])
        assert view.settings is not None and view.settings.context.n_ctx is None
        await compare.screen.until(lambda: compare.screen.session.conversation, "the conversation")
        assert compare.screen.session.conversation == [("hello", "good day")]
        assert compare.app.model_path == str(models[0])


async def test_escape_on_the_live_screen_stops_it(models: list[Path]) -> None:
    gate = threading.Semaphore(0)
    async with comparing(models, Options(gate=gate)) as compare:
        await compare.start()
        await gated(compare, gate, 1)
        await compare.pilot.press("1", "escape")
        await compare.ended()
        await compare.screen.until(lambda: any("stopped" in said for said in compare.screen.said), "it is told")


async def test_a_model_that_cannot_be_loaded_does_not_end_it(models: list[Path]) -> None:
    gate = threading.Semaphore(0)
    async with comparing(models, Options(gate=gate)) as compare:
        await compare.start()
        await gated(compare, gate, 1)
        models[1].unlink()
        for _ in range(100):
            gate.release()
        await compare.ended()
        await compare.screen.until_shown("QAT Q4_0:", "does not exist", "done")


async def test_a_crash_of_the_engine_ends_it(models: list[Path], machine: Machine) -> None:
    async with comparing(models) as compare:
        (machine.here / "prompts.toml").write_text('[[prompt]]\nid = "c"\nprompt = "crash"\n')
        await compare.start()
        await compare.screen.until(lambda: not compare.app.comparing, "it has ended")
        assert compare.app.comparison.state.phase == "failed"  # type: ignore[union-attr]
        await compare.screen.until_shown("GGML_ASSERT(false) failed")


async def test_no_comparison_beside_a_run(models: list[Path]) -> None:
    gate = threading.Semaphore(0)
    async with comparing(models, Options(gate=gate)) as compare:
        await compare.pilot.press("1")
        await compare.screen.type("One two\n")
        await compare.screen.until_shown("running")
        await compare.pilot.press("c")
        await compare.mark("enter")
        await compare.screen.until(lambda: "a run goes on" in compare.said, "it is said")
        for _ in range(10):
            gate.release()


async def test_leaving_ends_its_thread(models: list[Path]) -> None:
    gate = threading.Semaphore(0)
    async with comparing(models, Options(gate=gate)) as compare:
        await compare.start()
        await gated(compare, gate, 1)
        await compare.pilot.press("ctrl+q")
        await compare.screen.until_ended()
    assert compare.app.comparison is not None and not compare.app.comparison.goes_on


# Outputs


async def test_outputs_side_by_side(models: list[Path]) -> None:
    async with comparing(models) as compare:
        await compare.start()
        await compare.ended()
        await compare.pilot.press("enter")
        await compare.screen.until_shown("they part at token 4: ' fox' | ' FOX'", "50.00%", "token-1003", "1 of 3")
        assert compare.pair.left.label == "FP16", "the baseline is on the left"
        assert [piece.text for piece in compare.pair.marks[1]] == [" the quick brown", " FOX THE QUICK"]
        await compare.screen.until_shown("[-fox the quick-]{+FOX THE QUICK+}", "right")
        await compare.pilot.press("]")
        await compare.screen.until_shown("> a lazy dog", "the same tokens", "the outputs are the same")
        await compare.pilot.press("]", "]")
        await compare.screen.until_shown("> the quick brown fox")
        await compare.pilot.press("[")
        await compare.screen.until_shown("> one bird sings here")
        await compare.pilot.press("escape")
        await compare.screen.until(lambda: isinstance(compare.app.screen, CompareScreen), "back")


async def test_outputs_while_it_goes_on(models: list[Path]) -> None:
    gate = threading.Semaphore(0)
    async with comparing(models, Options(gate=gate)) as compare:
        await compare.start()
        await gated(compare, gate, 1)
        await compare.pilot.press("o")
        await compare.screen.until_shown("fox: no output of QAT Q4_0 yet")
        await gated(compare, gate, 2, 4)
        await compare.screen.until_shown("they part at token 4", "are asked for when all outputs are there")
        for _ in range(100):
            gate.release()
        await compare.screen.until_shown("token-1003")


async def test_a_prompt_of_ones_own_is_run_on_both_in_turn(models: list[Path]) -> None:
    async with comparing(models) as compare:
        await compare.start()
        await compare.ended()
        await compare.pilot.press("p")
        await compare.screen.until(lambda: isinstance(compare.app.screen, AskScreen), "the question")
        before = list(compare.screen.said)
        await compare.screen.type("Who are you then\n")
        await compare.screen.until_shown("> Who are you then", "Who are you THEN", "they part at token 4")
        assert compare.screen.said == before, "what is seen is not told as well"
        await compare.pilot.press("escape")
        await compare.screen.until_shown("Against FP16", "33.3%")
        assert compare.it.shown is not None and not compare.it.shown.is_prompt, "the table is still there"


async def test_a_prompt_for_models_that_are_only_marked(models: list[Path]) -> None:
    async with comparing(models) as compare:
        await compare.pilot.press("p")
        await compare.screen.until(lambda: any("two models" in said for said in compare.screen.said), "two are needed")
        await compare.mark("p")
        await compare.screen.type("One two three four\n")
        await compare.screen.until_shown("> One two three four", "they part at token 4")


async def test_a_prompt_that_is_too_long_is_said(models: list[Path]) -> None:
    async with comparing(models) as compare:
        await compare.mark("p")
        await compare.screen.until(lambda: isinstance(compare.app.screen, AskScreen), "the question")
        ask = compare.app.screen.query_one("#ask", PromptArea)
        ask.text = "word " * 2000
        await compare.pilot.press("enter")
        await compare.screen.until(
            lambda: any("too short for it" in said for said in compare.screen.said), "it is said"
        )


async def test_text_of_a_model_cannot_move_the_terminal(models: list[Path], machine: Machine) -> None:
    async with comparing(models) as compare:
        hostile = "a\\u001b]0;owned\\u0007 \\u009b31mred \\u202eevil"
        (machine.here / "prompts.toml").write_text(f'[[prompt]]\nid = "h"\nprompt = "{hostile}"\nmax_tokens = 5\n')
        await compare.start()
        await compare.ended()
        await compare.pilot.press("o")
        await compare.screen.until_shown("␛]0;owned␇", "<009B>31mred")
        text = compare.screen.text.replace("\n", "")
        assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or ord(char) == 0x202E for char in text)


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60)])
async def test_it_fits_the_terminal(models: list[Path], size: tuple[int, int]) -> None:
    async with comparing(models, Options(size=size)) as compare:
        await compare.screen.until_shown("models", "prompts", "repeats", "0 models marked", "Esc Back")
        await compare.start()
        await compare.ended()
        await compare.screen.until_shown("Against FP16", "FP16 (baseline)", "QAT Q4_0", "prefill", "Esc Back")
        await compare.pilot.press("o")
        await compare.screen.until_shown("they part at token 4", "word diff", "50.00%", "Esc Back")
        for width, height in ((20, 5), (1, 1), size):
            await compare.pilot.resize_terminal(width, height)
        await compare.screen.until_shown("they part at token 4")


# From the history


async def test_two_runs_of_the_history_are_held_side_by_side(folders: Paths) -> None:
    name, _ = seed(folders, 2)
    async with opened(folders) as sql:
        await sql.run("SELECT run_id, variant FROM runs ORDER BY run_id")
        await sql.pilot.press("f3", "d")
        await sql.screen.until(lambda: f"{name}.1 is held" in sql.said, "the first is held")
        await sql.pilot.press("down", "d")
        await sql.screen.until(lambda: isinstance(sql.screen.app.screen, OutputsScreen), "side by side")
        await sql.screen.until_shown("QAT Q4_0", "FP16", "> Tell me")


async def test_what_cannot_be_held_side_by_side_is_said(folders: Paths) -> None:
    seed(folders, 1)
    name = "20261201-100000-bbbb0001"
    begin = run(name, prompt="Another prompt")
    put_in(folders, [session(name), begin, run_end(begin.run_id), SessionEnd(STARTED_NS + 5 * S, None)], name)
    async with opened(folders) as sql:
        await sql.run("SELECT variant FROM runs")
        await sql.pilot.press("f3", "d")
        await sql.screen.until(lambda: "go to a row with a run_id" in sql.said, "no run_id")
        await sql.run("SELECT run_id FROM runs ORDER BY run_id")
        await sql.pilot.press("f3", "d", "down", "d")
        await sql.screen.until(lambda: "different prompts" in sql.said, "the prompts differ")
