"""Migration 5, frozen: notes and tags of sessions, where imported ones come from, and how warm a load was."""

from __future__ import annotations

from gemtop.history import schema_v1, schema_v2

_SESSIONS = next(statement for statement in schema_v1.STATEMENTS if "CREATE VIEW sessions AS" in statement)
_LEDGER = next(statement for statement in schema_v2.STATEMENTS if "CREATE VIEW ledger AS" in statement)
_DRIVER = """coalesce(driver_version, (
            SELECT min(d.driver_version) FROM store.devices AS d WHERE d.session_id = sessions.session_id
        ))"""
"""A session begins before the driver has answered."""

STATEMENTS: tuple[str, ...] = (
    "DROP VIEW sessions",
    "DROP VIEW ledger",
    "ALTER TABLE store.sessions ADD COLUMN note VARCHAR",
    "ALTER TABLE store.sessions ADD COLUMN tags VARCHAR[]",
    "ALTER TABLE store.sessions ADD COLUMN imported_from VARCHAR",
    "ALTER TABLE store.ledger ADD COLUMN file_cached_share DOUBLE",
    _SESSIONS.replace("platform\n", "platform, note, tags, imported_from\n").replace(
        " driver_version,", f" {_DRIVER} AS driver_version,"
    ),
    _LEDGER.replace("        l.reason\n", "        l.reason, l.file_cached_share\n"),
)

_SESSION = {
    "command": "tui, run, bench, tune, top or import",
    "note": "What the user wrote about it; NULL without",
    "tags": "Words the user gave it, in the order of the alphabet; NULL without",
    "imported_from": "Where it was imported from; NULL for what was recorded here",
}
_WARM = {
    "file_cached_share": "Share of the model's file that was in the page cache before the load: 0 is cold, 1 is warm;"
    " NULL where the kernel does not say",
}


def _columns(table: str, columns: dict[str, str]) -> dict[str, str]:
    return {f"COLUMN {table}.{name}": text for name, text in columns.items()}


_VIEWS = ("VIEW sessions", "COLUMN sessions.", "VIEW ledger", "COLUMN ledger.")
_COMMENTS_OF_VIEWS = {
    target: text for target, text in (schema_v1.COMMENTS | schema_v2.COMMENTS).items() if target.startswith(_VIEWS)
}

COMMENTS: dict[str, str] = {
    **_COMMENTS_OF_VIEWS,
    **_columns("sessions", _SESSION),
    **_columns("store.sessions", _SESSION),
    **_columns("ledger", _WARM),
    **_columns("store.ledger", _WARM),
}
