"""Note and tags of one session, read and written in one go: what the screen's dialog does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gemtop.config import Paths
from gemtop.history.database import Database
from gemtop.history.manage import Sessions, checked_tags, set_note, set_tags


@dataclass(frozen=True, slots=True)
class Annotation:
    """What the user has said of a session."""

    session_id: str
    note: str
    tags: tuple[str, ...]


def read(paths: Paths, session_id: str, on_wait: Callable[[str], None] | None = None) -> Annotation:
    """Note and tags as they are. Raises BadInputError for a session that is not there any more, HistoryError."""
    with Sessions(paths, on_wait) as sessions:
        session = sessions.find(session_id)
    return Annotation(session.session_id, session.note or "", session.tags)


def write(paths: Paths, wanted: Annotation, on_wait: Callable[[str], None] | None = None) -> None:
    """Put these in the place of those it had. Raises BadInputError for a tag or note that cannot be, HistoryError."""
    tags = checked_tags(wanted.tags)
    with Sessions(paths, on_wait) as sessions:
        session = sessions.find(wanted.session_id)
        early = sessions.row_in_spool(session.session_id)
    database = Database(paths.history)
    try:
        set_note(database, session, early, wanted.note, on_wait)
        set_tags(database, session, early, tags, on_wait)
    finally:
        database.forget()
