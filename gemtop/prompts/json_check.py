"""Whether an output holds a JSON object with the fields asked for."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from gemtop.domain.text import shortened
from gemtop.prompts import wording
from gemtop.prompts.fences import blocks
from gemtop.prompts.numbers import whole

_NONE = "the output holds no JSON object"
_BEGINS = re.compile(r'\{\s*["}]')
"""How an object begins; prose has other braces too."""
_MOST_BEGINS = 1000
_LONGEST_VALUE = 60


def wrong_with(output: str, fields: Mapping[str, object]) -> str | None:
    """What is wrong with the first JSON object of an output, its fenced blocks before its text; None if nothing."""
    found = _first_object(output)
    if isinstance(found, str):
        return found
    return _differs(found, fields, "")


def _first_object(output: str) -> dict[str, Any] | str:
    """The object, or why there is none."""
    why = _NONE
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    for text in [block for language, block in blocks(output) if language in ("", "json")] + [output]:
        behind = 0
        for begin in itertools.islice(_BEGINS.finditer(text), _MOST_BEGINS):
            if begin.start() < behind:
                continue  # inside what does not parse
            try:
                return dict(decoder.raw_decode(text, begin.start())[0])
            except RecursionError:
                return "the output's JSON is nested too deeply"
            except json.JSONDecodeError as error:
                behind = error.pos
                if why is _NONE:
                    at = shortened(text[error.pos :], 20) or "its end"
                    why = f"the output's JSON does not parse: {error.msg} at {at}"
            except ValueError as error:
                return f"the output's JSON does not parse: {shortened(str(error), _LONGEST_VALUE)}"
    return why


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _differs(found: Any, wanted: object, where: str) -> str | None:
    """How a value differs from the one wanted, with the path to it; None where it does not."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, dict):
            return _not(where, found, "an object")
        for key, value in wanted.items():
            path = f"{where}.{key}" if where else str(key)
            if key not in found:
                return f"{path} is missing"
            if why := _differs(found[key], value, path):
                return why
        return None
    if isinstance(wanted, (list, tuple)):
        if not isinstance(found, list):
            return _not(where, found, "a list")
        if len(found) != len(wanted):
            return f"{where} has {len(found)} items, not {len(wanted)}"
        pairs = enumerate(zip(found, wanted, strict=True))
        return next((why for at, (one, other) in pairs if (why := _differs(one, other, f"{where}[{at}]"))), None)
    return None if _same_scalar(found, wanted) else _not(where, found, json.dumps(wanted, ensure_ascii=False))


def _same_scalar(found: Any, wanted: object) -> bool:
    """A number may stand in quotes with its unit, a truth value in quotes, and text differ as in `wording.same`."""
    if wanted is None or isinstance(wanted, bool):
        return found is wanted or (isinstance(found, str) and wording.plain(found) == json.dumps(wanted))
    if isinstance(wanted, (int, float)):
        value = whole(found) if isinstance(found, str) else None if isinstance(found, bool) else found
        return isinstance(value, (int, float)) and _close(value, wanted)
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        found = json.dumps(found)
    return isinstance(found, str) and wording.same(found, str(wanted))


def _close(value: float, wanted: float) -> bool:
    try:
        return math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1e-12)
    except OverflowError:  # an integer beyond any float
        return value == wanted


def _not(where: str, found: Any, wanted: str) -> str:
    told = shortened(json.dumps(found, ensure_ascii=False), _LONGEST_VALUE)
    return f"{where} is {told}, not {shortened(wanted, _LONGEST_VALUE)}"
