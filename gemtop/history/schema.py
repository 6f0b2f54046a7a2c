"""The tables and views of a history: numbered migrations, and the table of those applied.

A change of the schema is a new migration at the end of MIGRATIONS; those before it are never edited, since
histories that they made are out there. A view must be readable by every DuckDB supported whichever made it: 1.5
does not know the if() that 2.0 keeps in one. Everything gemtop writes is in schema `store`; the views in `main` are
the contract that queries, scripts and other programs rely on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemtop import __version__
from gemtop.domain.errors import HistoryError
from gemtop.history import schema_v1, schema_v2, schema_v3, schema_v4, schema_v5, schema_v6, schema_v7

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from the version before to `version`."""

    version: int
    what: str
    statements: tuple[str, ...]
    comments: tuple[str, ...] = ()
    """What tables and columns mean, for whoever asks the file; they take longer than all the rest."""


def _migration(number: int, what: str, statements: tuple[str, ...], comments: Mapping[str, str]) -> Migration:
    quoted = {target: text.replace("'", "''") for target, text in comments.items()}
    return Migration(number, what, statements, tuple(f"COMMENT ON {t} IS '{text}'" for t, text in quoted.items()))


MIGRATIONS: tuple[Migration, ...] = (
    _migration(
        1,
        "sessions, runs, tokens, samples and the views over them",
        schema_v1.STATEMENTS,
        schema_v1.COMMENTS,
    ),
    _migration(
        2,
        "the memory ledger of each load, runs of kind apply, and where the parts of a model were",
        schema_v2.STATEMENTS,
        schema_v2.COMMENTS,
    ),
    _migration(
        3,
        "what each tuning measured, and its Pareto front",
        schema_v3.STATEMENTS,
        schema_v3.COMMENTS,
    ),
    _migration(
        4,
        "all readings of a card, errors and sources of energy, the roof of decode, and gemtop's own cost",
        schema_v4.STATEMENTS,
        schema_v4.COMMENTS,
    ),
    _migration(
        5,
        "notes and tags of sessions, where imported ones come from, and how warm a load was",
        schema_v5.STATEMENTS,
        schema_v5.COMMENTS,
    ),
    _migration(
        6,
        "readings of cards and of the machine in a table each",
        schema_v6.STATEMENTS,
        schema_v6.COMMENTS,
    ),
    _migration(
        7,
        "what texts and tasks told of a model's quality",
        schema_v7.STATEMENTS,
        schema_v7.COMMENTS,
    ),
)


class NewerHistoryError(HistoryError):
    """The history was written by a later gemtop than this one."""


def version(con: DuckDBPyConnection) -> int:
    """The schema version of the database in use; 0 where gemtop has not been yet."""
    import duckdb

    try:
        row = con.execute("SELECT coalesce(max(version), 0) FROM store.migrations").fetchone()
    except duckdb.CatalogException:
        return 0
    return int(row[0]) if row else 0


def is_empty(con: DuckDBPyConnection) -> bool:
    """Whether the database in use holds no table at all."""
    found = con.execute("SELECT 1 FROM duckdb_tables() WHERE database_name = current_database()").fetchone()
    return found is None


def refuse_newer(found: int, name: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Raises NewerHistoryError where the version found is beyond the last migration known."""
    if found > migrations[-1].version:
        raise NewerHistoryError(
            f"{name} was written by a newer gemtop (schema {found}, this one knows {migrations[-1].version}):"
            " update gemtop, or choose another file with --db PATH"
        )


def migrate(
    con: DuckDBPyConnection, name: str, migrations: Sequence[Migration] = MIGRATIONS, *, comments: bool = True
) -> int:
    """Bring the database in use to the last version, in one transaction: a copy of before is one of before all of it.

    `comments` puts the meaning of tables and columns into it as well. Returns the version it had before. Raises
    NewerHistoryError for one that is beyond, and duckdb.Error.
    """
    before = version(con)
    refuse_newer(before, name, migrations)
    con.execute("BEGIN")
    try:
        for migration in migrations:
            if migration.version <= before:
                continue
            statements = (*migration.statements, *(migration.comments if comments else ()))
            con.execute(";\n".join(statements))  # one by one they take twice the time
            con.execute(
                "INSERT INTO store.migrations VALUES (?, ?, now(), ?)",
                [migration.version, migration.what, __version__],
            )
        con.execute("COMMIT")
    except BaseException:
        with suppress(Exception):  # a commit that failed has rolled back already
            con.execute("ROLLBACK")
        raise
    return before
