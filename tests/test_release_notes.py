"""The words of a release come out of the changelog."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "packaging" / "notes.py"), version]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_section_of_the_changelog_alone() -> None:
    done = notes("Unreleased")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("### Added\n")
    assert "\n## " not in done.stdout
    missing = notes("9.9.9")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "## [9.9.9]" in missing.stderr
