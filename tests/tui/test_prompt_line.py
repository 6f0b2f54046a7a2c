"""The prompt line: earlier prompts, looking for one, and saved ones to choose from."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Button, Input

from gemtop.config import Paths
from gemtop.keymap import Keys
from gemtop.prompts import recent, saved
from gemtop.tui import base_app
from gemtop.tui.base_app import BaseApp
from gemtop.tui.hints import PROMPT_KEYS
from gemtop.tui.screens.prompts import DeleteScreen, PromptList, PromptsScreen, SavePromptScreen
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.prompt import PromptArea
from gemtop.tui.widgets.stream import StreamView
from tests.tui.program import LIMIT_S


class Program(BaseApp):
    CSS_PATH = Path(base_app.__file__).with_name("gemtop.tcss")

    def __init__(self, file: Path | None, keys: Keys | None = None) -> None:
        super().__init__(keys)
        self.file = file
        self.ran: list[str] = []
        self.left = 0

    def compose(self) -> ComposeResult:
        yield Button("something else")
        yield PromptArea()
        yield KeyLine(PROMPT_KEYS)

    async def action_leave(self) -> None:
        raise AssertionError("the program is left")

    def on_mount(self) -> None:
        self.prompt.keep_in(self.file)
        self.prompt.focus()

    @property
    def prompt(self) -> PromptArea:
        return self.screen_stack[0].query_one(PromptArea)

    def on_prompt_area_submitted(self, message: PromptArea.Submitted) -> None:
        self.ran.append(message.text)
        self.prompt.focus()

    def on_prompt_area_left(self) -> None:
        self.left += 1


class Screen:
    def __init__(self, program: Program, pilot: Pilot[int]) -> None:
        self.program, self.pilot = program, pilot

    @property
    def text(self) -> str:
        strips = self.program.screen._compositor.render_strips(self.program.size)
        return "\n".join(strip.text.rstrip() for strip in strips)

    async def type(self, text: str) -> None:
        await self.pilot.press(*({" ": "space", "\n": "enter"}.get(char, char) for char in text))

    async def run(self, *prompts: str) -> None:
        for prompt in prompts:
            self.program.prompt.put(prompt)
            await self.pilot.press("enter")
            await self.until(lambda: self.program.focused is self.program.prompt, "the line has the focus again")

    async def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {LIMIT_S} s: {what}; the screen reads\n{self.text}"
            await self.pilot.pause(0.01)


@asynccontextmanager
async def started(
    file: Path | None = None, keys: Keys | None = None, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[Screen]:
    program = Program(file, keys)
    async with program.run_test(size=size) as pilot:
        screen = Screen(program, pilot)
        await screen.until(lambda: program.focused is program.prompt, "the line has the focus")
        yield screen


async def test_up_and_down_go_through_earlier_prompts_and_back_to_what_was_typed() -> None:
    async with started() as screen:
        prompt = screen.program.prompt
        await screen.run("one", "two", "one")
        await screen.type("half")
        await screen.pilot.press("up", "up", "up")
        assert prompt.text == "two", "each is there once"
        await screen.pilot.press("down", "down")
        assert prompt.text == "half" and prompt.earlier == ("two", "one")


async def test_prompts_are_kept_over_sittings(folders: Paths) -> None:
    file = folders.state / "prompts.jsonl"
    recent.keep(file, "red \x1b[31m")
    async with started(file) as screen:
        prompt = screen.program.prompt
        await screen.until(lambda: prompt.earlier, "the file has been read")
        await screen.pilot.press("up")
        assert prompt.text == "red ␛[31m", "harmless on the screen"
        await screen.pilot.press("enter")
        await screen.until(lambda: screen.program.ran, "it ran")
        assert screen.program.ran == ["red \x1b[31m"], "and the same text as before"
        await screen.run("next")
        await screen.until(lambda: recent.load(file)[-1:] == ["next"], "both are written down")
    assert recent.load(file) == ["red \x1b[31m", "next"]


async def test_without_a_file_they_are_of_this_sitting(folders: Paths) -> None:
    async with started(None) as screen:
        await screen.run("secret")
        assert screen.program.prompt.earlier == ("secret",)
    assert not folders.state.exists() or not list(folders.state.iterdir())


async def test_searching_shows_takes_and_leaves() -> None:
    async with started() as screen:
        prompt = screen.program.prompt
        await screen.pilot.press("ctrl+r")
        assert prompt._search is None, "there is nothing to look for yet"
        await screen.run("light a fire", "a lighthouse", "the sea")
        await screen.type("dr")
        await screen.pilot.press("ctrl+r")
        assert "no earlier prompt holds this" in screen.text
        await screen.pilot.press("backspace", "backspace")
        assert "the sea  1 of 3; type a part of one" in screen.text
        await screen.type("lig")
        assert "lig  ← a lighthouse  1 of 2" in screen.text
        await screen.pilot.press("up")
        assert "lig  ← light a fire  2 of 2" in screen.text
        await screen.pilot.press("ctrl+r", "down")
        assert "a lighthouse  1 of 2" in screen.text
        await screen.pilot.press("escape")
        assert prompt.text == "dr" and screen.program.left == 0, "the prompt itself is not left"
        await screen.pilot.press("ctrl+r", "backspace", "backspace")
        await screen.type("fi l\n")
        assert prompt.text == "light a fire" and screen.program.ran[3:] == [], "taken, not run"
        await screen.pilot.press("ctrl+r", "tab")
        assert prompt.text == "light a fire" and prompt._search is None and prompt.suggestion == ""


async def test_the_key_that_runs_can_be_another() -> None:
    async with started(keys=Keys({"prompt.submit": "f5"})) as screen:
        await screen.type("a\nb")
        assert screen.program.prompt.text == "a\nb" and not screen.program.ran
        await screen.pilot.press("f5")
        await screen.until(lambda: screen.program.ran == ["a\nb"], "it ran")


async def test_a_click_on_a_key_of_the_last_line_is_that_key() -> None:
    async with started(size=(120, 24)) as screen:
        last = screen.text.splitlines()[-1]
        await screen.run("one")
        await screen.pilot.click(KeyLine, offset=(last.index("Search"), 0))
        assert screen.program.prompt._search is not None
        await screen.pilot.click(KeyLine, offset=(last.index("Stop"), 0))
        assert screen.program.prompt._search is None and screen.program.left == 0
        await screen.pilot.click(KeyLine, offset=(last.index("Stop"), 0))
        await screen.until(lambda: screen.program.left == 1, "the prompt is left")


async def test_saving_asks_for_a_name_and_before_it_replaces() -> None:
    async with started() as screen:
        await screen.pilot.press("ctrl+s")
        assert not isinstance(screen.program.screen, SavePromptScreen)
        for text in ("The sea was calm", "other"):
            screen.program.prompt.put(text)
            await screen.pilot.press("ctrl+s")
            await screen.until(lambda: isinstance(screen.program.screen, SavePromptScreen), "it asks")
            name = screen.program.screen.query_one(Input)
            assert name.value in ("the-sea-was-calm", "other")
            name.value = "sea"
            await screen.pilot.press("enter")
            if text == "other":
                assert "Enter again replaces it" in screen.text
                await screen.pilot.press("enter")
            await screen.until(lambda: not isinstance(screen.program.screen, SavePromptScreen), "it is saved")
        assert [(p.id, p.prompt) for p in saved.read_saved()] == [("sea", "other")]
        assert screen.program.prompt.text == "other", "and still in the line"


async def picker(screen: Screen) -> PromptsScreen:
    await screen.pilot.press("ctrl+o")
    await screen.until(lambda: isinstance(screen.program.screen, PromptsScreen), "the list is there")
    await screen.until(lambda: "prompts ─" in screen.text and "sum-" in screen.text, "the sets have been read")
    assert isinstance(screen.program.screen, PromptsScreen)
    return screen.program.screen


async def test_choosing_a_prompt_by_keys_and_by_mouse() -> None:
    saved.save("lighthouse", "Tell me of\nthe light")
    async with started() as screen:
        await screen.run("what I asked")
        chooser = await picker(screen)
        assert "lighthouse" in screen.text and "what I asked" in screen.text
        assert chooser.query_one(StreamView).text == "Tell me of\nthe light"
        await screen.pilot.press("enter")
        await screen.until(lambda: screen.program.focused is screen.program.prompt, "back in the line")
        assert screen.program.prompt.text == "Tell me of\nthe light" and screen.program.ran == ["what I asked"]

        chooser = await picker(screen)
        await screen.pilot.press("slash")
        chooser.query_one(Input).value = "summarise bridg"
        await screen.type("e")
        assert "1 prompt" in screen.text
        await screen.pilot.press("x")
        assert "none holds this" in screen.text
        await screen.pilot.press("enter", "escape")
        await screen.until(lambda: screen.program.focused is screen.program.prompt, "back in the line")
        assert screen.program.prompt.text == "Tell me of\nthe light"

        chooser = await picker(screen)
        await screen.pilot.click(PromptList, offset=(4, 2))
        assert chooser.query_one(StreamView).text == "what I asked", "a click shows it"
        await screen.pilot.click(PromptList, offset=(4, 2))
        await screen.until(lambda: screen.program.focused is screen.program.prompt, "another one takes it")
        assert screen.program.prompt.text == "what I asked"


async def test_deleting_a_saved_prompt_asks_first() -> None:
    async with started() as screen:
        await picker(screen)
        assert "nothing is saved yet" in screen.text
        await screen.pilot.press("d")
        assert "only saved prompts are deleted here" in screen.text
        await screen.pilot.press("ctrl+s", "enter")
        await screen.until(lambda: "saved" in screen.text.splitlines()[3], "a prompt of a set is saved")
        await screen.pilot.press("home", "d")
        await screen.until(lambda: isinstance(screen.program.screen, DeleteScreen), "it asks")
        await screen.pilot.press("escape", "d", "enter")
        await screen.until(lambda: "nothing is saved yet" in screen.text, "it is gone")
        assert saved.read_saved() == ()


async def test_a_set_that_cannot_be_read_is_named_and_the_others_are_there() -> None:
    saved.your_folder().mkdir(parents=True)
    saved.saved_file().write_text("[[prompt]]\nprompt = 3\n")
    (saved.your_folder() / "desk.toml").write_text('[[prompt]]\nid = "refund"\nprompt = "Give it back"\n')
    async with started(size=(60, 20)) as screen:
        await picker(screen)
        assert "refund" in screen.text and "saved.toml" in screen.text.replace("\n", "")
        assert "Give it back" in screen.text, "the preview is below the list"
