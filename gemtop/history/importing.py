"""Takes in what `gemtop export` wrote, and results of llama-bench: all of it or nothing."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.folders import MANIFEST, sha256_of
from gemtop.history import schema
from gemtop.history.database import Database, quoted
from gemtop.history.exporting import FORMAT_VERSION, FORMATS, file_name
from gemtop.history.interruptible import interruptible
from gemtop.history.llama_bench import Results
from gemtop.history.manage import WAIT_S, Said
from gemtop.history.merging import Brought
from gemtop.history.recorder import prepare_folders
from gemtop.history.tables import Column, columns_of_version, insert_from, known, quoted_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LONGEST_ROW_BYTES = 64 * 2**20
"""A run with its prompt and output, at most."""
_SHORT_ROWS = ("tokens", "samples", "costs", "roofs")
_LINE = re.compile(r"CSV Error on Line: (\d+)|in (?:line|record/value) (\d+)")


@dataclass(frozen=True, slots=True)
class Folder:
    """An export that was looked at and found whole."""

    path: Path
    form: str
    sessions: tuple[str, ...]
    rows: Mapping[str, int]
    columns: Mapping[str, tuple[Column, ...]]
    """Those of each file, as they are in it."""

    def file(self, table: str) -> Path:
        return self.path / file_name(table, self.form)


def _wrong(path: Path, words: str, line: int | None = None) -> BadInputError:
    where = one_line(str(path)) + (f", line {line}" if line is not None else "")
    return BadInputError(f"{where}: {words}; nothing was imported")


def open_folder(path: Path, progress: Callable[[str], None] = lambda _: None) -> Folder:
    """Look an export over: its manifest, its files, their columns and hashes. Raises BadInputError."""
    manifest = _manifest(path)
    form, version = manifest["format"], manifest["schema_version"]
    columns: dict[str, tuple[Column, ...]] = {}
    entries: dict[str, dict[str, Any]] = {}
    for table, theirs in columns_of_version(version).items():
        entry = manifest["tables"].get(table)
        if not isinstance(entry, dict):
            raise _wrong(path / MANIFEST, f"the table {table} is missing, which schema {version} has")
        data = path / file_name(table, form)
        if not data.is_file():
            raise _wrong(data, "this file of the export is missing")
        entries[table] = entry
        try:
            columns[table] = _columns(data, form, theirs)
        except OSError as error:
            raise _wrong(data, f"it cannot be read ({error.strerror})") from error
    rows = {table: entry["rows"] for table, entry in entries.items() if isinstance(entry.get("rows"), int)}
    folder = Folder(path, form, tuple(manifest["sessions"]), rows, columns)
    for table, entry in entries.items():
        progress(f"checking {table}")
        _check_hash(folder, table, entry.get("sha256"))
    return folder


def _check_hash(folder: Folder, table: str, stated: object) -> None:
    """Raises BadInputError for a file that is not what was exported: with the line where one cannot be read."""
    import duckdb

    file = folder.file(table)
    try:
        if stated is not None and sha256_of(file) == stated:
            return
    except OSError as error:
        raise _wrong(file, f"it cannot be read ({error.strerror})") from error
    with duckdb.connect(config={"threads": 1}) as con:
        fault = _missing_in_line(con, folder, table)
        if stated is None:
            if fault:
                raise fault
            return
        fault = fault or _fault(con, folder, table)
        if fault is None:
            try:
                counted = ", ".join(f"count({quoted_name(column.name)})" for column in folder.columns[table])
                con.execute(f"SELECT {counted} FROM {_source(folder, table)}").fetchall()
            except duckdb.Error as error:
                fault = _diagnosis(con, folder, table, error)
    raise fault or _wrong(file, f"it is not what was exported (its SHA-256 is not the one in {MANIFEST})")


def _missing_in_line(con: DuckDBPyConnection, folder: Folder, table: str) -> BadInputError | None:
    """The first line of JSON that lacks a column; DuckDB would take it for unknown."""
    import duckdb

    if folder.form != "json":
        return None
    file, names = folder.file(table), [column.name for column in folder.columns[table]]
    row = None
    with suppress(duckdb.Error):  # a line that cannot be read at all is told of elsewhere
        row = con.execute(
            f"SELECT n, keys FROM (SELECT row_number() OVER () AS n, json_keys(json) AS keys FROM read_ndjson_objects("
            f"{_literal(file)}, maximum_object_size = {_room(folder, table)}))"
            " WHERE NOT list_has_all(keys, $names) ORDER BY n LIMIT 1",
            {"names": names},
        ).fetchone()
    return _columns_wrong(file, "is missing", [n for n in names if n not in row[1]], row[0]) if row else None


def _columns_wrong(file: Path, what: str, names: Sequence[str], line: int | None) -> BadInputError:
    which = ", ".join(map(one_line, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return _wrong(file, f"column {which} {what}", line)


def _manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(
            f"{one_line(str(path))} has no {MANIFEST}: it is no export of gemtop's, or one that was not finished"
        ) from None
    except json.JSONDecodeError as error:
        raise _wrong(file, f"this is no JSON ({error.msg})", error.lineno) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(file, f"it cannot be read ({one_line(str(error))})") from error
    kinds = {"gemtop_export": int, "format": str, "schema_version": int, "sessions": list, "tables": dict}
    for key, kind in kinds.items():
        if not isinstance(found, dict) or not isinstance(found.get(key), kind) or isinstance(found[key], bool):
            raise _wrong(file, f"it is no manifest of an export: {key} is missing or of another kind")
    newest = schema.MIGRATIONS[-1].version
    if found["gemtop_export"] > FORMAT_VERSION or found["schema_version"] > newest:
        raise _wrong(
            file,
            f"it was exported by a newer gemtop ({one_line(str(found.get('gemtop_version')))}, schema"
            f" {found['schema_version']}; this one knows {newest}): update gemtop",
        )
    if found["gemtop_export"] < 1 or found["schema_version"] < 1 or found["format"] not in FORMATS:
        raise _wrong(file, "it names a format or a schema that never was")
    if not all(isinstance(session_id, str) and session_id for session_id in found["sessions"]):
        raise _wrong(file, "sessions is no list of ids")
    return found


def _columns(file: Path, form: str, expected: Sequence[Column]) -> tuple[Column, ...]:
    """The columns of a file in their order; all that its schema has, and no others. Raises BadInputError."""
    names = _names(file, form)
    if names is None:  # no rows, and a form that names columns in its rows only
        return tuple(expected)
    by_name = {column.name: column for column in expected}
    twice = sorted({name for name in names if names.count(name) > 1})
    missing = [name for name in by_name if name not in names]
    unknown = [name for name in names if name not in by_name]
    line = None if form == "parquet" else 1
    for what, found in (("is there twice", twice), ("is missing", missing), ("is not of this schema", unknown)):
        if found:
            raise _columns_wrong(file, what, found, line)
    return tuple(by_name[name] for name in names)


def _names(file: Path, form: str) -> list[str] | None:
    import duckdb

    if form == "csv":
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as text:
            return next(csv.reader(text), [])
    if form == "json":
        with file.open("rb") as lines:
            first = lines.readline()
        if not first.strip():
            return None
        try:
            found = json.loads(first)
        except (ValueError, RecursionError) as error:
            raise _wrong(file, f"this is no JSON ({one_line(str(error))})", 1) from error
        if not isinstance(found, dict):
            raise _wrong(file, "this is no object", 1)
        return list(found)
    try:
        with duckdb.connect() as con:
            rows = con.execute(f"DESCRIBE FROM {_parquet(file)}").fetchall()
        return [str(row[0]) for row in rows]
    except duckdb.Error as error:
        raise _wrong(file, f"it is no Parquet that can be read ({_first(error)})") from error


def _first(error: BaseException) -> str:
    """The first line of DuckDB's message, without the kind of error and the path, which is said before."""
    lines = [one_line(line) for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return re.sub(r"\A[A-Z][\w ]*Error: ", "", text)[:300]


def _parquet(file: Path) -> str:
    return f"read_parquet({_literal(file)})"


def _literal(file: Path) -> str:
    """A path for DuckDB, which takes brackets, stars and question marks for patterns."""
    return quoted(re.sub(r"([\[*?])", r"[\1]", str(file.absolute())))


def _source(folder: Folder, table: str) -> str:
    """The SQL that reads a file, with the columns of its table."""
    file, columns = folder.file(table), folder.columns[table]
    if folder.form == "parquet":
        return _parquet(file)
    is_csv, room = folder.form == "csv", _room(folder, table)
    kinds = ", ".join(
        f"{quoted(c.name)}: {quoted('VARCHAR' if is_csv and c.is_list else c.plain_type)}" for c in columns
    )
    if is_csv:
        return (
            f"read_csv({_literal(file)}, auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"',"
            f" nullstr = '', allow_quoted_nulls = false, strict_mode = true, max_line_size = {room},"
            f" buffer_size = {room * 2}, columns = {{{kinds}}})"
        )
    return (
        f"read_json({_literal(file)}, format = 'newline_delimited', maximum_object_size = {room},"
        f" columns = {{{kinds}}})"
    )


def _room(folder: Folder, table: str) -> int:
    """Bytes that DuckDB has to keep for a row: rows of numbers are short, and text is as long as the file at most."""
    if table in _SHORT_ROWS:
        return 2**21
    return min(max(folder.file(table).stat().st_size, 2**21), LONGEST_ROW_BYTES)


def _list_cast(column: Column) -> Callable[[str], str]:
    shape = quoted(f'["{column.type.removesuffix("[]")}"]')
    return lambda name: f"from_json({name}, {shape})"


def _casts(folder: Folder, table: str) -> dict[str, Callable[[str], str]]:
    """How values are made from what is in a file, where it is not what they are."""
    casts: dict[str, Callable[[str], str]] = {}
    for column in folder.columns[table]:
        if column.type.startswith("TIMESTAMP"):
            casts[column.name] = lambda name: f"{name}::TIMESTAMPTZ"
        elif column.is_list and folder.form == "csv":
            casts[column.name] = _list_cast(column)
    return casts


def take_folder(con: DuckDBPyConnection, folder: Folder, progress: Callable[[str], None]) -> Brought:
    """Everything of the sessions that are not here yet, inside a transaction. Raises BadInputError."""
    import duckdb

    there = known(con, folder.sessions)
    new = [session_id for session_id in dict.fromkeys(folder.sessions) if session_id not in there]
    if not new:
        return Brought((), tuple(sorted(there)))
    total = 0
    for table in folder.columns:
        progress(table)
        try:
            rows = insert_from(
                con, table, _source(folder, table), [c.name for c in folder.columns[table]], new, _casts(folder, table)
            )
        except duckdb.Error as error:
            with suppress(duckdb.Error):
                con.execute("ROLLBACK")
            raise _diagnosis(con, folder, table, error) from error
        stated = folder.rows.get(table)
        if not there and stated is not None and rows != stated:
            words = f"{rows:,} of its rows belong to the sessions in {MANIFEST}, not {stated:,}"
            raise _wrong(folder.file(table), words)
        total += rows
    return Brought(tuple(new), tuple(sorted(there)), rows=total)


def _diagnosis(con: DuckDBPyConnection, folder: Folder, table: str, error: Exception) -> BadInputError:
    """What is wrong with a file, and in which line. Called after the transaction was rolled back."""
    import duckdb

    if isinstance(error, duckdb.InterruptException):
        raise KeyboardInterrupt from error
    file = folder.file(table)
    match = _LINE.search(re.sub(r'"[^"]*"', "", str(error)))
    if match:
        return _wrong(file, _detail(error), int(match[1] or match[2]))
    fault = None
    if isinstance(error, (duckdb.ConversionException, duckdb.ConstraintException, duckdb.InvalidInputException)):
        fault = _fault(con, folder, table)
    return fault or _wrong(file, _first(error))


def _test(column: Column, form: str) -> str | None:
    """The SQL that a value of this column cannot be taken; None where all that can be read can."""
    name = quoted_name(column.name)
    if column.is_enum or column.type.startswith("TIMESTAMP"):
        test = f"({name} IS NOT NULL AND TRY_CAST({name} AS {column.type}) IS NULL)"
    elif column.is_list and form == "csv":
        test = f"({name} IS NOT NULL AND NOT coalesce(json_valid({name}), false))"
    else:
        return f"{name} IS NULL" if column.required else None
    return f"({name} IS NULL OR {test})" if column.required else test


def _fault(con: DuckDBPyConnection, folder: Folder, table: str) -> BadInputError | None:
    """The first value that can be read and is none of its column's."""
    import duckdb

    for column in folder.columns[table]:
        test = _test(column, folder.form)
        if test is None:
            continue
        row = None
        with suppress(duckdb.Error):  # a line that cannot be read at all is told of elsewhere
            row = con.execute(
                f"SELECT n, v::VARCHAR FROM (SELECT row_number() OVER () AS n, {quoted_name(column.name)} AS v,"
                f" {test} AS wrong FROM {_source(folder, table)}) WHERE wrong ORDER BY n LIMIT 1"
            ).fetchone()
        if row:
            said = "is missing" if row[1] is None else f"cannot be '{one_line(str(row[1]))[:60]}'"
            # A row of CSV may have several lines, and one of Parquet has none.
            where = f"line {row[0]}" if folder.form == "json" else f"row {row[0]}"
            file = one_line(str(folder.file(table)))
            return BadInputError(f"{file}, {where}: {column.name} {said}; nothing was imported")
    return None


def _detail(error: BaseException) -> str:
    """What DuckDB says of a line; its second line has it where the first names the file."""
    lines = [one_line(line) for line in str(error).splitlines() if line.strip()]
    wanted = [line for line in lines if re.match(r"(Error when|Could not|Expected|Value with|Malformed)", line)]
    text = (wanted or lines[:1] or [type(error).__name__])[0]
    return re.sub(r"\A[A-Z][\w ]*Error: |(?:in file )?\"[^\"]*\", ?", "", text)[:300].rstrip(".")


def take_results(con: DuckDBPyConnection, results: Results) -> Brought:
    """One session of llama-bench's results, inside a transaction."""
    session_id = results.session["session_id"]
    if known(con, [session_id]):
        return Brought((), (session_id,), notes=results.notes)
    for table, rows in (("sessions", [results.session]), ("runs", results.runs)):
        names = list(rows[0])
        marks = ", ".join("?" for _ in names)
        con.executemany(
            f"INSERT INTO store.{table} ({', '.join(map(quoted_name, names))}) VALUES ({marks})",
            [list(row.values()) for row in rows],
        )
    return Brought((session_id,), (), notes=results.notes, rows=1 + len(results.runs))


def take_all(
    paths: Paths, sources: Sequence[Folder | Results], on_wait: Said = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Brought]:  # fmt: skip
    """Take in everything that was opened, in one transaction. Raises BadInputError, HistoryError."""

    def work(con: DuckDBPyConnection) -> list[Brought]:
        con.execute("BEGIN")
        try:
            brought = [
                take_folder(con, source, progress) if isinstance(source, Folder) else take_results(con, source)
                for source in sources
            ]
            con.execute("COMMIT")
        except BaseException:
            with suppress(Exception):
                con.execute("ROLLBACK")
            raise
        return brought

    prepare_folders(paths)
    database = Database(paths.history)
    try:
        with database.open(WAIT_S, on_wait) as con:
            return interruptible(lambda: work(con), con.interrupt)
    finally:
        database.forget()
