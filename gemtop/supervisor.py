"""The thin parent of the screen: whatever kills the program, the terminal comes back and the user is told.

SIGSEGV, SIGILL, SIGKILL and the kernel's OOM killer cannot be caught by the process they hit. So the process
the user starts forks before anything big is imported; the child is the program, the parent waits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from gemtop.domain.errors import EXIT_CRASHED, EXIT_INTERRUPTED

RESTART = 75
"""Exit code by which the child asks to be started anew, in place. Never seen outside."""

RESET = (
    "\x1b[?2026l"  # synchronised output off
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse reports off
    "\x1b[?1004l\x1b[?2004l\x1b[?2048l"  # focus reports, bracketed paste, in-band resizes off
    "\x1b[<u"  # the keyboard protocol of before
    "\x1b[?1049l"  # the screen of before
    "\x1b[?7h\x1b[?25h\x1b[0m"  # long lines wrap, cursor and plain colours
)

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH, signal.SIGUSR1)


def supervise(
    child: Callable[[int], int], describe: Callable[[str], str], goes_on: Callable[[], bool] = lambda: False
) -> int:
    """Run `child(attempt)` in a forked process until it does not ask for a restart; return its exit code.

    `describe` makes the line the user reads when the child died of a signal, given what it died of. After such a
    death, or one that the child saw coming (EXIT_CRASHED), `goes_on` is asked whether the child is started anew. Call
    it before any thread is started: a fork copies only the thread that calls it.
    """
    terminal = _Terminal()
    attempt = 0
    while True:
        pid = os.fork()
        if pid == 0:
            _run_child(child, attempt)
        status = _wait(pid)
        if os.WIFSIGNALED(status):
            terminal.restore()
            name = _signal_name(os.WTERMSIG(status))
            with contextlib.suppress(OSError):  # the terminal may be gone
                sys.stderr.write(f"gemtop: {describe(name)}\n")
        code = EXIT_CRASHED if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if code != RESTART and not (code == EXIT_CRASHED and goes_on()):
            return code
        attempt += 1


def _run_child(child: Callable[[int], int], attempt: int) -> None:
    """Never returns: the child ends here, without the parent's clean-up and whatever threads still hang."""
    code = 1
    try:
        _die_with_parent()
        code = child(attempt)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _die_with_parent() -> None:
    """Ask the kernel for SIGHUP should the parent be killed: the child then closes well by itself.

    For SIGTERM where nohup has SIGHUP ignored.
    """
    parent = os.getppid()
    import ctypes

    ends = signal.SIGTERM if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else signal.SIGHUP
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, ends)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os.kill(os.getpid(), ends)


def _wait(pid: int) -> int:
    """Wait for the child's end, passing signals on to it and stopping with it (Ctrl-Z)."""

    def forward(number: int, _frame: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    # What a shell has this command ignore, with nohup or in the background, stays so in the child as well.
    heard = [number for number in _FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in heard}
    try:
        while True:
            _, status = os.waitpid(pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                return status
            os.kill(os.getpid(), signal.SIGSTOP)
            # The shell brought this process back, and mostly the child with it. Told twice, Textual would start to
            # read the terminal twice, and never leave.
            found, status = os.waitpid(pid, os.WCONTINUED | os.WNOHANG)
            if not found:
                forward(signal.SIGCONT, None)
            elif not os.WIFCONTINUED(status):
                return status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Terminal:
    """The terminal as the user had it."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._attributes: Any = None
        with contextlib.suppress(Exception):
            import termios

            fd = sys.__stdin__.fileno() if sys.__stdin__ else 0
            self._attributes = termios.tcgetattr(fd)
            self._fd = fd

    def restore(self) -> None:
        """Echo, line mode, screen, cursor and mouse as before; what was typed meanwhile is thrown away."""
        if self._fd is None:
            return
        import termios

        for out in (sys.__stderr__, sys.__stdout__):
            if out is not None and out.isatty():
                with contextlib.suppress(OSError):
                    os.write(out.fileno(), RESET.encode())
                break
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSANOW, self._attributes)
            termios.tcflush(self._fd, termios.TCIFLUSH)
