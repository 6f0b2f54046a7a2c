"""Code that a model wrote, run in a process that can do little (`sandbox_child.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from gemtop.domain.text import shortened

APART = "namespaces of its own: no network, no other processes, files read-only"
HOOKED = "limits and Python's audit hook only, which code can get round"

_CHILD = Path(__file__).with_name("sandbox_child.py")
_GRACE_S = 5.0
"""For the child to start, and to clear up when its time is over."""
_LONGEST_REASON = 200
_MOST_TOLD_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Limits:
    """What the code may use."""

    cpu_s: int = 10
    """Of each process."""
    wall_s: float = 20.0
    """Of all of it."""
    memory_bytes: int = 512 << 20
    """Address space of each process, Python's own 30 MiB included."""
    files_bytes: int = 8 << 20
    """Of a file, and of all files in a folder where namespaces are had."""
    processes: int = 8
    """At a time, threads included."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    wrong: str | None
    """In one line; None where the assertions hold."""
    isolation: str
    """How the code was shut off from the machine."""


class CannotRunError(Exception):
    """The code was not run; the text says why."""


def run(code: str, asserts: str, limits: Limits | None = None, *, namespaces: bool = True) -> Outcome:
    """Run `code`, then `asserts` statement by statement. Its output is thrown away; no process of it is left.

    Without `namespaces`, or where the system allows none, `HOOKED` is what shuts the code off. Raises CannotRunError.
    """
    limits = limits or Limits()
    nonce = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="gemtop-code-", ignore_cleanup_errors=True) as folder:
        task = {
            "code": code, "asserts": asserts, "nonce": nonce, "folder": folder, "parent": os.getpid(),
            "namespaces": namespaces, "covered": ["/tmp", "/var/tmp", "/dev/shm", "/run", *_homes()],
            **asdict(limits),
        }  # fmt: skip
        report, verdict = _child(task, folder, limits.wall_s)
    if "impossible" in report:
        raise CannotRunError(f"{report['impossible']}; run gemtop as another user")
    if "open_because" not in report:
        raise CannotRunError("the process for it did not start")
    open_because = report["open_because"]
    isolation = APART if open_because is None else f"{HOOKED} ({open_because})"
    return Outcome(_wrong(report, verdict, nonce, limits), isolation)


def _homes() -> list[str]:
    """The user's home, by the environment and by the list of users."""
    homes = [os.environ.get("HOME", "")]
    with contextlib.suppress(KeyError):
        homes.append(pwd.getpwuid(os.getuid()).pw_dir)
    return [home for home in homes if home.startswith("/") and home != "/"]


def _wrong(report: dict[str, Any], verdict: dict[str, Any], nonce: str, limits: Limits) -> str | None:
    if report.get("exit") is None:
        return f"the code did not end within {limits.wall_s:g} s"
    if verdict.get("nonce") == nonce:
        wrong = verdict.get("wrong")
        return None if wrong is None else shortened(str(wrong), _LONGEST_REASON)
    code = int(report["exit"])
    if code == 128 + signal.SIGXCPU:
        return f"the code used more than {limits.cpu_s} s of CPU time"
    ended = f"signal {code - 128}" if code > 128 else f"exit code {code}"
    return f"the code ended the process ({ended}) before its assertions were through"


def _child(task: dict[str, Any], folder: str, wall_s: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the process and the code in it had to say."""
    with _memory_file() as given, _memory_file() as report, _memory_file() as verdict:
        given.write(json.dumps(task).encode("ascii"))
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(_CHILD), str(report.fileno()), str(verdict.fileno())],
            stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
            pass_fds=(report.fileno(), verdict.fileno()), start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder, "MALLOC_ARENA_MAX": "1"},
        )  # fmt: skip
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wall_s + _GRACE_S)
        finally:
            _stop(process)
        return _told(report), _told(verdict)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the child if it has not: it clears up itself when asked to, and takes its namespaces along when killed."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _memory_file() -> Iterator[IO[bytes]]:
    with os.fdopen(os.memfd_create("gemtop"), "w+b") as file:
        yield file


def _told(file: IO[bytes]) -> dict[str, Any]:
    """The lines of JSON in a file as one mapping; what is none says nothing."""
    told: dict[str, Any] = {}
    for line in os.pread(file.fileno(), _MOST_TOLD_BYTES, 0).splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            said = json.loads(line)
            told |= said if isinstance(said, dict) else {}
    return told
