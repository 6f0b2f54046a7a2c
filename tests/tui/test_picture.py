"""The picture of the terminal: whatever is put and however it is sent, the terminal shows it in the end."""

from __future__ import annotations

import random
import unicodedata

import pyte
import pytest
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style

from gemtop.tui.pens import BARE, change, pen_of
from gemtop.tui.picture import Picture

STYLES = [
    None,
    Style(),
    Style.parse("red"),
    Style.parse("bold #ff8800 on #101010"),
    Style.parse("#ff8800 on #101010"),
    Style.parse("#00ff88 on #101010"),
    Style.parse("#00ff88"),
    Style.parse("italic underline white on blue"),
    Style.parse("bright_green on color(200)"),
    Style.parse("reverse"),
    Style.parse("on #101010"),
    Style(link="https://example.org", color="red"),
]
PIECES = ["a", "bc", " ", "     ", " " * 14, "┤⠤", "漢", "字漢", "e\u0301", "x漢y", "\x1b[31m", "\x07", "→", "☂"]


def pens(style: Style | None) -> tuple[tuple[str, ...], str, str]:
    return pen_of(style, ColorSystem.TRUECOLOR)


def shown(screen: pyte.Screen) -> list[list[tuple[object, ...]]]:
    """What the emulator shows; of blanks only what is seen of them."""
    lines = []
    for y in range(screen.lines):
        line: list[tuple[object, ...]] = []
        for x in range(screen.columns):
            cell = screen.buffer[y][x]
            seen = (cell.underscore, cell.reverse, cell.bg)
            if cell.data == " " and not (cell.underscore or cell.reverse):
                line.append((" ", cell.bg))
            else:
                data = unicodedata.normalize("NFC", cell.data)
                line.append((data, cell.fg, cell.bold, cell.italics, *seen))
        lines.append(line)
    return lines


@pytest.mark.parametrize("seed", range(30))
def test_the_terminal_ends_up_with_what_was_put(seed: int) -> None:
    """Sent in pieces of any size while it changes, it looks like the same picture sent whole to a new terminal."""
    rng = random.Random(seed)
    width, height = 30, 5
    erases = bool(seed % 2)
    picture = Picture(erases=erases)
    picture.resize(width, height)
    screen = pyte.Screen(width, height)
    stream = pyte.Stream(screen)
    stream.feed("\x1b[?7l\x1b[31mrubbish of the program before")
    for _ in range(60):
        picture.tick()
        for _ in range(rng.randint(0, 3)):
            y, x = rng.randrange(height), rng.randrange(width)
            text = [Segment(rng.choice(PIECES), rng.choice(STYLES)) for _ in range(rng.randint(1, 6))]
            picture.put_segments(x, y, text, pens, rng.randint(x, width))
        stream.feed(picture.next_piece(rng.choice((1, 20, 100, 10_000))))
    while not picture.is_sent:
        piece = picture.next_piece(50)
        assert piece
        stream.feed(piece)
    assert picture.next_piece(10_000) == ""
    fresh = pyte.Screen(width, height)
    picture.forget()
    pyte.Stream(fresh).feed("\x1b[?7l" + picture.next_piece(100_000))
    wrong = [
        (x, y, is_there, wanted)
        for y, (line, right) in enumerate(zip(shown(screen), shown(fresh), strict=True))
        for x, (is_there, wanted) in enumerate(zip(line, right, strict=True))
        if is_there != wanted
    ]
    assert not wrong, wrong[:4]


def test_cells_of_a_frame_and_segments_are_one_picture() -> None:
    picture = Picture()
    picture.resize(10, 1)
    picture.next_piece(1000)
    red = pens(Style.parse("red"))
    picture.put_cells(2, 0, ["a", "漢", "", "b"], [red] * 4)
    assert picture.next_piece(1000) == "\x1b[1;3H\x1b[31ma漢b"
    picture.put_segments(2, 0, [Segment("a漢b", Style.parse("red"))], pens, 10)
    assert picture.next_piece(1000) == "", "it is there already"
    picture.put_segments(4, 0, [Segment("c", Style.parse("red"))], pens, 10)
    assert picture.next_piece(1000) == "\x1b[1;4H c", "half of a wide character is none"


def test_what_was_drawn_for_a_larger_terminal_goes_nowhere() -> None:
    """Textual may bring a frame of before a resize after it."""
    picture = Picture()
    picture.resize(4, 2)
    for x, y in ((4, 0), (9, 1), (0, 2), (-1, 0)):
        picture.put_segments(x, y, [Segment("漢字"), Segment("ab")], lambda _: BARE, x + 6)
        picture.put_cells(x, y, ["a", "b"], [BARE, BARE])
    picture.put_segments(2, 0, [Segment("漢字")], lambda _: BARE, 6)
    picture.put_cells(3, 1, ["a", "b"], [BARE, BARE])
    assert picture._glyphs == [[" ", " ", "漢", ""], [" ", " ", " ", "a"]]


def test_text_that_streams_costs_its_own_bytes() -> None:
    picture = Picture()
    picture.resize(40, 2)
    picture.put_segments(0, 1, [Segment(" " * 40, Style.parse("#e0e0e0 on #121212"))], pens, 40)
    picture.next_piece(10_000)
    line, sent = "", []
    for word in ("The ", "council ", "approved ", "the ", "budget"):
        line += word
        picture.put_segments(0, 1, [Segment(line, Style.parse("#e0e0e0 on #121212"))], pens, 40)
        sent.append(picture.next_piece(10_000))
    assert sent[1:] == [" council", " approved", " the", " budget"]


def test_behind_a_character_of_doubtful_width_the_cursor_is_set() -> None:
    picture = Picture()
    picture.resize(10, 1)
    picture.next_piece(1000)
    picture.put_segments(0, 0, [Segment("a👍b字c")], pens, 10)
    assert picture.next_piece(1000) == "\x1b[1;1Ha👍\x1b[1;4Hb字c"


def test_what_was_put_last_is_sent_first() -> None:
    picture = Picture()
    picture.resize(10, 3)
    picture.next_piece(1000)
    for y, text in ((0, "chart"), (2, "key")):
        picture.tick()
        picture.put_segments(0, y, [Segment(text)], pens, 10)
    assert "key" in picture.next_piece(1)
    assert "chart" in picture.next_piece(1)


def test_where_somebody_types_the_cursor_comes_back() -> None:
    picture = Picture()
    picture.resize(10, 2)
    picture.home = (3, 1)
    assert picture.next_piece(10_000).endswith("\x1b[2;4H")
    assert picture.is_sent
    picture.home = (4, 1)
    assert not picture.is_sent
    assert picture.next_piece(100) == "\x1b[2;5H"


def test_blanks_are_erased_where_the_terminal_erases_in_colour() -> None:
    picture = Picture(erases=True)
    picture.resize(120, 40)
    for y in range(40):
        picture.put_segments(0, y, [Segment(" " * 120, Style.parse("on #121212"))], pens, 120)
    assert len(picture.next_piece(100_000)) < 600


def test_pens_change_by_what_differs() -> None:
    plain, bold = pens(Style.parse("#e0e0e0 on #121212")), pens(Style.parse("bold #e0e0e0 on #121212"))
    other = pens(Style.parse("#ff8800 on #121212"))
    assert change(plain, other) == "\x1b[38;2;255;136;0m"
    assert change(plain, plain) == ""
    assert change(plain, BARE) == "\x1b[0m"
    assert change(plain, bold) == "\x1b[1m"
    assert change(bold, other) == "\x1b[22;38;2;255;136;0m"
    assert pens(Style.parse("#e0e0e0 on #121212")) is plain
