"""Which session a user means: its id, a beginning or an end of it that no other has, or `last`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.history.reader import Reader

LAST = "last"
_SHOWN = 3
_CANDIDATES = """
    SELECT session_id FROM store.sessions
    WHERE session_id = $name OR starts_with(session_id, $name) OR ends_with(session_id, $name)
    ORDER BY session_id = $name DESC, session_id DESC
"""
_NEWEST = "SELECT session_id FROM store.sessions ORDER BY started_at DESC, session_id DESC LIMIT 1"


def named_session(reader: Reader, name: str) -> str:
    """The id of the session that `name` stands for. Raises BadInputError where that is none, or more than one."""
    if name == LAST:
        newest = next(reader.run_sql(_NEWEST).rows(), None)
        if newest is None:
            raise BadInputError("the history holds no session yet")
        return str(newest[0])
    found = [str(row[0]) for row in reader.run_sql(_CANDIDATES, {"name": name}).rows()] if name else []
    if not found:
        raise BadInputError(f"there is no session '{one_line(name)}'; gemtop sessions lists them")
    if len(found) > 1 and found[0] != name:
        others = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
        raise BadInputError(
            f"'{one_line(name)}' stands for {len(found):,} sessions: {', '.join(found[:_SHOWN])}{others}; give more of"
            " the id"
        )
    return found[0]
