"""The prompts and the text that ship: right answers pass, wrong ones do not."""

from __future__ import annotations

import ast
import datetime
import hashlib
import json
import tomllib
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from gemtop.prompts import corpus
from gemtop.prompts.judging import judge
from gemtop.prompts.model import KINDS, CodeCheck, JsonCheck, NumberCheck, Prompt, TextCheck
from gemtop.prompts.reading import default_set, read_set

HERE = Path(__file__).parent
PROMPTS = {prompt.id: prompt for prompt in default_set().prompts}
ANSWERS = tomllib.loads((HERE / "answers.toml").read_text(encoding="utf-8"))
TOKENIZERS = {
    "words": lambda text: len(text.split()),
    "four characters": lambda text: len(text) // 4,
    "bytes": lambda text: len(text.encode()) // 3,
}


def _kind(kind: str) -> list[str]:
    return [prompt.id for prompt in PROMPTS.values() if prompt.kind == kind]


def test_sixty_prompts_ten_of_each_kind_all_checked() -> None:
    assert Counter(prompt.kind for prompt in PROMPTS.values()) == dict.fromkeys(set(KINDS) - {"other"}, 10)
    assert all(prompt.check is not None for prompt in PROMPTS.values())
    assert len({prompt.prompt for prompt in PROMPTS.values()}) == 60


def test_a_run_on_the_whole_set_is_known_by_its_fingerprint() -> None:
    assert default_set().fingerprint == default_set().fingerprint
    assert len(default_set().fingerprint) == 64


# Arithmetic and logic: the answers, worked out here.


def _doubling(term: int, times: int) -> int:
    return term if times == 0 else _doubling(2 * term - 1, times - 1)


def _knight() -> str:
    """The one of A, B, C who can be the only knight."""
    for a, b, c in ((True, False, False), (False, True, False), (False, False, True)):
        if a == (not b and not c) and b == (not a) and c == (not b):
            return "ABC"[(a, b, c).index(True)]
    raise AssertionError("the riddle has no solution")


def _savings() -> float:
    balance = 2400 * 1.03 * 1.03 - 500
    return round(balance * 1.03, 2)


NUMBERS: dict[str, float | Fraction] = {
    "reason-invoice": Fraction(14 * 375 + 6 * 1820, 100) * Fraction(9, 10) + 12,
    "reason-trains": Fraction(330 - 84 // 2, 84 + 108) * 60,
    "reason-tank": 1 / (Fraction(1, 8) + Fraction(1, 12) - Fraction(1, 24)),
    "reason-leap": sum(year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) for year in range(1890, 2011)),
    "reason-marbles": Fraction(5 * 4 + 4 * 3 + 3 * 2, 12 * 11),
    "reason-sequence": _doubling(3, 7),
    "reason-interest": _savings(),
}
A_THURSDAY = datetime.date(2001, 3, 1)
WORDS = {
    "reason-boxes": "blue",
    "reason-truth": _knight(),
    "reason-weekday": f"{A_THURSDAY.replace(month=6, day=30):%A}",
}


@pytest.mark.parametrize("id_", _kind("reasoning"))
def test_arithmetic_and_logic(id_: str) -> None:
    check = PROMPTS[id_].check
    assert A_THURSDAY.weekday() == 3
    if id_ in NUMBERS:
        right = float(NUMBERS[id_])
        assert isinstance(check, NumberCheck)
        assert abs(check.value - right) <= check.tolerance + 1e-9
        assert judge(check, f"First 3, then 4.\nAnswer: {right:.4f}", run_code=False).passed
        wrong = judge(check, f"First {right:.4f}, then 4.\nAnswer: {right + 1:.4f}", run_code=False)
        assert wrong.passed is False
        assert "the answer is" in wrong.reason
    else:
        assert judge(check, f"Let us see: red, A, Monday.\n**{WORDS[id_]}**", run_code=False).passed
        assert judge(check, f"{WORDS[id_]}?\nIt is Tuesday, green or C", run_code=False).passed is False


def test_fractions_and_decimals_are_both_right() -> None:
    check = PROMPTS["reason-marbles"].check
    for answer in ("19/66", "38/132", "0.288", r"\frac{19}{66}", "0.28787878"):
        assert judge(check, f"Answer: {answer}", run_code=False).passed, answer


# Extraction


def _scalars(value: object) -> list[object]:
    if isinstance(value, dict):
        return [one for inner in value.values() for one in _scalars(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in _scalars(inner)]
    return [value]


@pytest.mark.parametrize("id_", _kind("extract"))
def test_what_is_to_be_extracted_is_in_the_text(id_: str) -> None:
    check = PROMPTS[id_].check
    assert isinstance(check, JsonCheck)
    text = PROMPTS[id_].prompt
    in_words = {2: "two", 6: "six", 0: "free"}
    for value in _scalars(check.fields):
        if isinstance(value, bool):
            continue
        assert str(value) in text or (isinstance(value, int) and in_words.get(value, "?") in text), value
    assert all(f'"{key}"' in text for key in check.fields)
    right = json.dumps(check.fields)
    assert judge(check, f"Here it is:\n```json\n{right}\n```\nAnything else?", run_code=False).passed
    assert judge(check, right, run_code=False).passed
    for key in check.fields:
        less = {name: value for name, value in check.fields.items() if name != key}
        assert judge(check, json.dumps(less), run_code=False).reason == f"{key} is missing"
        assert judge(check, json.dumps({**check.fields, key: "else"}), run_code=False).passed is False


# Code


def _solution(name: str) -> str:
    """One definition of solutions.py with the imports it needs."""
    module = ast.parse((HERE / "solutions.py").read_text(encoding="utf-8"))
    imports = [ast.unparse(node) for node in module.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    (found,) = (node for node in module.body if getattr(node, "name", None) == name)
    return "\n".join([*imports, "", ast.unparse(found)])


@pytest.mark.parametrize("id_", _kind("code"))
def test_code(id_: str) -> None:
    check = PROMPTS[id_].check
    assert isinstance(check, CodeCheck)
    assert check.defines in PROMPTS[id_].prompt
    answer = f"```python\n{_solution(check.defines)}\n```"
    right = judge(check, answer, run_code=True)
    assert (right.passed, right.reason) == (True, "")
    assert right.isolation
    kind = "class" if check.defines[0].isupper() else "def"
    wrong = judge(check, f"```python\n{kind} {check.defines}(*_):\n    pass\n```", run_code=True)
    assert wrong.passed is False, wrong
    asked = judge(check, answer, run_code=False)
    assert (asked.passed, asked.reason) == (None, "--run-code was not given")


# Summaries and translations


@pytest.mark.parametrize("id_", _kind("summarise") + _kind("translate"))
def test_free_text(id_: str) -> None:
    check = PROMPTS[id_].check
    assert judge(check, ANSWERS[id_], run_code=False).reason == ""
    source = PROMPTS[id_].prompt.split("\n\n", 1)[1]
    assert judge(check, source, run_code=False).passed is False, "the text itself is no summary and no translation"
    assert judge(check, "I am sorry, I cannot help with that.", run_code=False).passed is False
    others = [answer for other, answer in ANSWERS.items() if other != id_]
    assert not any(judge(check, answer, run_code=False).passed for answer in others)


# Long context


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("id_", _kind("long_context"))
def test_long_prompts_fill_their_context_and_hold_their_answer(id_: str, tokenizer: str) -> None:
    prompt, count = PROMPTS[id_], TOKENIZERS[tokenizer]
    excerpt = prompt.excerpt
    assert excerpt is not None
    text = prompt.text(count)
    room = excerpt.context_tokens - prompt.max_tokens
    assert 0.9 * room < count(text) <= room - 16
    question = prompt.prompt.rsplit("{excerpt}", 1)[1].strip()
    assert text.endswith(question)
    assert all(text.count(plant.text) == 1 for plant in excerpt.planted)
    for plant in excerpt.planted:
        assert abs(text.index(plant.text) / len(text) - plant.depth) < 0.12
    assert prompt.text(count) == text
    if not excerpt.planted:
        answers = {"long-2k-baronetage": "who died 1800", "long-2k-sloop": "the Asp", "long-8k-fall": "Lower Cobb",
                   "long-32k-frigate": "frigate, the Laconia"}  # fmt: skip
        assert answers[id_] in text


def test_what_is_planted_is_nowhere_else_in_the_text() -> None:
    text = corpus.default().text
    for prompt in PROMPTS.values():
        check = prompt.check
        if prompt.excerpt is None or not prompt.excerpt.planted:
            continue
        if isinstance(check, NumberCheck):
            assert f"{check.value:g}" not in text
        else:
            assert isinstance(check, TextCheck)
            assert not any(one in text for group in check.contains for one in group)


def test_contexts_of_three_lengths() -> None:
    lengths = Counter(PROMPTS[id_].excerpt.context_tokens for id_ in _kind("long_context"))  # type: ignore[union-attr]
    assert lengths == {2048: 4, 8192: 3, 32768: 3}


# The corpus


def test_the_corpus_is_public_domain_and_says_so() -> None:
    text = corpus.default()
    assert len(text.text.encode("utf-8")) > 150_000
    assert hashlib.sha256(text.text.encode("utf-8")).hexdigest() == text.sha256
    assert (text.title, text.author, text.published) == ("Persuasion", "Jane Austen", 1818)
    assert "Public domain" in text.licence
    assert text.origin
    assert "gutenberg" not in text.text.lower()
    paragraphs = text.text.rstrip("\n").split("\n\n")
    assert all(paragraph and "\n" not in paragraph and "  " not in paragraph for paragraph in paragraphs)
    assert paragraphs[0] == "Chapter 1"


def test_a_shipped_set_can_be_copied_and_read_as_ones_own(tmp_path: Path) -> None:
    folder = Path(corpus.__file__).parent / "shipped" / "sets"
    copy = tmp_path / "mine.toml"
    copy.write_text((folder / "code.toml").read_text(encoding="utf-8"), encoding="utf-8")
    assert read_set(copy).prompts == tuple(prompt for prompt in PROMPTS.values() if prompt.kind == "code")


def test_no_answer_is_asked_to_be_longer_than_its_limit_allows() -> None:
    def most_words(prompt: Prompt) -> int:
        check = prompt.check
        return check.words[1] if isinstance(check, TextCheck) and check.words else 0

    assert all(prompt.max_tokens >= 2.5 * most_words(prompt) for prompt in PROMPTS.values())
