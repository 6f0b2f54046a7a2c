"""What `gemtop doctor --fix` says: the lines that make the build of llama.cpp this machine should have."""

from __future__ import annotations

import os
import platform
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop.cli.installed import installation
from gemtop.domain.build_steps import builds
from gemtop.domain.builds import BUILDS, TITLES, Installation, Machine, Present, choose
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.domain.telemetry import TelemetryStatus
    from gemtop.engine.describe import BuildDescription

HERE = "here"
"""What --fix means without a name: the build for this machine."""
ALL = "all"
_COLUMNS = 100


def machine(status: TelemetryStatus) -> Machine:
    """This machine, as the builds ask for it."""
    from gemtop.engine.toolchain import distribution, toolchain
    from gemtop.telemetry.graphics import gpus

    return Machine(
        system=platform.system(),
        distribution=distribution(),
        root=os.geteuid() == 0,
        gpus=gpus(status),
        nvidia_driver=status.driver_version,
        nvidia_cuda=status.cuda_version,
        nvidia_reason=status.gpu_reason,
        tools=toolchain(os.environ),
    )


def this_installation(llama_version: str | None) -> Installation:
    return installation(Path(sys.prefix), Path(sys.base_prefix), sys.executable, os.environ, llama_version)


def fix(build: BuildDescription, here: Machine, installed: Installation) -> dict[str, Any]:
    """The choice and every build, in plain types."""
    there = Present(
        build.backends, sum(device["kind"] in ("gpu", "igpu") for device in build.devices), build.problem
    )  # fmt: skip
    choice = choose(here, there)
    found = builds(here, installed, keep_rpc="RPC" in build.backends)
    return {
        "build": choice.name,
        "why": choice.why,
        "done": choice.done,
        "installed_by": installed.way,
        "builds": {name: {k: v for k, v in asdict(one).items() if k != "name"} for name, one in found.items()},
    }


def script(found: dict[str, Any], wanted: str) -> list[str]:
    """The lines of --fix: a script for a shell, in which everything but the commands is a comment."""
    if wanted == HERE:
        lines = _comment(f"{TITLES[found['build']]}: {found['why']}.")
        return lines if found["done"] else [*lines, *_steps(found["builds"][found["build"]])]
    lines = []
    for name in BUILDS:
        if wanted not in (ALL, name):
            continue
        here = ", the build for this machine" if name == found["build"] else ""
        lines += [*([""] if lines else []), f"# == {TITLES[name]}{here}", *_steps(found["builds"][name])]
    return lines


def _steps(build: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for step in build["before"]:
        lines += _comment(f"{step['why']}.")
        lines += [step["run"]] if step["run"] else []
    for note in build["notes"]:
        lines += _comment(f"{note}.")
    return [*lines, build["run"]] if build["run"] else lines


def _comment(text: str) -> list[str]:
    """Wrapped, each line a comment: what a driver or a file says cannot become a command."""
    wrapper = textwrap.TextWrapper(
        _COLUMNS, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(one_line(text))
