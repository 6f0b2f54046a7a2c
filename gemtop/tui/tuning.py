"""What can be tuned of a loaded model, and what a change would mean: pure, for the tuning panel to draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from gemtop.domain.model import DeviceMemory, LoadedModel
from gemtop.domain.plan import GIB, MIB, Ledger, MemoryUse, Plan, gib, verdict
from gemtop.domain.settings import CACHE_TYPES, EngineSettings, LoraAdapter
from gemtop.domain.text import one_line
from gemtop.engine.planner import PlanRequest
from gemtop.run import RunView
from gemtop.view import SessionView

_HOST = "CPU"
"""llama.cpp's name of the host, which a plan calls "host"."""
_FLASH = ("auto", "on", "off")
_LEAST_CONTEXT, _LEAST_BATCH, _MOST_BATCH, _MOST_THREADS = 256, 32, 8192, 512
_SCALE_STEP = 0.1
_SHARE_STEP = 5
_PAGE_BYTES = 4096

Change = Callable[[EngineSettings, int], EngineSettings]
Entry = Callable[[EngineSettings, str], EngineSettings]
Show = Callable[[EngineSettings], str]


class Plans(Protocol):
    """What the screens need of the planner. It is asked from another thread than the screen's."""

    def plan(self, request: PlanRequest) -> Plan:
        """Raises GemtopError for what cannot be planned."""

    def fit(self, request: PlanRequest, fingerprint: str) -> tuple[bool, str]:
        """Whether it fits, and by how much or by how little. Raises as `plan` does."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Knob:
    """One row of the panel."""

    name: str
    label: str
    now: str
    """What is in force."""
    value: Show
    """What is chosen."""
    step: Change
    """The next value up (1) or down (-1)."""
    enter: Entry | None = None
    """A value as it is typed; raises ValueError with what is wrong. None where nothing can be typed."""
    then: Callable[[Plan], str] | None = None
    """What would be in force as llama.cpp has it, where it may differ from what is chosen."""
    fixed: str = ""
    """Why it cannot be changed here."""
    toggle: Callable[[EngineSettings], EngineSettings] | None = None
    """What the space bar does."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is loaded while the panel is open."""

    model: LoadedModel
    settings: EngineSettings
    memory: tuple[DeviceMemory, ...]
    devices: tuple[str, ...] | None
    """llama.cpp's names of the devices beside the CPU; None until the planner has told."""


def loaded(view: SessionView, plan: Plan | None) -> Loaded | None:
    """What a session has loaded; `plan`, once there is one, tells the devices that hold nothing as well."""
    if view.model is None or view.settings is None:
        return None
    known = tuple(device.name for device in view.model.devices) or None
    if plan is not None:
        known = tuple(ledger.memory.name for ledger in plan.devices)
    return Loaded(view.model, view.settings, view.memory, known)


# The rows


def knobs(now: Loaded) -> list[Knob]:
    """The rows for a model, in their order."""
    model = now.model
    rows = [
        _number("context", "context", ("context", "n_ctx"), now, model.n_ctx, _context_ladder(now), least=1),
        _layers(now),
        _choice("type_k", "K cache", now, model.type_k, CACHE_TYPES),
        _choice("type_v", "V cache", now, model.type_v, CACHE_TYPES),
        _choice("flash_attn", "flash attention", now, model.flash_attn, _FLASH),
        _number("n_batch", "batch", ("context", "n_batch"), now, model.n_batch, _batch_ladder(model.n_batch)),
        _number("n_ubatch", "micro-batch", ("context", "n_ubatch"), now, model.n_ubatch, _batch_ladder(model.n_ubatch)),
        _swa(now),
        _number("n_threads", "threads", ("context", "n_threads"), now, model.n_threads, _threads),
        _number(
            "n_threads_batch",
            "threads in prefill",
            ("context", "n_threads_batch"),
            now,
            model.n_threads_batch,
            _threads,
        ),
    ]
    if now.devices is not None and len(now.devices) > 1:
        rows.append(_split(now))
    return rows + [_lora(now, index) for index in range(len(now.settings.lora))]


Ladder = Callable[[int, int], int]
"""From a value, the next one up (1) or down (-1)."""


def _number(
    name: str, label: str, field: tuple[str, str], now: Loaded, in_force: int, ladder: Ladder, *, least: int = 1
) -> Knob:
    """A row for a whole number. Back at what is in force, the setting is what it was, say "as many as there are"."""

    def get(settings: EngineSettings) -> int:
        asked = _get(settings, field)
        if asked == _get(now.settings, field) and not _follows(settings, now, name):
            return in_force
        if asked is None and name == "n_threads_batch":
            return settings.context.n_threads or now.model.n_threads
        return in_force if asked is None else int(asked)

    def put(settings: EngineSettings, value: int) -> EngineSettings:
        same = value == in_force and not _follows(settings, now, name)
        return _put(settings, field, _get(now.settings, field) if same else value)

    def enter(settings: EngineSettings, text: str) -> EngineSettings:
        value = _whole(text)
        if value < least:
            raise ValueError(f"{label}: at least {least}")
        return put(settings, value)

    return Knob(
        name=name,
        label=label,
        now=f"{in_force:,}",
        value=lambda settings: f"{get(settings):,}",
        step=lambda settings, way: put(settings, ladder(get(settings), way)),
        enter=enter,
        then=(lambda plan: f"{plan.settings[field[1]]:,}") if field[1] in ("n_ctx", "n_batch", "n_ubatch") else None,
    )


def _follows(settings: EngineSettings, now: Loaded, name: str) -> bool:
    """Threads in prefill are those of decoding where they were not given, and so move with them."""
    before = now.settings.context
    return (
        name == "n_threads_batch" and before.n_threads_batch is None and settings.context.n_threads != before.n_threads
    )


def _layers(now: Loaded) -> Knob:
    field, model = ("offload", "n_gpu_layers"), now.model
    if now.devices == ():
        words = "no device but the CPU"
        return Knob(field[1], "layers on the GPU", "", lambda _settings: words, lambda s, _way: s, fixed=words)
    row = _number(
        field[1],
        "layers on the GPU",
        field,
        now,
        model.n_gpu_layers,
        lambda value, way: min(max(value + way, 0), model.n_layers),
        least=0,
    )

    def enter(settings: EngineSettings, text: str) -> EngineSettings:
        assert row.enter is not None
        if _whole(text) > model.n_layers:
            raise ValueError(f"layers on the GPU: the model has {model.n_layers}, the output layer counted")
        return row.enter(settings, text)

    return replace(
        row,
        now=f"{model.n_gpu_layers} of {model.n_layers}",
        enter=enter,
        then=lambda plan: f"{plan.settings['n_gpu_layers']} of {plan.model['n_layers']}",
    )


def _choice(name: str, label: str, now: Loaded, in_force: str, choices: Sequence[str]) -> Knob:
    """A row for one of several words; below the first comes the last."""
    field = ("context", name)

    def step(settings: EngineSettings, way: int) -> EngineSettings:
        at = choices.index(str(_get(settings, field)))
        return _put(settings, field, choices[(at + way) % len(choices)])

    return Knob(
        name=name,
        label=label,
        now=in_force,
        value=lambda settings: str(_get(settings, field)),
        step=step,
        then=lambda plan: str(plan.settings[name]),
    )


def _swa(now: Loaded) -> Knob:
    field, words = ("context", "swa_full"), ("window", "full")

    def flip(settings: EngineSettings) -> EngineSettings:
        return _put(settings, field, not _get(settings, field))

    return Knob(
        name="swa_full",
        label="sliding-window KV",
        now=words[now.model.swa_full],
        value=lambda settings: words[settings.context.swa_full],
        step=lambda settings, _way: flip(settings),
        toggle=flip,
        then=lambda plan: words[bool(plan.settings["swa_full"])],
    )


def _split(now: Loaded) -> Knob:
    """Shares of the devices. Arrows move twentieths between two; for more devices the shares are typed."""
    assert now.devices is not None
    field, count = ("offload", "tensor_split"), len(now.devices)

    def show(settings: EngineSettings) -> str:
        return ",".join(f"{share:g}" for share in settings.offload.tensor_split) or "by free memory"

    def step(settings: EngineSettings, way: int) -> EngineSettings:
        if count != 2:
            return settings
        shares = (*settings.offload.tensor_split, 0.0, 0.0)[:2]
        whole = sum(shares)
        first = 50.0 if not whole else shares[0] / whole * 100 + way * _SHARE_STEP
        first = min(max(round(first / _SHARE_STEP) * _SHARE_STEP, 0), 100)
        return _put(settings, field, (float(first), float(100 - first)))

    def enter(settings: EngineSettings, text: str) -> EngineSettings:
        try:
            shares = tuple(float(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"split: {count} shares with commas between them, such as 3,1") from None
        if len(shares) != count or not sum(shares):
            raise ValueError(f"split: one share for each of {', '.join(now.devices or ())}")
        return _put(settings, field, shares)

    return Knob(field[1], "split over devices", show(now.settings), show, step, enter)


def _lora(now: Loaded, index: int) -> Knob:
    """An adapter's scale. Space switches it off, and on again at the scale it had."""
    before = now.settings.lora[index]
    on = before.scale or 1.0

    def show(settings: EngineSettings) -> str:
        scale = settings.lora[index].scale
        return f"{scale:.2f}" if scale else "off"

    def put(settings: EngineSettings, scale: float) -> EngineSettings:
        changed = list(settings.lora)
        changed[index] = LoraAdapter(before.path, round(scale, 4))
        return replace(settings, lora=tuple(changed))

    def moved(scale: float, way: int) -> float:
        return max(min(scale, 0.0), scale + way * _SCALE_STEP)  # below nothing only by typing

    def enter(settings: EngineSettings, text: str) -> EngineSettings:
        try:
            scale = float(text)
        except ValueError:
            raise ValueError("a scale is a number such as 0.5") from None
        return put(settings, scale)

    return Knob(
        name=f"lora{index}",
        label=f"LoRA {one_line(Path(before.path).stem)}",
        now=show(now.settings),
        value=show,
        step=lambda settings, way: put(settings, moved(settings.lora[index].scale, way)),
        enter=enter,
        toggle=lambda settings: put(settings, 0.0 if settings.lora[index].scale else on),
    )


def _get(settings: EngineSettings, field: tuple[str, str]) -> Any:
    return getattr(getattr(settings, field[0]), field[1])


def _put(settings: EngineSettings, field: tuple[str, str], value: object) -> EngineSettings:
    part = replace(getattr(settings, field[0]), **{field[1]: value})
    return replace(settings, **{field[0]: part})


def _whole(text: str) -> int:
    digits = text.replace(",", "")
    if not digits.isdigit():
        raise ValueError("a whole number")
    return int(digits[:12])


def _context_ladder(now: Loaded) -> Ladder:
    """Powers of two, and what the model has been trained for as the last of them."""

    def step(value: int, way: int) -> int:
        most = max(now.model.n_ctx_train, value)
        found = 1 << (value.bit_length() if way > 0 else (value - 1).bit_length() - 1)
        return min(max(found, _LEAST_CONTEXT), most)

    return step


def _batch_ladder(in_force: int) -> Ladder:
    """Powers of two."""

    def step(value: int, way: int) -> int:
        found = 1 << (value.bit_length() if way > 0 else max(value - 1, 1).bit_length() - 1)
        return min(max(found, min(_LEAST_BATCH, in_force, value)), max(_MOST_BATCH, value))

    return step


def _threads(value: int, way: int) -> int:
    return min(max(value + way, 1), _MOST_THREADS)


# What a change means


def plan_request(now: Loaded, chosen: EngineSettings, *, search: bool) -> PlanRequest:
    """The question to the planner: what the model that is loaded holds would be given back."""
    held = {memory.device: memory.measured.total_bytes for memory in now.memory if memory.device != _HOST}
    own = sum(memory.measured.total_bytes for memory in now.memory if memory.device == _HOST)
    held["host"] = min(own, _unshared_bytes())
    return PlanRequest(now.model.header.path, chosen, search=search, held=held)


def _unshared_bytes() -> int:
    """Resident memory of this process that is not pages of a mapped file: those the kernel counts as available."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * _PAGE_BYTES


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A device's memory, now and then."""

    name: str
    total: str
    difference: str
    left: str
    fits: bool
    parts: str


def ledger_lines(now: Loaded, plan: Plan | None) -> list[LedgerLine]:
    """One for each device and one for the host; without a plan, what is there now."""
    measured = {("host" if memory.device == _HOST else memory.device): memory.measured for memory in now.memory}
    ledgers: Mapping[str, Ledger] = {} if plan is None else {ledger.memory.name: ledger for ledger in plan.ledgers}
    names = [*dict.fromkeys(name for name in (*measured, *ledgers) if name != "host"), "host"]
    return [_ledger_line(name, measured.get(name), ledgers.get(name)) for name in names]


def _ledger_line(name: str, before: MemoryUse | None, ledger: Ledger | None) -> LedgerLine:
    use = ledger.use if ledger else None
    most = max(before.total_bytes if before else 0, use.total_bytes if use else 0)
    unit, word, digits = (GIB, "GiB", 2) if most >= GIB else (MIB, "MiB", 0)

    def change(old: int | None, new: int | None) -> str:
        words = ["-" if size is None else f"{size / unit:,.{digits}f}" for size in (old, new)]
        return words[0] if new is None or words[0] == words[1] else " → ".join(words)

    def part(words: str, *fields: str) -> str:
        old, new = (None if one is None else sum(getattr(one, f) for f in fields) for one in (before, use))
        return f"{words} {change(old, new)}" if old or new else ""

    parts = (
        part("weights", "weights_bytes"),
        part("KV", "kv_global_bytes", "kv_swa_bytes"),
        part("compute", "compute_bytes", "output_bytes"),
    )
    left, fits = "", True
    if ledger is not None:
        fits = ledger.fits
        left = f"fits, {gib(ledger.free_bytes)} left" if fits else f"{gib(-ledger.free_bytes)} too little"
    old_total, new_total = before.total_bytes if before else None, use.total_bytes if use else None
    return LedgerLine(
        name=name,
        total=f"{change(old_total, new_total)} {word}",
        difference=_difference((new_total or 0) - (old_total or 0)) if use else "",
        left=left,
        fits=fits,
        parts="   ".join(filter(None, parts)),
    )


def _difference(size_bytes: int) -> str:
    if abs(size_bytes) < MIB / 2:
        return "the same"
    return ("+" if size_bytes > 0 else "-") + gib(abs(size_bytes))


def cost(
    now: Loaded, chosen: EngineSettings, tokens: int, change_s: Mapping[bool, float], runs: Sequence[RunView]
) -> str:
    """What applying takes. Times are those measured in this session; where there is none, none is guessed.

    `change_s` are seconds of the last change by whether the weights were kept, `tokens` what the context holds.
    """
    kept = chosen.offload == now.settings.offload
    words = "keeps the weights loaded" if kept else "loads the weights again"
    if kept in change_s:
        words += f", about {change_s[kept]:.1f} s"
    if not tokens:
        return words
    words += f" + {tokens:,} tokens decoded again" if kept in change_s else f", {tokens:,} tokens decoded again"
    rate = _prefill_rate(runs)
    return words if rate is None else f"{words} in {tokens / rate:.1f} s"


def _prefill_rate(runs: Sequence[RunView]) -> float | None:
    """Prefill speed of the run with the longest prompt: a short one is slow for its fixed costs."""
    measured = [run.timing for run in runs if run.timing.prefill_tokens_per_s]
    longest = max(measured, key=lambda timing: timing.prompt_tokens, default=None)
    return longest.prefill_tokens_per_s if longest else None


def limits(plan: Plan) -> str:
    """The longest contexts and the most layers, where they were searched for."""
    found = [f"{kind} {longest:,}" for kind, longest in plan.max_n_ctx.items() if longest]
    if not plan.max_n_ctx:
        return ""
    words = "longest context: " + (", ".join(found) or "none")
    return words if plan.max_n_gpu_layers is None else f"{words}; layers: {plan.max_n_gpu_layers}"


def refusal(plan: Plan, tokens: int) -> str | None:
    """Why this can never be, in the arithmetic that says so; None where it may."""
    n_ctx = plan.settings["n_ctx"]
    if tokens >= n_ctx:
        return f"a context of {n_ctx:,} tokens is too small: the conversation holds {tokens:,}"
    for ledger in plan.ledgers:
        total = ledger.memory.total_bytes
        if ledger.use.needed_bytes > total:
            needed = gib(ledger.use.needed_bytes)
            return f"{verdict(plan)} All of {ledger.memory.name} is {gib(total)}, and this needs {needed}."
    return None


def warning(plan: Plan) -> str | None:
    """What does not fit just now, with the arithmetic; None where all does."""
    return None if plan.fits else verdict(plan)
