"""The line of each key in a TOML document, held against documents whose lines are known as they are made."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemtop.config.lines import lines_of

Lines = dict[tuple[str, ...], int]

_BARE = st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True)
_TEXT = st.text(st.sampled_from("a #=[]{}.,\t\U0001f600"), max_size=6)
_QUOTED = st.one_of(_TEXT.map(lambda text: (f"'{text}'", text)), st.just(('"\\u0041\\"="', 'A"=')))
_PART = st.one_of(_BARE.map(lambda name: (name, name)), _QUOTED)
_COMMENT = st.sampled_from(["", " # a = 'b", "  #[x]", '\t# """'])
_SCALAR = st.one_of(
    st.sampled_from(["1", "-0.5e3", "true", "1979-05-27 07:32:00Z", "inf", '""', "''", '"a\\\\"', '"\\"]}#"', "'\\'"]),
    st.sampled_from(['"""\n[x]\ny = 1\n"""', "'''\n# '' \"\"\"\n'''", '"""a""b\\\n  """', '""""q"""""', "'''''q''''"]),
)


def _keys(data: Any, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Paths of all keys, those in lists of tables included."""
    if isinstance(data, list):
        return set().union(*(_keys(each, above) for each in data)) if data else set()
    if not isinstance(data, dict):
        return set()
    return (
        set().union(*({(*above, key)} | _keys(value, (*above, key)) for key, value in data.items())) if data else set()
    )


@st.composite
def _value(draw: st.DrawFn, depth: int = 2) -> str:
    if depth and draw(st.booleans()):
        inner = draw(st.lists(_value(depth - 1), max_size=3))
        if draw(st.booleans()):
            gap = draw(st.sampled_from(["", " ", "\n", "  # ]\n", "\n\n\t"]))
            return f"[{gap}{f',{gap}'.join(inner)}{gap}]"
        names = draw(st.lists(_PART, min_size=len(inner), max_size=len(inner), unique_by=lambda part: part[1]))
        return f"{{{', '.join(f'{n[0]} = {value}' for n, value in zip(names, inner, strict=True))}}}"
    return draw(_SCALAR)


@st.composite
def _document(draw: st.DrawFn) -> tuple[str, Lines]:
    """A document, and the lines of its tables and of the keys in them; keys inside of values are not noted."""
    text, known = "", Lines()
    for header in [
        None,
        *draw(st.lists(st.tuples(st.booleans(), st.lists(_PART, min_size=1, max_size=2)), max_size=3)),
    ]:
        table: tuple[str, ...] = ()
        if header is not None:
            many, parts = header
            table = tuple(name for _, name in parts)
            line = text.count("\n") + 1
            for end in range(1, len(table) + 1):
                known.setdefault(table[:end], line)
            shown = " . ".join(written for written, _ in parts)
            text += f"{'[[' if many else '['} {shown}\t{']]' if many else ']'}{draw(_COMMENT)}\n"
        for parts, value in draw(st.lists(st.tuples(st.lists(_PART, min_size=1, max_size=2), _value()), max_size=3)):
            text += draw(st.sampled_from(["", "\n", "  ", "# x = 1\n", "\t\n#\n"]))
            line = text.count("\n") + 1
            for end in range(1, len(parts) + 1):
                known.setdefault((*table, *(name for _, name in parts[:end])), line)
            text += f"{'.'.join(written for written, _ in parts)} = {value}{draw(_COMMENT)}\n"
    return text.removesuffix("\n") if draw(st.booleans()) else text, known


@settings(max_examples=60)
@given(_document())
def test_lines_of_documents_whose_lines_are_known(document: tuple[str, Lines]) -> None:
    text, known = document
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a name that is given twice
        return
    found = lines_of(text)
    assert set(found) == _keys(data)
    assert {path: found[path] for path in known} == known


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("[a]\nx = { y = [\n1,\n2], z = 3 }", ("a", "x", "z"), 4),
        ("a.b = 1\n\n[c]\na.b = 2", ("c", "a", "b"), 4),
        ('\n\n"a.b" = 1', ("a.b",), 3),
        ("x = '''\n\na = 1'''\na = 2", ("a",), 4),
        ("[[t]]\nk = 1\n[[t]]\nl = 2", ("t", "l"), 4),
    ],
)
def test_lines_inside_of_values_and_between_others(text: str, path: tuple[str, ...], line: int) -> None:
    assert lines_of(text)[path] == line
