"""Energy of the processor packages, from the counters that the kernel shows of RAPL."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gemtop.telemetry.kernel_file import KernelFile

POWERCAP = Path("/sys/class/powercap")
_NONE = "this machine has no RAPL counters (or the kernel does not show them)"
_TOP_LEVEL = re.compile(r"intel-rapl:\d+")
"""Packages, on AMD's processors too; parts of a package have a second number, psys has another name."""
_DIGITS = 32
"""Bytes that hold a counter."""


class RaplError(Exception):
    """The counters cannot be read; the text says why."""


@dataclass(slots=True)
class _Package:
    energy_uj: KernelFile
    range_uj: int
    """The counter goes on from 0 after this."""
    before_uj: int | None = None

    def gained_uj(self, now_uj: int) -> int:
        """What was used since the reading before; 0 at the first one.

        A counter that wraps has used the rest of its range. One that fell by less than half of that has begun
        anew, as after the machine slept: what it shows is all that is known to have been used.
        """
        before_uj, self.before_uj = self.before_uj, now_uj
        if before_uj is None:
            return 0
        if now_uj >= before_uj:
            return now_uj - before_uj
        return now_uj + self.range_uj - before_uj if before_uj - now_uj > self.range_uj / 2 else now_uj


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii")


class Rapl:
    """The energy of all packages together since the first `read`. Use it from one thread.

    `folder` is the kernel's powercap folder, `open_file` opens a counter in it.
    """

    def __init__(self, folder: Path = POWERCAP, open_file: Callable[[Path, int], int] = os.open) -> None:
        self._folder = folder
        self._open_file = open_file
        self._packages: list[_Package] = []
        self._total_uj = 0

    def start(self) -> None:
        """Find the packages. Never raises; where there are none `read` says so."""
        self.stop()
        self._total_uj = 0
        try:
            domains = sorted(path for path in self._folder.iterdir() if _TOP_LEVEL.fullmatch(path.name))
        except OSError:
            return
        for domain in domains:
            try:
                if _text(domain / "name").startswith("package-"):
                    limit = int(_text(domain / "max_energy_range_uj"))
                    counter = KernelFile(domain / "energy_uj", _DIGITS, self._open_file)
                    self._packages.append(_Package(counter, limit))
            except (OSError, ValueError):
                continue

    def read(self) -> float:
        """Joules since the first reading; 0 at that. Raises RaplError."""
        if not self._packages:
            raise RaplError(_NONE)
        try:
            readings = [int(package.energy_uj.read()) for package in self._packages]
        except PermissionError:
            raise RaplError(
                f"not allowed to read it; allow it with: sudo chmod o+r {self._folder}/intel-rapl:*/energy_uj"
            ) from None
        except (OSError, ValueError) as error:
            raise RaplError(f"cannot be read: {type(error).__name__}: {error}") from None
        for package, now_uj in zip(self._packages, readings, strict=True):
            self._total_uj += package.gained_uj(now_uj)
        return self._total_uj / 1e6

    def stop(self) -> None:
        """Close the counters. May be called again, and without `start`."""
        for package in self._packages:
            package.energy_uj.close()
        self._packages = []
