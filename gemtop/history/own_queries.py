"""Queries of the user's own: files NAME.sql in the folder queries/ beside the configuration, like those shipped."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from gemtop.domain.errors import BadInputError
from gemtop.domain.sql_text import parameters as parameters_of
from gemtop.domain.sql_text import without_header
from gemtop.domain.text import one_line
from gemtop.history.queries import Parameter, all_queries, parse, your_folder

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def text_of(title: str, sentence: str, sql: str, declared: Sequence[Parameter]) -> str:
    """The file of a query: header, parameters that the SQL names, SQL."""
    known = {p.name: p for p in declared}
    lines = [f"-- {one_line(title)}", f"-- {one_line(sentence)}"]
    for name in parameters_of(sql):
        p = known.get(name, Parameter(name.lower(), "text", None, ""))
        default = "null" if p.default is None else str(p.default).lower() if p.type == "boolean" else str(p.default)
        lines.append(f"-- param: {name} {p.type} = {default}  {p.description}".rstrip())
    return "\n".join(lines) + "\n" + without_header(sql.strip()) + "\n"


def save(
    name: str, title: str, sentence: str, sql: str, declared: Sequence[Parameter] = (), *, replace: bool = False
) -> Path:
    """Write a query of the user's own; returns its file. Raises BadInputError, FileExistsError unless `replace`."""
    name, title, sentence = name.strip(), title.strip(), sentence.strip()
    if not _NAME.fullmatch(name):
        raise BadInputError("a name has small letters, digits and _, and begins with a letter")
    if name in {query.name for query in all_queries()}:
        raise BadInputError(f"{name} is a query that ships with gemtop; choose another name")
    if not title or not sentence:
        raise BadInputError("a query needs a title and a sentence that says what it shows")
    if title.startswith("param:") or sentence.startswith("param:"):
        raise BadInputError("a title or a sentence does not begin with 'param:'")
    path = your_folder() / f"{name}.sql"
    text = text_of(title, sentence, sql, declared)
    try:
        parse(name, text, path)
    except ValueError as error:
        raise BadInputError(str(error)) from error
    if path.exists() and not replace:
        raise FileExistsError(str(path))
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    except OSError as error:
        raise BadInputError(f"{path} cannot be written: {error.strerror or error}") from error
    return path
