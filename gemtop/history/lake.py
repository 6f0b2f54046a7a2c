"""The fleet: histories of many machines in one DuckLake, its catalogue in PostgreSQL, its data as Parquet files.

DuckDB's extensions ducklake and postgres do the work, httpfs where the data is in S3. They come as wheels with
`pip install 'gemtop[fleet]'`, else DuckDB fetches them from its own server.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from gemtop import __version__
from gemtop.config import config_file, fleet_address
from gemtop.domain.errors import BadInputError, HistoryError
from gemtop.domain.text import one_line, without_password
from gemtop.history import schema
from gemtop.history.database import quoted
from gemtop.history.interruptible import interruptible
from gemtop.history.reader import RESTRICTIONS, Reader
from gemtop.history.tables import columns, columns_of_version, quoted_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Said = Callable[[str], None] | None

FORMAT = 1
"""Of the lake: what its table store.synced means. Tables and columns may be added without a new one."""

_PATIENCE = {"connect_timeout": "10", "keepalives_idle": "30", "tcp_user_timeout": "60000"}
"""libpq's settings for a server that is gone without a word: it waits minutes for one, or for ever."""
_POLL_S = 0.2
_GONE = re.compile(
    r"connection to server|server closed the connection|Unable to connect|could not translate host|"
    r"terminating connection|Connection refused|timeout expired|no connection to the server|starting up|shutting down",
    re.IGNORECASE,
)
_LOCK_SPACE = 0x67656D  # "gem"
_LOCKS = "gemtop_locks"
"""Name of the catalogue's database where it is attached for locks."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a fleet is."""

    conninfo: str
    """Of the PostgreSQL database with the catalogue, as libpq takes it; may hold a password."""
    shown: str
    """The same for eyes, without a password."""
    data: str | None = None
    """Folder or s3:// address of the Parquet files; needed only to begin a fleet, the catalogue keeps it."""


def address(text: str, data: str | None = None) -> Address:
    """A fleet's address: postgresql://USER@HOST/DATABASE, or as DuckDB's ATTACH has it (ducklake:postgres:...).

    `data` may stand in the address as ?data=... too. Raises BadInputError.
    """
    form = "postgresql://USER@HOST/DATABASE"
    rest = text.strip().removeprefix("ducklake:").removeprefix("postgres:")
    if rest.startswith("//"):
        rest = f"postgres:{rest}"
    if not re.match(r"postgres(ql)?://", rest):
        if text.startswith("ducklake:postgres:") and re.match(r"\s*\w+\s*=", rest):
            shown = without_password(rest)
            patience = "".join(f" {key}={value}" for key, value in _PATIENCE.items() if key not in rest)
            return Address(rest + patience, one_line(shown), _data(data))
        raise BadInputError(f"'{one_line(without_password(text))}' is no address of a fleet: {form}")
    try:
        parts = urlsplit(rest)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        _ = parts.port
    except ValueError:
        raise BadInputError(f"'{one_line(without_password(text))}' is no address of a fleet: {form}") from None
    if len(parts.path) < 2:
        raise BadInputError(f"'{one_line(without_password(text))}' names no database: {form}")
    options = {key: value for key, value in given if key != "data"}
    in_address = dict(given).get("data")
    if data is not None and in_address is not None and data != in_address:
        raise BadInputError("the data's place is given twice: once in the address, once with --data")
    conninfo = urlunsplit(parts._replace(query=urlencode(_PATIENCE | options, quote_via=quote)))
    shown = without_password(urlunsplit(parts._replace(query="")))
    return Address(conninfo, one_line(shown), _data(data if data is not None else in_address))


def configured(given: str | None = None, data: str | None = None) -> Address:
    """The fleet that was named, else that of GEMTOP_FLEET or the configuration. Raises BadInputError."""
    text = given or fleet_address()
    if not text:
        raise BadInputError(
            "no fleet is named: set GEMTOP_FLEET to postgresql://USER@HOST/DATABASE, or fleet under [history] in"
            f" {one_line(str(config_file()))}"
        )
    return address(text, data)


def _data(text: str | None) -> str | None:
    if text is None:
        return None
    if re.match(r"[a-z0-9]+://", text):
        if not text.startswith("s3://"):
            raise BadInputError(f"'{one_line(text)}' is no place for a fleet's data: a folder, or s3://BUCKET/PREFIX")
        return text.rstrip("/") + "/"
    if not text.strip():
        raise BadInputError("the data's place is empty: a folder, or s3://BUCKET/PREFIX")
    return str(Path(text).expanduser().absolute()) + "/"


# The extensions


@cache
def _wheel_file(extension: str) -> str | None:
    """The extension's file in its wheel, where that is installed and is for this DuckDB."""
    import duckdb

    spec = find_spec(f"duckdb_extension_{extension}")
    for folder in spec.submodule_search_locations or [] if spec else []:
        file = Path(folder) / "extensions" / f"v{duckdb.__version__}" / f"{extension}.duckdb_extension"
        if file.is_file():
            return str(file)
    return None


def _load(con: DuckDBPyConnection, extension: str) -> None:
    """Load an extension of DuckDB's from its wheel, else as DuckDB has or fetches it. Raises HistoryError."""
    import duckdb

    file = _wheel_file(extension)
    try:
        if file is not None:
            con.execute(f"LOAD {quoted(file)}")
            return
        with suppress(duckdb.Error):
            con.execute(f"LOAD {extension}")
            return
        con.execute(f"INSTALL {extension}; LOAD {extension}")
    except duckdb.Error as error:
        first = one_line(str(error).splitlines()[0])
        raise HistoryError(
            f"a fleet needs DuckDB's extension {extension} for {duckdb.__version__}: pip install 'gemtop[fleet]', or"
            f" once INSTALL {extension} where DuckDB can fetch it ({first})"
        ) from error


def _s3_secret(environment: Mapping[str, str]) -> str | None:
    """The SQL of a secret for S3 from the variables every S3 program reads; None where they are not set."""
    if "AWS_ACCESS_KEY_ID" not in environment:
        return None
    given = {
        "KEY_ID": environment["AWS_ACCESS_KEY_ID"],
        "SECRET": environment.get("AWS_SECRET_ACCESS_KEY", ""),
        "SESSION_TOKEN": environment.get("AWS_SESSION_TOKEN", ""),
        "REGION": environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION", ""),
    }
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL", "")
    if endpoint:
        scheme, _, place = endpoint.rpartition("://")
        given |= {"ENDPOINT": place.rstrip("/"), "URL_STYLE": "path", "USE_SSL": str(scheme != "http").lower()}
    values = ", ".join(f"{key} {quoted(value)}" for key, value in given.items() if value)
    return f"CREATE OR REPLACE TEMPORARY SECRET gemtop_s3 (TYPE s3, {values})"


def prepare(con: DuckDBPyConnection, *, s3: bool) -> None:
    """Load what a lake needs into an instance. Raises HistoryError."""
    for extension in ("postgres_scanner", "ducklake", *(("httpfs",) if s3 else ())):
        _load(con, extension)
    secret = _s3_secret(os.environ) if s3 else None
    if secret is not None:
        con.execute(secret)


def explain(where: Address, error: BaseException) -> HistoryError:
    """What an error of DuckDB's on a lake means, in one line that says what to do and holds no password."""
    if isinstance(error, HistoryError):
        return error
    text = without_password(str(error).replace(where.conninfo, where.shown))
    lines = [one_line(line) for line in text.splitlines() if line.strip()]
    detail = next((line for line in lines if "FATAL" in line or "ERROR" in line), lines[0] if lines else "")
    detail = re.sub(r"\A.*?(?=(FATAL|ERROR):)", "", detail)[:300]
    if "does not match existing data path" in text:
        found = re.search(r'existing data path in the catalog "?([^"\s]+)', text)
        place = f" at {one_line(found[1])}" if found else " elsewhere"
        return HistoryError(f"the fleet's data is{place}: leave --data out, or begin another fleet in another database")
    if "creating a new DuckLake is explicitly disabled" in text:
        return HistoryError(
            f"{where.shown} holds no fleet yet: gemtop sync --to URL --data FOLDER (or s3://BUCKET/PREFIX) begins one"
        )
    if _GONE.search(text):
        return HistoryError(f"the fleet's catalogue {where.shown} cannot be reached ({detail})")
    if re.search(r"No space left|Disk quota", text):
        return HistoryError(f"no room for the fleet's data: {detail}")
    if re.search(r"IO Error|HTTP|Permission denied|No such file", text):
        return HistoryError(f"the fleet's data cannot be read or written here ({detail})")
    return HistoryError(f"the fleet {where.shown} cannot be used ({detail})")


# Attaching


def _execute(con: DuckDBPyConnection, sql: str) -> None:
    """What may take long; Ctrl-C breaks it off."""
    interruptible(lambda: con.execute(sql), con.interrupt)


def attach(con: DuckDBPyConnection, where: Address, name: str, *, writing: bool = False, begin: bool = False) -> None:
    """Attach the lake to an instance that `prepare` was called on, and use it. Raises HistoryError.

    `begin` makes one where there is none.
    """
    import duckdb

    options = [] if writing else ["READ_ONLY"]
    options.append(f"DATA_PATH {quoted(where.data or '')}" if begin else "CREATE_IF_NOT_EXISTS false")
    try:
        _execute(con, f"ATTACH {quoted(f'ducklake:postgres:{where.conninfo}')} AS {name} ({', '.join(options)})")
    except duckdb.Error as error:
        raise explain(where, error) from error
    try:
        con.execute(f"USE {name}")
        _check(con, where, name, empty_too=writing)
    except (duckdb.Error, HistoryError) as error:
        detach(con, name)
        raise explain(where, error) from error


def detach(con: DuckDBPyConnection, name: str) -> None:
    """Let go of an attached lake, whatever became of its server."""
    import duckdb

    with suppress(duckdb.Error):
        con.execute("ROLLBACK")
    with suppress(duckdb.Error):
        con.execute(f"USE memory; DETACH {name}")


def _check(con: DuckDBPyConnection, where: Address, name: str, *, empty_too: bool) -> None:
    """Raises HistoryError where an attached DuckLake is no fleet, is a later gemtop's, or is not the one meant."""
    import duckdb

    row = con.execute("SELECT value FROM ducklake_options(?) WHERE option_name = 'data_path'", [name]).fetchone()
    found = str(row[0]) if row else ""
    if where.data is not None and found.rstrip("/") != where.data.rstrip("/"):
        raise HistoryError(
            f"the fleet's data is at {one_line(found)}: leave --data out, or begin another fleet in another database"
        )
    if found.startswith("/") and not Path(found).is_dir():
        raise HistoryError(f"the fleet's data folder {one_line(found)} is not here: mount it on this machine")
    try:
        row = con.execute("SELECT max(format) FROM store.fleet").fetchone()
    except duckdb.CatalogException:
        if empty_too and schema.is_empty(con):  # begun by a gemtop that was killed, or just now
            return
        raise HistoryError(f"{where.shown} holds a DuckLake, but no fleet of gemtop's") from None
    if row and row[0] is not None and row[0] > FORMAT:
        raise HistoryError(f"the fleet {where.shown} was begun by a newer gemtop: update gemtop here")


@contextmanager
def locked(con: DuckDBPyConnection, where: Address, key: str, on_wait: Said, waiting_for: str) -> Iterator[None]:
    """Hold PostgreSQL's advisory lock for `key` in a transaction of its own; it goes when this process does.

    DuckLake lets two add rows at once, so that two who send the same session would double it.
    """
    import duckdb

    query = f"SELECT pg_try_advisory_xact_lock({_LOCK_SPACE}, hashtext({quoted(key)}))"
    other = con.cursor()
    said = False
    try:
        _execute(other, f"ATTACH IF NOT EXISTS {quoted(where.conninfo)} AS {_LOCKS} (TYPE postgres, READ_ONLY)")
        while True:
            other.execute("BEGIN")
            row = other.execute(f"FROM postgres_query('{_LOCKS}', {quoted(query)})").fetchone()
            if row and row[0]:
                break
            other.execute("ROLLBACK")
            if on_wait and not said:
                on_wait(f"waiting: {waiting_for}")
                said = True
            time.sleep(_POLL_S)
    except duckdb.Error as error:
        other.close()
        raise explain(where, error) from error
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # the server may be gone, and the lock with it
            other.execute("ROLLBACK")
        other.close()


# The schema of a lake: tables of the history's columns with plain types, and the same views


def ensure(con: DuckDBPyConnection, where: Address, name: str, on_wait: Said = None) -> None:
    """Attach the lake for writing, at the schema of this gemtop or a later one; begins it where there is none.

    Raises HistoryError.
    """
    import duckdb

    if where.data is None:
        attach(con, where, name, writing=True)
        if _schema_version(con) >= schema.MIGRATIONS[-1].version:
            return
        detach(con, name)
    with locked(con, where, "schema", on_wait, "another gemtop prepares the fleet"):
        begin = where.data is not None and not _exists(con)
        if begin and where.data is not None and not where.data.startswith("s3://"):
            _make_folder(where.data)
        attach(con, where, name, writing=True, begin=begin)
        try:
            if _schema_version(con) < schema.MIGRATIONS[-1].version:
                _upgrade(con)
        except duckdb.Error as error:
            detach(con, name)
            raise explain(where, error) from error


def _make_folder(data: str) -> None:
    try:
        Path(data).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"{one_line(data)} cannot be made: {error.strerror}") from error


def _exists(con: DuckDBPyConnection) -> bool:
    """Whether the database holds a DuckLake; inside `locked`."""
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'ducklake_snapshot'"
    found = con.execute(f"FROM postgres_query('{_LOCKS}', {quoted(tables)})").fetchone()
    return bool(found and found[0])


def _schema_version(con: DuckDBPyConnection) -> int:
    """Of the lake in use; 0 for a new one."""
    import duckdb

    try:
        row = con.execute("SELECT coalesce(max(schema_version), 0) FROM store.fleet").fetchone()
    except duckdb.CatalogException:
        return 0
    return int(row[0]) if row else 0


def _upgrade(con: DuckDBPyConnection) -> None:
    """Tables and columns that are missing, and the views of this gemtop, in one transaction."""
    version = schema.MIGRATIONS[-1].version
    con.execute("BEGIN")
    try:
        con.execute("CREATE SCHEMA IF NOT EXISTS store")
        con.execute(
            "CREATE TABLE IF NOT EXISTS store.fleet"
            " (format INTEGER, schema_version INTEGER, gemtop_version VARCHAR, applied_at TIMESTAMPTZ)"
        )
        con.execute(
            "CREATE TABLE IF NOT EXISTS store.synced (session_id VARCHAR, host VARCHAR, signature VARCHAR,"
            " row_count BIGINT, gemtop_version VARCHAR, synced_at TIMESTAMPTZ)"
        )
        there = columns(con)
        for table, wanted in columns_of_version(version).items():
            if table not in there:
                fields = ", ".join(f"{quoted_name(c.name)} {lake_type(c.type)}" for c in wanted)
                con.execute(f"CREATE TABLE store.{table} ({fields})")
                continue
            names = {column.name for column in there[table]}
            for column in wanted:
                if column.name not in names:
                    con.execute(
                        f"ALTER TABLE store.{table} ADD COLUMN {quoted_name(column.name)} {lake_type(column.type)}"
                    )
        for view, sql, comment in views_of_version(version):
            con.execute(f"DROP VIEW IF EXISTS {quoted_name(view)}")
            con.execute(sql)
            con.execute(f"COMMENT ON VIEW {quoted_name(view)} IS {quoted(comment)}")
        con.execute("INSERT INTO store.fleet VALUES (?, ?, ?, now())", [FORMAT, version, __version__])
        con.execute("COMMIT")
    except BaseException:
        with suppress(Exception):
            con.execute("ROLLBACK")
        raise


def lake_type(kind: str) -> str:
    """What a column of this type is in a lake, which knows no ENUM."""
    return "VARCHAR" if kind.startswith("ENUM") else kind


@cache
def views_of_version(version: int) -> tuple[tuple[str, str, str], ...]:
    """Name, SQL and comment of each view of a schema version, in the order they can be made in."""
    import duckdb

    with duckdb.connect() as con:
        schema.migrate(con, "", [m for m in schema.MIGRATIONS if m.version <= version])
        rows = con.execute(
            "SELECT view_name, sql, coalesce(comment, '') FROM duckdb_views()"
            " WHERE NOT internal AND schema_name = 'main' ORDER BY view_oid"
        ).fetchall()
    return tuple((str(name), str(sql), str(comment)) for name, sql, comment in rows)


# Reading


def open_reader(where: Address) -> Reader:
    """The fleet, open for reading with SQL as a history is. Raises HistoryError."""
    import duckdb

    con = duckdb.connect()
    try:
        prepare(con, s3=True)
        attach(con, where, "fleet")
        con.execute(RESTRICTIONS)
    except BaseException:
        con.close()
        raise
    return Reader(con, None)


# Keeping it small


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became of the data files."""

    files_before: int
    files: int
    size_bytes_before: int
    size_bytes: int


def _files(con: DuckDBPyConnection, name: str) -> tuple[int, int]:
    row = con.execute(
        "SELECT coalesce(sum(file_count), 0), coalesce(sum(file_size_bytes), 0)"
        f" FROM ducklake_table_info({quoted(name)})"
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def compact(
    con: DuckDBPyConnection, where: Address, name: str, *, keep: str = "7 days",
    progress: Callable[[str], None] = lambda _: None,
) -> Compacted:  # fmt: skip
    """Join small files, and drop what no state of the last `keep` needs. Others may go on meanwhile.

    Raises HistoryError.
    """
    import duckdb

    old = f"older_than => now() - INTERVAL '{keep}'"
    steps = {
        "small rows into files": f"CALL ducklake_flush_inlined_data('{name}')",
        "files with deleted rows": f"CALL ducklake_rewrite_data_files('{name}')",
        "joining files": f"CALL ducklake_merge_adjacent_files('{name}')",
        "dropping old states": f"CALL ducklake_expire_snapshots('{name}', {old})",
        "removing files nobody needs": f"CALL ducklake_cleanup_old_files('{name}', {old})",
        "removing files of broken-off transfers": f"CALL ducklake_delete_orphaned_files('{name}', {old})",
    }
    try:
        before = _files(con, name)
        for what, sql in steps.items():
            progress(f"compacting: {what}")
            _execute(con, sql)
        after = _files(con, name)
    except duckdb.Error as error:
        raise explain(where, error) from error
    return Compacted(before[0], after[0], before[1], after[1])
