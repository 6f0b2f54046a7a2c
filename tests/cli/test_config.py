"""gemtop config: what is in force and where it is from, and the file in an editor."""

from __future__ import annotations

import json
import re
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from gemtop.config import config_file, load_config
from gemtop.config.schema import KEYS, Config
from gemtop.keymap import ACTIONS
from tests.cli.commands import gemtop, refused
from tests.tui.program import GemtopTerminal


@pytest.fixture
def file() -> Path:
    """The configuration file of the test; its folder is there."""
    config_file().parent.mkdir(parents=True)
    return config_file()


def test_show_says_of_every_key_what_it_is_and_where_that_is_from(file: Path) -> None:
    file.write_text("[screen]\n\nspan_s = 300\n[history]\nfleet = 'postgresql://me:secret@db/fleet'\n")
    done = gemtop("config", GEMTOP_SCREEN_THRIFT="yes", GEMTOP_KEYS="live.stop=f12")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"span_s = 300  # {file}, line 3\n" in text
    assert "thrift = true  # GEMTOP_SCREEN_THRIFT\n" in text
    assert 'theme = "gemtop-dark"  # default\n' in text
    assert '"live.stop" = "f12"  # GEMTOP_KEYS\n' in text
    assert "secret" not in text
    found = tomllib.loads(text)
    assert all(key.name in found[key.table] for key in KEYS if key.name)
    some = gemtop("config", "show", "screen.span_s", "keys.live.new", "keys.live.stop", "--json")
    assert json.loads(some.stdout) == {
        "file": str(file),
        "exists": True,
        "settings": {
            "screen.span_s": {"value": 300, "source": "file", "line": 3, "variable": None},
            "keys.live.stop": {"value": "escape", "source": "default", "line": None, "variable": None},
            "keys.live.new": {"value": "n", "source": "default", "line": None, "variable": None},
        },
        "problems": [],
    }
    keys = tomllib.loads(gemtop("config", "show", "keys").stdout.decode())
    assert keys == {"keys": {name: action.keys for name, action in ACTIONS.items()}}


def test_what_is_wrong_is_said_whole_here_and_stops_every_other_command(file: Path) -> None:
    file.write_text("[screen]\nthem = 'x'\nspan_s = 4\n")
    done = gemtop("config", "show")
    said = [
        f"gemtop: {file}, line 2: [screen] has no key them; did you mean theme?",
        f"gemtop: {file}, line 3: span_s is one of 30, 60, 300, 900, not 4; did you mean 30?",
    ]
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines() == said
    refused(gemtop("query", "--list"), "line 2", "did you mean theme?", "gemtop config shows")
    doctor = gemtop("doctor")
    assert doctor.returncode == 2
    assert f"wrong: {said[0].removeprefix('gemtop: ')}" in doctor.stdout.decode()
    assert gemtop("config", "path").stdout.decode() == f"{file}\n"


def test_a_file_of_a_newer_gemtop_is_a_warning_to_commands_and_wrong_to_config(file: Path) -> None:
    file.write_text("version = 7\n[screen]\nglow = 1\nthrift = true\n")
    done = gemtop("query", "--list")
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 0
    assert line.startswith(f"gemtop: {file}, line 3: [screen] has no key glow")
    assert "newer gemtop (version = 7, this one knows 1)" in line
    strict = gemtop("config")
    assert strict.returncode == 2
    assert strict.stderr.decode() == f"{line}\n"
    assert tomllib.loads(strict.stdout.decode())["screen"]["thrift"] is True


def test_edit_makes_the_file_opens_the_editor_and_checks_what_came_of_it(tmp_path: Path) -> None:
    file = config_file()
    editor = tmp_path / "my editor"
    editor.write_text(f"#!{sys.executable}\nimport sys\nopen(sys.argv[2], 'a').write(sys.argv[1])\n")
    editor.chmod(0o755)

    def edit(text: str) -> tuple[int, str]:
        done = gemtop("config", "edit", VISUAL=f"'{editor}' '{text}'", EDITOR="false")
        return done.returncode, done.stderr.decode()

    assert edit("") == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert load_config() == Config(history_file=load_config().history_file), "nothing is set in it"
    assert max(map(len, text.splitlines())) <= 120
    for key in KEYS:
        assert " ".join(key.says.replace("`", "").split()) in " ".join(text.replace("\n# ", " ").split())
    # Every line that is commented out is one that can be used.
    file.write_text(re.sub(r'^# (?=("[\w.]+"|[a-z_]+) = )', "", text, flags=re.MULTILINE))
    config = load_config()
    assert config.screen_thrift
    assert set(config.keys) == set(ACTIONS)
    code, said = edit("[screen]")
    assert code == 2
    assert said.startswith(f"gemtop: {file}, line {len(text.splitlines()) + 1}, column ")


def test_what_config_does_not_take(file: Path) -> None:
    refused(gemtop("config", "show", "screen.thme"), "there is no key screen.thme", "did you mean screen.theme?")
    refused(gemtop("config", "path", "--json"), "takes nothing more")
    refused(gemtop("config", "edit", VISUAL="", EDITOR=""), "set EDITOR", str(file))
    refused(gemtop("config", "edit", EDITOR="no-such-editor -w"), "no-such-editor cannot be started: No such file")
    refused(gemtop("config", "edit", EDITOR="'vi"), "EDITOR has a quotation that is not closed")
    refused(gemtop("config", "edit", EDITOR="false"), "the editor false ended with 1")


def test_keys_that_are_set_work_on_the_screen_and_stand_in_its_last_line(file: Path) -> None:
    file.write_text('[keys]\n"top.quit" = "f10"\n')
    with GemtopTerminal(["top"]) as terminal:
        terminal.wait_for_text("F10 Quit", "machine")
        terminal.type("\x1b[21~")
        assert terminal.wait() == 0
