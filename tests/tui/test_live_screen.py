"""The live screen over a fake engine, driven by keys and the mouse."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from textual.widgets import Input

from gemtop.config import Paths, read_state, write_state
from gemtop.domain.events import LoadProgress
from gemtop.domain.records import RunBegin, RunEnd
from gemtop.domain.settings import SamplingSettings
from gemtop.keymap import Keys
from gemtop.tui.screens.base import ModeScreen
from gemtop.tui.screens.charts import ChartsScreen
from gemtop.tui.screens.keys import KeysScreen
from gemtop.tui.screens.live import LiveScreen
from gemtop.tui.screens.log import LogScreen
from gemtop.tui.screens.models import ModelsScreen
from gemtop.tui.screens.sampling import SamplingScreen
from gemtop.tui.widgets.model_list import ModelList
from gemtop.tui.widgets.stream import StreamView
from gemtop.tui.widgets.tabs import SCREENS
from tests.engines import fake_model
from tests.fakes import CARD_0
from tests.gguf_files import gemma
from tests.stores import Machine
from tests.tui.sitting import Options, gemtop

# A run


async def test_typing_a_prompt_and_reading_what_comes_of_it(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.until_shown("gemma-3-27b-it-qat", "QAT Q4_0", "no run yet")
        await screen.type("Once upon a time\n")
        await screen.until_shown("> Once upon a time", "-n reached", "Once upon a time Once upon", "ITL p50")
        assert screen.output == " Once upon a time Once upon"
        assert screen.recorder.of(RunBegin)[0].prompt == "Once upon a time"
        assert screen.recorder.of(RunEnd)[0].status == "finished"
        assert screen.prompt.text == ""


async def test_enter_moves_to_the_prompt_and_escape_leaves_it(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.type("\n")
        assert screen.app.focused is screen.prompt
        await screen.type("say q l r t")
        assert screen.prompt.text == "say q l r t", "in the prompt a letter is a letter"
        await screen.pilot.press("escape")
        await screen.until(lambda: screen.app.focused is not screen.prompt, "the prompt is left")
        assert screen.prompt.text == "say q l r t", "and kept"
        await screen.type("/")
        assert screen.app.focused is screen.prompt
        assert screen.prompt.text == "say q l r t", "a slash moves, and is no text"


@pytest.mark.parametrize("first", ["O", "É", "'", '"', "("])
async def test_what_a_sentence_begins_with_begins_a_prompt(folders: Paths, first: str) -> None:
    async with gemtop(folders) as screen:
        await screen.type(first + "k rq")
        assert screen.prompt.text == first + "k rq"


async def test_a_prompt_of_two_lines_and_those_before(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.type("One")
        await screen.pilot.press("ctrl+j")
        await screen.type("two\n")
        await screen.until(lambda: len(screen.recorder.of(RunEnd)) == 1, "the first run")
        assert screen.recorder.of(RunBegin)[0].prompt == "One\ntwo"
        await screen.type("Three\n")
        await screen.until(lambda: len(screen.recorder.of(RunEnd)) == 2, "the second run")
        await screen.type("\n")
        await screen.pilot.press("up")
        assert screen.prompt.text == "Three"
        await screen.pilot.press("up")
        assert screen.prompt.text == "One\ntwo"
        await screen.pilot.press("down", "down")
        assert screen.prompt.text == ""


async def test_an_empty_prompt_is_refused(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.type("\n  \n")
        await screen.until(lambda: any("the prompt is empty" in words for words in screen.said), "it says so")
        assert screen.recorder.of(RunBegin) == []


async def test_escape_stops_within_one_token(folders: Paths) -> None:
    gate = threading.Semaphore(0)
    async with gemtop(folders, Options(gate=gate, n_predict=-1)) as screen:
        await screen.type("Once upon\n")
        await screen.until_shown("running")
        for _ in range(3):
            gate.release()
        await screen.until(lambda: screen.output == " Once upon Once", "three tokens")
        await screen.pilot.press("escape")
        await screen.until_shown("stopped")
        assert [r.status for r in screen.recorder.of(RunEnd)] == ["cancelled"]
        assert screen.output == " Once upon Once"


async def test_a_second_prompt_while_one_runs_is_kept(folders: Paths) -> None:
    gate = threading.Semaphore(0)
    async with gemtop(folders, Options(gate=gate, n_predict=2)) as screen:
        await screen.type("First\n")
        await screen.until_shown("running")
        await screen.type("Second\n")
        await screen.until(lambda: any("The prompt is kept" in words for words in screen.said), "it says so")
        assert screen.prompt.text == "Second"
        await screen.type("r")
        await screen.until(lambda: any("nothing to run again" in words for words in screen.said), "r says so too")
        gate.release()
        gate.release()
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run ends")
        assert [r.prompt for r in screen.recorder.of(RunBegin)] == ["First"]


async def test_r_runs_it_again_with_new_sampling(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.type("r")
        await screen.until(lambda: any("nothing to run again" in words for words in screen.said), "nothing yet")
        await screen.type("Once upon\n")
        await screen.until(lambda: len(screen.recorder.of(RunEnd)) == 1, "the run")
        screen.app.sampling = SamplingSettings(temperature=0.3, seed=9)
        await screen.type("r")
        await screen.until(lambda: len(screen.recorder.of(RunEnd)) == 2, "the run again")
        first, again = screen.recorder.of(RunBegin)
        assert again.prompt == first.prompt == "Once upon"
        assert (again.temperature, again.seed) == (0.3, 9)
        await screen.until_shown("run 2")


async def test_n_begins_a_new_conversation(folders: Paths) -> None:
    async with gemtop(folders, Options(model=fake_model())) as screen:
        await screen.type("Once\n")
        await screen.until(lambda: screen.session.conversation, "a turn")
        await screen.type("n")
        await screen.until_shown("- new conversation -")
        assert screen.session.conversation == []


async def test_text_of_a_model_cannot_move_the_terminal(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        prompt = screen.prompt
        prompt.text = "a\x1b]0;owned\x07 \x9b31mred"
        prompt.action_submit()
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run")
        await screen.until_shown("\u241b]0;owned\u2407", "<009B>31mred")
        assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in screen.text.replace("\n", ""))


async def test_a_prompt_entered_while_loading_runs_when_the_model_is_there(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        screen.session._on_event(LoadProgress(0.5))
        screen.session._runs.use(None)
        await screen.type("One two\n")
        await screen.until(lambda: any("runs when the model is loaded" in words for words in screen.said), "it says so")
        await screen.pilot.press("escape")
        assert screen.prompt.text == "One two", "taken back"
        await screen.type("\n\n")
        screen.app.open_model("fake.gguf")
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run")
        assert screen.recorder.of(RunBegin)[0].prompt == "One two"


async def test_the_output_is_copied(folders: Paths) -> None:
    async with gemtop(folders, Options(prompt="one two")) as screen:
        await screen.type("y")
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run")
        await screen.until(lambda: "one two" in screen.output, "its text")
        await screen.type("y")
        await screen.until(lambda: "one two" in screen.app.clipboard, "copied")
        assert screen.app.clipboard == screen.output


# Panes and dialogs


async def test_the_log_of_llama_cpp(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        assert "opening fake.gguf" not in screen.text
        await screen.type("l")
        await screen.until(lambda: isinstance(screen.app.screen, LogScreen), "the log")
        await screen.until_shown("opening fake.gguf")
        lines = screen.app.screen.query_one("#lines", StreamView)
        await screen.type("/nothing\n")
        await screen.until(lambda: "opening fake.gguf" not in lines.text and "0 of" in screen.text, "no line holds it")
        await screen.pilot.press("escape")
        await screen.until_shown("opening fake.gguf")
        await screen.type("w")
        await screen.until_shown("warnings and errors")
        await screen.type("wy")
        await screen.until(lambda: "opening fake.gguf" in screen.app.clipboard, "copied")
        await screen.pilot.press("escape")
        await screen.until(lambda: isinstance(screen.app.screen, LiveScreen), "and back")


@pytest.mark.parametrize("mode", list(SCREENS))
async def test_every_screen_is_one_key_away_and_lists_its_keys(folders: Paths, mode: str) -> None:
    async with gemtop(folders) as screen:
        keys, order = screen.app.keys, list(SCREENS)
        await screen.pilot.press(keys.of(f"app.{mode}")[0])
        await screen.until(lambda: screen.app.current_mode == mode, "the screen")
        shown = screen.app.screen
        await screen.pilot.press("f1")
        await screen.until(lambda: isinstance(screen.app.screen, KeysScreen), "the list of keys")
        assert isinstance(shown, ModeScreen)
        first, *_ = keys.listed(shown.key_scopes)
        await screen.until_shown(first[1], "Esc closes")
        await screen.pilot.press("escape")
        await screen.until(lambda: screen.app.screen is shown, "and back")
        other = order[(order.index(mode) + 1) % len(order)]
        await screen.pilot.press(f"alt+{order.index(other) + 1}", f"alt+{order.index(mode) + 1}")
        await screen.until(lambda: screen.app.screen is shown, "as it was left")
        tabs = next(y for y, line in enumerate(screen.text.splitlines()) if "2 Compare" in line)
        await screen.pilot.click(offset=(screen.text.splitlines()[tabs].index("5 Log") + 2, tabs))
        await screen.until(lambda: screen.app.current_mode == "log", "by the mouse")


async def test_keys_of_the_users_own(folders: Paths) -> None:
    keys = Keys({"live.tune": "ctrl+t", "app.compare": "f7", "live.sampling": "t"})
    async with gemtop(folders, Options(keys=keys)) as screen:
        await screen.until_shown("Ctrl-T Tune", "t Sampling", "F7 Compare")
        await screen.type("t")
        await screen.until(lambda: isinstance(screen.app.screen, SamplingScreen), "sampling by its own key")
        await screen.pilot.press("escape", "f7")
        await screen.until(lambda: screen.app.current_mode == "compare", "by a key of the user's own")


async def test_charts_are_chosen_and_their_time(folders: Paths) -> None:
    async with gemtop(folders, Options(devices=(CARD_0,), prompt="one two")) as screen:
        await screen.until_shown("tokens/s", "VRAM", "power W")
        await screen.type("x")
        await screen.until(lambda: isinstance(screen.app.screen, ChartsScreen), "the dialog")
        await screen.pilot.press("down", "down", "right", "up", "left")
        assert screen.app.live.charts[:3] == ("speed", "speed", "utilisation")
        await screen.pilot.press("up", "up", "right", "escape")
        assert screen.app.live.span_s == 300
        await screen.until_shown("utilisation %")
        await screen.type("-")
        assert screen.app.live.span_s == 900
        await screen.type("+=+")
        assert screen.app.live.span_s == 30


async def test_the_text_alone(folders: Paths) -> None:
    async with gemtop(folders, Options(prompt="one two")) as screen:
        await screen.until_shown("tokens/s", "> one two")
        await screen.type("z")
        await screen.until(lambda: "tokens/s" not in screen.text and "> one two" in screen.text, "the text alone")
        await screen.type("z")
        await screen.until_shown("tokens/s")


async def test_the_palette_offers_what_the_screen_can_do(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.pilot.press("ctrl+p")
        await screen.type("sampling")
        await screen.until_shown("Sampling: temperature")
        await screen.pilot.press("down", "enter")
        await screen.until(lambda: isinstance(screen.app.screen, SamplingScreen), "the dialog")


async def test_sampling_is_changed_for_the_runs_to_come(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.type("s")
        await screen.until(lambda: isinstance(screen.app.screen, SamplingScreen), "the dialog")
        assert screen.app.screen.query_one("#temperature", Input).value == "0.8"
        assert screen.app.screen.query_one("#seed", Input).value == "-1"
        for name, value in (("temperature", "0"), ("top_k", "7"), ("seed", "42"), ("n_predict", "3")):
            screen.app.screen.query_one(f"#{name}", Input).value = value
        await screen.pilot.press("enter")
        await screen.until(lambda: isinstance(screen.app.screen, LiveScreen), "it is applied")
        assert screen.app.sampling == SamplingSettings(temperature=0, top_k=7, seed=42)
        await screen.type("One two three four\n")
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run")
        assert screen.recorder.of(RunEnd)[0].generated_tokens == 3
        assert (screen.recorder.of(RunBegin)[0].temperature, screen.recorder.of(RunBegin)[0].top_k) == (0, 7)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", "warm", "temperature (0: greedy): a number"),
        ("temperature", "-1", "between 0 and 100"),
        ("temperature", "nan", "between 0 and 100"),
        ("top_k", "1.5", "top-k (0: off): a number"),
        ("top_k", "-2", "at least 0"),
        ("top_p", "1.2", "between 0 and 1"),
        ("min_p", "", "min-p (0: off): a number"),
        ("seed", "-7", "at least -1"),
        ("n_predict", "1e3", "a number"),
    ],
)
async def test_sampling_that_cannot_be_changes_nothing(folders: Paths, name: str, value: str, words: str) -> None:
    async with gemtop(folders) as screen:
        before = (screen.app.sampling, screen.app.n_predict)
        await screen.type("s")
        await screen.until(lambda: isinstance(screen.app.screen, SamplingScreen), "the dialog")
        dialog = screen.app.screen
        dialog.query_one("#top_p", Input).value = "0.5"
        dialog.query_one(f"#{name}", Input).value = value
        await screen.pilot.press("enter")
        await screen.until_shown(words)
        assert screen.app.focused is dialog.query_one(f"#{name}", Input)
        assert (screen.app.sampling, screen.app.n_predict) == before
        await screen.pilot.press("escape")
        await screen.until(lambda: isinstance(screen.app.screen, LiveScreen), "and back")
        assert (screen.app.sampling, screen.app.n_predict) == before


async def test_a_click_on_the_prompt_and_one_on_a_key(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        assert await screen.pilot.click("#prompt")
        assert screen.app.focused is screen.prompt
        await screen.type("ok")
        assert screen.prompt.text == "ok"
        assert await screen.pilot.click("#output")
        assert screen.app.focused is not screen.prompt
        (footer_row,) = [y for y, line in enumerate(screen.text.splitlines()) if "Sampling" in line]
        column = screen.text.splitlines()[footer_row].index("Sampling")
        await screen.pilot.click(offset=(column, footer_row))
        await screen.until(lambda: isinstance(screen.app.screen, SamplingScreen), "the dialog, by the mouse")


async def test_pasted_text_goes_to_the_prompt(folders: Paths) -> None:
    from textual.events import Paste

    async with gemtop(folders) as screen:
        screen.app.post_message(Paste("pasted q text"))
        await screen.until(lambda: screen.prompt.text == "pasted q text", "it is there")
        assert screen.app.focused is screen.prompt


# Models


async def test_a_load_that_fails_is_shown(folders: Paths) -> None:
    async with gemtop(folders, Options(path="/nowhere/x.gguf", model=None, ready=False)) as screen:
        await screen.until_shown("/nowhere/x.gguf does not exist")
        await screen.type("Hello\n")
        await screen.until(lambda: any("m opens one" in words for words in screen.said), "it says so")
        assert screen.prompt.text == "Hello"
        await screen.pilot.press("escape")
        await screen.type("q")
        await screen.until_ended()
        assert screen.app.return_value == 0


async def test_the_model_that_was_loaded_is_opened_next_time(folders: Paths, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"")
    async with gemtop(folders, Options(path=str(file))) as screen:
        await screen.until(lambda: read_state(folders, "last"), "it is remembered")
    assert read_state(folders, "last") == {"path": str(file)}
    async with gemtop(folders, Options(path=None)) as screen:
        assert screen.app.model_path == str(file)


async def test_enter_opens_the_first_of_the_list(folders: Paths, machine: Machine) -> None:
    """What a newcomer does on a machine where there is nothing but the demo model."""
    async with gemtop(folders, Options(path=None, ready=False)) as screen:
        await screen.until_shown("the demo model")
        options = screen.app.screen.query_one("#models", ModelList)
        await screen.until(lambda: screen.app.focused is options, "the list has the focus")
        await screen.pilot.press("enter")
        await screen.until(lambda: screen.session.ready, "it is loaded")
        assert "gemma-3-270m" in str(screen.app.model_path)
        await screen.type("q")
        await screen.until_ended()


async def test_without_a_model_it_lists_what_it_finds(folders: Paths, machine: Machine) -> None:
    machine.gguf(machine.here / "big [x]-4b-qat-Q4_0.gguf", tensors=gemma("q4_0", "q6_K", width=1024))
    small = machine.ollama("registry.ollama.ai/library/gemma3:1b-it-q4_0")
    machine.gguf(machine.here / "mmproj-model.gguf", {"general.type": "mmproj"})
    machine.ollama(
        "registry.ollama.ai/library/gemma3:27b", tensors=[*gemma(width=512), ("v.patch_embd.weight", "f16", 256, 256)]
    )
    (machine.here / "notes.gguf").write_bytes(b"text" * 500_000)
    write_state(folders, "last", {"path": "/gone/away.gguf"})
    async with gemtop(folders, Options(path=None, ready=False)) as screen:
        await screen.until(lambda: isinstance(screen.app.screen, ModelsScreen), "the list of models")
        await screen.until_shown("the demo model", "is not a GGUF file", "needs gemtop adopt gemma3:27b")
        assert "mmproj" not in screen.text
        line = next(line for line in screen.text.splitlines() if "big [x]" in line)
        assert "QAT Q4_0" in line
        assert screen.text.index("big [x]") < screen.text.index("gemma3:1b-it-q4_0"), "the largest first"
        options = screen.app.screen.query_one("#models", ModelList)
        await screen.until(lambda: screen.app.focused is options, "the list has the focus")
        await screen.until_shown("trained for 131,072 tokens")
        wanted = next(key for key, entry in options._entries.items() if entry.name == "gemma3:1b-it-q4_0")
        while options.at != wanted:
            await screen.pilot.press("down")
        await screen.pilot.press("enter")
        await screen.until(lambda: screen.session.ready, "it is loaded")
        assert screen.app.model_path == str(small)
        await screen.type("m")
        await screen.until(lambda: isinstance(screen.app.screen, ModelsScreen), "m asks again")
        await screen.pilot.press("escape")
        await screen.until(lambda: isinstance(screen.app.screen, LiveScreen), "Esc goes back")


async def test_a_configuration_that_was_broken_meanwhile_is_said_in_the_list(folders: Paths, machine: Machine) -> None:
    config = machine.home / ".config" / "gemtop" / "config.toml"
    async with gemtop(folders) as screen:
        config.parent.mkdir(parents=True)
        config.write_text("[models]\nfolder = [1]\n")
        await screen.type("4")
        await screen.until_shown("line 2:", "folders")


async def test_m_does_not_pull_the_model_from_under_a_run(folders: Paths) -> None:
    gate = threading.Semaphore(0)
    async with gemtop(folders, Options(gate=gate)) as screen:
        await screen.type("One\n")
        await screen.until_shown("running")
        await screen.type("m")
        await screen.until_shown("the demo model", "planned when the run that goes on has ended")
        await screen.pilot.press("enter")
        await screen.until(lambda: any("a run is going on" in words for words in screen.said), "it says so")
