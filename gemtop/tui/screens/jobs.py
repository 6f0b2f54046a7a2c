"""A screen whose work is done on a thread, one piece at a time, and can be stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from textual.message import Message
from textual.timer import Timer

from gemtop.domain.errors import GemtopError, QueryStoppedError
from gemtop.history.workbench import Workbench
from gemtop.tui.screens.base import ModeScreen

_STOP_S = 0.05
"""A query that is told to stop before it has begun begins all the same: it is told again."""


class Ended(Message):
    """Work on a thread has come to its end."""

    def __init__(self, then: Callable[[], None], error: Exception | None) -> None:
        self.then, self.error = then, error
        super().__init__()


class Waiting(Message):
    """Work waits for another program."""

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__()


class JobScreen(ModeScreen):
    """Subclasses say what comes of it in `say`, and what can be done meanwhile in `show_keys`."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self.bench = bench
        self._job = ""
        """What goes on, in words."""
        self._stopper: Timer | None = None

    @property
    def busy(self) -> bool:
        """A query, or something else that can be stopped, goes on."""
        return bool(self._job)

    def say(self, words: str, kind: str = "") -> None:
        """Words for the user; `kind` is bad, busy or nothing."""
        raise NotImplementedError

    def show_keys(self) -> None:
        """Work has begun or ended."""
        raise NotImplementedError

    def begin(self, job: str, work: Callable[[], Any], then: Callable[[Any], None]) -> bool:
        """Do `work` on a thread, `then` here with what came of it. False where something else goes on."""
        if self._job:
            self.notify(f"{self._job} goes on; Esc stops it", severity="warning", markup=False)
            return False
        self._job = job

        def run() -> None:
            try:
                value = work()
            except Exception as error:  # shown, whatever it is
                if not isinstance(error, GemtopError):
                    logging.getLogger(__name__).error("%s failed", job, exc_info=True)
                self.post_message(Ended(lambda: None, error))
            else:
                self.post_message(Ended(partial(then, value), None))

        self.run_worker(run, thread=True, name="sql", exit_on_error=False)
        self.show_keys()
        return True

    def on_ended(self, message: Ended) -> None:
        self._job = ""
        if self._stopper is not None:
            self._stopper.stop()
            self._stopper = None
        if message.error is None:
            message.then()
        elif isinstance(message.error, QueryStoppedError):
            self.say("stopped; what was there before is still here", "busy")
        else:
            known = isinstance(message.error, GemtopError)
            words = str(message.error) if known else f"{type(message.error).__name__}: {message.error}"
            self.say(words, "bad")
        self.show_keys()

    def on_waiting(self, message: Waiting) -> None:
        if self._job:
            self.say(f"{message.words}; Esc gives up", "busy")

    def wait(self, words: str) -> None:
        self.post_message(Waiting(words))

    def stop(self) -> bool:
        """Stop what goes on, however long that takes. False where nothing does."""
        if not self._job:
            return False
        self.bench.stop()
        if self._stopper is None:
            self._stopper = self.set_interval(_STOP_S, self.bench.stop)
        return True
