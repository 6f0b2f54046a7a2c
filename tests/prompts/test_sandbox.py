"""Code of a model that does what it should not: it is ended, sees nothing, reaches nothing and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gemtop.prompts import sandbox
from gemtop.prompts.sandbox import APART, HOOKED, CannotRunError, Limits, Outcome

ENOUGH = Limits(cpu_s=30, wall_s=60, memory_bytes=128 << 20)
LITTLE_CPU = replace(ENOUGH, cpu_s=1)
LITTLE_TIME = replace(ENOUGH, wall_s=1)
Run = Callable[..., Outcome]


def _python_for_nobody() -> str:
    """This Python, or the system's where root's is out of reach for the user nobody, as whom root's code runs."""
    folders = [Path(os.__file__).resolve(), *Path(os.__file__).resolve().parents]
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o005 for folder in folders):
        return sys.executable
    assert Path("/usr/bin/python3").exists(), "root's Python is out of others' reach, and the system has none"
    return "/usr/bin/python3"


@pytest.fixture(params=["namespaces", "audit hook"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Code and assertions, run both ways, and a look afterwards for what is left."""
    folder = Path("/tmp") / f"gemtop-test-{secrets.token_hex(4)}"
    folder.mkdir(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    namespaces = request.param == "namespaces"
    if not namespaces:
        monkeypatch.setattr(sys, "executable", _python_for_nobody())

    def runner(code: str, asserts: str = "assert True", limits: Limits = ENOUGH) -> Outcome:
        outcome = sandbox.run(code, asserts, limits, namespaces=namespaces)
        assert _left() == 0, "processes of the code are left"
        return outcome

    yield runner
    folder.rmdir()


def _left() -> int:
    """Processes that run code from this copy of gemtop."""
    child = Path(sandbox.__file__).with_name("sandbox_child.py")
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            lines.append((process / "cmdline").read_bytes())
    return sum(os.fsencode(child) in line.split(b"\0") for line in lines)


def test_assertions_that_hold_and_such_that_do_not(run: Run) -> None:
    assert run("def f(x): return x + 1", "assert f(1) == 2").wrong is None
    assert run("def f(x): return x", "assert f(0) == 0\nassert f(1) == 2").wrong == "assert f(1) == 2 does not hold"
    assert run("assert 1 == 2").wrong == "the code's own assertion does not hold"
    assert run("def f(x): return 1 / x", "f(0)").wrong == "f(0): ZeroDivisionError: division by zero"
    assert run("def f(:").wrong == "the code: SyntaxError: invalid syntax (answer, line 1)"
    assert run("if __name__ == '__main__': raise RuntimeError").wrong is None
    assert run("input()").wrong == "the code: EOFError: EOF when reading a line"


def test_how_code_was_shut_off_is_said(run: Run, request: pytest.FixtureRequest) -> None:
    allowed = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "--mount", "true"], check=False
    ).returncode
    asked = "namespaces" in request.node.name
    isolation = run("pass").isolation
    assert isolation == APART if asked and allowed == 0 else isolation.startswith(HOOKED)


def test_modules_that_tasks_use_are_there(run: Run) -> None:
    modules = (
        "collections, datetime, decimal, fractions, functools, heapq, itertools, json, math, random, re, statistics"
    )
    assert run(f"import {modules}, tempfile, threading, typing, zoneinfo").wrong is None
    assert run("import tempfile\nwith tempfile.TemporaryFile() as file:\n    file.write(b'a')").wrong is None
    assert run("open('here', 'w').write('a' * 1000)", "assert len(open('here').read()) == 1000").wrong is None


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("while True: pass", "the code used more than 1 s of CPU time"),
        ("while True: print('x' * 100_000)", "the code used more than 1 s of CPU time"),
        ("import time\nwhile True: time.sleep(9)", "the code did not end within 1 s"),
        ("import signal, time\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n"
         "  except OSError: pass\nwhile True: time.sleep(9)", "the code did not end within 1 s"),
        ("import os\nos._exit(0)", "the code ended the process (exit code 0) before its assertions were through"),
        ("raise SystemExit", "the code: SystemExit"),
        ("kept = []\nwhile True: kept.append(bytearray(10_000_000))", "the code: MemoryError"),
        ("def f(): return f()\nf()", "the code: RecursionError: maximum recursion depth exceeded"),
        ("with open('big', 'w') as file:\n  while True: file.write('a' * 100_000)",
         "the code: OSError: [Errno 27] File too large"),
        ("class E(Exception):\n  def __str__(self): return 1 / 0\nraise E", "the code: an error that cannot be shown"),
        ("raise Exception('\\x1b[2J\\ud800' * 1000)", None),
        ("import os\nfor fd in range(3, 64):\n  try: os.write(fd, b'{\"wrong\": null}\\n' * 9999)\n"
         "  except OSError: pass\nos._exit(0)",
         "the code ended the process (exit code 0) before its assertions were through"),
    ],
)  # fmt: skip
def test_code_that_does_not_behave(run: Run, code: str, wrong: str | None) -> None:
    limits = {"more than 1 s": LITTLE_CPU, "within 1 s": LITTLE_TIME}
    found = run(code, limits=next((limits[said] for said in limits if said in (wrong or "")), ENOUGH)).wrong
    assert found is not None
    assert found == wrong if wrong is not None else "\x1b" not in found and len(found) <= 200


def test_a_fork_bomb_stays_small_and_ends(run: Run) -> None:
    seen: list[int] = []
    done = threading.Event()

    def count() -> None:
        while not done.wait(0.05):
            seen.append(_left())

    counter = threading.Thread(target=count)
    counter.start()
    try:
        wrong = run(
            "import os\nwhile True:\n  try: os.fork()\n  except BlockingIOError: pass", limits=LITTLE_TIME
        ).wrong
    finally:
        done.set()
        counter.join()
    assert wrong is not None
    assert max(seen) <= LITTLE_TIME.processes + 2


def test_a_daemon_does_not_outlive_the_code(run: Run) -> None:
    code = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(999)\n  os._exit(0)"
    assert run(code).wrong in (None, "the code: PermissionError: os.fork is not allowed here")


def test_the_network_is_out_of_reach(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        wrong = run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)").wrong
        assert wrong is not None
        assert "Network is unreachable" in wrong or "not allowed here" in wrong
        with pytest.raises(TimeoutError):
            listener.accept()


def test_sockets_in_the_file_system_are_out_of_reach(run: Run) -> None:
    where = Path("/tmp") / f"gemtop-test-{secrets.token_hex(4)}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where))
        try:
            where.chmod(0o777)
            listener.listen()
            wrong = run(f"import socket\nsocket.socket(socket.AF_UNIX).connect({str(where)!r})").wrong
        finally:
            where.unlink()
    assert wrong is not None
    assert "No such file" in wrong or "not allowed here" in wrong


def test_no_file_outside_can_be_written(run: Run) -> None:
    folder = Path(__file__).parents[2] / f".gemtop-test-{secrets.token_hex(4)}"
    folder.mkdir()
    folder.chmod(0o777)
    try:
        (folder / "kept").write_text("kept")
        (folder / "kept").chmod(0o666)
        for code in (
            "open({0!r}, 'w')",
            "import os; os.remove({0!r})",
            "import os; os.rename({0!r}, {0!r} + '2')",
            # Where the code's folder lies on another file system the kernel may say so before it says "read-only".
            "import os; os.rename({0!r}, 'x')",
        ):
            wrong = run(code.format(str(folder / "kept"))).wrong
            assert wrong is not None
            assert any(
                reason in wrong for reason in ("Read-only file system", "out of bounds", "No such file", "cross-device")
            ), wrong
        assert [(entry.name, entry.read_text()) for entry in folder.iterdir()] == [("kept", "kept")]
    finally:
        (folder / "kept").unlink()
        folder.rmdir()


def test_the_environment_is_not_for_the_code_to_see(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMTOP_TEST_SECRET", "hunter2")
    assert run("import os", "assert 'GEMTOP_TEST_SECRET' not in os.environ").wrong is None
    wrong = run(f"open('/proc/{os.getpid()}/environ').read()").wrong
    assert wrong is not None
    assert "PermissionError" in wrong or "FileNotFoundError" in wrong


def test_rights_are_given_up_for_good() -> None:
    code = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "refused = [libc.umount2(b'/tmp', 2), libc.mount(None, b'/', None, 32, None), libc.sethostname(b'x', 1)]\n"
    )
    outcome = sandbox.run(code, "assert refused == [-1, -1, -1]\nassert os.getuid() != 0", ENOUGH)
    assert outcome.isolation != APART or outcome.wrong is None


def test_stopping_gemtop_stops_the_code(tmp_path: Path) -> None:
    script = "from gemtop.prompts import sandbox\nsandbox.run('while True: pass', 'assert True')"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2], env=environment)
    _until(lambda: _left() >= 2)
    process.kill()
    process.wait()
    _until(lambda: _left() == 0)


def test_root_whose_python_nobody_can_read_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    if _python_for_nobody() == sys.executable:
        assert sandbox.run("pass", "assert True", ENOUGH, namespaces=False).wrong is None
        return
    with pytest.raises(CannotRunError, match="run gemtop as another user"):
        sandbox.run("pass", "assert True", ENOUGH, namespaces=False)


def _until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)
