"""Sessions as a folder of files that other programs can read, and `gemtop import` can take in again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gemtop import __version__, folders
from gemtop.folders import MANIFEST, made_whole, sha256_of
from gemtop.history import schema
from gemtop.history.reader import Reader
from gemtop.history.tables import TABLES, Column, belonging, columns_of_version, quoted_name

FORMAT_VERSION = 1
"""Of the folder: names of its files and how values are written."""
FORMATS = ("parquet", "csv", "json")


@dataclass(frozen=True, slots=True)
class Exported:
    folder: Path
    sessions: int
    rows: int
    size_bytes: int


def file_name(table: str, form: str) -> str:
    return f"{table}.{form}"


def _value(column: Column, form: str) -> str:
    """The SQL of a column's value, as it is written."""
    name = quoted_name(column.name)
    if column.type.startswith("TIMESTAMP") and form != "parquet":  # by UTC, whatever the time zone here
        return f"make_timestamp(epoch_us({name}))::VARCHAR || '+00' AS {name}"
    if column.is_enum:
        return f"{name}::VARCHAR AS {name}"
    if column.is_list and form == "csv":
        return f"to_json({name})::VARCHAR AS {name}"
    return name


def _options(form: str, columns: Sequence[Column]) -> str:
    if form != "csv":
        return f"FORMAT {form}"
    # Text in quotes and NULL without: an empty text is something else.
    text = [quoted_name(c.name) for c in columns if c.plain_type == "VARCHAR" or c.is_list]
    return f"FORMAT csv, HEADER, FORCE_QUOTE ({', '.join(text)})"


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    names = {entry.name for entry in folder.iterdir()}
    possible = {file_name(table, form) for table in TABLES for form in FORMATS} | {MANIFEST}
    return MANIFEST in names and names <= possible


def check_target(target: Path, *, force: bool) -> None:
    """Raises BadInputError where an export cannot or must not be put there."""
    folders.check_target(target, "an export", "--to", force=force, is_ours=_is_export)


def export(
    reader: Reader, ids: Sequence[str], target: Path, form: str, *, force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Exported:  # fmt: skip
    """Write everything of these sessions into a folder, a file a table, and a manifest.

    It is made beside its place and moved there when it is whole. Raises BadInputError, HistoryError.
    """
    target = Path(os.path.realpath(target))
    check_target(target, force=force)
    with made_whole(target) as half:
        rows = _write(reader, ids, half, form, progress)
        size = sum(path.stat().st_size for path in half.iterdir())
    return Exported(target, len(ids), rows, size)


def _write(reader: Reader, ids: Sequence[str], folder: Path, form: str, progress: Callable[[str], None]) -> int:
    version = schema.MIGRATIONS[-1].version
    tables: dict[str, Any] = {}
    total = 0
    for number, (table, columns) in enumerate(columns_of_version(version).items(), 1):
        progress(f"{table} ({number} of {len(TABLES)})")
        path = folder / file_name(table, form)
        values = ", ".join(_value(column, form) for column in columns)
        sql = f"SELECT {values} FROM store.{table} WHERE {belonging(table)}"
        rows = reader.copy_to(sql, {"ids": list(ids)}, path, _options(form, columns))
        total += rows
        tables[table] = {
            "file": path.name,
            "rows": rows,
            "sha256": sha256_of(path),
            "columns": [column.name for column in columns],
        }
    manifest = {
        "gemtop_export": FORMAT_VERSION,
        "format": form,
        "schema_version": version,
        "gemtop_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sessions": list(ids),
        "tables": tables,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return total
