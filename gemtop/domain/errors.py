"""Errors that end in one clear line, and the exit codes they map to (docs/cli.md lists them)."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILURE = 1
"""Something unexpected failed; the line names the log file."""
EXIT_BAD_INPUT = 2
"""The command, a file or a setting cannot be used as given."""
EXIT_CRASHED = 70
"""llama.cpp aborted or the process died; what was measured is kept."""
EXIT_INTERRUPTED = 130
"""Ctrl-C; what was measured until then is kept."""


class GemtopError(Exception):
    """A failure whose text is one line for the user: what is wrong and what to do."""

    exit_code = EXIT_FAILURE


class BadInputError(GemtopError):
    """The user gave something that cannot be used."""

    exit_code = EXIT_BAD_INPUT


class HistoryError(GemtopError):
    """The history cannot be read or written; the session itself is not affected."""

    exit_code = EXIT_BAD_INPUT


class LoadCancelledError(GemtopError):
    """Loading was cancelled by the user."""

    exit_code = EXIT_INTERRUPTED


class EngineCrashedError(GemtopError):
    """llama.cpp aborted; its state is lost until the program starts anew."""

    exit_code = EXIT_CRASHED


class QueryStoppedError(GemtopError):
    """The user stopped a query."""

    exit_code = EXIT_INTERRUPTED
