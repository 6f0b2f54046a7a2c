"""gemtop in a process of its own, as a shell starts it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from gemtop.config import Paths
from gemtop.history.reader import Reader
from tests.conftest import child_environment

LIMIT_S = 90
QUICK = ("-t", "1", "-c", "512", "--temp", "0")
"""One thread, a small context, the same text every time."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gemtop", *map(str, arguments)]


def gemtop(*arguments: object, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end. Without `stdin` there is nothing to read."""
    return subprocess.run(
        command(*arguments),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
        env=child_environment(**environment),
    )


def start(*arguments: object, **environment: str) -> subprocess.Popen[bytes]:
    """Start it with pipes at its stdout and stderr."""
    return subprocess.Popen(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(**environment),
    )


def read_some(process: subprocess.Popen[bytes], at_least: int = 8) -> bytes:
    """Wait for the first bytes of its stdout: it is in the midst of generating then."""
    assert process.stdout is not None
    data = b""
    while len(data) < at_least:
        piece = process.stdout.read1(64)  # type: ignore[attr-defined]
        assert piece, f"it ended after {data!r}; stderr: {process.communicate()[1]!r}"
        data += piece
    return data


def end(process: subprocess.Popen[bytes]) -> tuple[bytes, str]:
    """The rest of its stdout, and its stderr; its exit code is in `returncode`."""
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it does not end; it said {err!r}") from None
    return out, err.decode()


def rows(where: Paths, sql: str) -> list[tuple[Any, ...]]:
    """What the history says. Nothing may be waiting in a spool: the command has ended well."""
    assert not list(where.spools.glob("*")), "the session is in the history, not in its spool"
    with Reader.open(where) as reader:
        return list(reader.run_sql(sql, {}).rows())


def refused(done: subprocess.CompletedProcess[bytes], *hints: str) -> str:
    """Check that it was bad input: nothing on stdout, one clear line on stderr, exit code 2. Returns the line."""
    words = done.stderr.decode()
    assert "Traceback" not in words
    assert done.returncode == 2, words
    assert done.stdout == b""
    assert words.count("\n") == 1, words
    assert words.startswith("gemtop"), words
    assert "\x1b" not in words
    for hint in hints:
        assert hint in words, words
    return words


def killed_afterwards(process: subprocess.Popen[bytes]) -> Callable[[], None]:
    """For pytest's addfinalizer: no test leaves a process behind."""

    def kill() -> None:
        if process.poll() is None:
            process.kill()
            process.communicate()

    return kill
