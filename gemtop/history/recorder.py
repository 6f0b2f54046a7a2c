"""Writes a session down as it happens: records to the spool; `mover` brings them into DuckDB."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.domain.records import Record, RunBegin, RunEnd, SessionBegin, SessionEnd, TokenRow
from gemtop.domain.telemetry import Sample
from gemtop.history.damage import renewing
from gemtop.history.database import Database
from gemtop.history.faults import HistoryLockedError
from gemtop.history.lines import Encoder
from gemtop.history.mover import MovePace, Mover
from gemtop.history.spool import Spool
from gemtop.threads import name_thread

_THREAD = "gemtop-recorder"
MEMORY_LIMIT_ROWS = 200_000
"""Rows kept in memory while the spool cannot be written; those that come after are counted and dropped."""
SPOOL_LIMIT_BYTES = 64 * 2**20
"""A spool that has grown beyond this and is taken in to its end is begun anew."""
BATCH_ROWS = 5_000
"""Rows of one line at most."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the recorder does what, in seconds."""

    spool_s: float = 0.25
    sync_s: float = 2.0
    close_s: float = 2.0
    """Waited for a history that others have open when the session ends."""
    move: MovePace = field(default_factory=MovePace)
    move_after_run: bool = True
    """Move soon after a run has ended, too."""


def _no_folder(path: Path, error: OSError) -> HistoryError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return HistoryError(f"no room to record in {path} ({reason}): make room, or choose --db PATH")
    return HistoryError(f"sessions cannot be recorded in {path} ({reason}): choose another file with --db PATH")


def prepare_folders(paths: Paths) -> None:
    """Create the folders of a history and see that they can be written. Raises HistoryError."""
    try:
        paths.history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths.spools.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise _no_folder(paths.history.parent, error) from error
    if paths.history.is_dir():
        raise HistoryError(f"{paths.history} is a directory: choose a file with --db PATH")
    if paths.history.exists() and not os.access(paths.history, os.W_OK):
        raise HistoryError(f"{paths.history} cannot be written: choose another file with --db PATH")
    for folder in (paths.history.parent, paths.spools):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise HistoryError(f"{folder} cannot be written: choose another file with --db PATH")


def check_history(paths: Paths) -> None:
    """See up front that this history can be written. Raises HistoryError (exit code 2).

    Finds what the recorder would otherwise only find in the middle of the session: a history of a newer gemtop
    or DuckDB, a damaged one, a foreign file. One that another process has open counts as good.
    """
    prepare_folders(paths)
    if not paths.history.exists():
        return
    database = Database(paths.history)
    try:
        with database.open():
            pass
    except HistoryLockedError:
        pass
    finally:
        database.forget()


AT_THE_END = Pace(spool_s=1.0, move=MovePace(first_s=86_400.0, every_s=86_400.0), move_after_run=False)
"""For a benchmark: the spool now and then, DuckDB only when all has been measured."""


class Recorder:
    """Records one session. `put` may be called from any thread; the rest from the one that owns it."""

    def __init__(self, paths: Paths, pace: Pace | None = None) -> None:
        self._paths = paths
        self._pace = pace or Pace()
        self._encoder = Encoder()
        self._incoming: deque[Record] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._spool: Spool | None = None
        self._mover: Mover | None = None
        self._writing = threading.Lock()
        """Held while the spool is written to, or begun anew."""
        self._begin: SessionBegin | None = None
        self._open_runs: dict[str, RunBegin] = {}
        self._dropped_rows = 0
        self._next_sync_s = 0.0
        self._unsynced = False
        self._spool_problem: str | None = None
        self._crash: str | None = None
        self._notes: list[str] = []

    @property
    def problem(self) -> str | None:
        """What keeps the session from being recorded, in one line for the user; None while all is well."""
        if self._crash:
            return self._crash
        if self._spool_problem is None:
            return self._mover.problem if self._mover else None
        if self._stop.is_set() and self._thread is None:
            return f"{self._spool_problem}; the end of this session is lost: make room, or choose --db PATH"
        # The same words as long as it is so: whoever shows them shows each line once.
        kept = f"at most {MEMORY_LIMIT_ROWS:,} rows are kept in memory until it can"
        lost = ", and those beyond are dropped" if self._dropped_rows else ""
        return f"{self._spool_problem}; {kept}{lost}"

    @property
    def waiting(self) -> str | None:
        """Who has the history open while it is tried again; nothing is lost meanwhile."""
        return self._mover.waiting if self._mover else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of, in the order it came to pass: a damaged history that was set aside, spools of
        processes that are gone, rows that were dropped."""
        return tuple(self._notes)

    @property
    def spool_path(self) -> Path | None:
        """Where the session is until it is in the history; None before `open` and once it is in it."""
        return self._spool.path if self._spool else None

    def check(self) -> None:
        """See up front that the history can be written; a damaged one is set aside, as `notes` has it.

        Raises HistoryError (exit code 2).
        """
        renewing(self._paths.history, lambda: check_history(self._paths), self._notes.append)

    def open(self, begin: SessionBegin) -> None:
        """Begin the session's spool and start the threads.

        Raises HistoryError, with what to do, where the folder cannot be written.
        """
        prepare_folders(self._paths)
        try:
            self._spool = Spool.create(self._paths.spools, begin.session_id)
        except OSError as error:
            raise _no_folder(self._paths.spools, error) from error
        self._begin = begin
        self._incoming.appendleft(begin)
        self._next_sync_s = time.monotonic() + self._pace.sync_s
        self._mover = Mover(self._paths, self._spool, self._pace.move, self._begin_anew, self._notes.append)
        self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
        self._thread.start()
        self._mover.start()

    def put(self, record: Record) -> None:
        """Take a record. Returns at once, from any thread, and never raises."""
        if len(self._incoming) >= MEMORY_LIMIT_ROWS and isinstance(record, (TokenRow, Sample)):
            self._dropped_rows += 1
            return
        self._incoming.append(record)

    def close(self, end: SessionEnd) -> None:
        """End the session: write everything down, move it, stop the threads.

        Returns within a few seconds; what could not be moved by then is left in the spool for the next start.
        """
        thread, self._thread = self._thread, None
        if thread is None or self._mover is None or self._spool is None:
            return
        self.put(end)
        self._stop.set()
        thread.join()
        if not self._mover.finish(self._pace.close_s):
            self._mover.interrupt()
        all_written = not self._incoming and not self._spool.unwritten_bytes
        if all_written and self._mover.taken == self._spool.end:
            self._spool.remove()
            self._spool = None
        else:
            self._spool.close()

    # The thread that writes the spool

    def _run(self) -> None:
        name_thread(_THREAD)
        try:
            while not self._stop.wait(self._pace.spool_s):
                self._tick()
            self._finish()
        except Exception as error:  # nothing may end the session that is being recorded
            logging.getLogger(__name__).error("recording stopped", exc_info=True)
            self._crash = f"recording stopped: {type(error).__name__}: {error}"

    def _tick(self) -> None:
        run_ended = self._write()
        now = time.monotonic()
        if now >= self._next_sync_s:
            self._sync()
            self._next_sync_s = now + self._pace.sync_s
        if run_ended and self._pace.move_after_run and self._mover is not None:
            self._mover.soon()

    def _write(self) -> bool:
        """Bring what has come in to the spool; True where a run has ended among it."""
        run_ended = False
        assert self._spool is not None
        try:
            with self._writing:
                self._spool.append()
                while self._incoming:
                    count = min(len(self._incoming), BATCH_ROWS)
                    batch = [self._incoming.popleft() for _ in range(count)]
                    for record in batch:
                        if isinstance(record, RunBegin):
                            self._open_runs[record.run_id] = record
                        elif isinstance(record, RunEnd):
                            self._open_runs.pop(record.run_id, None)
                            run_ended = True
                    self._unsynced = True
                    self._spool.append(self._encoder.lines(batch))
            self._spool_problem = None
            dropped, self._dropped_rows = self._dropped_rows, 0
            if dropped:
                self._notes.append(f"{dropped:,} rows were dropped while {self._spool.path} could not be written")
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            self._spool_problem = f"the session cannot be written to {self._spool.path} ({reason})"
        return run_ended

    def _sync(self) -> None:
        assert self._spool is not None
        if not self._unsynced:
            return
        try:
            with self._writing:  # the file may not be exchanged meanwhile
                self._spool.sync()
            self._unsynced = False
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            self._spool_problem = f"{self._spool.path} cannot be brought to the disk ({reason})"

    def _finish(self) -> None:
        deadline = time.monotonic() + self._pace.close_s
        self._write()
        while self._spool_problem and time.monotonic() < deadline:
            time.sleep(self._pace.spool_s / 5)
            self._write()
        self._sync()

    # The mover's thread

    def _begin_anew(self, taken: int) -> None:
        """Put a new file in the place of a long spool of which little or nothing is left to be taken in."""
        assert self._spool is not None and self._begin is not None
        with self._writing:
            left, length = self._spool.end - taken, self._spool.end - self._spool.header.base
            if length <= SPOOL_LIMIT_BYTES or left > length / 2:
                return
            with contextlib.suppress(OSError):  # the old one goes on growing, which is no reason to trouble anyone
                self._spool.begin_anew(self._encoder.lines([self._begin, *self._open_runs.values()]), taken)
