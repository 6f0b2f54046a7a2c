"""A child process that is asked one thing and answers in lines of JSON: llama.cpp may die of a file.

The question is one line on the child's stdin, which stays open until the caller has done: the child ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import IO, Any, NoReturn

from gemtop.domain.text import one_line

_BUILD_FOLDER = re.compile(r"^\S*/(?=\S+:\d+: )")
"""Of the source file that ggml names when it aborts."""


def answers(
    module: str, request: Mapping[str, Any], doing: str, pass_fds: Sequence[int] = ()
) -> Generator[dict[str, Any]]:
    """What the child `python -m module` says, and `{"error": ...}` for how it ended where that was not well.

    `doing` is what it does, for that message: "the check". Closing the generator ends the child at once.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=pass_fds,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
            process_group=0,  # Ctrl-C is for this process, which ends the child
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has died, of what is told below
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            for line in process.stdout:
                if line.startswith(b"{") and line.endswith(b"\n"):  # whatever else a driver may print
                    yield json.loads(line)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        if code != 0:
            yield {"error": _death(code, doing, errors)}


def _death(code: int, doing: str, errors: IO[bytes]) -> str:
    if code == -signal.SIGKILL:
        return f"{doing} was killed, as the system does when memory runs out"
    errors.seek(0)
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    last = _BUILD_FOLDER.sub("", one_line(lines[-1])) if lines else ""
    if code < 0:
        return f"llama.cpp died of {signal.Signals(-code).name}" + (f": {last}" if last else "")
    return last or f"{doing} ended with exit code {code}"


# The child's side


def asked(at_end: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """The question. From then on the process ends when the caller does, after it has called `at_end`."""
    question = json.loads(sys.stdin.buffer.readline())
    assert isinstance(question, dict)

    def end_with_the_caller() -> NoReturn:
        # Not through sys.stdin: a thread that waits with its lock would be the end of Python's own way out.
        while os.read(0, 64):
            pass
        at_end()
        os._exit(1)

    threading.Thread(target=end_with_the_caller, name="gemtop-caller", daemon=True).start()
    return question


def answer(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def gave_up(message: str) -> NoReturn:
    """For abort.install: say what ggml would die of, and end without its backtrace."""
    answer(error=f"llama.cpp gave up: {message}")
    os._exit(1)
