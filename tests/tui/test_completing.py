"""What may follow in an SQL text."""

from __future__ import annotations

import pytest

from gemtop.domain.sql_text import as_identifier, bare, parameters, tokens, without_header
from gemtop.history.workbench import View, ViewColumn
from gemtop.tui.completing import complete
from gemtop.tui.sql_present import error_lines

VIEWS = (
    View("runs", "Each run", (ViewColumn("run_id", "VARCHAR", ""), ViewColumn("variant", "VARCHAR", "What it is"))),
    View("tokens", "Each token", (ViewColumn("index", "INTEGER", "Its place"), ViewColumn("t_s", "DOUBLE", ""))),
)


def offered(text: str, *, asked: bool = False) -> list[str]:
    """At the place of the bar."""
    cursor = text.index("|")
    return [c.text for c in complete(text.replace("|", ""), cursor, VIEWS, asked=asked).candidates]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("FROM |r", []),
        ("FROM r|", ["runs"]),
        ("SELECT v| FROM runs", ["variant"]),
        ("sel|", ["SELECT"]),
        ("SELECT * FROM runs AS x JOIN t|", ["tokens"]),
        ("SELECT * FROM runs, t|", ["tokens"]),
        ("SELECT x.| FROM runs AS x", ["run_id", "variant"]),
        ("SELECT x.v| FROM runs x", ["variant"]),
        ("SELECT t.| FROM tokens AS t", ['"index"', "t_s"]),
        ("SELECT nobody.| FROM runs", []),
        ("SELECT ind| FROM tokens", ['"index"']),
        ("WITH mine AS (SELECT 1) FROM mi|", ["mine"]),
        ("SELECT 'r|'", []),
        ("SELECT 'r|", []),
        ("-- r|", []),
        ("SELECT 1| FROM runs", []),
        ("SELECT $r|", []),
        ("FROM runs|", []),
        ("FROM RUNS|", []),
        ("FROM runs SELECT kind, count(*) GROUP BY all|", []),
        ("SELECT rian| FROM runs", ["variant"]),
    ],
)
def test_what_is_offered(text: str, first: list[str]) -> None:
    assert offered(text)[: len(first) or None] == first


def test_before_a_first_letter_only_when_asked() -> None:
    assert offered("SELECT |FROM runs") == []
    assert offered("SELECT | FROM runs", asked=True)[:2] == ["run_id", "variant"]


def test_columns_say_what_they_are() -> None:
    found = complete("SELECT var FROM runs", 10, VIEWS)
    assert found.start == 7 and found.candidates[0].note == "varchar: What it is"


def test_words_of_sql() -> None:
    text = "SELECT 'it''s', \"a b\" -- no $x\n FROM t WHERE a > $n AND b::INT = $$x$$ /* $y"
    assert "".join(text[t.start : t.end] for t in tokens(text)).replace(" ", "") == "".join(text.split()).replace(
        "\n", ""
    )
    assert parameters(text) == ("n",)
    assert bare("-- a\nSELECT 1; -- b;") == "SELECT 1" and bare(" -- a") == ""
    assert without_header("-- Title\n-- A\n\nSELECT 1 -- b\n") == "SELECT 1 -- b"
    assert [as_identifier(n) for n in ("a", "index", "A b", 'x"y')] == ["a", '"index"', '"A b"', '"x""y"']


def test_the_marked_place_of_an_error_stays_in_view() -> None:
    line = "LINE 12: SELECT " + "a, " * 40 + "nope, " + "b, " * 40
    mark = " " * line.index("nope") + "^"
    lines = error_lines("Candidates: " + "word " * 200 + f"\n\n{line}\n{mark}", 50)
    assert len(lines) <= 8 and all(len(text) <= 50 for text in lines)
    assert lines[-2].startswith("LINE 12: ") and lines[-2][lines[-1].index("^") :].startswith("nope")
    assert error_lines("n is integer", 50) == ["n is integer"]
