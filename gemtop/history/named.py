"""Which session a user means: its id, a beginning or an end of it that no other has, or `last`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.history.reader import Reader

LAST = "last"
_SHOWN = 3
_NEWEST_FIRST = "SELECT session_id FROM store.sessions ORDER BY started_at DESC, session_id DESC"


def named_session(reader: Reader, name: str) -> str:
    """The id of the session of the history that `name` stands for. Raises BadInputError as `pick` does."""
    return pick(name, [str(row[0]) for row in reader.run_sql(_NEWEST_FIRST).rows()])


def pick(name: str, newest_first: Sequence[str]) -> str:
    """The one of these ids that `name` stands for. Raises BadInputError where that is none, or more than one."""
    if not newest_first:
        raise BadInputError("the history holds no session yet")
    if name == LAST:
        return newest_first[0]
    if name in newest_first:
        return name
    found = [known for known in newest_first if name and (known.startswith(name) or known.endswith(name))]
    if not found:
        raise BadInputError(f"there is no session '{one_line(name)}'; gemtop sessions lists them")
    if len(found) > 1:
        others = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
        shown = ", ".join(one_line(known) for known in found[:_SHOWN])
        raise BadInputError(
            f"'{one_line(name)}' stands for {len(found):,} sessions: {shown}{others}; give more of the id"
        )
    return found[0]
