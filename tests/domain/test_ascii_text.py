"""Text for terminals that show ASCII alone."""

from __future__ import annotations

import sys

from gemtop.domain.ascii_text import CELLS, WORDS, ascii_cells, to_ascii
from gemtop.domain.text import cell_width


def test_every_character_keeps_its_cells() -> None:
    for code in (*range(0x80, 0x3000), *range(0x3000, sys.maxunicode + 1, 61)):
        char = chr(code)
        shown = ascii_cells(char)
        assert shown.isascii() and shown.isprintable(), hex(code)
        assert len(shown) == cell_width(char), hex(code)
        assert to_ascii(char).isascii()


def test_what_gemtop_says_is_said_in_more_letters() -> None:
    said = {
        "9.10 ± 0.23 J/token": "9.10 +- 0.23 J/token",
        "67 °C": "67 C",
        "ctx 8192→16384": "ctx 8192->16384",
        "asking llama.cpp about Q4_0 …": "asking llama.cpp about Q4_0 ...",
        "Größe naïve Ærø": "Grosse naive AEro",
        "▕▁▄█▏": "|.=#|",
        "漢字 ␛[31m": "???? ^[[31m",
    }
    assert {text: to_ascii(text) for text in said} == said


def test_what_is_laid_out_stays_where_it_is() -> None:
    assert ascii_cells("┌─ tokens/s ─┐│ ⣀⠉⠒ ║░▓█") == "+- tokens/s -+| .'' |.##"
    assert ascii_cells("1 ± 2 e\u0301té 漢") == "1 ~ 2 ete ??"


def test_streams_write_what_they_can() -> None:
    assert "a ± b…漢".encode("ascii", WORDS) == b"a +- b...??"
    assert "a ± b…漢".encode("ascii", CELLS) == b"a ~ b.??"
