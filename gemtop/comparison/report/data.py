"""The data of a report: an outcome, and the tokens of its runs in the history, as tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gemtop.comparison.outcome import Outcome
from gemtop.config import Paths, in_home
from gemtop.domain.comparison import SPEEDS, Seen, VariantFigures, as_dict
from gemtop.domain.errors import HistoryError
from gemtop.domain.settings import settings_to_dict
from gemtop.domain.statistics import share_interval_95
from gemtop.history.dataset import Dataset, latencies, run_types

Row = dict[str, Any]

_NAME = {"number": "INTEGER", "label": "VARCHAR"}
_TEXTS = (
    "variant", "quantization", "training", "training_evidence", "model_name", "model_path", "model_fingerprint",
    "checkpoint", "failure", "settings", "reasons",
)  # fmt: skip
_WHOLE = ("size_bytes", "vram_peak_bytes", "ram_peak_bytes", "task_checked", "runs", "runs_invalid")
_RUNS = {
    **_NAME, "repeat": "INTEGER", "prompt_id": "VARCHAR", "prompt_kind": "VARCHAR", "in_speeds": "BOOLEAN",
    "in_decode": "BOOLEAN", "passed": "BOOLEAN", "check_reason": "VARCHAR",
}  # fmt: skip
_LATENCIES = {**_NAME, "repeat": "INTEGER", "prompt_id": "VARCHAR", "run_id": "VARCHAR", "token": "INTEGER",
              "itl_ms": "DOUBLE"}  # fmt: skip
_ALONG = {**_NAME, "part": "INTEGER", "parts": "INTEGER", "nll": "DOUBLE", "kl": "DOUBLE"}
_PROMPTS = {"prompt_id": "VARCHAR", "prompt_kind": "VARCHAR", "max_tokens": "INTEGER", "prompt": "VARCHAR",
            "left_out": "VARCHAR"}  # fmt: skip
_OUTPUTS = {
    **_NAME, "prompt_id": "VARCHAR", "prompt_kind": "VARCHAR", "output": "VARCHAR", "tokens": "INTEGER",
    "passed": "BOOLEAN", "check_reason": "VARCHAR", "same_as_baseline": "BOOLEAN", "parts_at_token": "INTEGER",
}  # fmt: skip
_TOPS = {
    **_NAME, "prompt_id": "VARCHAR", "at_token": "INTEGER", "of_baseline": "BOOLEAN", "rank": "INTEGER",
    "token_id": "INTEGER", "text": "VARCHAR", "probability": "DOUBLE",
}  # fmt: skip
_TASKS = {**_NAME, "prompt_kind": "VARCHAR", "right_answers": "INTEGER", "checked": "INTEGER", "share": "DOUBLE",
          "share_low": "DOUBLE", "share_high": "DOUBLE"}  # fmt: skip


def fill(data: Dataset, found: Outcome, paths: Paths) -> str | None:
    """Put all tables into `data`. Returns why the latencies of tokens are not known; None where they are."""
    rows = [_variant(found, number, one) for number, one in enumerate(found.variants)]
    data.add("variants", _types(rows), rows)
    data.add("runs", _RUNS | run_types(), (_run(found, one) for one in found.runs))
    gaps, reason = _latencies(found, paths)
    data.add("latencies", _LATENCIES, gaps)
    data.add("along", _ALONG, _along(found))
    data.add("prompts", _PROMPTS, _prompts(found))
    data.add("outputs", _OUTPUTS, _outputs(found))
    data.add("tops", _TOPS, _tops(found))
    data.add("tasks", _TASKS, _tasks(found))
    return reason


def _types(rows: Sequence[Row]) -> dict[str, str]:
    """Of the table of variants: figures are DOUBLE, their counts BIGINT."""

    def kind(name: str) -> str:
        if name in _TEXTS:
            return "VARCHAR"
        if name == "is_baseline" or name.endswith("_differs"):
            return "BOOLEAN"
        return "BIGINT" if name in _WHOLE or name.endswith("_n") else "DOUBLE"

    return _NAME | {name: kind(name) for row in rows for name in row if name not in _NAME}


def _variant(found: Outcome, number: int, one: VariantFigures) -> Row:
    """A variant's figures, those with parts in columns of their own: ttft_s, ttft_s_ci95, ttft_s_n, ttft_s_ratio."""
    plain = as_dict(one)
    row: Row = {"number": number, "label": plain.pop("label"), "is_baseline": number == found.job.baseline}
    ratios = plain.pop("ratios")
    plain.pop("task_by_kind")
    plain["settings"] = json.dumps(settings_to_dict(found.job.variants[number].settings))
    plain["reasons"] = json.dumps(plain["reasons"])
    plain["model_path"] = in_home(plain["model_path"])
    for name in ("load_s", *SPEEDS):
        mean = plain.pop(name)
        row |= {name: _of(mean, "mean"), f"{name}_ci95": _of(mean, "ci95"), f"{name}_n": _of(mean, "n")}
        if name in ratios:
            ratio = ratios[name]
            row |= {f"{name}_ratio": _of(ratio, "value")}
            row |= {f"{name}_ratio_{part}": _of(ratio, part) for part in ("low", "high", "n", "differs")}
    return row | plain


def _of(parts: Mapping[str, Any] | None, name: str) -> Any:
    return parts[name] if parts else None


def _name(found: Outcome, number: int) -> Row:
    return {"number": number, "label": found.variants[number].facts.label}


def _kinds(found: Outcome) -> dict[str, str]:
    return {asked.id: asked.kind for asked in found.job.prompts}


def _run(found: Outcome, one: Seen) -> Row:
    return {
        **one.row,
        "model_path": in_home(str(one.row["model_path"])) if one.row.get("model_path") else None,
        **_name(found, one.variant),
        "repeat": one.repeat,
        "prompt_id": one.prompt_id,
        "prompt_kind": _kinds(found).get(one.prompt_id),
        "in_speeds": one.spoiled is None,
        "in_decode": one.figure("itl_p50_ms") is not None,
        "passed": one.passed,
        "check_reason": one.reason or None,
    }


def _latencies(found: Outcome, paths: Paths) -> tuple[list[Row], str | None]:
    """Of the runs whose decode speed counts."""
    runs = {str(one.row["run_id"]): one for one in found.runs if one.row.get("run_id") and one.figure("itl_p50_ms")}
    if not runs:
        return [], "no run was fit for it, with 32 tokens or more"
    try:
        gaps = latencies(paths, list(runs))
    except HistoryError as error:
        return [], str(error)
    rows = [
        {
            **_name(found, runs[run_id].variant),
            "repeat": runs[run_id].repeat,
            "prompt_id": runs[run_id].prompt_id,
            "run_id": run_id,
            "token": token,
            "itl_ms": ms,
        }
        for run_id, token, ms in gaps
    ]
    return rows, None if rows else "the history has no tokens of these runs"


def _along(found: Outcome) -> Iterator[Row]:
    for number, figures in sorted(found.along.items()):
        nll, kl = figures.get("nll", ()), figures.get("kl", ())
        parts = max(len(nll), len(kl))
        for part in range(parts):
            yield {
                **_name(found, number),
                "part": part + 1,
                "parts": parts,
                "nll": nll[part] if part < len(nll) else None,
                "kl": kl[part] if part < len(kl) else None,
            }


def _prompts(found: Outcome) -> Iterator[Row]:
    for asked in found.job.prompts:
        yield {"prompt_id": asked.id, "prompt_kind": asked.kind, "max_tokens": asked.max_tokens, "prompt": asked.text}
    for prompt_id, reason in found.job.left_out.items():
        yield {"prompt_id": prompt_id, "left_out": reason}


def _outputs(found: Outcome) -> Iterator[Row]:
    kinds = _kinds(found)
    for (number, prompt_id), one in found.seen.items():
        base = found.seen.get((found.job.baseline, prompt_id))
        at = next((place.at for place in found.apart.get(number, ()) if place.prompt_id == prompt_id), None)
        held = number != found.job.baseline and base is not None
        yield {
            **_name(found, number),
            "prompt_id": prompt_id,
            "prompt_kind": kinds.get(prompt_id),
            "output": one.output,
            "tokens": len(one.tokens),
            "passed": one.passed,
            "check_reason": one.reason or None,
            "same_as_baseline": one.tokens == base.tokens if held and base else None,
            "parts_at_token": None if at is None else at + 1,
        }


def _tops(found: Outcome) -> Iterator[Row]:
    for number, places in found.apart.items():
        for place in places:
            for of_baseline, top in ((True, place.baseline_top), (False, place.variant_top)):
                for rank, (token_id, text, probability) in enumerate(top, 1):
                    yield {
                        **_name(found, number),
                        "prompt_id": place.prompt_id,
                        "at_token": place.at + 1,
                        "of_baseline": of_baseline,
                        "rank": rank,
                        "token_id": token_id,
                        "text": text,
                        "probability": probability,
                    }


def _tasks(found: Outcome) -> Iterator[Row]:
    for number, one in enumerate(found.variants):
        for kind, (right, checked) in one.by_kind.items():
            low, high = share_interval_95(right, checked)
            yield {
                **_name(found, number),
                "prompt_kind": kind,
                "right_answers": right,
                "checked": checked,
                "share": right / checked,
                "share_low": low,
                "share_high": high,
            }
