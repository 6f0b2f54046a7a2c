"""What a user installs: the wheel, elsewhere, with nothing of the clone beside it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gemtop.cli.completion import SHELLS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_program_the_queries_and_the_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {Path(name).name for name in names if name.startswith("gemtop/queries/")}
    assert shipped == {path.name for path in (ROOT / "queries").glob("*.sql")}
    assert "gemtop/tui/gemtop.tcss" in names
    assert "gemtop/py.typed" in names
    shared = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    assert shared == {
        "share/man/man1/gemtop.1",
        "share/bash-completion/completions/gemtop",
        "share/fish/vendor_completions.d/gemtop.fish",
        "share/zsh/site-functions/_gemtop",
    }
    assert {f"gemtop/cli/shells/gemtop.{shell}" for shell in SHELLS} <= set(names)
    prompts = ROOT / "gemtop" / "prompts" / "shipped"
    assert {str(path.relative_to(ROOT)) for path in prompts.rglob("*.*")} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") or name.endswith(".gguf") for name in names)


def test_installed_elsewhere_it_lists_its_queries(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    done = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "gemtop"), "query", "--list"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for path in (ROOT / "queries").glob("*.sql"):
        assert path.stem.split("_", 1)[1] in done.stdout
    page = tmp_path / "venv" / "share" / "man" / "man1" / "gemtop.1"  # where man looks, with venv/bin on the PATH
    assert page.read_bytes() == (ROOT / "man" / "gemtop.1").read_bytes()
