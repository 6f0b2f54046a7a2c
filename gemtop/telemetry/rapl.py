"""Energy of the processor packages, from the counters that the kernel shows of RAPL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_NONE = "this machine has no RAPL counters (or the kernel does not show them)"
_TOP_LEVEL = re.compile(r"intel-rapl:\d+")
"""Packages, on AMD's processors too; parts of a package have a second number, psys has another name."""


class RaplError(Exception):
    """The counters cannot be read; the text says why."""


@dataclass(slots=True)
class _Package:
    energy_uj: Path
    range_uj: int
    """The counter goes on from 0 after this."""
    before_uj: int | None = None


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii")


class Rapl:
    """The energy of all packages together since the first `read`. Use it from one thread.

    `folder` is the kernel's powercap folder, `read_text` reads a file in it.
    """

    def __init__(self, folder: Path = POWERCAP, read_text: Callable[[Path], str] = _text) -> None:
        self._folder = folder
        self._read_text = read_text
        self._packages: list[_Package] = []
        self._total_uj = 0

    def start(self) -> None:
        """Find the packages. Never raises; where there are none `read` says so."""
        self._packages, self._total_uj = [], 0
        try:
            domains = sorted(path for path in self._folder.iterdir() if _TOP_LEVEL.fullmatch(path.name))
        except OSError:
            return
        for domain in domains:
            try:
                if self._read_text(domain / "name").startswith("package-"):
                    limit = int(self._read_text(domain / "max_energy_range_uj"))
                    self._packages.append(_Package(domain / "energy_uj", limit))
            except (OSError, ValueError):
                continue

    def read(self) -> float:
        """Joules since the first reading; 0 at that. Raises RaplError."""
        if not self._packages:
            raise RaplError(_NONE)
        try:
            readings = [int(self._read_text(package.energy_uj)) for package in self._packages]
        except PermissionError:
            raise RaplError(
                f"not allowed to read it; allow it with: sudo chmod o+r {self._folder}/intel-rapl:*/energy_uj"
            ) from None
        except (OSError, ValueError) as error:
            raise RaplError(f"cannot be read: {type(error).__name__}: {error}") from None
        for package, now_uj in zip(self._packages, readings, strict=True):
            if package.before_uj is not None:
                gone_round = package.range_uj if now_uj < package.before_uj else 0
                self._total_uj += now_uj - package.before_uj + gone_round
            package.before_uj = now_uj
        return self._total_uj / 1e6
