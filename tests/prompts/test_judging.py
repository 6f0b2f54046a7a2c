"""Verdicts: right, wrong and hostile outputs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.text import printable
from gemtop.prompts import code_check, numbers
from gemtop.prompts.judging import judge
from gemtop.prompts.model import Check, CodeCheck, JsonCheck, NumberCheck, TextCheck


def _reason(check: Check | None, output: str) -> str:
    result = judge(check, output, run_code=False)
    assert result.passed is (result.reason == "")
    return result.reason


# Numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Answer: 42.", 42),
        ("**Answer:** \u22121,234.50 euros", -1234.5),
        ("The answer is 3/8.", 0.375),
        ("Answer (to two decimals): 3.14", 3.14),
        ("Answer:\n\n$$\n42\n$$", 42),
        ("Answer: 3 + 4 = 7 of 9", 7),
        (r"so it is \boxed{\frac{3}{8}}", 0.375),
        ("#### 72", 72),
        ("about 6.02 \u00d7 10^{23} atoms", 6.02e23),
        ("1.5e-3 m", 0.0015),
        (r"\$1{,}250", 1250),
        ("12\u202f345 km", 12345),
        ("1'234", 1234),
        ("10-5 is 5", 5),
        ("It is -7 degrees", -7),
        ("To answer this, add.\n1. 3 + 4 = 7\nTotal: 7", 7),
        ("The answer is 7, not 9", 7),
        ("First the answer is 3. No: the answer is 4.", 4),
        ("_12_ or *13*", 13),
        ("H2O", None),
        ("forty", None),
        ("1e999999999", None),
        ("9" * 5000, None),
        ("5/0", None),
    ],
)
def test_the_number_that_is_the_answer(text: str, value: float | None) -> None:
    assert numbers.answer(text) == (None if value is None else pytest.approx(value))


@given(st.text())
def test_any_text_has_a_number_or_none(text: str) -> None:
    found = numbers.answer(text)
    assert found is None or isinstance(found, float)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_numbers_are_read_as_they_are_written(value: float) -> None:
    for written in (repr(value), f"{value:,.4f}", f"{value:.6e}"):
        assert numbers.answer(f"It comes to {written} in all.") == pytest.approx(float(written.replace(",", "")))


def test_tolerance_is_a_distance() -> None:
    check = NumberCheck(10, 0.5)
    assert _reason(check, "10.5") == ""
    assert _reason(check, "10.51") == "the answer is 10.51, not 10 within 0.5"
    assert _reason(NumberCheck(0), "0.001") == "the answer is 0.001, not 0"
    assert _reason(check, "none") == "the output holds no number"


# JSON


FIELDS = {"name": "Upper Dale", "total": 610.5, "open": False, "tags": ["a", "b"], "at": {"x": 1}, "left": None}
RIGHT = (
    '{"name": "upper dale.", "total": "610.50 EUR", "open": false, "tags": ["A", "b"], "at": {"x": 1.0}, "left": null}'
)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (RIGHT, ""),
        (f"Sure {{here}} it is: {RIGHT} and so on", ""),
        (f"```json\n{RIGHT}\n```", ""),
        (f"```\n{RIGHT}", ""),
        (f'{{"name": "the wrong one"}}\n~~~json\n{RIGHT}\n~~~', ""),
        (RIGHT.replace("false", '"False"'), ""),
        (RIGHT.replace("610.50 EUR", "$610.50"), ""),
        (RIGHT.replace("610.50 EUR", "about six hundred"), 'total is "about six hundred", not 610.5'),
        (RIGHT.replace("false", "0"), "open is 0, not false"),
        (RIGHT.replace('"x": 1.0', '"x": true'), "at.x is true, not 1"),
        (RIGHT.replace('["A", "b"]', '["A"]'), "tags has 1 items, not 2"),
        (RIGHT.replace('["A", "b"]', '["b", "a"]'), 'tags[0] is "b", not "a"'),
        (RIGHT.replace('{"x": 1.0}', "[1]"), "at is [1], not an object"),
        (RIGHT.replace(', "left": null', ""), "left is missing"),
        (RIGHT.replace("1.0", "NaN"), "the output's JSON does not parse: NaN is no JSON"),
        ("no braces", "the output holds no JSON object"),
        ("[1, 2]", "the output holds no JSON object"),
        ('{"name": "cut of', "the output's JSON does not parse: Unterminated string starting at at \"cut of"),
        ('{"a": ' * 100_000, "the output's JSON is nested too deeply"),
        (RIGHT.replace("upper dale.", "\\u001b[2J\\ud800"), 'name is "\\u001b[2J\\ud800", not "Upper Dale"'),
        (RIGHT.replace("1.0", "9" * 4000), None),
        (RIGHT.replace("1.0", "9" * 5000), None),
    ],
)
def test_json(output: str, reason: str | None) -> None:
    found = _reason(JsonCheck(FIELDS), output)
    if reason is None:
        assert found
    else:
        assert found == reason


def test_many_braces_take_no_time() -> None:
    assert _reason(JsonCheck({"a": 1}), "{" * 200_000) == "the output holds no JSON object"
    assert _reason(JsonCheck({"a": 1}), '{"a":{' * 30_000).startswith("the output's JSON")


# Text


@pytest.mark.parametrize(
    ("check", "output", "reason"),
    [
        (TextCheck(contains=(("Zug", "Bahn"),)), "der Zug", ""),
        (TextCheck(contains=(("Zug", "Bahn"),)), "der Zugang", 'the output does not say "Zug" or "Bahn"'),
        (TextCheck(contains=(("Zug*",),)), "der Zugang", ""),
        (TextCheck(contains=(("l'entrée",),)), "\u00e0 L\u2019ENTR\u00c9E.", ""),
        (TextCheck(contains=(("three-week",),)), "three\u2013week", ""),
        (TextCheck(contains=(("up to",),)), "up\n to", ""),
        (TextCheck(lacks=("fish",)), "No Fish here", 'the output says "fish"'),
        (TextCheck(lacks=("fish",)), "selfish", ""),
        (TextCheck(equals=("Blue",)), " **blue**.\n", ""),
        (TextCheck(equals=("Blue", "Azure")), "It is blue", 'the output is not "Blue" or "Azure"'),
        (TextCheck(words=(2, 3)), "one two three", ""),
        (TextCheck(words=(2, 3)), "one two three four", "the output has 4 words, not 2 to 3"),
        (TextCheck(matches=r"\d{3}"), "the code 123", ""),
        (TextCheck(matches=r"^\d+$"), "the code 123", r"the output does not match ^\d+$"),
        (TextCheck(words=(1, 9), lacks=("a",)), "", "the output is empty"),
    ],
)
def test_text(check: TextCheck, output: str, reason: str) -> None:
    assert _reason(check, output) == reason


def test_a_pattern_that_backtracks_for_ever_is_given_up() -> None:
    result = judge(TextCheck(matches=r"(a+)+$"), "a" * 60 + "!", run_code=False)
    assert result.passed is None
    assert result.reason == "the pattern found no end within 1 s"


def test_no_check_is_not_a_failure() -> None:
    result = judge(None, "anything", run_code=True)
    assert (result.passed, result.reason) == (None, "the prompt has no check")


# Code as models hand it over


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("```python\ndef f():\n    return 1\n```", "def f():\n    return 1\n"),
        ("Text\n\n    ```py\n    def f():\n        return 1\n    ```\n", "def f():\n    return 1\n"),
        ("```python\ndef f(): pass\n```\nUse it:\n```python\nprint(f())\n```", "def f(): pass\n"),
        ("```\ndef f(): pass\n```\nBetter:\n```\ndef f(): return 2\n```", "def f(): return 2\n"),
        ("```python\ndef f():\n    return 1", "def f():\n    return 1"),
        ("```json\n{}\n```", None),
        ("```python\ndef g(): pass\n```", None),
        (
            "Here you are:\nimport re\n\ndef f():\n    return 1\n\nThis works because",
            "import re\n\ndef f():\n    return 1\n",
        ),
        ("def f(): return 1\nLIMIT: int = 3\nThat is all.", "def f(): return 1\nLIMIT: int = 3"),
        ("f = lambda: 1", None),
        ("```\nf = lambda: 1\n```", "f = lambda: 1\n"),
        ("```\nf: object = len\n```", "f: object = len\n"),
        ("```\nclass f:\n    pass\n```", "class f:\n    pass\n"),
        ("```\nif f == 1: pass\n```", None),
        ("", None),
    ],
)
def test_the_code_of_an_output(output: str, code: str | None) -> None:
    assert code_check.find(output, "f") == code


@given(st.text())
def test_no_output_breaks_a_check(output: str) -> None:
    for check in (JsonCheck({"a": 1}), NumberCheck(1), TextCheck(contains=(("a",),)), CodeCheck("f", "assert f()")):
        result = judge(check, output, run_code=False)
        assert printable(result.reason) == result.reason
        result.reason.encode("utf-8")


@pytest.mark.parametrize(
    "piece",
    [
        "answer is ",
        "\\boxed{",
        "```python\n",
        "```\n~~~\n",
        "def f(",
        "a, ",
        "a:",
        '{"a":',
        '{"',
        "[[",
        "1,111",
        "9 ",
        "*",
        "\n",
    ],
)
def test_a_model_that_repeats_itself_is_judged_as_any(piece: str) -> None:
    output = piece * (150_000 // len(piece))
    for check in (JsonCheck({"a": 1}), NumberCheck(1), TextCheck(contains=(("b c",),)), CodeCheck("f", "assert f()")):
        assert judge(check, output, run_code=False).passed is not True
    assert code_check.find(output, "g") is None
