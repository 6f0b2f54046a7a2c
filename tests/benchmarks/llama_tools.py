"""Tools of the llama.cpp that gemtop runs, to be measured against."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

_CMAKE = (
    "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_BUILD_TOOLS=ON", "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DGGML_RPC=on",
)  # fmt: skip


def build_tool(tool: str, folder: Path) -> Path:
    """A tool of llama.cpp from the sdist of the installed llama-cpp-python; built once, in some minutes."""
    program = folder / "build" / "bin" / tool
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob("llama_cpp_python-*/")):
        wanted = f"llama-cpp-python=={metadata.version('llama-cpp-python')}"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--no-binary",
            "llama-cpp-python",
            "-d",
            str(folder),
            wanted,
        ]
        subprocess.run(pip, check=True)
        with tarfile.open(next(folder.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
    source = next(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))
    build = folder / "build"
    subprocess.run(["cmake", "-S", str(source), "-B", str(build), *_CMAKE], check=True)
    jobs = str(os.cpu_count() or 1)
    subprocess.run(["cmake", "--build", str(build), "--target", tool, "-j", jobs], check=True)
    return program
