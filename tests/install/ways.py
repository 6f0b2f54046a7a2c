"""gemtop as people install it: the wheel, the sdist and a clone, by pip, pipx and uv. .ci/run builds and runs them.

GEMTOP_DIST is the folder of wheel and sdist, GEMTOP_WHEELS one with a wheel of llama-cpp-python, so that nothing is
compiled; pipx and uv are on the PATH.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from gemtop.cli.completion import SHELLS

ROOT = Path(__file__).parents[2]
DIST = Path(os.environ["GEMTOP_DIST"])
WHEELS = Path(os.environ["GEMTOP_WHEELS"])
LLAMA = version("llama-cpp-python")
PYTHON = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
QUERIES = {path.stem.split("_", 1)[1] for path in (ROOT / "queries").glob("*.sql")}
_PROJECT = """[build-system]
requires = []
build-backend = "own_build"
backend-path = ["."]
"""


@dataclass(frozen=True)
class Way:
    """One way of installing, in folders of its own."""

    name: str
    folder: Path

    @property
    def prefix(self) -> Path:
        return self.folder / {"pip": "venv", "pipx": "pipx/venvs/gemtop", "uv": "tools/gemtop"}[self.name]

    @property
    def program(self) -> Path:
        """What a shell finds."""
        return self.folder / "venv/bin/gemtop" if self.name == "pip" else self.folder / "bin/gemtop"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GEMTOP", "PYTHONPATH", "VIRTUAL_ENV", "XDG"))}
        return kept | {
            "PIP_NO_COMPILE": "1",
            "PIP_FIND_LINKS": str(WHEELS),
            "PIPX_HOME": str(self.folder / "pipx"),
            "PIPX_BIN_DIR": str(self.folder / "bin"),
            "PIPX_MAN_DIR": str(self.folder / "man"),
            "PIPX_DEFAULT_BACKEND": "pip",
            "PIPX_DEFAULT_PYTHON": PYTHON,
            "UV_TOOL_DIR": str(self.folder / "tools"),
            "UV_TOOL_BIN_DIR": str(self.folder / "bin"),
            "UV_FIND_LINKS": str(WHEELS),
            "UV_PYTHON": PYTHON,
            "UV_PYTHON_DOWNLOADS": "never",
            **more,
        }  # fmt: skip

    def run(self, *command: object, **more: str) -> str:
        where = more.pop("PWD", self.folder)
        done = subprocess.run(
            list(map(str, command)), cwd=where, env=self.environment(**more), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def install(self, what: Path) -> None:
        if self.name == "pip":
            self.run(PYTHON, "-m", "venv", self.prefix)
            self.run(self.prefix / "bin/pip", "install", what)
        else:
            self.run(self.name, *(["tool"] if self.name == "uv" else []), "install", what)

    def install_from_a_clone(self) -> None:
        """Over what is there, whose dependencies stay."""
        if self.name == "pip":
            self.run(self.prefix / "bin/pip", "install", "--no-deps", "--force-reinstall", ROOT)
        elif self.name == "pipx":
            self.run("pipx", "install", "--force", "--pip-args=--no-deps", ROOT)
        else:
            self.run("uv", "tool", "install", "--force", ROOT)


def the(pattern: str) -> Path:
    (found,) = DIST.glob(pattern)
    return found


@pytest.fixture(scope="module")
def other_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist of llama-cpp-python that has only its name and version."""
    folder = tmp_path_factory.mktemp("links")
    top = f"llama_cpp_python-{LLAMA}"
    backend = Path(__file__).with_name("own_build.py").read_text(encoding="utf-8")
    about = f"Metadata-Version: 2.2\nName: llama-cpp-python\nVersion: {LLAMA}\n"
    with tarfile.open(folder / f"{top}.tar.gz", "w:gz") as sdist:
        for name, text in (("own_build.py", backend), ("pyproject.toml", _PROJECT), ("PKG-INFO", about)):
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size = len(text.encode())
            sdist.addfile(entry, io.BytesIO(text.encode()))
    return folder


def test_the_wheel_holds_the_program_its_data_and_the_licence_and_no_tests() -> None:
    names = zipfile.ZipFile(the("*.whl")).namelist()
    shipped = {Path(name).name for name in names if name.startswith("gemtop/queries/")}
    assert shipped == {path.name for path in (ROOT / "queries").glob("*.sql")}
    assert {"gemtop/tui/gemtop.tcss", "gemtop/py.typed"} <= set(names)
    prompts = ROOT / "gemtop" / "prompts" / "shipped"
    assert {str(path.relative_to(ROOT)) for path in prompts.rglob("*.*")} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {f"gemtop/cli/shells/gemtop.{shell}" for shell in SHELLS} <= set(names)
    assert {name.partition(".data/data/")[2] for name in names if ".data/data/" in name} == {
        "share/man/man1/gemtop.1",
        "share/systemd/user/gemtop-top.service",
        "share/bash-completion/completions/gemtop",
        "share/fish/vendor_completions.d/gemtop.fish",
        "share/zsh/site-functions/_gemtop",
    }
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"gemtop"}, "nothing lands beside the package"
    assert not any("/tests/" in name or name.endswith((".gguf", ".pyc")) for name in names)


def test_the_sdist_is_enough_to_test_and_to_build_from() -> None:
    with tarfile.open(the("*.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "LICENSE", "CHANGELOG.md", "tests/run", "docs/install.md", "Dockerfile"} <= names
    assert not any(name.endswith((".pyc", ".gguf")) or name.startswith((".venv", ".git/")) for name in names)


@pytest.mark.parametrize("name", ["pip", "pipx", "uv"])
def test_installed_it_works_with_nothing_of_the_clone_beside_it(name: str, tmp_path: Path, other_llama: Path) -> None:
    way = Way(name, tmp_path)
    home = tmp_path / "home of ann"
    (home / "empty").mkdir(parents=True)
    wheel = the("*.whl")
    way.install(wheel)
    _check_program(way, wheel, home)
    _check_data(way, wheel)
    way.install_from_a_clone()
    assert way.run(way.program, "--version").split()[:2] == ["gemtop", wheel.name.split("-")[1]]
    # What doctor prints builds the package again, and again where other flags are asked for.
    for build, flag in (("cuda", "-DGGML_CUDA=on"), ("vulkan", "-DGGML_VULKAN=on")):
        line = way.run(way.program, "doctor", "--fix", build, HOME=str(home)).splitlines()[-1]
        offline = {"PIP_NO_INDEX": "1", "UV_NO_INDEX": "1", "PIP_FIND_LINKS": str(other_llama)}
        way.run("bash", "-c", line, HOME=str(home), UV_FIND_LINKS=str(other_llama), **offline)
        (kept,) = way.prefix.glob("lib/python3*/site-packages/llama_cpp/flags.txt")
        assert flag in kept.read_text(encoding="utf-8").split()


def _check_program(way: Way, wheel: Path, home: Path) -> None:
    inside: Mapping[str, str] = {"HOME": str(home), "PWD": str(home / "empty")}
    assert way.run(way.program, "--version", **inside).split()[:2] == ["gemtop", wheel.name.split("-")[1]]
    listed = way.run(way.program, "query", "--list", **inside)
    assert all(query in listed for query in QUERIES)
    told = way.run(way.program, "doctor", "--json", **inside)
    found = json.loads(told)
    assert found["llama_cpp"]["problem"] is None
    assert found["fix"]["installed_by"] == way.name
    assert str(home) not in told
    assert found["data"]["history"] == "~/.local/share/gemtop/history.duckdb"


def _check_data(way: Way, wheel: Path) -> None:
    """What lies beside the package: units, manual pages, completions, wherever the wheel has them."""
    beside = [name.partition(".data/data/")[2] for name in zipfile.ZipFile(wheel).namelist() if ".data/data/" in name]
    for name in beside:
        assert (way.prefix / name).is_file(), f"{way.name} leaves out {name}"
    if way.name == "pipx":  # which links them to where man and shells look
        assert (way.folder / "man/man1/gemtop.1").is_file()
    asked = "from gemtop.prompts.reading import default_set; print(len(default_set().prompts))"
    assert int(way.run(way.prefix / "bin/python", "-I", "-c", asked)) == 60
