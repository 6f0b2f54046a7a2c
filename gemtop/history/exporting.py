"""Sessions as a folder of files that other programs can read, and `gemtop import` can take in again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gemtop import __version__
from gemtop.domain.errors import BadInputError, HistoryError
from gemtop.domain.text import one_line
from gemtop.history import schema
from gemtop.history.reader import Reader
from gemtop.history.tables import TABLES, Column, belonging, columns_of_version, quoted_name

FORMAT_VERSION = 1
"""Of the folder: names of its files and how values are written."""
FORMATS = ("parquet", "csv", "json")
MANIFEST = "manifest.json"


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


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    names = {entry.name for entry in folder.iterdir()}
    possible = {file_name(table, form) for table in TABLES for form in FORMATS} | {MANIFEST}
    return MANIFEST in names and names <= possible


def check_target(target: Path, *, force: bool) -> None:
    """Raises BadInputError where an export cannot or must not be put there."""
    name = one_line(str(target))
    if not target.exists():
        if not target.parent.is_dir():
            raise BadInputError(f"there is no folder {one_line(str(target.parent))} to put {target.name} in")
        return
    if not target.is_dir():
        raise BadInputError(f"{name} is a file: --to names a folder that is made, or is empty")
    if any(target.iterdir()):
        if not force:
            raise BadInputError(f"{name} is not empty: choose another folder, or --force to replace an export")
        if not _is_export(target):
            raise BadInputError(f"{name} holds other things than an export of gemtop's: it is not replaced")


def export(
    reader: Reader, ids: Sequence[str], target: Path, form: str, *, force: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Exported:  # fmt: skip
    """Write everything of these sessions into a folder, a file a table, and a manifest.

    It is made beside its place and moved there when it is whole. Raises BadInputError, HistoryError.
    """
    target = Path(os.path.realpath(target))
    check_target(target, force=force)
    half = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        half.mkdir(mode=0o700)  # prompts and outputs are in it
        rows = _write(reader, ids, half, form, progress)
        size = sum(path.stat().st_size for path in half.iterdir())
        _put_in_place(half, target)
    except OSError as error:
        shutil.rmtree(half, ignore_errors=True)
        raise HistoryError(f"{one_line(str(target))} could not be written: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
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


def _put_in_place(half: Path, target: Path) -> None:
    """Give it its name; what was there before is deleted only then."""
    if not target.exists() or not any(target.iterdir()):
        half.rename(target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    try:
        half.rename(target)
    except OSError:
        with suppress(OSError):
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
