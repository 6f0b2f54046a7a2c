"""The runs of a session as lines of a table, as details of one, and as text for a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gemtop.charts.colours import named_variant_role
from gemtop.charts.grid import badge
from gemtop.domain.plan import gib
from gemtop.domain.resources import Resources, error_name
from gemtop.domain.text import one_line, plus_minus
from gemtop.run import RunView
from gemtop.tui.present import STOP_WORDS, outcome_word, verdict_word
from gemtop.tui.widgets.run_table import RunRow
from gemtop.view import SessionView

_ENERGY = (
    ("decode", "decode_j_per_token", "J/token"),
    ("decode without idle", "decode_net_j_per_token", "J/token"),
    ("prefill", "prefill_j_per_token", "J/token"),
    ("prefill without idle", "prefill_net_j_per_token", "J/token"),
    ("of the run", "energy_j", "J"),
    ("without idle", "energy_net_j", "J"),
    ("by the counter", "energy_counter_j", "J"),
    ("by power", "energy_integral_j", "J"),
    ("mean power", "power_mean_w", "W"),
    ("idle power", "idle_power_w", "W"),
)
_UNFINISHED = "when the run has ended"


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run, or the change of settings that it made."""

    run: RunView
    change: str = ""
    """What a run of kind apply changed, and how long that took."""


def run_lines(view: SessionView) -> tuple[RunLine, ...]:
    """All runs, the newest first, the one that goes on among them."""
    changes = dict(zip((run.number for run in view.runs if run.kind == "apply"), view.marks, strict=False))
    runs = list(view.runs)
    if view.run is not None and view.run.status is None:
        runs.append(view.run)
    lines = []
    for run in reversed(runs):
        mark = changes.get(run.number)
        lines.append(RunLine(run, f"{one_line(mark.label)}  {mark.change_s:.1f} s" if mark else ""))
    return tuple(lines)


# One line ----------------------------------------------------------------------------------------------------


def table_rows(lines: Iterable[RunLine]) -> tuple[RunRow, ...]:
    """The rows of the table."""
    return tuple(RunRow(line.run.number, line.change, {} if line.change else _cells(line.run)) for line in lines)


def _cells(run: RunView) -> dict[str, tuple[str, str]]:
    """Text and colour role by column."""
    timing = run.timing
    found = {
        "number": (str(run.number), "muted"),
        "variant": (one_line(run.variant), badge(named_variant_role(run.variant))),
        "decode": _value(timing.decode_tokens_per_s, 1),
        "prefill": _value(timing.prefill_tokens_per_s, 0),
        "ttft": _value(timing.ttft_s, 2),
        "tokens": (f"{timing.generated_tokens:,}", "text"),
        "energy": _energy_cell(run.resources),
        "verdict": outcome_word(run),
    }
    if run.verdict is not None and run.verdict.invalid_reason:
        found["why"] = (one_line(run.verdict.invalid_reason), "muted")
    return found


def _value(value: float | None, digits: int) -> tuple[str, str]:
    return ("-", "muted") if value is None else (f"{value:,.{digits}f}", "text")


def _energy_cell(used: Resources | None) -> tuple[str, str]:
    if used is None or used.decode_j_per_token is None or used.decode_j_per_token_error is None:
        return "-", "muted"
    return plus_minus(used.decode_j_per_token, used.decode_j_per_token_error), "text"


# All of one --------------------------------------------------------------------------------------------------

Detail = tuple[str, str, str]
"""Label, value, colour role; a heading has no value."""


def details(line: RunLine) -> list[Detail]:
    """Every figure of a run with its error, and why one is not known."""
    run = line.run
    return [*_outcome(line), *_speed(run), *_energy(run.resources), *_memory(run.resources), *_prompt(run)]


def _heading(words: str) -> Detail:
    return words, "", "title"


def _outcome(line: RunLine) -> Iterable[Detail]:
    run = line.run
    yield _heading(f"run {run.number}")
    yield "variant", one_line(run.variant), badge(named_variant_role(run.variant))
    if line.change:
        yield "changed", line.change, "text"
    word, role = outcome_word(run)
    judged = verdict_word(run.verdict)[0] if run.verdict else ""
    ended = "it goes on" if run.status is None else STOP_WORDS.get(run.stop_reason or "", run.status)
    yield "ended", ended, "text"
    if run.message:
        yield "", one_line(run.message), "bad"
    if run.verdict is not None:
        yield "verdict", judged or "not judged", role if judged == word else "muted"
        for reason in run.verdict.reasons:
            yield "", one_line(reason), "warn"


def _speed(run: RunView) -> Iterable[Detail]:
    timing, itl = run.timing, run.timing.latency
    yield _heading("speed")
    yield "decode", _number(timing.decode_tokens_per_s, "{:,.2f} tokens/s"), "text"
    yield "prefill", _number(timing.prefill_tokens_per_s, "{:,.1f} tokens/s"), "text"
    yield "TTFT", _number(timing.ttft_s, "{:.3f} s"), "text"
    for name, value in (("ITL p50", itl.p50_ms), ("ITL p95", itl.p95_ms), ("ITL p99", itl.p99_ms)):
        yield name, _number(value, "{:.2f} ms"), "text"
    yield "roof", _number(run.roof_share and 100 * run.roof_share, "{:.0f} % of what the memories allow"), "text"
    done = "" if timing.prompt_tokens >= run.prompt_total else f" of {run.prompt_total:,}"
    yield "prompt", f"{timing.prompt_tokens:,}{done} tokens", "text"
    yield "generated", f"{timing.generated_tokens:,} tokens", "text"
    yield "context", f"{run.context_used:,} tokens used", "text"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _energy(used: Resources | None) -> Iterable[Detail]:
    yield _heading("energy")
    if used is None:
        yield "", _UNFINISHED, "muted"
        return
    missing: dict[str, list[str]] = {}
    for label, name, unit in _ENERGY:
        value, error = getattr(used, name), getattr(used, error_name(name))
        if value is None or error is None:
            missing.setdefault(used.reasons.get(name, "not known"), []).append(label)
        else:
            yield label, f"{plus_minus(value, error)} {unit}", "text"
    if used.energy_source:
        yield "source", used.energy_source, "text"
    for reason, labels in missing.items():
        yield "N/A", f"{one_line(reason)}: {', '.join(labels)}", "muted"
    if used.disagreement:
        yield "", one_line(used.disagreement), "warn"


def _memory(used: Resources | None) -> Iterable[Detail]:
    if used is None:
        return
    yield _heading("memory and clocks")
    for label, name in (("VRAM at most", "vram_peak_bytes"), ("RAM at most", "ram_peak_bytes")):
        size = getattr(used, name)
        if size is None:
            yield label, f"N/A ({one_line(used.reasons.get(name, 'not known'))})", "muted"
        else:
            yield label, gib(size), "text"
    if used.throttled_s is None:
        yield "throttled", f"N/A ({one_line(used.reasons.get('throttled_s', 'not known'))})", "muted"
    else:
        why = f" ({', '.join(used.throttle_reasons)})" if used.throttle_reasons else ""
        yield "throttled", f"{used.throttled_s:.1f} s{why}", "text"


def _prompt(run: RunView) -> Iterable[Detail]:
    if run.prompt:
        yield _heading("prompt")
        yield "", run.prompt, "text"


# For a spreadsheet -------------------------------------------------------------------------------------------

_FIELDS = ("prompt_tokens", "generated_tokens", "ttft_s", "prefill_tokens_per_s", "decode_tokens_per_s")
_LATENCIES = ("p50_ms", "p95_ms", "p99_ms")
_RESOURCES = (
    "decode_j_per_token",
    "decode_j_per_token_error",
    "prefill_j_per_token",
    "prefill_j_per_token_error",
    "energy_j",
    "energy_error_j",
    "energy_source",
    "vram_peak_bytes",
    "ram_peak_bytes",
    "throttled_s",
)


def tsv(lines: Sequence[RunLine]) -> str:
    """Columns with tabs between them under the names of the view `runs`, the oldest first."""
    heads = ("run", "kind", "variant", "status", "stop_reason", "valid", "invalid_reason", "change", *_FIELDS)
    latencies = tuple(f"itl_{name}" for name in _LATENCIES)
    rows = ["\t".join((*heads, *latencies, *_RESOURCES))]
    for line in reversed(lines):
        run = line.run
        valid = run.verdict.valid if run.verdict else None
        values: list[object] = [run.number, run.kind, run.variant, run.status or "running", run.stop_reason, valid]
        values += [run.verdict.invalid_reason if run.verdict else None, line.change or None]
        values += [getattr(run.timing, name) for name in _FIELDS]
        values += [getattr(run.timing.latency, name) for name in _LATENCIES]
        values += [getattr(run.resources, name) if run.resources else None for name in _RESOURCES]
        rows.append("\t".join(map(_plain, values)))
    return "\n".join(rows) + "\n"


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else one_line(str(value))
