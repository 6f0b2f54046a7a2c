"""Saved prompts: a file that people edit too."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.prompts import saved

EDITED = '''# mine
title = "Mine"

# keep this one
[[prompt]]
id = "first"
prompt = """
[[prompt]]
is what this text is about"""   # a comment
check = { type = "number", value = 4 }

# the second
[[prompt]]
prompt = "no id"
[prompt.check]
type = "text"
contains = ["x"]

[[prompt]]
id = "third"
prompt = "3"
'''


def names() -> list[str]:
    return [prompt.id for prompt in saved.read_saved()]


@given(st.text(alphabet='"\\\n\r\t\x1b\x7f\u0085 a漢'))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert tomllib.loads(f"x = {saved.toml_text(text)}")["x"] == text


def test_saving_and_deleting(folders: Paths) -> None:
    assert names() == [] and saved.your_sets() == {}
    file = saved.save("lighthouse", 'The "sea"\nwas calm\x1b[31m')
    saved.save("two words", "second")
    assert names() == ["lighthouse", "two-words"]
    assert saved.read_saved()[0].prompt == 'The "sea"\nwas calm\x1b[31m'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(saved.NameTakenError):
        saved.save("lighthouse", "other")
    saved.save("lighthouse", "other", replacing=True)
    assert [(p.id, p.prompt) for p in saved.read_saved()] == [("two-words", "second"), ("lighthouse", "other")]
    found = saved.find_set("saved")
    assert found.title == "Saved prompts" and len(found.prompts) == 2
    saved.delete("lighthouse")
    saved.delete("two-words")
    assert names() == [] and "# Prompts saved in gemtop" in file.read_text()
    with pytest.raises(BadInputError, match="no saved prompt lighthouse any more"):
        saved.delete("lighthouse")
    saved.save("again", "x")
    assert names() == ["again"] and sorted(p.name for p in file.parent.iterdir()) == ["saved.toml"]


def test_what_the_user_wrote_stays(folders: Paths, tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles.toml"
    elsewhere.write_text(EDITED.replace("[[prompt]]\nis", "prompts\nis"))
    elsewhere.chmod(0o640)
    saved.your_folder().mkdir(parents=True)
    saved.saved_file().symlink_to(elsewhere)
    saved.save("fourth", "4")
    assert elsewhere.read_text().startswith(EDITED[:40]) and names() == ["first", "2", "third", "fourth"]
    saved.delete("2")
    assert elsewhere.read_text().count("# a comment") == 1 and "the second" not in elsewhere.read_text()
    assert saved.read_saved()[0].check is not None and names() == ["first", "third", "fourth"]
    assert saved.saved_file().is_symlink() and stat.S_IMODE(elsewhere.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[prompt]]\nprompt = 3\n", "saved.toml: line 1, prompt 1: prompt is 3"),
        ("not toml", "saved.toml: no TOML: Expected '=' after a key"),
        ('prompt = [{ id = "a", prompt = "x" }]\n', "written in a way that gemtop does not change; edit new there"),
    ],
)
def test_a_file_that_cannot_be_changed_stays_as_it_is(folders: Paths, text: str, words: str) -> None:
    saved.your_folder().mkdir(parents=True)
    saved.saved_file().write_text(text)
    with pytest.raises(BadInputError, match=words):
        saved.save("new", "text")
    assert saved.saved_file().read_text() == text


def test_a_header_inside_a_text_is_no_prompt(folders: Paths) -> None:
    saved.your_folder().mkdir(parents=True)
    saved.saved_file().write_text(EDITED)
    with pytest.raises(BadInputError, match="edit first there"):
        saved.delete("first")
    assert saved.saved_file().read_text() == EDITED


def test_sets_are_found_by_name(folders: Paths, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nothing: no file, and no set of that name; your own sets go into"):
        saved.find_set("nothing")
    saved.save("a", "b")
    (saved.your_folder() / "desk.jsonl").write_text('{"prompt": "hello"}\n')
    (saved.your_folder() / "notes.txt").write_text("")
    assert list(saved.your_sets()) == ["saved", "desk"]
    assert saved.find_set("desk").prompts[0].prompt == "hello"
    with pytest.raises(BadInputError, match="there are saved, desk"):
        saved.find_set("nothing")
    with pytest.raises(BadInputError, match="cannot be read"):
        saved.find_set(str(tmp_path / "nothing"))


@pytest.mark.parametrize(("name", "words"), [(" ", "has a name"), ("x" * 90, "at most 80"), ("a\x1b", "at most 80")])
def test_names_that_are_none(folders: Paths, name: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        saved.save(name, "text")
    assert saved.name_for("The sea was calm that morning") == "the-sea-was-calm" and saved.name_for("?") == "prompt"
