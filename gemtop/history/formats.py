"""Rows as text: a table for people; CSV, JSON and Markdown for everything else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain, islice
from typing import Any, TextIO

from gemtop.domain.text import printable, text_width
from gemtop.terminal import reads_line_by_line

Row = Sequence[Any]
NULL = "NULL"
_MEASURED_ROWS = 1_000
"""The widths of a table follow from so many rows; what comes after is not kept in memory."""
_RULE = "─"


def _plain(value: Any) -> Any:
    """A value in types that JSON has; timestamps in ISO 8601, NaN and infinities as null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value)


def exact(value: Any) -> str:
    """A value as text that loses nothing, for CSV."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(_plain(value), ensure_ascii=False)
    plain = value if isinstance(value, Decimal) else _plain(value)
    return str(plain)


def short(value: Any) -> str:
    """A value for people: six significant digits, timestamps to the millisecond, one line, harmless."""
    if value is None:
        return NULL
    if isinstance(value, float) and math.isfinite(value) and value != 0:
        return f"{value:.1f}" if 1e6 <= abs(value) < 1e15 else f"{value:.6g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    return printable(exact(value)).replace("\t", "␉").replace("\n", "␊")


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - text_width(text))
    return space + text if right else text + space


def _table(
    names: Sequence[str], numeric: Sequence[bool], rows: Iterator[Row], out: TextIO, terminal_width: int | None
) -> None:
    heads = [printable(name).replace("\n", "␊") for name in names]
    first = [[short(v) for v in row] for row in islice(rows, _MEASURED_ROWS)]
    widths = [max(map(text_width, column)) for column in zip(heads, *first, strict=True)]
    if terminal_width is not None and sum(widths) + 2 * (len(widths) - 1) > terminal_width:
        _records(heads, chain(first, ([short(v) for v in row] for row in rows)), out, terminal_width)
        return

    def line(cells: Sequence[str]) -> str:
        padded = (_padded(c, w, right) for c, w, right in zip(cells, widths, numeric, strict=True))
        return "  ".join(padded).rstrip() + "\n"

    out.write(line(heads))
    if terminal_width is None or not reads_line_by_line():
        out.write("  ".join(_RULE * w for w in widths) + "\n")
    for cells in first:
        out.write(line(cells))
    for row in rows:
        out.write(line([short(v) for v in row]))


def _records(heads: Sequence[str], rows: Iterable[Sequence[str]], out: TextIO, width: int) -> None:
    """One line a value, for rows that are too wide for the terminal."""
    margin = max(map(text_width, heads), default=0)
    for number, cells in enumerate(rows, start=1):
        title = f"{_RULE * 2} {number} "
        rule = title + _RULE * max(0, width - len(title))
        out.write(f"row {number}\n" if reads_line_by_line() else f"{rule}\n")
        for head, cell in zip(heads, cells, strict=True):
            out.write(f"{_padded(head, margin, right=False)}  {cell}\n")


def _csv_field(value: Any) -> str:
    """NULL is empty and the empty string is quoted, so that they stay apart."""
    if value is None:
        return ""
    text = exact(value)
    if text and not any(c in text for c in ',"\r\n') and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'


def _csv(names: Sequence[str], rows: Iterable[Row], out: TextIO, safe: Callable[[str], str]) -> None:
    out.write(safe(",".join(map(_csv_field, names))) + "\n")
    for row in rows:
        out.write(safe(",".join(map(_csv_field, row))) + "\n")


def _unique(names: Sequence[str]) -> list[str]:
    """Names of an object's members: a name that comes again gets a number."""
    seen: dict[str, int] = {}
    unique: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return unique


def _json(names: Sequence[str], rows: Iterable[Row], out: TextIO, safe: Callable[[str], str]) -> None:
    members = _unique(names)
    before = "[\n"
    for row in rows:
        record = dict(zip(members, map(_plain, row), strict=True))
        out.write(before + safe(json.dumps(record, ensure_ascii=False, allow_nan=False)))
        before = ",\n"
    out.write("[]\n" if before == "[\n" else "\n]\n")


def _markdown(names: Sequence[str], numeric: Sequence[bool], rows: Iterable[Row], out: TextIO) -> None:
    def cell(value: Any) -> str:
        return "" if value is None else short(value).replace("\\", "\\\\").replace("|", "\\|")

    out.write("| " + " | ".join(map(cell, names)) + " |\n")
    out.write("| " + " | ".join("---:" if right else "---" for right in numeric) + " |\n")
    for row in rows:
        out.write("| " + " | ".join(map(cell, row)) + " |\n")


def write(
    name: str,
    names: Sequence[str],
    numeric: Sequence[bool],
    rows: Iterable[Row],
    out: TextIO,
    *,
    terminal_width: int | None = None,
) -> int:
    """Write rows as table, csv, json or markdown; returns how many there were.

    `terminal_width` is given in cells where `out` is a terminal: control characters are made harmless then, and
    a table that is too wide comes as one line a value.
    """
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    def unchanged(text: str) -> str:
        return text

    safe = unchanged if terminal_width is None else printable
    if name == "csv":
        _csv(names, counted(), out, safe)
    elif name == "json":
        _json(names, counted(), out, safe)
    elif name == "markdown":
        _markdown(names, numeric, counted(), out)
    else:
        _table(names, numeric, counted(), out, terminal_width)
    return count
