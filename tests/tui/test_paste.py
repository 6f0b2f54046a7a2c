"""Pasted text as the driver's parser hands it on."""

from __future__ import annotations

import random

import pytest
from textual import events
from textual.message import Message

from gemtop.tui.paste import BEGIN, END, PasteParser


def parsed(*pieces: str) -> list[Message]:
    parser = PasteParser()
    return [message for piece in pieces for message in parser.feed(piece)]


def pastes(messages: list[Message]) -> list[str]:
    return [message.text for message in messages if isinstance(message, events.Paste)]


def keys(messages: list[Message]) -> list[str]:
    return [message.key for message in messages if isinstance(message, events.Key)]


def test_escape_sequences_in_a_paste_stay_in_their_place() -> None:
    messages = parsed(f"a{BEGIN}one \x1b[31m two{END}b")
    assert pastes(messages) == ["one ␛[31m two"]
    assert keys(messages) == ["a", "b"]


def test_lines_of_a_paste() -> None:
    assert pastes(parsed(f"{BEGIN}one\rtwo\r\nthree\n{END}")) == ["one\ntwo\nthree\n"]


@pytest.mark.parametrize("seed", range(30))
def test_read_in_any_pieces_it_is_the_same(seed: int) -> None:
    chance = random.Random(seed)
    text = "".join(chance.choice(("x", "\x1b", "\x1b[", "[2", "01~", "é", "\x1b[200~", "0")) for _ in range(40))
    while END in text:
        text = text.replace(END, "")
    whole, pieces = f"q{BEGIN}{text}{END}w{BEGIN}{END}e", []
    while whole:
        # What begins a paste is seen as keys where it is torn within its first two characters, as Textual has it.
        length = chance.randint(1, 9)
        while any(whole[:length].endswith(begun) for begun in ("\x1b", "\x1b[")):
            length += 1
        pieces.append(whole[:length])
        whole = whole[length:]
    messages = parsed(*pieces)
    assert pastes(messages) == [text.replace("\x1b", "␛"), ""]
    assert keys(messages) == ["q", "w", "e"]


def test_a_paste_that_holds_the_end_of_a_paste_ends_there() -> None:
    """No terminal sends such a thing, but nothing hangs if one does."""
    messages = parsed(f"{BEGIN}one{END}", "two", END)
    assert pastes(messages)[0] == "one"
    assert keys(messages)[:3] == ["t", "w", "o"]


def test_keys_are_textuals() -> None:
    assert keys(parsed("\x1b[A\x1b[20~é")) == ["up", "f9", "é"]


def test_a_megabyte_is_one_message() -> None:
    text = "lorem ipsum \x1b[31m dolor " * 45_000
    messages = parsed(*(f"{BEGIN}{text}{END}"[at : at + 4096] for at in range(0, len(text) + 12, 4096)))
    assert len(messages) == 1
    assert len(pastes(messages)[0]) == len(text)


def test_alt_with_a_digit_or_a_letter_types_nothing() -> None:
    """What a terminal sends for Alt is ESC and the key; a letter is told from Esc and the letter by the pause."""
    parser = PasteParser()
    found = [message for data in ("\x1b1", "\x1b5", "\x1b[49;3u", "\x1bq\x1b[A") for message in parser.feed(data)]
    assert [(key.key, key.character) for key in found if isinstance(key, events.Key)][:3] == [
        ("alt+1", None),
        ("alt+5", None),
        ("alt+1", None),
    ]
    assert all(key.character is None for key in parser._sequence_to_key_events("q", alt=True))
