"""The keys of the screens: names, labels, what a user may put in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.keymap import ACTIONS, TOGETHER, Keys, fitting, hint, key_label, normal_keys
from gemtop.tui import hints


@pytest.mark.parametrize("scopes", TOGETHER, ids=" ".join)
def test_a_key_means_one_thing_at_a_time(scopes: tuple[str, ...]) -> None:
    taken: dict[str, str] = {}
    for name in ACTIONS:
        if name.partition(".")[0] in scopes:
            for key in Keys().of(name):
                assert taken.setdefault(key, name) == name


def test_every_scope_is_listed_with_those_beside_it() -> None:
    assert {name.partition(".")[0] for name in ACTIONS} == {scope for scopes in TOGETHER for scope in scopes}


@pytest.mark.parametrize(
    ("given_keys", "normal", "label"),
    [
        ("Ctrl-S", "ctrl+s", "Ctrl-S"),
        ("ctrl+s, F5", "ctrl+s,f5", "Ctrl-S"),
        ("?", "question_mark", "?"),
        (",", "comma", ","),
        ("a,,,b", "a,comma,b", "a"),
        ("-", "minus", "-"),
        ("+", "plus", "+"),
        ("G", "G", "G"),
        ("Esc", "escape", "Esc"),
        ("PgUp", "pageup", "PgUp"),
        ("Shift-Left", "shift+left", "Shift-Left"),
        ("alt+1", "alt+1", "Alt-1"),
        ("[", "left_square_bracket", "["),
        ("Space", "space", "Space"),
    ],
)
def test_keys_as_people_write_them(given_keys: str, normal: str, label: str) -> None:
    assert normal_keys(given_keys) == normal
    assert key_label(normal.split(",")[0]) == label


@pytest.mark.parametrize("wrong", ["", " ", "Ctrl-", "Foo", "hyper+x", "ctrl+nothing", "ab"])
def test_what_is_no_key_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="key"):
        normal_keys(wrong)


@given(st.sampled_from(sorted(ACTIONS)))
def test_what_is_shown_can_be_written(name: str) -> None:
    keys = Keys().of(name)
    assert normal_keys(", ".join(map(key_label, keys))) == ",".join(keys) or "ctrl+@" in keys


def test_a_key_given_to_two_is_found() -> None:
    assert Keys().clash() is None
    assert Keys({"live.tune": "s"}).clash() == "s is given to both live.tune and live.sampling"
    assert Keys({"live.tune": "s", "live.sampling": "t"}).clash() is None
    assert Keys({"replay.pause": "s"}).clash() is None, "another program"


@pytest.mark.parametrize("name", [name for name in vars(hints) if name.endswith("_KEYS") and name[0] != "_"])
def test_hints_name_actions(name: str) -> None:
    for one in getattr(hints, name):
        assert one.label(Keys()) and one.text
        assert all(action in ACTIONS for action in one.actions)


def test_of_hints_without_room_the_last_ones_go_and_some_stay() -> None:
    line = (hint("live.tune", "Tune"), hint("live.charts", "Charts"), hint("program.keys", "Keys", stays=True))
    assert [one.text for _, _, one in fitting(line, Keys(), 30)] == ["Tune", "Charts", "Keys"]
    assert [one.text for _, _, one in fitting(line, Keys(), 15)] == ["Tune", "Keys"]
    assert [one.text for _, _, one in fitting(line, Keys(), 8)] == ["Keys"]
    assert fitting(line, Keys(), 3) == []
