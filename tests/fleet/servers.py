"""A PostgreSQL of its own, and an S3 server, both on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_USER = "postgres" if os.geteuid() == 0 else None
"""PostgreSQL does not run as root."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _programs() -> Path:
    """The folder of PostgreSQL's programs: Debian's, the newest where there are several, else that of pg_ctl."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("pg_ctl")
    assert found, "these tests need PostgreSQL's server: apt-get install postgresql"
    return Path(found).resolve().parent


class Postgres:
    """A cluster in a temporary folder; everybody on this machine may log in as gemtop."""

    def __init__(self) -> None:
        self._programs = _programs()
        self.folder = Path(tempfile.mkdtemp(prefix="gemtop-postgres-"))
        self.port = _free_port()
        if _USER:
            shutil.chown(self.folder, _USER)
        self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", "gemtop", "--no-sync")
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            user=_USER, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-l", str(self.folder / "log"), "-w", "start"
        )

    def vanish(self) -> None:
        """End at once, as a machine that loses its power."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def new_database(self, name: str) -> str:
        """Make a database; returns its address."""
        self.sql(f"CREATE DATABASE {name}", "postgres")
        return self.address(name)

    def address(self, name: str) -> str:
        return f"postgresql://gemtop@127.0.0.1:{self.port}/{name}"

    def sql(self, text: str, database: str) -> str:
        command = [str(self._programs / "psql"), "-qAt", "-d", self.address(database), "-c", text]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def close(self) -> None:
        subprocess.run(
            [str(self._programs / "pg_ctl"), "-D", str(self.folder / "data"), "-m", "immediate", "stop"],
            user=_USER, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def s3_server() -> Iterator[str]:
    """moto's S3 with an empty bucket named gemtop: its URL."""
    import boto3  # type: ignore[import-not-found]

    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None, "moto ended; is moto[server] installed?"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline, "moto does not listen"
            time.sleep(0.05)
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
        )
        client.create_bucket(Bucket="gemtop")
        yield url
    finally:
        server.kill()
        server.wait()
