"""Moves a live session's spool into DuckDB, on a thread of its own: however long that takes, the spool goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.history.damage import renewing
from gemtop.history.database import Database
from gemtop.history.faults import HistoryLockedError
from gemtop.history.ingest import take, take_in_dead
from gemtop.history.spool import Spool
from gemtop.threads import name_thread

THREAD = "gemtop-mover"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MovePace:
    """How often the spool is moved, in seconds."""

    first_s: float = 1.0
    every_s: float = 4.5
    soon_s: float = 0.25
    """After something that others want to see."""
    patience_s: float = 0.5
    """Waited for others within a move: between many readers the file is free for moments only."""
    locked_s: float = 1.0
    """Until it is tried again while another process has the history open."""
    failed_s: float = 30.0
    """Until it is tried again after the history could not be written."""


class Mover:
    """Takes the tail of one spool into the history, over and over. `start`, `soon` now and then, `finish`.

    `moved` is called on the mover's thread after each move, with the offset that was reached; `note` with what the
    user should know of spools of processes that are gone, and of a history that was damaged.
    """

    def __init__(
        self,
        paths: Paths,
        spool: Spool,
        pace: MovePace,
        moved: Callable[[int], None],
        note: Callable[[str], None],
    ) -> None:
        self._paths = paths
        self._spool = spool
        self._pace = pace
        self._moved = moved
        self._note = note
        self._database = Database(paths.history)
        self._changed = threading.Condition()
        self._due_s = time.monotonic() + pace.first_s
        self._deadline_s: float | None = None
        """When the last move may end; None while the session goes on."""
        self._dead_taken_in = False
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        self.taken = 0
        """Offset up to which the spool is in the history."""
        self.waiting: str | None = None
        """Who has the history open while it is tried again; nothing is lost meanwhile."""
        self.problem: str | None = None
        """Why the history cannot be written; None while all is well."""

    def start(self) -> None:
        self._thread.start()

    def soon(self) -> None:
        """Something is in the spool that others want to see. Does not wait; any thread may call it."""
        self._wake(time.monotonic() + self._pace.soon_s)

    def finish(self, wait_s: float) -> bool:
        """Move what is left, waiting so long for others, and end. False where it is still at it then."""
        with self._changed:
            self._deadline_s = time.monotonic() + wait_s
            self._changed.notify()
        self._thread.join(wait_s + 1.0)
        return not self._thread.is_alive()

    def interrupt(self) -> None:
        """Break off the move that is under way, and wait until it has ended."""
        self._database.interrupt()
        self._thread.join()

    def _wake(self, due_s: float) -> None:
        with self._changed:
            if due_s < self._due_s:
                self._due_s = due_s
                self._changed.notify()

    def _run(self) -> None:
        name_thread(THREAD)  # and that of the threads DuckDB makes
        try:
            while self._wait_until_due():
                again_s = self._move(self._pace.patience_s)
                with self._changed:
                    self._due_s = time.monotonic() + again_s
            assert self._deadline_s is not None
            self._move(max(0.0, self._deadline_s - time.monotonic()))
        except Exception as error:  # nothing may end the session that is being recorded
            _log.error("the mover ended", exc_info=True)
            self.problem = f"{type(error).__name__}: {error}; the session is kept in {self._spool.path}"
        finally:
            self._database.forget()

    def _wait_until_due(self) -> bool:
        """False where the session has ended."""
        with self._changed:
            while self._deadline_s is None:
                left_s = self._due_s - time.monotonic()
                if left_s <= 0:
                    return True
                self._changed.wait(left_s)
            return False

    def _ended(self) -> bool:
        return self._deadline_s is not None

    def _move(self, wait_s: float) -> float:
        """Move the spool's tail into the history; returns in how many seconds to try again."""
        try:
            renewing(self._paths.history, lambda: self._take_in(wait_s), self._begin_anew)
            self.waiting = self.problem = None
            return self._pace.every_s
        except HistoryLockedError as error:
            self.waiting = str(error)
            return self._pace.locked_s
        except HistoryError as error:
            self.waiting = None
            self.problem = f"{error}; the session is kept in {self._spool.path}"
            return self._pace.failed_s

    def _take_in(self, wait_s: float) -> None:
        if not self._dead_taken_in:
            found = take_in_dead(self._paths, database=self._database, wait_s=wait_s, stop=self._ended)
            for note in found.notes:
                self._note(note)
            self._dead_taken_in = True
        if self.taken != self._spool.end:
            self._take(wait_s)

    def _begin_anew(self, told: str) -> None:
        """The history was damaged and is another one now: all spools are taken into that."""
        self._note(told)
        self.taken = 0
        self._dead_taken_in = False

    def _take(self, wait_s: float) -> None:
        end = self._spool.end  # what comes in meanwhile is for the next move: each transaction has its price
        with self._database.open(wait_s) as con:
            while self.taken < end:
                taken = take(con, self._spool)
                self.taken = taken.taken
                if not taken.bytes:
                    break
        self._moved(self.taken)
