"""Setting a damaged history aside, so that a new one can be begun.

Nothing is deleted. The write-ahead log goes first, since DuckDB deletes one that lies beside a new file; a process
that is killed in between leaves the file where it was, and the next one goes on from there.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from gemtop.domain.errors import HistoryError
from gemtop.history.database import IN_THIS_PROCESS, patiently
from gemtop.history.faults import DamagedHistoryError, HistoryLockedError, files_of, log_of, logs_of, real

_T = TypeVar("_T")
_WAIT_S = 5.0
"""For others that have just found the damage too."""
_TRIES = 3
"""The log, the file, and what another process may have begun and damaged meanwhile."""


def set_aside(path: Path, error: DamagedHistoryError) -> str | None:
    """Give a damaged history, or its write-ahead log alone, another name beside it; returns a line that says which.

    None where the file is not the one any more that was found damaged. Raises HistoryLockedError, HistoryError.
    """
    file = real(path)
    with IN_THIS_PROCESS:
        try:
            fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as reason:
            raise _stuck(path, reason) from reason
        try:
            # DuckDB's own lock: nobody has the file open, and two that found the damage do not both move something.
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            now = files_of(path)
            if now.file != error.files.file or (error.log_alone and now.log != error.files.log):
                return None
            return _move(file, error)
        except (BlockingIOError, PermissionError) as reason:
            raise HistoryLockedError(f"{path} is in use by another process") from reason
        except OSError as reason:
            raise _stuck(path, reason) from reason
        finally:
            os.close(fd)


def _stuck(path: Path, reason: OSError) -> HistoryError:
    why = reason.strerror or str(reason)
    return HistoryError(f"{path} is damaged and cannot be renamed ({why}): choose another file with --db PATH")


def _move(file: Path, error: DamagedHistoryError) -> str:
    aside, log = _free_name(file), log_of(file)
    for one in logs_of(file):
        one.rename(file.with_name(one.name.replace(file.name, aside.name, 1)))
    if error.log_alone:
        return f"{log} was damaged ({error.why}): it is now {log_of(aside)}, and the history goes on without it"
    file.rename(aside)
    return f"{file} was damaged or no history ({error.why}): it is now {aside}, and a new history is begun"


def _free_name(file: Path) -> Path:
    base = f"{file.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    for number in range(1, 1000):
        aside = file.with_name(base if number == 1 else f"{base}-{number}")
        if not aside.exists() and not log_of(aside).exists():
            return aside
    raise FileExistsError(17, f"{base} is there a thousand times")


def renewing(path: Path, work: Callable[[], _T], say: Callable[[str], None]) -> _T:
    """`work` on the history; what it finds damaged is set aside, `say` told of it, and the work done again.

    For what records: a reader begins no new history. Raises what `work` raises, and HistoryError where the damaged
    file cannot be renamed.
    """
    for _ in range(_TRIES):
        try:
            return work()
        except DamagedHistoryError as error:
            told = patiently(partial(set_aside, path, error), _WAIT_S)
            if told:
                say(told)
    return work()
