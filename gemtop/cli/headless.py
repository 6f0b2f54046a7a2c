"""A session without a screen: its events in a queue, its progress on stderr."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import NoReturn

from gemtop.cli.progress import Progress
from gemtop.cli.signals import hear
from gemtop.config import Paths
from gemtop.domain.errors import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    BadInputError,
    EngineCrashedError,
    GemtopError,
    HistoryError,
)
from gemtop.domain.events import EngineCrashed, LoadFailed, LoadProgress, LogLine, ModelLoaded, Notice
from gemtop.domain.model import LoadedModel
from gemtop.domain.settings import EngineSettings
from gemtop.domain.text import one_line
from gemtop.session import Session
from gemtop.view import SessionEvent

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_S = 5.0
"""From an interruption until another one leaves at once, with what is in the spool."""


class Headless:
    """A session and the queue of what happens in it, for the commands that stay on the command line."""

    def __init__(self, command: str, paths: Paths, *, verbose: bool = False, record_text: bool = True) -> None:
        from gemtop.assembly import make_session

        self._events: SimpleQueue[SessionEvent] = SimpleQueue()
        self._verbose = verbose
        self.progress = Progress()
        self.session: Session = make_session(command, paths, self._events.put, record_text=record_text)
        self.interrupted = False
        self._notes_said = 0

    def events(self) -> Iterator[SessionEvent]:
        """Events as they come. Raises EngineCrashedError where llama.cpp gave up."""
        for event in self.events_and_ticks(None):
            assert event is not None
            yield event

    def events_and_ticks(self, tick_s: float | None) -> Iterator[SessionEvent | None]:
        """The same, and None where there was none for so many seconds."""
        give_up_s: float | None = None
        while True:
            try:
                left_s = [max(0.0, give_up_s - time.monotonic())] if give_up_s is not None else []
                event = self._events.get(
                    timeout=min([*left_s, *([tick_s] if tick_s is not None else [])], default=None)
                )
            except KeyboardInterrupt:
                self.interrupted = True
                self.session.stop()
                give_up_s = time.monotonic() + _PATIENCE_S
                continue
            except Empty:
                if give_up_s is not None and time.monotonic() >= give_up_s:  # llama.cpp is stuck: closing says so
                    raise KeyboardInterrupt from None
                yield None
                continue
            if isinstance(event, Notice):
                self.say(f"warning: {event.text}")
            elif isinstance(event, LogLine):
                if self._verbose:
                    self.say(event.text)
            elif isinstance(event, EngineCrashed):
                raise EngineCrashedError(
                    f"llama.cpp gave up: {event.message}; the session is kept in the history as crashed"
                )
            else:
                yield event

    def load(self, path: str, settings: EngineSettings) -> LoadedModel:
        """Load a model, with progress. Raises BadInputError where it cannot be loaded."""
        self.session.open(path, settings)
        for event in self.events():
            if isinstance(event, LoadProgress):
                self.progress.show(f"loading {one_line(path)} {event.fraction:4.0%}")
            elif isinstance(event, ModelLoaded):
                self.progress.clear()
                if self.interrupted:  # too late to stop the loading; what comes after it must not begin
                    raise KeyboardInterrupt
                return event.model
            elif isinstance(event, LoadFailed):
                self.progress.clear()
                if event.cancelled:
                    raise KeyboardInterrupt
                raise BadInputError(event.message)
        raise AssertionError("the queue has no end")

    def say(self, text: str) -> None:
        """A line of talk on stderr."""
        self.progress.clear()
        sys.stderr.write(f"gemtop: {one_line(text)}\n")
        sys.stderr.flush()

    def say_notes(self) -> None:
        """What the user should know of the history and was not told yet."""
        notes = self.session.notes
        for note in notes[self._notes_said :]:
            self.say(note)
        self._notes_said = len(notes)

    def close(self) -> bool:
        """End the session; False where llama.cpp could not be ended."""
        ended = self.session.close("interrupted" if self.interrupted else None)
        self.say_notes()
        return ended


@contextmanager
def headless(command: str, paths: Paths, *, verbose: bool = False, record_text: bool = True) -> Iterator[Headless]:
    """A started headless session, closed whatever happens; SIGTERM and SIGHUP end it like Ctrl-C."""
    hear_once()
    run = Headless(command, paths, verbose=verbose, record_text=record_text)
    run.say_notes()
    run.session.start()
    try:
        yield run
    except BaseException as error:
        be_patient()
        run.interrupted = run.interrupted or isinstance(error, KeyboardInterrupt)
        ended = run.close()
        if run.session.problem:
            run.say(run.session.problem)
        if not ended:
            # A thread is parked or stuck inside llama.cpp: Python's own way out would wait for it.
            run.say(str(error) or "interrupted")
            leave(error.exit_code if isinstance(error, GemtopError) else _code(run))
        raise
    be_patient()
    if not run.close():
        run.say("llama.cpp does not stop; leaving without it")
        leave(EXIT_FAILURE)
    if run.session.problem:
        raise HistoryError(run.session.problem)


def _code(run: Headless) -> int:
    return EXIT_INTERRUPTED if run.interrupted else EXIT_FAILURE


def be_patient() -> None:
    """What is under way is being ended and written down: further signals are heard only if that takes too long.

    An interrupted close would lose the end of the session, and keys repeat.
    """
    since_s = time.monotonic()

    def impatient(_number: int, _frame: object) -> None:
        if time.monotonic() - since_s > _PATIENCE_S:
            leave(EXIT_INTERRUPTED)

    for number in _ENDING:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, impatient)


def hear_once() -> None:
    """SIGINT, SIGTERM and SIGHUP end the command, and a second one that comes with the first is not heard.

    A supervising parent passes on the Ctrl-C that the terminal has sent to both. What a shell has a command ignore
    stays ignored: Ctrl-C of one in the background, SIGHUP of one under nohup.
    """
    hear(_interrupt, *_ENDING)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    be_patient()
    raise KeyboardInterrupt


def leave(code: int) -> NoReturn:
    """Leave at once: a thread is parked or stuck inside llama.cpp and cannot be waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
