"""How a command ends: what its exit code is, and what becomes of stdout when nobody takes what is written to it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from gemtop.domain.errors import EXIT_BAD_INPUT, EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, GemtopError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def discard_stdout() -> None:
    """Point stdout at nothing: Python would complain when it flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(command: Callable[[], int]) -> int:
    """Run a command and say in one line what it raises; returns the exit code."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        discard_stdout()  # whoever read has enough
        return EXIT_OK
    except GemtopError as error:
        sys.stderr.write(f"gemtop: {error}\n")
        if "gemtop.logs" in sys.modules:
            import logging

            logging.getLogger("gemtop.cli").info("ends with %d: %s", error.exit_code, error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            discard_stdout()
            file = f" {error.filename}" if error.filename else ""
            words = f"the output{file} could not be written: {error.strerror}; make room on that disk"
            sys.stderr.write(f"gemtop: {words}\n")
            return EXIT_BAD_INPUT
        from gemtop import logs

        sys.stderr.write(f"gemtop: {logs.unexpected(error)}\n")
        return EXIT_FAILURE
