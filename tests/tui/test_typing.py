"""Keys that come together, as they do over a slow line, take effect in the order in which they were typed."""

from __future__ import annotations

import pytest
from textual.events import Key
from textual.widgets import Static

from gemtop.tui.ordered_app import Follower, OrderedApp
from tests.tui.program import GemtopTerminal
from tests.tui.test_faults import ESC
from tests.tui.test_terminal_life import QUICK

LEFT, HOME, END, BACKSPACE = "\x1b[D", "\x01", "\x05", "\x7f"
CLEAR = "\x15"


@pytest.fixture(scope="module")
def terminal(model_path: str, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """At 120x40, the model loaded."""
    folder = tmp_path_factory.mktemp("typing")
    places = {f"XDG_{name}_HOME": str(folder / name) for name in ("DATA", "STATE", "CONFIG")}
    with GemtopTerminal([model_path, *QUICK], **places) as running:
        running.wait_for_text("ctx 1024", "q Quit")
        yield running
        running.type("q")
        assert running.wait() == 0


@pytest.mark.parametrize(
    ("keys", "written"),
    [
        (f"ab{BACKSPACE}c|", "ac|"),
        (f"abc{LEFT}{LEFT}x|", "ax|bc"),
        (f"abc{HOME}x{END}|", "xabc|"),
        ("ab cd\x17ef|", "ab ef|"),
        (f"ab\x1b[200~cd\x1b[201~{BACKSPACE}e|", "abce|"),
        (f"{'a' * 200}{BACKSPACE * 198}|", "aa|"),
    ],
)
def test_what_is_typed_at_once_is_written_as_typed(terminal: GemtopTerminal, keys: str, written: str) -> None:
    terminal.type("/")
    terminal.wait_for_text("type a prompt; Enter")
    terminal.type(keys)
    terminal.wait_until(lambda: "|" in terminal.screen.display[-2], "the last of it")
    assert terminal.screen.display[-2].strip() == written
    terminal.type(END + CLEAR + ESC)
    terminal.wait_for_text("q Quit")


def test_a_key_goes_to_where_the_one_before_has_led(terminal: GemtopTerminal) -> None:
    terminal.type("?" + ESC + "t")  # a dialog is opened and closed, another one opened
    terminal.wait_for_text("micro-batch")
    terminal.type(ESC + "3")
    terminal.wait_for_text("queries")
    terminal.type("\x1b[15~" + ESC + "\x1b1" + "/ab\t" + "2")  # to the prompt, away from it, to another screen
    terminal.wait_for_text("Mark", "Baseline")
    terminal.type("\x1b1")
    terminal.wait_until(lambda: terminal.screen.display[-2].startswith(" ab "), "the prompt holds what was typed")
    terminal.type("/" + END + CLEAR + ESC)
    terminal.wait_for_text("q Quit")


def test_a_field_has_what_was_typed_into_it(terminal: GemtopTerminal) -> None:
    terminal.type("\x10" + "abc" + HOME + "x" + END + BACKSPACE + "|")
    terminal.wait_for_text("xab|")
    terminal.type(ESC)
    terminal.wait_for_text("q Quit")


async def test_what_follows_the_last_key_finds_no_screen_any_more() -> None:
    """They go one after the other when the program ends."""
    app = OrderedApp()
    app._typed.append(Key("q", "q"))
    app._follower = follower = Follower(Static(), first=False)
    await app.on_follower(follower)
    assert app._follower is None
