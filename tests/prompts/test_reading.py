"""Sets of a user's own: what can be written, and what is said of what cannot."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import printable
from gemtop.prompts.model import CodeCheck, JsonCheck, NumberCheck, Prompt, TextCheck
from gemtop.prompts.reading import MOST_BYTES, read_set

TOML = """
title = "Mine"

[[prompt]]
id = "one"
kind = "extract"
prompt = "Give me JSON"
max_tokens = 64
check = { type = "json", fields = { a = [1, { b = "c" }] } }

[[prompt]]
prompt = "How many?"
check = { type = "number", value = 3, tolerance = 0.5 }

[[prompt]]
prompt = "Say it"
check = { type = "text", contains = ["x", ["y", "z"]], lacks = "w", words = [1, 5], equals = ["a"], matches = "b" }

[[prompt]]
prompt = "Write it"
check = { type = "code", defines = "f", asserts = "assert f()" }
"""


def _write(tmp_path: Path, text: str, name: str = "set.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def _problem(path: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        read_set(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert printable(text) == text
    return text.removeprefix(f"{path}: ")


def test_a_set_in_toml(tmp_path: Path) -> None:
    made = read_set(_write(tmp_path, TOML))
    assert made.title == "Mine"
    assert made.prompts == (
        Prompt("one", "Give me JSON", "extract", 64, JsonCheck({"a": [1, {"b": "c"}]})),
        Prompt("2", "How many?", check=NumberCheck(3, 0.5)),
        Prompt("3", "Say it", check=TextCheck((("x",), ("y", "z")), ("w",), "b", ("a",), (1, 5))),
        Prompt("4", "Write it", check=CodeCheck("f", "assert f()")),
    )


def test_lines_of_json_with_nothing_but_prompts(tmp_path: Path) -> None:
    lines = '\ufeff{"prompt": "Hello"}\r\n\r\n{"prompt": "Two\\nlines \u2028", "id": 7}\r\n'
    made = read_set(_write(tmp_path, lines, "mine.jsonl"))
    assert made.title == "mine"
    assert made.prompts == (Prompt("1", "Hello"), Prompt("7", "Two\nlines \u2028"))


def test_the_fingerprint_is_of_what_is_asked(tmp_path: Path) -> None:
    toml = read_set(_write(tmp_path, '[[prompt]]\nprompt = "Hi"\n# a remark\n'))
    lines = read_set(_write(tmp_path, '{"prompt": "Hi"}', "other.jsonl"))
    assert toml.fingerprint == lines.fingerprint
    others = (
        '{"prompt": "Hi!"}',
        '{"prompt": "Hi", "max_tokens": 12}',
        '{"prompt": "Hi", "check": {"type": "text", "contains": ["1"]}}',
        '{"prompt": "Hi", "check": {"type": "number", "value": 1}}',
        '{"prompt": "Hi", "check": {"type": "json", "fields": {"value": 1}}}',
        '{"prompt": "Hi"}\n{"prompt": "Hi"}',
    )
    prints = {read_set(_write(tmp_path, other, "x.jsonl")).fingerprint for other in others}
    assert len(prints | {toml.fingerprint}) == len(others) + 1


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip()))
def test_any_text_can_be_a_prompt(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(json.dumps({"prompt": text}), encoding="utf-8")
    assert read_set(path).prompts[0].prompt == text


def test_what_has_no_known_ending_is_told_by_its_first_character(tmp_path: Path) -> None:
    assert read_set(_write(tmp_path, '{"prompt": "Hi"}', "set")).prompts[0].prompt == "Hi"
    assert read_set(_write(tmp_path, '[[prompt]]\nprompt = "Hi"', "set.txt")).prompts[0].prompt == "Hi"


def test_a_pipe_is_a_file_too(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=('{"prompt": "Hi"}',))
    writer.start()
    assert read_set(pipe).prompts[0].prompt == "Hi"
    writer.join()


PROMPT = '[[prompt]]\nprompt = "Hi"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'no prompts in it; write [[prompt]] and, below it, prompt = "..."'),
        ('title = "x"', 'no prompts in it; write [[prompt]] and, below it, prompt = "..."'),
        ("[[prompt]", "no TOML: Expected ']]' at the end of an array declaration (at line 1, column 9)"),
        ('{"prompt": 1}', "no TOML: Invalid statement (at line 1, column 1); JSON lines go into a file named .jsonl"),
        ('titel = "x"\n' + PROMPT, 'unknown key "titel"; did you mean title?'),
        ("[prompt]\n", "prompt is to be tables; write [[prompt]] above each"),
        ("title = 3\n" + PROMPT, "title is 3; it is to be a text in quotes"),
        (PROMPT + "max_token = 3", 'line 1, prompt 1: unknown key "max_token"; did you mean max_tokens?'),
        (PROMPT + "\n" + PROMPT + "zzz = 3",
         'line 4, prompt 2: unknown key "zzz"; there are id, kind, prompt, max_tokens, check, excerpt'),
        ("[[prompt]]\nid = 'a'", 'line 1, prompt 1: the key "prompt" is missing'),
        ("[[prompt]]\nprompt = ' '", "line 1, prompt 1: prompt is empty"),
        ("[[prompt]]\nprompt = 3", "line 1, prompt 1: prompt is 3; it is to be a text in quotes"),
        (PROMPT + "max_tokens = 0", "line 1, prompt 1: max_tokens is 0; it is to be a whole number from 1 to 131072"),
        (PROMPT + "max_tokens = true",
         "line 1, prompt 1: max_tokens is True; it is to be a whole number from 1 to 131072"),
        (PROMPT + 'kind = "translation"',
         'line 1, prompt 1: kind is "translation", not one of summarise, extract, code, reasoning, translate, '
         "long_context, other; did you mean translate?"),
        (PROMPT + "id = 'a b'",
         "line 1, prompt 1: id is 'a b'; it is to be at most 80 letters, digits and signs without spaces"),
        (PROMPT + 'id = "\\u001b[2J"',
         "line 1, prompt 1: id is '\\x1b[2J'; it is to be at most 80 letters, digits and signs without spaces"),
        (PROMPT + 'id = "2"\n' + PROMPT, 'line 4, prompt 2: the id "2" is that of line 1, prompt 1 too'),
        ('[[prompt]]\nprompt = """\n[[prompt]]\n"""\nx = 1',
         'prompt 1: unknown key "x"; there are id, kind, prompt, max_tokens, check, excerpt'),
        (PROMPT + '"\\u001b[2J" = 1',
         'line 1, prompt 1: unknown key "\u241b[2J"; there are id, kind, prompt, max_tokens, check, excerpt'),
        (PROMPT + "check = 1", "line 1, prompt 1: check is 1; it is to be a table"),
        (PROMPT + "check = {}", 'line 1, prompt 1: the key "check.type" is missing'),
        (PROMPT + 'check = { type = "jsn" }',
         'line 1, prompt 1: check.type is "jsn", not one of json, number, text, code; did you mean json?'),
        (PROMPT + 'check = { type = "json" }', 'line 1, prompt 1: the key "check.fields" is missing'),
        (PROMPT + 'check = { type = "json", fields = {} }', "line 1, prompt 1: check.fields is empty"),
        (PROMPT + 'check = { type = "json", fields = { d = 2030-01-02 } }',
         "line 1, prompt 1: check.fields.d is nothing JSON has; write 2030-01-02 in quotes"),
        (PROMPT + 'check = { type = "json", fields = { d = [nan] } }',
         "line 1, prompt 1: check.fields.d[0] is nan, which JSON has no number for"),
        (PROMPT + 'check = { type = "number", value = "3" }',
         "line 1, prompt 1: check.value is '3'; it is to be a number"),
        (PROMPT + 'check = { type = "number", value = nan }',
         "line 1, prompt 1: check.value is nan; it is to be a number from -1e+300 to 1e+300"),
        (PROMPT + 'check = { type = "number", value = 3, tolerance = -1 }',
         "line 1, prompt 1: check.tolerance is -1; it is to be a number from 0 to 1e+300"),
        (PROMPT + 'check = { type = "number", value = 3, tolerence = 1 }',
         'line 1, prompt 1: unknown key "check.tolerence"; did you mean tolerance?'),
        (PROMPT + 'check = { type = "text" }',
         "line 1, prompt 1: check says nothing of the text; there are contains, lacks, matches, equals, words"),
        (PROMPT + 'check = { type = "text", contains = [] }',
         "line 1, prompt 1: check.contains is []; it is to be a list of texts, or of lists of texts of which one will "
         "do"),
        (PROMPT + 'check = { type = "text", contains = ["a", [1]] }',
         "line 1, prompt 1: check.contains[1] is [1]; it is to be a list of texts"),
        (PROMPT + 'check = { type = "text", matches = "(" }',
         "line 1, prompt 1: check.matches is no regular expression: missing ), unterminated subpattern at position 0"),
        (PROMPT + 'check = { type = "text", words = [5, 1] }',
         "line 1, prompt 1: check.words is [5, 1]; it is to be the least and the most, like [20, 80]"),
        (PROMPT + 'check = { type = "code", defines = "f(x)", asserts = "assert f" }',
         "line 1, prompt 1: check.defines is 'f(x)'; it is to be the name of a function or class"),
        (PROMPT + 'check = { type = "code", defines = "f", asserts = "assert (" }',
         "line 1, prompt 1: check.asserts is no Python: '(' was never closed (<unknown>, line 1)"),
        ('[[prompt]]\nprompt = "{excerpt}"\nexcerpt = { context_tokens = 100, begin = "Chapter 3" }',
         "line 1, prompt 1: excerpt.context_tokens is 100; it is to be a whole number from 256 to 131072"),
        ('[[prompt]]\nprompt = "Hi"\nexcerpt = { context_tokens = 1024, begin = "Chapter 3" }',
         "line 1, prompt 1: prompt has {excerpt} 0 times; with an excerpt it stands there once"),
        ('[[prompt]]\nprompt = "{excerpt}"\nexcerpt = { context_tokens = 1024, begin = "Call me" }',
         'line 1, prompt 1: excerpt.begin: no paragraph of Persuasion begins with "Call me"; one must'),
        ('[[prompt]]\nprompt = "{excerpt}"\nexcerpt = { context_tokens = 256, begin = "Chapter 3" }',
         "line 1, prompt 1: excerpt.context_tokens leaves no room beside an answer of 256 tokens"),
        ('[[prompt]]\nprompt = "{excerpt}"\n[prompt.excerpt]\ncontext_tokens = 1024\nbegin = "Chapter 3"\n'
         'planted = [{ text = "x", depth = 2 }]',
         "line 1, prompt 1: excerpt.planted[0].depth is 2; it is to be a number from 0 to 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_toml_file(tmp_path: Path, text: str, problem: str) -> None:
    assert _problem(_write(tmp_path, text)) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'no prompts in it; write one JSON object a line, like {"prompt": "..."}'),
        ('{"prompt": "a"}\n{"prompt": }', "line 2, column 12: no JSON: Expecting value"),
        ('\n\n["a"]', 'line 3: a list; each line is to be an object like {"prompt": "..."}'),
        ("3", 'line 1: a number; each line is to be an object like {"prompt": "..."}'),
        ('{"prompt": "a"}\n{"promt": "b"}', 'line 2: unknown key "promt"; did you mean prompt?'),
        ('{"prompt": "a", "prompt": "b"}', 'line 1: the key "prompt" is there twice'),
        ('{"prompt": "a", "max_tokens": NaN}', "line 1: NaN is no JSON"),
        ('{"prompt": "\\ud83d"}', "line 1: half of a surrogate pair in a text, which is no character"),
        ('{"prompt": ' + "[" * 100_000, "line 1: nested too deeply"),
        ('{"prompt": "a", "id": "x"}\n\n{"prompt": "b", "id": "x"}', 'line 3: the id "x" is that of line 1 too'),
        ('{"prompt": "a", "id": true}',
         "line 1: id is True; it is to be a text in quotes"),
        ('{"prompt": "a"}\n' * 10_001, "more than 10000 prompts"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_lines_of_json(tmp_path: Path, text: str, problem: str) -> None:
    assert _problem(_write(tmp_path, text, "set.jsonl")) == problem


def test_bytes_that_are_not_utf_8_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'{"prompt": "a"}\n{"prompt": "caf\xe9"}\n')
    assert _problem(path) == "line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"


def test_what_is_no_file_or_too_large(tmp_path: Path) -> None:
    assert _problem(tmp_path / "none.toml") == "cannot be read: No such file or directory"
    assert _problem(tmp_path) == "cannot be read: Is a directory"
    large = tmp_path / "large.jsonl"
    with large.open("wb") as file:
        file.truncate(MOST_BYTES * 100)
    assert _problem(large) == "larger than 64 MiB; a set of prompts is not that large"
    with pytest.raises(BadInputError, match="larger than 64 MiB"):
        read_set(Path("/dev/zero"))


def test_a_file_named_to_deceive_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        read_set(tmp_path / "\x1b[2J.toml")
    assert "\x1b" not in str(caught.value)


def test_the_examples_of_the_guide_can_be_used(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        whole = block if "[[prompt]]" in block else f'[[prompt]]\nprompt = "Hi"\n{block}'
        assert read_set(_write(tmp_path, whole)).prompts[0].check is not None
