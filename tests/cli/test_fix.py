"""gemtop doctor --fix: how gemtop was installed, and the script it prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gemtop.cli.installed import installation, shell_path
from gemtop.cli.private import without_names
from gemtop.domain.builds import BUILDS
from tests.cli.commands import gemtop


def environment(tmp_path: Path, *files: str, cfg: str = "home = /usr/bin\n") -> Path:
    prefix = tmp_path / "venvs" / "gemtop"
    for name in files:
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).touch()
    prefix.mkdir(parents=True, exist_ok=True)
    (prefix / "pyvenv.cfg").write_text(cfg, encoding="utf-8")
    return prefix


PIP = "lib/python3.11/site-packages/pip/__init__.py"


@pytest.mark.parametrize(
    ("files", "cfg", "way", "install"),
    [
        ((PIP,), "", "pip", "{python} -m pip install"),
        (("pipx_metadata.json",), "", "pipx", "pipx runpip gemtop install"),
        (("pipx_metadata.json",), "uv = 0.13.9\n", "pipx", "pipx runpip gemtop install"),
        (("uv-receipt.toml",), "uv = 0.13.9\n", "uv", "uv pip install --python {python}"),
        ((), "uv = 0.13.9\n", "uv", "uv pip install --python {python}"),
        ((PIP,), "uv = 0.13.9\n", "pip", "{python} -m pip install"),
    ],
)
def test_the_way_is_told_by_what_it_leaves(
    tmp_path: Path, files: tuple[str, ...], cfg: str, way: str, install: str
) -> None:
    prefix = environment(tmp_path, *files, cfg=cfg)
    python = str(prefix / "bin" / "python")
    found = installation(prefix, Path("/usr"), python, {"HOME": "/nobody"}, "0.3.36")
    assert (found.way, found.install) == (way, install.format(python=python))
    assert found.requirement == "llama-cpp-python==0.3.36"
    assert found.before == ()


def test_an_environment_without_pip_gets_one_first(tmp_path: Path) -> None:
    prefix = environment(tmp_path)
    found = installation(prefix, Path("/usr"), str(prefix / "bin/python"), {"HOME": str(tmp_path)}, None)
    assert found.before[0].run == "~/venvs/gemtop/bin/python -m ensurepip"
    assert found.requirement == "llama-cpp-python"


def test_pipx_for_everybody_and_an_image(tmp_path: Path) -> None:
    prefix = environment(tmp_path, "pipx_metadata.json")
    everybody = {"PIPX_GLOBAL_HOME": str(tmp_path)}
    assert installation(prefix, Path("/usr"), "", everybody, None).install == "pipx runpip --global gemtop install"
    assert installation(prefix, Path("/usr"), "", {"GEMTOP_IMAGE": "cpu"}, None).way == "image"


def test_a_path_is_one_word_and_tells_no_name() -> None:
    assert shell_path("/home/ann/my venv/bin/python", "/home/ann") == "~/'my venv/bin/python'"
    assert shell_path("/home/annabel/bin/python", "/home/ann") == "/home/annabel/bin/python"
    assert shell_path("/srv/$(rm -r x)/python", "/home/ann") == "'/srv/$(rm -r x)/python'"
    assert shell_path("/usr/bin/python", "/") == "/usr/bin/python"


def test_a_report_names_nobody(tmp_path: Path) -> None:
    found = {
        "path": f"{tmp_path}/data/x (and {tmp_path})",
        "other": [f"{tmp_path}s/x", "/mnt/ann/models", "postgresql://x@box7/fleet"],
        "kept": ("Hannah", 7, None, True, "annotated /mnt/anna"),
    }
    assert without_names(found, tmp_path, ("ann", "box7", "root")) == {
        "path": "~/data/x (and ~)",
        "other": [f"{tmp_path}s/x", "/mnt/…/models", "postgresql://x@…/fleet"],
        "kept": ["Hannah", 7, None, True, "annotated /mnt/anna"],
    }


def test_all_lines_are_a_script_that_a_shell_can_read(tmp_path: Path) -> None:
    done = gemtop("doctor", "--fix", "all", HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert [line for line in text.splitlines() if line.startswith("# == ")] != []
    assert text.count("CMAKE_ARGS=") == len(BUILDS)
    subprocess.run(["bash", "-n"], input=done.stdout, check=True)
    one = gemtop("doctor", "--fix", "vulkan").stdout.decode()
    assert one.startswith("# == Vulkan")
    assert one.count("CMAKE_ARGS=") == 1
    found = json.loads(gemtop("doctor", "--json", "--fix").stdout)["fix"]
    assert set(found["builds"]) == set(BUILDS)
    assert found["build"] in BUILDS
    assert found["builds"]["vulkan"]["run"] in one
    assert found["installed_by"] in ("pip", "pipx", "uv")


def test_a_wrong_name_is_refused() -> None:
    done = gemtop("doctor", "--fix", "opencl")
    assert done.returncode == 2
    assert b"choose from" in done.stderr
