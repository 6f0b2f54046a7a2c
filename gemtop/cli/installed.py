"""How gemtop was installed: by pip, pipx or uv, or in an image; and the words that install a package beside it."""

from __future__ import annotations

import shlex
import sysconfig
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from gemtop.domain.builds import Installation, Step


def installation(
    prefix: Path, base_prefix: Path, executable: str, environment: Mapping[str, str], version: str | None
) -> Installation:
    """What is said of `prefix`, Python's own folder, by the files that pipx and uv leave in it.

    `executable` is the interpreter, `version` that of llama-cpp-python. Never raises.
    """
    wanted = f"llama-cpp-python=={version}" if version else "llama-cpp-python"
    if environment.get("GEMTOP_IMAGE"):
        return Installation("image", requirement=wanted)
    home = environment.get("HOME", "")
    if (prefix / "pipx_metadata.json").is_file():
        everybody = prefix.is_relative_to(environment.get("PIPX_GLOBAL_HOME") or "/opt/pipx")
        words = ["pipx", "runpip", *(["--global"] if everybody else []), prefix.name]
        return Installation("pipx", f"{shlex.join(words)} install", wanted)
    python = shell_path(executable, home)
    if (prefix / "uv-receipt.toml").is_file() or (_made_by_uv(prefix) and not _has_pip(prefix)):
        return Installation("uv", f"uv pip install --python {python}", wanted)
    install = f"{python} -m pip install"
    if prefix == base_prefix and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").is_file():
        install += " --break-system-packages"
    missing = () if _has_pip(prefix) else (Step("This environment has no pip", f"{python} -m ensurepip"),)
    return Installation("pip", install, wanted, missing)


def shell_path(path: str, home: str) -> str:
    """A path as a word for a shell, the home folder as ~: the line tells nobody's name."""
    inside = home not in ("", "/") and path.startswith(home.rstrip("/") + "/")
    return "~/" + shlex.quote(path[len(home.rstrip("/")) + 1 :]) if inside else shlex.quote(path)


def _made_by_uv(prefix: Path) -> bool:
    try:
        lines = (prefix / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.partition("=")[0].strip() == "uv" for line in lines)


def _has_pip(prefix: Path) -> bool:
    """In an environment its own; elsewhere whatever is found."""
    if (prefix / "pyvenv.cfg").is_file():
        return any(prefix.glob("lib*/python3*/site-packages/pip"))
    return find_spec("pip") is not None
