"""What a model would take on each device, whether that fits, and what does: arithmetic over llama.cpp's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gemtop.domain.settings import beyond_trained

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
class Remedy:
    """A change with which everything fits; what is None stays as it was asked for."""

    n_ctx: int | None = None
    cache_type: str | None = None
    """Of keys and values both."""
    n_ubatch: int | None = None
    n_gpu_layers: int | None = None
    cpu_alone: bool = False
    """Without any of the devices."""

    def __str__(self) -> str:
        parts = []
        if self.n_ctx is not None:
            cache = f" with {'an' if self.cache_type == 'f16' else 'a'} {self.cache_type} cache"
            parts.append(f"{self.n_ctx:,} tokens{cache if self.cache_type else ''}")
        if self.n_ubatch is not None:
            parts.append(f"a micro-batch of {self.n_ubatch} (-ub {self.n_ubatch})")
        if self.n_gpu_layers is not None:
            parts.append(f"{self.n_gpu_layers} layers offloaded (-ngl {self.n_gpu_layers})")
        if self.cpu_alone:
            parts.append("the CPU alone (-dev none)")
        return " and ".join(parts)


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
    """Largest context that fits, at most the trained one, by type of the KV cache; 0 where none does, None where
    llama.cpp refuses it. Empty where it was not searched for."""
    max_n_gpu_layers: int | None = None
    """Most layers on the devices with which all of it fits with this context, the host's part too; None where it fits
    with no number of them, where there is no device, or it was not searched for."""
    remedies: tuple[Remedy, ...] = ()
    """What would fit where this does not, cheapest for the user first; empty where it was not searched for."""

    @property
    def fits(self) -> bool:
        return self.host.fits and all(ledger.fits for ledger in self.devices)

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        return (*self.devices, self.host)


def verdict(plan: Plan) -> str:
    """One sentence: whether it fits, by how much, and what would; a warning behind it where the context is too long."""
    where = _where(plan)
    warned = beyond_trained(plan.settings["n_ctx"], plan.model["n_ctx_train"])
    beyond = f" A {warned}." if warned else ""
    if plan.fits:
        tightest = min(plan.devices or (plan.host,), key=lambda ledger: ledger.free_bytes)
        more = _longer(plan)
        return f"{where} fits, with {gib(tightest.free_bytes)} free on {tightest.memory.name}{more}.{beyond}"
    worst = min(plan.ledgers, key=lambda ledger: ledger.free_bytes)
    remedies = _remedies(plan)
    return f"{where} does not fit: {shortage(worst)}{f'; {remedies}' if remedies else ''}.{beyond}"


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
    """What was found to fit; nothing where it was not searched for."""
    if plan.remedies:
        return f"{'these' if len(plan.remedies) > 1 else 'this'} would: {', or '.join(map(str, plan.remedies))}"
    return "nothing does on this machine" if plan.max_n_ctx else ""


def gib(size_bytes: int) -> str:
    """A size as people say it: 1.23 GiB, 340 MiB."""
    return f"{size_bytes / GIB:.2f} GiB" if size_bytes >= GIB else f"{size_bytes / MIB:.0f} MiB"


def largest(
    free_bytes: Callable[[int], int | None],
    low: int,
    high: int,
    step: int = 1,
    known: Mapping[int, int] | None = None,
) -> int | None:
    """The largest of `low`, `low + step`, ..., `high` for which `free_bytes` is not negative.

    None where there is none, and where llama.cpp refuses one that is asked for. `free_bytes` is what is left on the
    tightest device, None where llama.cpp refuses; `known` are answers that need not be asked for. What is left falls
    almost in a straight line, so the crossing is guessed from the two answers closest to it: about four questions,
    the last of them the answer and the step above it.
    """
    found = {at: free for at, free in (known or {}).items() if low <= at <= high}
    guess, fits, fails = high, low - step, high + step
    widths = [fails - fits]
    while fails - fits > step:
        free = found[guess] if guess in found else free_bytes(guess)
        if free is None:
            return None
        found[guess] = free
        fits = max((at for at, left in found.items() if left >= 0), default=low - step)
        fails = min((at for at, left in found.items() if left < 0), default=high)
        if fits == high:
            break
        widths.append(fails - fits)
        stalled = len(widths) > 4 and widths[-1] * 2 > widths[-4]  # a bend in the line must not make it crawl
        crossing = None if stalled else _crossing(found, fits, fails)
        wanted = fits + (fails - fits) / 2 if crossing is None else crossing
        first, last = fits + step, low + (fails - 1 - low) // step * step  # `high` itself need not lie on a step
        guess = min(max(low + int((wanted - low) // step) * step, first), last)
    return fits if fits >= low else None


def _crossing(found: Mapping[int, int], fits: int, fails: int) -> float | None:
    """Where the line through the two points closest to zero crosses it; None where there is no such line.

    Layers are shared in whole ones, so these may lie on one step of a stair; then it is the line across the steps.
    """
    if len(found) < 2:
        return None
    nearest = sorted(found, key=lambda at: abs(found[at]))[:2]
    for at, other in (nearest, (fits, fails)):
        falls = (found[other] - found[at]) / (at - other) if at in found and other in found else 0
        if falls > 0:
            return at + found[at] / falls
    return None


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
        "remedies": [
            {name: value for name, value in asdict(remedy).items() if value is not None} for remedy in plan.remedies
        ],
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
        remedies=tuple(Remedy(**remedy) for remedy in data["remedies"]),
    )


def _ledger(data: Mapping[str, Any]) -> Ledger:
    memory = Memory(data["name"], data["description"], data["total_bytes"], data["reserve_bytes"])
    return Ledger(memory, MemoryUse(**{name: data[name] for name in MemoryUse.__dataclass_fields__}))


def tightest_bytes(ledgers: Sequence[Ledger]) -> int:
    """What is left where the least is."""
    return min(ledger.free_bytes for ledger in ledgers)
