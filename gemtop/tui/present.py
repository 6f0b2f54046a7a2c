"""A session's view as rows of labelled values. Every unknown says why."""

from __future__ import annotations

from collections.abc import Sequence

from gemtop.domain import plan
from gemtop.domain.model import DeviceMemory, LoadedModel
from gemtop.domain.text import one_line
from gemtop.run import RunView
from gemtop.tui import devices
from gemtop.tui.widgets.header import HeaderText, model_header
from gemtop.tui.widgets.values import Value
from gemtop.view import SessionView

_GIB = 2**30
_UNKNOWN = "N/A"
_ONE_ROW = 110
"""Columns from which the figures of a run stand in one row."""
STOP_WORDS = {
    "end_of_generation": "end of text",
    "length": "-n reached",
    "context_full": "context full",
    "cancelled": "stopped",
    "error": "failed",
    "crashed": "crashed",
}


def header_text(view: SessionView) -> HeaderText:
    """The model and its settings on the left, where it runs and the run's state on the right."""
    right: list[tuple[str, str]] = [] if view.problem is None else [("not recorded", "bad")]
    if view.applying:
        right.append(("applying ...", "warn"))
    if view.model is not None:
        right.append((_place(view.model), "muted"))
    if view.run is not None:
        right.append((f"run {view.run.number}", "text"))
        right.append((_state(view.run), _state_role(view.run)))
    left: tuple[tuple[str, str], ...] = (("gemtop", "title"),)
    if view.model is not None:
        left += model_header(view.model)
    elif view.loading is not None:
        left += (("loading", "muted"),)
    return HeaderText(left, tuple(right))


def _place(model: LoadedModel) -> str:
    return " + ".join(d.description for d in model.devices) or "CPU"


def _state(run: RunView) -> str:
    if run.status is None:
        return "running"
    if run.kind == "apply" and run.status == "finished":
        return "applied"
    return STOP_WORDS.get(run.stop_reason or "", run.status)


def _state_role(run: RunView) -> str:
    if run.status is None:
        return "good"
    return {"finished": "text", "cancelled": "warn"}.get(run.status, "bad")


def figure_rows(view: SessionView, width: int) -> list[list[Value]]:
    """The figures of the run that goes on, or of the last one."""
    if view.loading is not None:
        return [[Value("loading", loading_bar(view.loading, width), left=True)], []]
    run = view.run
    if run is None:
        return [[Value("", "no run yet", "muted", left=True)], []]
    timing, itl = run.timing, run.timing.latency
    n_ctx = view.model.n_ctx if view.model else None
    first = [
        Value("TTFT", _seconds(timing.ttft_s)),
        Value("ITL p50", _ms(itl.p50_ms)),
        Value("p95", _ms(itl.p95_ms)),
        Value("p99", _ms(itl.p99_ms) + " ms"),
    ]
    second = [
        Value("prompt", _progress(timing.prompt_tokens, run.prompt_total)),
        Value("generated", f"{timing.generated_tokens:,}"),
        Value("context", f"{run.context_used:,}" + (f" of {n_ctx:,}" if n_ctx else "")),
    ]
    used = run.resources
    if used is not None and used.decode_j_per_token is not None:
        energy = Value("J/token", f"{used.decode_j_per_token:.2f} ± {used.decode_j_per_token_error or 0:.2f}")
        second.insert(2, energy)
    elif width < _ONE_ROW:
        second.insert(2, Value("", ""))  # what is longest stands below what may be, at the end
    return [first + second] if width >= _ONE_ROW else [first, second]


def loading_bar(fraction: float, width: int) -> str:
    """A bar of llama.cpp's progress."""
    cells = max(10, min(60, width - 20))
    full = round(fraction * cells)
    return "█" * full + "░" * (cells - full) + f" {fraction:4.0%}"


def _progress(done: int, total: int) -> str:
    return f"{total:,}" if done >= total else f"{done:,} of {total:,}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def device_rows(view: SessionView) -> list[list[Value]]:
    """Each GPU's readings that matter most, what the model holds, this machine's, and then the rest of each GPU's."""
    latest = {s.device: s for s in view.device_samples[-64:]}
    rows: list[list[Value]] = []
    rest: list[list[Value]] = []
    for info in view.devices:
        sample = latest.get(info.index)
        if sample is None:
            continue
        first, more = devices.narrow_rows(info, sample)
        rows += first
        rest += [devices.title_row(info), *more] if more and len(view.devices) > 1 else more
    if not view.devices:
        rows += devices.no_gpu_rows(view.telemetry)
    rows += ledger_rows(view.memory)
    if len(view.host_samples) > 1:  # the first has no CPU load yet
        rows += devices.host_rows(view.host_samples[-1])
    return rows + rest


def ledger_rows(memory: Sequence[DeviceMemory]) -> list[list[Value]]:
    """What the model holds of each device by what it is for, and all of it beside what was planned."""
    if not memory:
        return []
    rows = [[Value(one_line(entry.device), _parts(entry.measured), left=True)] for entry in memory]
    measured = sum(entry.measured.total_bytes for entry in memory)
    planned = [entry.predicted.total_bytes for entry in memory if entry.predicted is not None]
    known = len(planned) == len(memory)
    reason = next((entry.reason for entry in memory if entry.reason), None) or "unknown"
    words = plan.gib(sum(planned)) if known else f"{_UNKNOWN} ({one_line(reason)})"
    return [*rows, [Value("allocated", plan.gib(measured)), Value("planned", words)]]


def _parts(use: plan.MemoryUse) -> str:
    unit, name, digits = (_GIB, "GiB", 2) if use.total_bytes >= _GIB else (plan.MIB, "MiB", 0)
    sizes = (use.weights_bytes, use.kv_bytes, use.compute_bytes + use.output_bytes)
    words = ("weights", "KV", "compute")
    return "  ".join(f"{word} {size / unit:,.{digits}f}" for word, size in zip(words, sizes, strict=True)) + f" {name}"


def run_rows(view: SessionView) -> list[list[Value]]:
    """The last runs, newest first, with the one that goes on. A change of settings is a line of its own."""
    changes = dict(zip((run.number for run in view.runs if run.kind == "apply"), view.marks, strict=False))
    runs = list(view.runs[-40:])
    if view.run is not None and view.run.status is None:
        runs.append(view.run)
    rows = []
    for run in reversed(runs):
        if run.number in changes:
            mark = changes[run.number]
            rows.append([Value(f"{run.number:>3}", f"apply {mark.label}  {mark.change_s:.1f} s", "muted", left=True)])
            continue
        speed = run.timing.decode_tokens_per_s
        rows.append(
            [
                Value(f"{run.number:>3}", run.variant, left=True),
                Value("decode", "-" if speed is None else f"{speed:.1f}"),
                Value("TTFT", _seconds(run.timing.ttft_s)),
                Value("", _state(run), _state_role(run), left=True),
            ]
        )
    return rows or [[Value("", "runs are listed here", "muted", left=True)]]
