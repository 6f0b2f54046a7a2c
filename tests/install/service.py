"""The user's service of gemtop top --record: the unit is right, and the program lives as one. Run by .ci/run."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from gemtop.config import Paths
from tests.cli.commands import rows

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging" / "systemd" / "gemtop-top.service"


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser["Service"]


def program(home: Path, text: str = "") -> Path:
    """What pip --user, pipx and uv tool leave: ~/.local/bin/gemtop."""
    script = home / ".local" / "bin" / "gemtop"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    script.chmod(0o755)
    return script


def test_systemd_has_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    program(tmp_path)
    (tmp_path / "run").mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(UNIT)],
        env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_as_a_service_it_records_until_sigterm(tmp_path: Path) -> None:
    """No terminal, a session of its own, hardly an environment, and a socket as the journal's for what it says."""
    home = tmp_path / "home"
    program(home, f'PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m gemtop "$@"')
    command = shlex.split(unit()["ExecStart"].replace("%h", str(home)))
    journal, ours = socket.socketpair()
    spool = home / ".local" / "share" / "gemtop" / "history.duckdb.spool"
    with journal, ours:
        service = subprocess.Popen(
            command, cwd=home, env={"HOME": str(home), "PATH": "/usr/bin:/bin", "INVOCATION_ID": "1"},
            stdin=subprocess.DEVNULL, stdout=journal, stderr=journal, start_new_session=True,
            umask=int(unit()["UMask"], 8),
        )  # fmt: skip
        journal.close()
        _wait_for_a_sample(spool, service)
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=int(unit()["TimeoutStopSec"])) == 0
        said = ours.recv(1 << 16)
    assert said == b"", "a journal is no place for chatter"
    history = spool.with_name("history.duckdb")
    where = Paths(history=history, state=home, cache=home)
    assert rows(where, "SELECT command, status, end_reason FROM sessions") == [("top", "finished", None)]
    assert rows(where, "SELECT count(*) > 0 FROM samples") == [(True,)]
    assert history.stat().st_mode & 0o077 == 0


def _wait_for_a_sample(spool: Path, service: subprocess.Popen[bytes]) -> None:
    written = threading.Event()
    for _ in range(600):
        if any(file.stat().st_size > 1000 for file in spool.glob("*.jsonl")):
            return
        assert service.poll() is None, "it ended by itself"
        written.wait(0.1)
    raise AssertionError("nothing was recorded within a minute")
