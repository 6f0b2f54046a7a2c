"""A session's view as rows of labelled values. Every unknown says why."""

from __future__ import annotations

from collections.abc import Sequence

from gemtop.domain.model import LoadedModel
from gemtop.domain.resources import Resources, error_name
from gemtop.domain.roofline import Roof
from gemtop.domain.telemetry import CostSample
from gemtop.domain.text import one_line, plus_minus
from gemtop.domain.validity import Verdict
from gemtop.run import RunView
from gemtop.tui import devices, no_card
from gemtop.tui.widgets.header import HeaderText, model_header
from gemtop.tui.widgets.values import Value, fitting
from gemtop.view import SessionView

_GIB = 2**30
_UNKNOWN = "N/A"
_VITAL_CARDS = 2
_ONE_ROW = 110
"""Columns from which the figures of a run stand in one row."""
_NARROW = 76
"""Columns below which these are set closer."""
_MARGINS = 4
"""Columns beside them."""
STOP_WORDS = {
    "end_of_generation": "end of text",
    "length": "-n reached",
    "context_full": "context full",
    "cancelled": "stopped",
    "error": "failed",
    "crashed": "crashed",
}


def header_text(view: SessionView, title: str = "gemtop", opening: str = "", without: str = "") -> HeaderText:
    """The model and its settings on the left, where it runs and the run's state on the right.

    `opening` is the name of the model that is being loaded, `without` what is said where none is.
    """
    right: list[tuple[str, str]] = [] if view.problem is None else [("not recorded", "bad")]
    if view.applying:
        right.append(("applying ...", "warn"))
    if view.model is not None:
        right.append((_place(view.model), "muted"))
    if view.run is not None:
        right.append((f"run {view.run.number}", "text"))
        right.append((_state(view.run), _state_role(view.run)))
        if view.run.verdict is not None:
            right += [(word, role) for word, role in [verdict_word(view.run.verdict)] if word]
    left: tuple[tuple[str, str], ...] = ((title, "title"),)
    if view.model is not None:
        left += model_header(view.model)
    elif view.loading is not None:
        left += ((one_line(opening), "title"),) if opening else ()
        left += (("loading", "muted"),)
    elif without:
        left += ((without, "muted"),)
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


def verdict_word(verdict: Verdict) -> tuple[str, str]:
    """In a word, and its colour; nothing where it was not judged."""
    return {True: ("valid", "good"), False: ("not valid", "warn"), None: ("", "muted")}[verdict.valid]


def figure_rows(view: SessionView, width: int) -> list[list[Value]]:
    """The figures of the run that goes on, or of the last one."""
    if view.loading is not None:
        return [[Value("loading", loading_bar(view.loading, width), left=True)], [], []]
    run = view.run
    if run is None:
        return [[Value("", "no run yet", "muted", left=True)], [], []]
    timing, itl = run.timing, run.timing.latency
    n_ctx = view.model.n_ctx if view.model else None
    first = [
        Value("TTFT", _seconds(timing.ttft_s)),
        Value("ITL p50", _ms(itl.p50_ms)),
        Value("p95", _ms(itl.p95_ms)),
        Value("p99", _ms(itl.p99_ms) + " ms", left=True),
    ]
    context = f"{run.context_used:,}" + (f" of {n_ctx:,}" if n_ctx else "")
    second = [
        Value("prompt", _progress(timing.prompt_tokens, run.prompt_total)),
        Value("generated", f"{timing.generated_tokens:,}"),
        Value("context", context if width >= _NARROW else context.replace(" of ", "/"), left=True),
    ]
    if width >= _ONE_ROW:
        return [first + second, [_outcome(run, width)]]
    second.insert(2, Value("", ""))  # what is longest stands below what may be, at the end
    return [first, second, [_outcome(run, width)]]


def outcome_word(run: RunView) -> tuple[str, str]:
    """How a run that went to its end is judged, and how any other ended."""
    word, role = verdict_word(run.verdict) if run.verdict else ("", "")
    return (word, role) if word and run.status == "finished" else (_state(run), _state_role(run))


def _outcome(run: RunView, width: int) -> Value:
    """What can be said once a run has ended: whether it is valid, and of its energy what there is room for."""
    if run.verdict is None or run.resources is None:
        return Value("", "")
    word, role = verdict_word(run.verdict)
    why = run.verdict.invalid_reason
    parts = [part for part in (why, *energy_parts(run.resources)) if part]
    words = fitting(parts, width - _MARGINS - len(word) - 1, "   ")
    return Value(word, words, role if why else "text", role, left=True)


def energy_words(used: Resources) -> str:
    """All that is known of a run's energy; nothing if nothing is."""
    return "   ".join(energy_parts(used))


def energy_parts(used: Resources) -> list[str]:
    """Joules a token with idle power and without, and of the whole run, each with its error; nothing if not known."""
    parts = []
    for phase in ("decode", "prefill"):
        gross = _value_and_error(used, f"{phase}_j_per_token")
        net = _value_and_error(used, f"{phase}_net_j_per_token")
        if gross:
            parts.append(f"{phase} {gross} J/token" + (f" ({net} without idle)" if net else ""))
    total = _value_and_error(used, "energy_j")
    if total:
        parts.append(f"{total} J by {used.energy_source}")
    return parts


def _value_and_error(used: Resources, name: str) -> str:
    value, error = getattr(used, name), getattr(used, error_name(name))
    return "" if value is None or error is None else plus_minus(value, error)


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


def device_rows(view: SessionView, width: int = devices.LIVE_CELLS) -> list[list[Value]]:
    """Each GPU's readings that matter most, what the model holds, this machine's, and then the rest of each GPU's.

    Of the GPUs those that hold a part of the model; all of them where none does.
    """
    latest = {s.device: s for s in view.device_samples[-64:]}
    rows: list[list[Value]] = []
    rest: list[list[Value]] = []
    shown = [info for info in view.devices if info.index in view.used_devices] or view.devices
    for info in shown:
        sample = latest.get(info.index)
        if sample is None:
            continue
        first, more = devices.narrow_rows(info, sample)
        rows += first
        rest += [devices.title_row(info), *more] if more and len(shown) > 1 else more
    rows += roof_rows(view.run.roofs if view.run else (), width)
    if len(view.host_samples) > 1:  # the first has no CPU load yet
        rows += devices.host_rows(view.host_samples[-1]) + devices.cost_rows(view.cost, width)
    if not view.devices:
        rest += no_card.no_gpu_rows(view.telemetry, width)
    return rows + rest


def vital_rows(view: SessionView, width: int) -> list[list[Value]]:
    """What matters of the first GPUs in use in a line each; of this machine where there is none."""
    latest = {s.device: s for s in view.device_samples[-64:]}
    shown = [info for info in view.devices if info.index in view.used_devices] or view.devices
    if shown:
        return devices.compact_rows(shown[:_VITAL_CARDS], latest, width) if latest else []
    rows = devices.host_rows(view.host_samples[-1]) if len(view.host_samples) > 1 else []
    return [[value for row in rows[:2] for value in row]] if rows else []


def cost_note(cost: CostSample | None) -> str:
    """What gemtop itself takes, in a few words. Steady in width."""
    if cost is None or cost.observer_cpu_pct is None:
        return ""
    words = [f"gemtop {cost.observer_cpu_pct:4.1f} %"]
    if cost.terminal_bytes_per_s is not None:
        words.append(f"{cost.terminal_bytes_per_s / 1e3:.1f} KB/s")
    if cost.samples_late:
        words.append(f"{cost.samples_late} late")
    return " ".join(words)


def roof_rows(roofs: Sequence[Roof], width: int = devices.LIVE_CELLS) -> list[list[Value]]:
    """How fast each device could decode at most, and from what that follows."""
    rows = []
    for roof in roofs:
        label = f"{one_line(roof.device)} roof"
        if roof.bandwidth is None or roof.tokens_per_s is None:
            words = f"{_UNKNOWN} ({roof.reason})"
        else:
            reads = f"{roof.bytes_per_token / 1e9:.2f} GB a token at {roof.bandwidth.bytes_per_s / 1e9:,.0f} GB/s"
            words = fitting([f"{roof.tokens_per_s:,.0f} tokens/s", reads], width - len(label) - 1)
        rows.append([Value(label, words, left=True)])
    return rows
