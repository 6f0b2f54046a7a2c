"""Whether one output is right."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gemtop.domain.text import shortened
from gemtop.prompts import code_check, json_check, numbers, sandbox, text_check
from gemtop.prompts.model import Check, CodeCheck, JsonCheck, NumberCheck

_LONGEST_OUTPUT = 200_000
"""Characters that are looked at; no answer of a prompt is that long."""
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A verdict."""

    passed: bool | None
    """None where it was not checked."""
    reason: str
    """Why it failed or was not checked, in one line that is safe to show; empty where it passed."""
    isolation: str | None = None
    """How code was shut off from the machine while it ran; None where none ran."""


def judge(check: Check | None, output: str, *, run_code: bool) -> TaskResult:
    """The verdict on an output. Code of the model runs only where the user said so."""
    if check is None:
        return _not_checked("the prompt has no check")
    output = output[:_LONGEST_OUTPUT]
    if not output.strip():
        return _verdict("the output is empty")
    if isinstance(check, JsonCheck):
        return _verdict(json_check.wrong_with(output, check.fields))
    if isinstance(check, NumberCheck):
        return _verdict(_wrong_number(output, check))
    if isinstance(check, CodeCheck):
        return _code(output, check) if run_code else _not_checked("--run-code was not given")
    try:
        return _verdict(text_check.wrong_with(output, check))
    except text_check.PatternTooSlowError as error:
        return _not_checked(str(error))


def _verdict(wrong: str | None, isolation: str | None = None) -> TaskResult:
    return TaskResult(wrong is None, shortened(wrong or "", _LONGEST_REASON), isolation)


def _not_checked(why: str) -> TaskResult:
    return TaskResult(None, shortened(why, _LONGEST_REASON))


def _wrong_number(output: str, check: NumberCheck) -> str | None:
    found = numbers.answer(output)
    if found is None:
        return "the output holds no number"
    if math.isclose(found, check.value, rel_tol=1e-9, abs_tol=check.tolerance):
        return None
    within = f" within {check.tolerance:g}" if check.tolerance else ""
    return f"the answer is {found:.12g}, not {check.value:.12g}{within}"


def _code(output: str, check: CodeCheck) -> TaskResult:
    code = code_check.find(output, check.defines)
    if code is None:
        return _verdict(f"the output holds no Python that defines {check.defines}")
    try:
        outcome = sandbox.run(code, check.asserts)
    except sandbox.CannotRunError as error:
        return _not_checked(f"the code was not run: {error}")
    return _verdict(outcome.wrong, outcome.isolation)
