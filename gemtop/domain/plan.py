"""What a model would take on each device, whether that fits, and what does: arithmetic over llama.cpp's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MIB = 1 << 20
GIB = 1 << 30
CONTEXT_STEP = 256
"""llama.cpp rounds a context up to a multiple of this."""
SEARCHED_CACHE_TYPES = ("f16", "q8_0", "q4_0")


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes a model and its context take of one device, by what they are for."""

    weights_bytes: int = 0
    """As llama.cpp reports them: of a mapped file the whole stretch from the first to the last tensor used from it."""
    kv_global_bytes: int = 0
    """KV cache of the layers that attend to the whole context."""
    kv_swa_bytes: int = 0
    """KV cache of the sliding-window layers."""
    compute_bytes: int = 0
    """Intermediate results of one micro-batch."""
    output_bytes: int = 0
    """Logits handed to the program."""
    reclaimable_bytes: int = 0
    """Of the weights: pages of the mapped file whose tensors lie elsewhere, repacked or on a device. They are clean
    copies of the file, so the kernel takes them back before anything is short of memory."""

    @property
    def kv_bytes(self) -> int:
        return self.kv_global_bytes + self.kv_swa_bytes

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.output_bytes

    @property
    def needed_bytes(self) -> int:
        """What has to be there."""
        return self.total_bytes - self.reclaimable_bytes


@dataclass(frozen=True, slots=True)
class DryRunResult:
    """What llama.cpp would take with some settings; `devices` in its order, the host apart."""

    devices: Mapping[str, MemoryUse]
    host: MemoryUse
    n_ctx: int
    """As llama.cpp rounds it."""
    flash_attn: str
    """on or off, as llama.cpp decided."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A device's memory, or the host's."""

    name: str
    description: str
    total_bytes: int
    reserve_bytes: int
    """Not to be had: what other programs hold, and what the driver takes for a process."""

    @property
    def usable_bytes(self) -> int:
        return max(0, self.total_bytes - self.reserve_bytes)


@dataclass(frozen=True, slots=True)
class Ledger:
    """One device's memory and what would lie in it."""

    memory: Memory
    use: MemoryUse

    @property
    def free_bytes(self) -> int:
        """What would be left; negative where it does not fit, by so much."""
        return self.memory.usable_bytes - self.use.needed_bytes

    @property
    def fits(self) -> bool:
        return self.free_bytes >= 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to: does this model fit, with these settings, on these devices?"""

    model: Mapping[str, Any]
    """name, path, size_bytes, parameters, quantization, training, variant, n_layers, n_ctx_train."""
    settings: Mapping[str, Any]
    """n_ctx, n_gpu_layers and the others under the names of the view `runs`, as llama.cpp would have them."""
    devices: tuple[Ledger, ...]
    host: Ledger
    max_n_ctx: Mapping[str, int | None] = field(default_factory=dict)
    """Largest context that fits, at most the trained one, by type of the KV cache; None where llama.cpp refuses it.
    Empty where it was not searched for."""
    max_n_gpu_layers: int | None = None
    """Most layers the devices hold with this context; None where there is no device, or it was not searched for."""

    @property
    def fits(self) -> bool:
        return self.host.fits and all(ledger.fits for ledger in self.devices)

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        return (*self.devices, self.host)


def verdict(plan: Plan) -> str:
    """One sentence: whether it fits, by how much, and what would."""
    where = _where(plan)
    if plan.fits:
        tightest = min(plan.devices or (plan.host,), key=lambda ledger: ledger.free_bytes)
        more = _longer(plan)
        return f"{where} fits, with {gib(tightest.free_bytes)} free on {tightest.memory.name}{more}."
    worst = min(plan.ledgers, key=lambda ledger: ledger.free_bytes)
    sentence = f"{where} does not fit: {shortage(worst)}"
    remedies = _remedies(plan)
    return f"{sentence}; {remedies}." if remedies else f"{sentence}."


def shortage(ledger: Ledger) -> str:
    """The arithmetic of what does not fit."""
    needed, there = gib(ledger.use.needed_bytes), gib(ledger.memory.usable_bytes)
    return f"{ledger.memory.name} needs {needed} and has {there}, {gib(-ledger.free_bytes)} too little"


def judge(ledgers: Sequence[Ledger]) -> tuple[bool, str]:
    """Whether everything fits, and by how much on the tightest device or by how little on the worst."""
    tightest = min(ledgers, key=lambda ledger: ledger.free_bytes)
    if tightest.fits:
        return True, f"{gib(tightest.free_bytes)} would be left on {tightest.memory.name}"
    return False, shortage(tightest)


def _where(plan: Plan) -> str:
    context = f"{plan.settings['n_ctx']:,} tokens of context"
    if not plan.devices:
        return f"{plan.model['variant']} with {context} on the CPU"
    layers = plan.settings["n_gpu_layers"]
    return f"{plan.model['variant']} with {context} and {layers} of {plan.model['n_layers']} layers offloaded"


def _longer(plan: Plan) -> str:
    kind = plan.settings["type_k"]
    longest = plan.max_n_ctx.get(kind) if kind == plan.settings["type_v"] else None
    trained = plan.model["n_ctx_train"]
    if not longest or longest <= plan.settings["n_ctx"]:
        return ""
    limit = ", all it was trained for" if longest == trained else ""
    return f"; up to {longest:,} tokens fit{limit}"


def _remedies(plan: Plan) -> str:
    """What would fit, from the searches, cheapest for the user first."""
    found, best = [], 0
    for kind, longest in plan.max_n_ctx.items():
        if longest and longest > best:
            best = longest
            found.append(f"{longest:,} tokens with {'an' if kind == 'f16' else 'a'} {kind} cache")
            if longest >= plan.settings["n_ctx"]:
                break
    if plan.max_n_gpu_layers is not None and 0 < plan.max_n_gpu_layers < plan.settings["n_gpu_layers"]:
        found.append(f"{plan.max_n_gpu_layers} layers offloaded")
    if found:
        return f"these would: {', or '.join(found)}"
    return "no context at all does" if plan.max_n_ctx else ""


def gib(size_bytes: int) -> str:
    """A size as people say it: 1.23 GiB, 340 MiB."""
    return f"{size_bytes / GIB:.2f} GiB" if size_bytes >= GIB else f"{size_bytes / MIB:.0f} MiB"


def largest(free_bytes: Callable[[int], int | None], low: int, high: int, step: int = 1) -> int | None:
    """The largest of `low`, `low + step`, ..., `high` for which `free_bytes` is not negative; 0 where none is.

    `free_bytes` is what is left on the tightest device, None where llama.cpp refuses, and then so is the answer. It
    falls almost in a straight line, so the crossing is guessed from the line and checked: about four questions.
    """
    at_high = free_bytes(high)
    if at_high is None or at_high >= 0:
        return None if at_high is None else high
    at_low = free_bytes(low) if low < high else at_high
    if at_low is None or at_low < 0:
        return None if at_low is None else 0
    question = 0
    while high - low > step:
        question += 1
        share = at_low / (at_low - at_high) if question % 3 else 0.5  # a bend in the line must not make it crawl
        last = (high - low - 1) // step  # `high` itself need not lie on a step
        guess = low + min(max(int((high - low) * share) // step, 1), last) * step
        left = free_bytes(guess)
        if left is None:
            return None
        if left >= 0:
            low, at_low = guess, left
        else:
            high, at_high = guess, left
    return low


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as `gemtop plan --json` prints it."""
    return {
        "model": dict(plan.model),
        "settings": dict(plan.settings),
        "devices": [ledger_json(ledger) for ledger in plan.devices],
        "host": ledger_json(plan.host),
        "max_n_ctx": {kind: plan.max_n_ctx.get(kind) for kind in SEARCHED_CACHE_TYPES},
        "max_n_gpu_layers": plan.max_n_gpu_layers,
        "fits": plan.fits,
        "verdict": verdict(plan),
    }


def ledger_json(ledger: Ledger) -> dict[str, Any]:
    return {
        "name": ledger.memory.name,
        "total_bytes": ledger.memory.total_bytes,
        **asdict(ledger.use),
        "reserve_bytes": ledger.memory.reserve_bytes,
        "free_bytes": ledger.free_bytes,
        "fits": ledger.fits,
        "description": ledger.memory.description,
    }


def plan_from_json(data: Mapping[str, Any]) -> Plan:
    """What plan_json wrote, as a Plan again."""
    return Plan(
        model=data["model"],
        settings=data["settings"],
        devices=tuple(_ledger(device) for device in data["devices"]),
        host=_ledger(data["host"]),
        max_n_ctx={kind: value for kind, value in data["max_n_ctx"].items() if value is not None},
        max_n_gpu_layers=data["max_n_gpu_layers"],
    )


def _ledger(data: Mapping[str, Any]) -> Ledger:
    memory = Memory(data["name"], data["description"], data["total_bytes"], data["reserve_bytes"])
    return Ledger(memory, MemoryUse(**{name: data[name] for name in MemoryUse.__dataclass_fields__}))


def tightest_bytes(ledgers: Sequence[Ledger]) -> int:
    """What is left where the least is."""
    return min(ledger.free_bytes for ledger in ledgers)
