"""Rows as text, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.history import formats

ROWS: list[tuple[Any, ...]] = [(1, "a", None, 1.5), (22, "bb\x1b[31m", True, 1 / 3)]
NAMES, NUMERIC = ["n", "text", "flag", "value"], [True, False, False, True]


def _text(name: str, rows: list[tuple[Any, ...]] = ROWS, width: int | None = None, names: list[str] = NAMES) -> str:
    out = io.StringIO()
    numeric = NUMERIC if names is NAMES else [False] * len(names)
    assert formats.write(name, names, numeric, rows, out, terminal_width=width) == len(rows)
    return out.getvalue()


def test_the_table_is_aligned() -> None:
    assert _text("table").splitlines() == [
        " n  text     flag     value",
        "──  ───────  ────  ────────",
        " 1  a        NULL       1.5",
        "22  bb␛[31m  true  0.333333",
    ]


def test_wide_characters_keep_the_columns() -> None:
    lines = _text("table", [("日本", "x"), ("a", "y")], names=["k", "v"]).splitlines()
    assert lines[2:] == ["日本  x", "a     y"]


def test_a_table_too_wide_for_the_terminal_is_one_line_a_value() -> None:
    assert _text("table", width=20).splitlines()[:5] == [
        "── 1 ───────────────",
        "n      1",
        "text   a",
        "flag   NULL",
        "value  1.5",
    ]
    assert _text("table", width=27) == _text("table")


def test_rows_beyond_those_measured_are_there() -> None:
    rows = [(i,) for i in range(5000)]
    assert len(_text("table", rows, names=["i"]).splitlines()) == 5002


def test_csv() -> None:
    rows = [(None, "", "a,b", 'q"', "two\nlines", " x", 0.1, b"\x01", [1, None], math.nan)]
    assert _text("csv", rows, names=list("abcdefghij")).splitlines()[1:] == [
        ',"","a,b","q""","two',
        'lines"," x",0.1,01,"[1, null]",nan',
    ]
    assert _text("csv").splitlines()[2] == f"22,bb\x1b[31m,true,{1 / 3!r}"
    assert "\x1b" not in _text("csv", width=80)


def test_json() -> None:
    moment = datetime(2026, 11, 23, 10, 0, 0, 5000, tzinfo=UTC)
    rows = [(moment, Decimal("1.50"), {"a": [1, math.inf]}, timedelta(days=1), "\x1b\u202e", 2**70)]
    (row,) = json.loads(_text("json", rows, names=["t", "d", "s", "i", "x", "h"]))
    assert row == {
        "t": "2026-11-23T10:00:00.005000+00:00",
        "d": 1.5,
        "s": {"a": [1, None]},
        "i": "1 day, 0:00:00",
        "x": "\x1b\u202e",
        "h": 2**70,
    }
    assert "\u202e" not in _text("json", rows, names=["t", "d", "s", "i", "x", "h"], width=80)
    assert json.loads(_text("json", [])) == []
    assert json.loads(_text("json", [(1, 2)], names=["a", "a"])) == [{"a": 1, "a_2": 2}]


def test_markdown() -> None:
    assert _text("markdown", [(1, "a|b\n", None, 2.0)]) == (
        "| n | text | flag | value |\n| ---: | --- | --- | ---: |\n| 1 | a\\|b␊ |  | 2 |\n"
    )


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.0"), (1234567.891, "1234567.9"), (1e-9, "1e-09"), (1e20, "1e+20")]
)
def test_numbers_for_people(value: float, shown: str) -> None:
    assert formats.short(value) == shown


_ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))


@given(st.lists(st.tuples(_ANY_TEXT, st.integers(), st.floats(allow_nan=False)), max_size=10))
def test_csv_and_json_lose_nothing(rows: list[tuple[str, int, float]]) -> None:
    names = ["t", "i", "f"]
    read = list(csv.reader(io.StringIO(_text("csv", list(rows), names=names), newline="")))[1:]
    assert [(t, int(i), float(f)) for t, i, f in read] == rows
    finite = [r for r in rows if math.isfinite(r[2])]
    assert [tuple(o.values()) for o in json.loads(_text("json", list(finite), names=names))] == finite
