"""The log of warnings and failures, and with -v of what gemtop does: a file of the state folder, never the terminal.

`start_log` is called once a process. From then on whatever goes through the standard library's logging is written
there, so a module that has something to tell needs `logging.getLogger(__name__)` and nothing of gemtop's.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sys
import threading
import traceback
from datetime import datetime
from pathlib import Path
from types import TracebackType

from gemtop.config.places import Paths, places
from gemtop.domain.text import one_line, printable

LIMIT_BYTES = 1 << 20
"""A file that has grown to this is put aside as gemtop.log.1."""
KEPT = 3
"""Files that were put aside and are kept."""
_LONGEST_RECORD = 1 << 16
"""Characters of one record; what is longer is cut."""

_log = logging.getLogger("gemtop")
_handler: LogFile | None = None


def log_file(paths: Paths) -> Path:
    """Where the log is, whether or not anything has been written yet."""
    return paths.state / "log" / "gemtop.log"


def start_log(paths: Paths, verbose: bool) -> None:
    """Have the log of this process written to `log_file(paths)`, and exceptions that nobody catches with it.

    Without `verbose` warnings and errors only. The file is made with its first line, readable by its owner only; where
    it cannot be written, gemtop goes on without. A second call takes the place of the first.
    """
    global _handler
    root = logging.getLogger()
    if _handler is not None:
        root.removeHandler(_handler)
        _handler.close()
    _handler = LogFile(log_file(paths))
    root.addHandler(_handler)
    # Libraries keep to warnings: at the level of info some write addresses that hold a key.
    _log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    if threading.excepthook is threading.__excepthook__:  # who runs gemtop in its own process has hooks of its own
        threading.excepthook = _thread_failed
        sys.excepthook = _process_failed


def unexpected(error: BaseException, where: str = "") -> str:
    """Write an exception that nobody expected to the log, and give the line in which the user is told of it.

    `where` says what failed: "the live screen". Where the log cannot be written, the traceback is in what is given.
    """
    if _handler is None:
        start_log(places(None), False)
    what = one_line(f"{type(error).__name__}: {error}").removesuffix(": ")
    _log.error("%s%s", where and f"in {where}: ", what, exc_info=error)
    place = f" in {where}" if where else ""
    assert _handler is not None
    if _handler.works:
        return f"something failed{place} that should not: {what}; the log says more: {one_line(str(_handler.file))}"
    told = printable("".join(traceback.format_exception(error)))
    return f"something failed{place} that should not: {what}; it could not be written to the log\n{told}".rstrip()


def _process_failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _tell(unexpected(error))


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _tell(unexpected(args.exc_value, f"thread {args.thread.name}" if args.thread else "a thread"))


def _tell(line: str) -> None:
    with contextlib.suppress(Exception):
        sys.stderr.write(f"gemtop: {line}\n")
        sys.stderr.flush()


class LogFile(logging.Handler):
    """Appends records to a file that several processes share, and puts it aside when it has grown.

    Each record is one write at the end of the file, so none is mixed with another. Who finds the file too large takes
    the folder's lock and renames it; the others see that the name means another file and open that.
    """

    def __init__(self, file: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        super().__init__()
        self.file = file
        self.works = True
        """The last record could be written, or none was tried."""
        self._limit_bytes = limit_bytes
        self._fd: int | None = None
        self._identity: tuple[int, int] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._append(_line(record).encode("utf-8", "backslashreplace"))
            self.works = True
        except Exception:  # what is to be logged must not fail of it
            self.works = False

    def close(self) -> None:
        self.acquire()
        try:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None
        finally:
            self.release()
        super().close()

    def _append(self, data: bytes) -> None:
        size_bytes = self._opened()
        if size_bytes and size_bytes + len(data) > self._limit_bytes:
            self._put_aside(len(data))
        assert self._fd is not None
        os.write(self._fd, data)

    def _opened(self) -> int:
        """Open what the name means now; its size in bytes."""
        try:
            status = os.stat(self.file)  # noqa: PTH116
            if self._fd is not None and self._identity == (status.st_dev, status.st_ino):
                return status.st_size
        except FileNotFoundError:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self._fd is not None:
            os.close(self._fd)
        self._fd, status = fd, os.fstat(fd)
        self._identity = status.st_dev, status.st_ino
        return status.st_size

    def _put_aside(self, more_bytes: int) -> None:
        folder = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if self._opened() + more_bytes <= self._limit_bytes:
                return  # another process was faster
            names = [self.file, *(self.file.with_name(f"{self.file.name}.{n}") for n in range(1, KEPT + 1))]
            for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
                with contextlib.suppress(FileNotFoundError):
                    newer.replace(older)
            self._opened()
        finally:
            os.close(folder)


def _line(record: logging.LogRecord) -> str:
    """2026-11-28T21:04:11.250+01:00 4711 gemtop-engine INFO gemtop.session: ..., and a traceback in further lines."""
    when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
    text = f"{when} {record.process} {record.threadName} {record.levelname} {record.name}: "
    text += one_line(record.getMessage())
    if record.exc_info and record.exc_info[1] is not None:
        text += "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
    if len(text) > _LONGEST_RECORD:
        half = _LONGEST_RECORD // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"
    return printable(text) + "\n"
