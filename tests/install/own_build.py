"""A build backend for an sdist that stands in for llama-cpp-python: it compiles nothing and keeps CMAKE_ARGS."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

_WHEEL = "Wheel-Version: 1.0\nGenerator: own_build\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(folder: str, config_settings: object = None, metadata_directory: str | None = None) -> str:
    """The hook of PEP 517. Name and version are those of the sdist, which is the current folder."""
    about = Path("PKG-INFO").read_text(encoding="utf-8")
    version = next(line.split()[1] for line in about.splitlines() if line.startswith("Version:"))
    stem = f"llama_cpp_python-{version}"
    name = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / name, "w") as wheel:
        wheel.writestr("llama_cpp/flags.txt", os.environ.get("CMAKE_ARGS", ""))
        wheel.writestr(f"{stem}.dist-info/METADATA", about)
        wheel.writestr(f"{stem}.dist-info/WHEEL", _WHEEL)
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return name
