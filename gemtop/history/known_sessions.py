"""Ids of the sessions in the history, fast: for a shell that completes them while the user waits."""

from __future__ import annotations

from gemtop.config import Paths, read_state, write_state
from gemtop.domain.errors import HistoryError

_STATE = "session-ids"
_MOST = 500
_SQL = f"""
    SELECT session_id, concat_ws(' ', strftime(started_at::TIMESTAMP, '%Y-%m-%d %H:%M'), command)
    FROM store.sessions ORDER BY started_at DESC, session_id DESC LIMIT {_MOST}
"""


def known_sessions(paths: Paths) -> list[tuple[str, str]]:
    """The newest sessions, each with when it began (UTC) and its command; those seen last while the file is in use.

    What was read is kept for as long as the history's file stays as it is: importing DuckDB alone takes longer than
    all else here.
    """
    try:
        status = paths.history.stat()
    except OSError:
        return []
    identity = [str(paths.history), status.st_size, status.st_mtime_ns]
    kept = read_state(paths, _STATE)
    sessions = kept.get("sessions")
    seen = [(str(name), str(says)) for name, says in sessions] if isinstance(sessions, list) else []
    if kept.get("identity") == identity:
        return seen
    from gemtop.history.database import connect_reading

    try:
        with connect_reading(paths.history) as con:
            found = [(str(name), str(says)) for name, says in con.execute(_SQL).fetchall()]
    except HistoryError:
        return seen if kept.get("identity", [None])[0] == identity[0] else []
    write_state(paths, _STATE, {"identity": identity, "sessions": found})
    return found
