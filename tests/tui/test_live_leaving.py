"""How a sitting on the live screen ends: by the user, by the last run, by llama.cpp; and what is kept of it."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from gemtop.config import Paths
from gemtop.domain.records import RunBegin, RunEnd, SessionEnd
from gemtop.domain.settings import EngineSettings, OffloadSettings, SamplingSettings
from gemtop.supervisor import RESTART
from gemtop.tui.screens.crash import CrashScreen
from gemtop.tui.screens.live import LiveScreen
from gemtop.tui.startup import Resume, save_resume
from tests.engines import fake_model
from tests.tui.sitting import Options, gemtop


@pytest.mark.parametrize("key", ["q", "ctrl+q", "ctrl+c"])
async def test_leaving_closes_the_session(folders: Paths, key: str) -> None:
    async with gemtop(folders) as screen:
        await screen.type("One\n")
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run")
        await screen.pilot.press(key)
        await screen.until_ended()
        assert screen.app.return_value == 0
        assert screen.app.session is None
        (end,) = screen.recorder.of(SessionEnd)
        assert (end.reason, end.crashed) == (None, False)
        assert "1 run recorded" in screen.app._exit_words


async def test_leaving_in_the_midst_of_a_run_records_it(folders: Paths) -> None:
    gate = threading.Semaphore(0)
    async with gemtop(folders, Options(gate=gate, n_predict=-1)) as screen:
        await screen.type("One\n")
        await screen.until_shown("running")
        gate.release()
        await screen.type("q")
        await screen.until_ended()
        assert screen.recorder.of(RunEnd)[0].status == "cancelled"
        assert isinstance(screen.recorder.records[-1], SessionEnd)


async def test_a_prompt_of_the_command_line_runs_and_it_leaves(folders: Paths) -> None:
    async with gemtop(folders, Options(prompt="one two", quit_when_done=True, ready=False)) as screen:
        await screen.until_ended()
        assert screen.app.return_value == 0
        assert [r.status for r in screen.recorder.of(RunEnd)] == ["finished"]
        assert screen.recorder.of(SessionEnd)


async def test_a_prompt_of_the_command_line_runs_and_it_stays(folders: Paths) -> None:
    async with gemtop(folders, Options(prompt="one two")) as screen:
        await screen.until_shown("> one two", "-n reached")
        assert screen.app.return_value is None


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (Options(path="/nowhere/x.gguf", model=None, prompt="one"), 2, "does not exist"),
        (Options(prompt="word " * 5000), 2, "too long"),
        (Options(prompt="crash"), 70, "llama.cpp gave up: ggml.c:1: GGML_ASSERT(false) failed"),
    ],
)
async def test_with_nobody_looking_it_says_why_and_leaves(
    folders: Paths, options: Options, code: int, words: str
) -> None:
    options.quit_when_done, options.ready = True, False
    async with gemtop(folders, options) as screen:
        await screen.until_ended()
        assert screen.app.return_value == code
        assert words in screen.app._exit_words
        assert screen.recorder.of(SessionEnd)[0].crashed is (code == 70)


async def test_when_llama_cpp_gives_up_it_says_so_and_lets_one_look(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.type("\ncrash\n")
        await screen.until(lambda: isinstance(screen.app.screen, CrashScreen), "the dialog")
        await screen.until_shown("llama.cpp gave up", "GGML_ASSERT(false) failed", "recorded as crashed")
        await screen.pilot.press("escape")
        await screen.until(lambda: isinstance(screen.app.screen, LiveScreen), "the screen behind it")
        await screen.until_shown("crashed")
        for keys in ("Again\n", "r", "t"):
            await screen.type(keys)
            await screen.until(lambda: isinstance(screen.app.screen, CrashScreen), "the dialog once more")
            await screen.pilot.press("escape")
            await screen.until(lambda: isinstance(screen.app.screen, LiveScreen), "the screen behind it")
        assert screen.prompt.text == "Again"
        await screen.type("q")
        await screen.until_ended()
        assert screen.app.return_value == 70
        assert screen.recorder.of(SessionEnd)[0].crashed


async def test_one_key_starts_it_anew_with_the_conversation(folders: Paths) -> None:
    async with gemtop(folders, Options(model=fake_model())) as screen:
        await screen.type("Once\n")
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run")
        await screen.type("\ncrash\n")
        await screen.until(lambda: isinstance(screen.app.screen, CrashScreen), "the dialog")
        await screen.type("r")
        await screen.until_ended()
        assert screen.app.return_value == RESTART
        (left,) = list(folders.state.glob("resume-*.json"))
        kept = json.loads(left.read_text())
        assert kept["path"] == "fake.gguf"
        assert kept["conversation"][0] == ["Once", " Once Once Once Once Once Once"]
    async with gemtop(folders, Options(model=fake_model(), resumed=True)) as screen:
        await screen.until_shown("> Once")
        assert screen.session.conversation[0] == ("Once", " Once Once Once Once Once Once")
        assert not list(folders.state.glob("resume-*.json")), "it is taken once"


async def test_what_is_lost_is_left_out_and_nothing_else(folders: Paths) -> None:
    """Of two RPC servers one is gone."""
    with socket.create_server(("127.0.0.1", 0)) as there:
        alive, gone = f"127.0.0.1:{there.getsockname()[1]}", "127.0.0.1:1"
        async with gemtop(folders) as screen:
            offload = OffloadSettings(rpc_servers=(alive, gone), devices=("RPC0", "RPC1"), tensor_split=(3, 1))
            screen.app.settings = EngineSettings(offload)
            await screen.type("\ncrash\n")
            await screen.until_shown("No RPC server answers at 127.0.0.1:1: w goes on without")
            await screen.type("w")
            await screen.until_ended()
            assert screen.app.return_value == RESTART
    (left,) = list(folders.state.glob("resume-*.json"))
    kept = json.loads(left.read_text())["settings"]["offload"]
    assert (kept["rpc_servers"], kept["devices"], kept["tensor_split"]) == ([alive], [], [])


async def test_where_no_server_is_lost_none_can_be_left_out(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        await screen.type("\ncrash\n")
        await screen.until(lambda: isinstance(screen.app.screen, CrashScreen), "the dialog")
        await screen.type("w")
        assert "(w)" not in screen.text
        assert isinstance(screen.app.screen, CrashScreen)
        await screen.type("q")
        await screen.until_ended()


async def test_the_last_prompt_comes_back_where_there_is_no_conversation(folders: Paths) -> None:
    settings, sampling = EngineSettings(), SamplingSettings(temperature=0.1)
    save_resume(folders, Resume("fake.gguf", settings, sampling, 4, (), "my last prompt"))
    async with gemtop(folders, Options(resumed=True)) as screen:
        await screen.until(lambda: screen.prompt.text == "my last prompt", "the prompt")
        assert (screen.app.sampling, screen.app.n_predict) == (sampling, 4)
        assert screen.recorder.of(RunBegin) == [], "and is not run unasked"


async def test_a_history_that_cannot_be_written_is_said_when_leaving(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        screen.recorder.problem = "no room to write /data/history.duckdb: make room"
        await screen.type("q")
        await screen.until_ended()
        assert "no room to write" in screen.app._exit_words
