"""Work inside DuckDB that Ctrl-C can break off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")


def interruptible(call: Callable[[], _T], interrupt: Callable[[], None]) -> _T:
    """`call` on a thread of its own: inside DuckDB, Python would not see Ctrl-C until it returns.

    `interrupt` makes it end; KeyboardInterrupt is raised when it has. Outside the main thread it is called as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    outcome: list[_T] = []
    failure: list[BaseException] = []
    done = threading.Event()  # a join that Ctrl-C breaks off takes the thread for ended (Python 3.11)

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            failure.append(error)
        finally:
            done.set()

    # Ctrl-C is held back until the thread is there and can be waited for.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        threading.Thread(target=work, name="gemtop-query").start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while not done.wait(0.1):
            pass  # a signal that another thread got does not end the wait by itself
    except KeyboardInterrupt:
        _stop_until(done, interrupt)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if failure:
        raise failure[0]
    return outcome[0]


def _stop_until(done: threading.Event, interrupt: Callable[[], None]) -> None:
    """Interrupt it until it has ended, however often Ctrl-C is pressed meanwhile."""
    while not done.is_set():
        with suppress(KeyboardInterrupt):
            interrupt()
            done.wait(0.02)
