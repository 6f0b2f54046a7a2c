"""What the tests of the documentation's commands do otherwise than the pages say, and why.

Everything else in the shell blocks is run as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

BUILDS = "it builds llama.cpp for many minutes; .ci/run sets up in the same way"
OTHER_MACHINE = "it is for another machine"
SYSTEM = "it changes the machine it runs on"
OTHER_SHELL = "it is for another shell; tests of completion press Tab in it"
FLEET = "it needs PostgreSQL and DuckDB's extensions: tests/fleet runs it"
TWICE = "nine variants take half a minute, and docs/tutorial.md has the same"
TRANSFORMERS = "it needs PyTorch and the weights that were trained"

NOT_RUN: Sequence[tuple[str, str, str]] = (
    ("README.md", r"python3 -m venv", BUILDS),
    ("README.md", r"gemtop compare --demo", TWICE),
    ("CONTRIBUTING.md", r"bash tests/run", "it is what runs this"),
    ("CONTRIBUTING.md", r"python -m pytest|docker/check", BUILDS),
    ("docs/index.md", r"python3 -m venv", BUILDS),
    ("docs/compare.md", r"gemtop compare --demo", TWICE),
    ("docs/devices.md", r"CMAKE_ARGS=", BUILDS),
    ("docs/install.md", r"docker ", "it needs Docker; docker/check builds and tries the image"),
    ("docs/install.md", r"systemctl|journalctl|loginctl", SYSTEM),
    ("docs/shell.md", r"source <", OTHER_SHELL),
    ("docs/shell.md", r"tail -f", "it goes on until Ctrl-C"),
    ("docs/fleet.md", r"pip install|gemtop sync|gemtop query --fleet", FLEET),
    ("docs/demo-report/report.md", r"gemtop compare --demo", TWICE),
    ("docs/tutorial.md", r"sudo apt-get", SYSTEM),
    ("docs/tutorial.md", r"python3 -m venv|\.venv/bin/pip install|\. \.venv", BUILDS),
    ("docs/recipes/rpc.md", r"pip download|tar xf|cd |cmake |build/bin/|CMAKE_ARGS=", BUILDS),
    ("docs/recipes/rpc.md", r"ssh ", OTHER_MACHINE),
    ("docs/recipes/one-card.md", r"gemtop adopt", "it reads a model for half a minute, and docs/adopt.md has the same"),
    ("docs/recipes/nightly.md", r"systemctl|loginctl", SYSTEM),
    ("docs/recipes/lora.md", r"pip download|tar xf|python3 -m venv|\.venv-convert/", TRANSFORMERS),
    ("docs/recipes/lora.md", r"cp base", TRANSFORMERS),
)
"""Page, what a statement begins with as a regular expression, and why it is not run but only parsed."""

EXACT: Sequence[tuple[str, str]] = (("docs/recipes/nightly.md", "gemtop query regressions"),)
"""Page and statement whose output is shown behind it to the letter: the same history is made for the test."""

FEWER: dict[str, dict[str, int]] = {
    "": {"-c": 2048},
    "run": {"-n": 4},
    "bench": {"-p": 16, "-n": 4, "-d": 64, "-r": 1},
    "tune": {"--max-context": 512, "-c": 512, "-r": 1},
    "compare": {"--repeat": 1},
}
"""The most that each number of an option's list may be, by command ('' is the live screen)."""

ADDED: dict[str, tuple[str, ...]] = {
    "": ("-t", "1"),
    "run": ("-t", "1", "-n", "4"),
    "bench": ("-t", "1", "-p", "16", "-n", "4", "-r", "1"),
    "tune": ("-t", "1", "-p", "0", "-n", "4", "-r", "1", "--most", "2"),
    "compare": (
        "-t", "1", "-c", "512", "--ctx", "32", "--chunks", "1", "--repeat", "1", "-n", "2", "--prompts", "two.jsonl",
        "--corpus", "short.txt",
    ),
}  # fmt: skip
"""Options that a command is given where it has none of that name: one thread, and less of everything."""


def fewer(given: Sequence[str], command: str) -> list[str]:
    """The command's arguments with smaller numbers, and the options it lacks."""
    arguments, most = list(given), FEWER.get(command, {})
    for at, option in enumerate(arguments[:-1]):
        if option in most:
            arguments[at + 1] = _each(arguments[at + 1], lambda number, limit=most[option]: min(number, limit))
    added = ADDED.get(command, ())
    for option, value in zip(added[::2], added[1::2], strict=True):
        if option not in arguments:
            arguments += [option, value]
    return arguments


def _each(text: str, change: Callable[[int], int]) -> str:
    """A comma list of numbers, each changed, without what is there twice then; anything else as it is."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        return text
    return ",".join(dict.fromkeys(str(change(int(number))) for number in text.split(",")))


def reason_not_run(page: str, text: str) -> str | None:
    """Why this statement is only parsed; None for one that is run."""
    return next((why for where, begins, why in NOT_RUN if where == page and re.match(begins, text)), None)
