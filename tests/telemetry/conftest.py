from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import nvml_stub

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def stub_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml_stub.build(tmp_path_factory.mktemp("nvml"))


def run_python(*args: str, env: dict[str, str]) -> str:
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        if name in os.environ and env.get(name) == os.environ[name]:
            env = {key: value for key, value in env.items() if key != name}
    done = subprocess.run(
        [sys.executable, *args], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def lay_out_proc(
    folder: Path, *, container: bool = False, wsl2: bool = False, comm: dict[int, str] | None = None
) -> Path:
    """The part of /proc that tells where gemtop runs, and the names of some processes."""
    (folder / "self/ns").mkdir(parents=True)
    (folder / "self/ns/pid").symlink_to(f"pid:[{4026532600 if container else 4026531836}]")
    (folder / "sys/kernel").mkdir(parents=True)
    release = "6.6.87.2-microsoft-standard-WSL2" if wsl2 else "6.12.0-amd64"
    (folder / "sys/kernel/osrelease").write_text(release + "\n", encoding="ascii")
    for pid, name in (comm or {}).items():
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "comm").write_text(name + "\n", encoding="ascii")
    return folder


@pytest.fixture(scope="session")
def bare_proc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a machine, not of a container, wherever the tests run."""
    return lay_out_proc(tmp_path_factory.mktemp("machine") / "proc")


@pytest.fixture
def probe(stub_dir: Path, bare_proc: Path) -> Callable[..., dict[str, Any]]:
    """Runs the NVML probe on the stub: scenario and the times to sample at -> its status and samples."""

    def run(
        scenario: str, *times: float | str, env: dict[str, str] | None = None, proc: Path | None = None, **more: str
    ) -> dict[str, Any]:
        env = (env or nvml_stub.environment(stub_dir, scenario, now_ns=0)) | more
        arguments = [f"--proc={proc or bare_proc}", *map(str, times)]
        result: dict[str, Any] = json.loads(run_python("-m", "tests.telemetry.probe_runner", *arguments, env=env))
        return result

    return run
