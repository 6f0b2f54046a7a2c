"""Which settings of a model are worth measuring, and which of those measured are worth having: pure arithmetic."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gemtop.domain.plan import CONTEXT_STEP, largest
from gemtop.domain.statistics import MeanSd, interval_95

SHORTEST_CONTEXT = 4096
"""Where the contexts that are tried begin, unless a longer one is not wanted."""
FULL_SPEED = 0.9
"""A decode speed of this share of the fastest is still full speed, where one candidate is recommended."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings that may be measured; everything else is the same for all candidates of a tuning."""

    n_ctx: int
    cache_type: str
    """Of K and V."""
    n_gpu_layers: int
    """Layers on the devices, the output layer counted; 0 where there is no device."""
    n_ubatch: int


@dataclass(frozen=True, slots=True)
class Need:
    """What llama.cpp would take for a candidate, and whether that is there."""

    memory_bytes: int
    """Of the devices; of this machine where there is none."""
    free_bytes: int
    """What would be left on the tightest device, or of this machine where there is none; negative: does not fit."""
    host_free_bytes: int

    @property
    def fits(self) -> bool:
        return self.free_bytes >= 0 and self.host_free_bytes >= 0


Ask = Callable[[Candidate], Need | None]
"""What a candidate needs; None where llama.cpp refuses it. May be asked more than once about the same."""


@dataclass(frozen=True, slots=True)
class Space:
    """Where candidates are looked for."""

    contexts: tuple[int, ...]
    cache_types: tuple[str, ...]
    micro_batches: tuple[int, ...]
    n_layers: int | None
    """Layers that can be offloaded; None where there is no device to offload to."""


def contexts(longest: int) -> tuple[int, ...]:
    """Powers of two and the steps half way between them (4096, 6144, 8192, 12288, ...) up to `longest`, in tokens.

    `longest` is among them, as a multiple of what llama.cpp rounds to.
    """
    last = max(CONTEXT_STEP, longest // CONTEXT_STEP * CONTEXT_STEP)
    steps: list[int] = []
    power = SHORTEST_CONTEXT
    while power < last:
        steps += [power, power * 3 // 2]
        power *= 2
    return (*(step for step in steps if step < last), last)


def worthwhile(space: Space, ask: Ask) -> dict[Candidate, int]:
    """The candidates of a space that fit and can tell something, and the bytes of memory they take.

    For each context and cache type that is the largest micro-batch with which all layers fit. Where they fit with
    none, it is the most layers that fit with the largest micro-batch, and with the smallest where those are more.
    Of each context's, the one that takes the least memory comes with the smallest micro-batch as well. Left out is
    what is dominated for certain: with a longer context the same settings take no more memory.
    """
    search = _Search(space, ask)
    found = {c: search.memory_bytes(c) for n_ctx in sorted(set(space.contexts)) for c in search.at(n_ctx)}
    return {c: size for c, size in found.items() if not any(_surely_better(other, c, found) for other in found)}


def _surely_better(other: Candidate, this: Candidate, memory_bytes: Mapping[Candidate, int]) -> bool:
    return (
        other.n_ctx > this.n_ctx
        and replace(other, n_ctx=this.n_ctx) == this
        and memory_bytes[other] <= memory_bytes[this]
    )


class _Search:
    """The candidates of one context after the other, shortest first: a longer one holds no more layers."""

    def __init__(self, space: Space, ask: Ask) -> None:
        self._space, self._ask = space, ask
        self._all_layers = space.n_layers or 0
        self._batches = sorted(set(space.micro_batches), reverse=True)
        self._most: dict[tuple[str, int], int] = {}

    def at(self, n_ctx: int) -> list[Candidate]:
        found = [c for cache_type in self._space.cache_types for c in self._of_type(n_ctx, cache_type)]
        if found:
            leanest = min(found, key=self.memory_bytes)
            leaner = replace(leanest, n_ubatch=self._batches[-1])
            tried = any((c.cache_type, c.n_ubatch) == (leaner.cache_type, leaner.n_ubatch) for c in found)
            if not tried and self._fits(leaner) and self.memory_bytes(leaner) < self.memory_bytes(leanest):
                found.append(leaner)
        return found

    def _of_type(self, n_ctx: int, cache_type: str) -> list[Candidate]:
        for n_ubatch in self._batches:
            candidate = Candidate(n_ctx, cache_type, self._all_layers, n_ubatch)
            if self._fits(candidate):
                return [candidate]
        if self._space.n_layers is None:
            return []
        found: list[Candidate] = []
        for n_ubatch in dict.fromkeys((self._batches[0], self._batches[-1])):
            partly = self._with_most_layers(Candidate(n_ctx, cache_type, 0, n_ubatch))
            if partly is not None and all(partly.n_gpu_layers > other.n_gpu_layers for other in found):
                found.append(partly)
        return found

    def _with_most_layers(self, candidate: Candidate) -> Candidate | None:
        key = (candidate.cache_type, candidate.n_ubatch)

        def left(layers: int) -> int | None:
            need = self._ask(replace(candidate, n_gpu_layers=layers))
            return None if need is None else need.free_bytes

        layers = largest(left, 0, self._most.get(key, self._all_layers - 1))
        if layers is None:
            return None
        self._most[key] = layers
        partly = replace(candidate, n_gpu_layers=layers)
        return partly if self._fits(partly) else None

    def _fits(self, candidate: Candidate) -> bool:
        need = self._ask(candidate)
        return need is not None and need.fits

    def memory_bytes(self, candidate: Candidate) -> int:
        need = self._ask(candidate)
        assert need is not None
        return need.memory_bytes


def to_measure(candidates: Sequence[Candidate], most: int) -> tuple[Candidate, ...]:
    """At most so many of the candidates, in the order to measure them in.

    Contexts come from coarse to fine, so that what is left out is missed evenly and a tuning that is stopped has seen
    the whole range; candidates with as many layers on the devices come together, since a change loads the weights.
    """
    rank = {n_ctx: place for place, n_ctx in enumerate(_coarse_to_fine(sorted({c.n_ctx for c in candidates})))}
    chosen = sorted(candidates, key=lambda c: rank[c.n_ctx])[:most]
    return tuple(sorted(chosen, key=lambda c: -c.n_gpu_layers))


def _coarse_to_fine(values: Sequence[int]) -> list[int]:
    """The last, the first, the middle one, those between, ..."""
    order = [values[-1], values[0]] if values else []
    spans = deque([(0, len(values) - 1)])
    while spans:
        low, high = spans.popleft()
        if high - low > 1:
            middle = (low + high) // 2
            order.append(values[middle])
            spans += [(low, middle), (middle, high)]
    return list(dict.fromkeys(order))


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate that was measured."""

    candidate: Candidate
    decode: MeanSd
    """Tokens a second."""
    prefill: MeanSd | None
    """None where it was not asked for."""
    planned_bytes: int
    measured_bytes: int
    """Of the devices; of this machine where there is none. As llama.cpp reports its buffers."""
    session_id: str
    """The session whose runs its repetitions are."""
    flash_attn: str
    n_threads: int

    @property
    def half_interval(self) -> float:
        return interval_95(self.decode) or 0.0


def point_from_dict(data: Mapping[str, Any]) -> Point:
    """What dataclasses.asdict made of a point, as a point again."""
    prefill = MeanSd(**data["prefill"]) if data["prefill"] else None
    return Point(**{**data, "candidate": Candidate(**data["candidate"]), "decode": MeanSd(**data["decode"]),
                    "prefill": prefill})  # fmt: skip


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is as good as `b` in context, memory and decode speed, and better in one of them.

    Speeds whose 95 % intervals overlap are the same speed.
    """
    if a.candidate.n_ctx < b.candidate.n_ctx or a.measured_bytes > b.measured_bytes or _faster(b, a):
        return False
    return a.candidate.n_ctx > b.candidate.n_ctx or a.measured_bytes < b.measured_bytes or _faster(a, b)


def _faster(a: Point, b: Point) -> bool:
    return a.decode.mean - a.half_interval > b.decode.mean + b.half_interval


def front(points: Sequence[Point]) -> tuple[Point, ...]:
    """The Pareto front: no point on it dominates another on it, and every point off it is dominated by one on it.

    To be the same speed is not transitive: a slow point may do away with a faster one by way of a third. So only what
    stays on the front counts against others. There is exactly one such set, the kernel of the relation, which has no
    cycle; it is found by looking at those first that nothing later can dominate.
    """
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.measured_bytes, -p.candidate.n_ctx, -p.decode.mean)):
        if not any(dominates(other, point) for other in found):
            found.append(point)
    return tuple(found)


def recommended(points: Sequence[Point]) -> Point:
    """The one with the longest context among those at full speed: within a tenth of the fastest decode, or its noise.

    Of several, the one that takes the most memory: it fits, and memory buys a more precise cache and a faster prefill,
    which the front does not know of. Raises ValueError where there is no point.
    """
    fastest = max(points, key=lambda point: point.decode.mean)
    fast = [p for p in points if p.decode.mean >= FULL_SPEED * fastest.decode.mean or not _faster(fastest, p)]
    return max(fast, key=lambda p: (p.candidate.n_ctx, p.measured_bytes, p.decode.mean))


def candidate_dict(candidate: Candidate) -> dict[str, Any]:
    """The candidate under the names of the view `runs`."""
    data = asdict(candidate)
    kind = data.pop("cache_type")
    return {"n_ctx": data["n_ctx"], "type_k": kind, "type_v": kind, **data}
