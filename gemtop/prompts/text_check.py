"""Whether an output says what it should."""

from __future__ import annotations

import json
import subprocess
import sys

from gemtop.prompts import wording
from gemtop.prompts.model import TextCheck

_PATTERN_CPU_S = 1
_PATTERN_WALL_S = 30.0

_TOO_SLOW = f"the pattern found no end within {_PATTERN_CPU_S} s"

_SEARCH = f"""
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({_PATTERN_CPU_S}, {_PATTERN_CPU_S}))
pattern, text = json.load(sys.stdin)
sys.exit(0 if re.search(pattern, text) else 3)
"""


class PatternTooSlowError(Exception):
    """A regular expression did not come to an end."""


def wrong_with(output: str, check: TextCheck) -> str | None:
    """The first thing that is wrong with an output, None if nothing. Raises PatternTooSlowError."""
    if check.equals and not any(wording.same(output, answer) for answer in check.equals):
        return f"the output is not {_either(check.equals)}"
    if check.words is not None:
        count, (least, most) = len(output.split()), check.words
        if not least <= count <= most:
            return f"the output has {count} words, not {least} to {most}"
    text = wording.plain(output)
    for group in check.contains:
        if not any(wording.says(text, one) for one in group):
            return f"the output does not say {_either(group)}"
    for one in check.lacks:
        if wording.says(text, one):
            return f'the output says "{one}"'
    if check.matches is not None and not _found(check.matches, output):
        return f"the output does not match {check.matches}"
    return None


def _either(wordings: tuple[str, ...]) -> str:
    return " or ".join(f'"{one}"' for one in wordings)


def _found(pattern: str, text: str) -> bool:
    """re.search in a process of its own, since nothing else ends one that backtracks for hours."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps([pattern, text]), capture_output=True, text=True, timeout=_PATTERN_WALL_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise PatternTooSlowError(_TOO_SLOW) from error
    if done.returncode not in (0, 3):
        raise PatternTooSlowError(_TOO_SLOW)
    return done.returncode == 0
