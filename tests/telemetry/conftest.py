from __future__ import annotations

import json
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
    done = subprocess.run(
        [sys.executable, *args], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def probe(stub_dir: Path) -> Callable[..., dict[str, Any]]:
    """Runs the NVML probe on the stub: scenario and the times to sample at -> its status and samples."""

    def run(scenario: str, *times: float | str, env: dict[str, str] | None = None) -> dict[str, Any]:
        env = env or nvml_stub.environment(stub_dir, scenario, now_ns=0)
        output = run_python("-m", "tests.telemetry.probe_runner", *map(str, times), env=env)
        result: dict[str, Any] = json.loads(output)
        return result

    return run
