"""What would fit: the longest contexts, the most layers, and a way out where the settings asked for do not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gemtop.domain.plan import CONTEXT_STEP, SEARCHED_CACHE_TYPES, Ledger, Remedy, largest, tightest_bytes
from gemtop.domain.settings import ContextSettings, OffloadSettings

Ask = Callable[[OffloadSettings, ContextSettings], Sequence[Ledger] | None]
"""What some settings would take of each device and, last, of the host; None where llama.cpp refuses them."""

_SMALL_MICRO_BATCH = 128
"""Below it prefill loses more than memory is won."""
_SHORTER = 4
"""Where nothing else is left, contexts are tried that are shorter by this factor each."""


@dataclass(frozen=True, slots=True)
class Search:
    """Around the settings asked for, which `ask` has the answer to."""

    ask: Ask
    offload: OffloadSettings
    context: ContextSettings
    n_ctx: int
    """As llama.cpp rounds what was asked for."""
    trained: int
    n_layers: int
    """All there are, the output layer counted."""
    n_gpu_layers: int
    """On the devices with the settings asked for; 0 where there is no device."""
    on_devices: bool

    def longest(self) -> dict[str, int | None]:
        """The largest context that fits, by type of the cache; 0 where none does, None where llama.cpp refuses."""
        return {kind: self._longest(kind, self.offload) for kind in SEARCHED_CACHE_TYPES}

    def most_layers(self, n_ctx: int | None = None) -> int | None:
        """Most layers with which everything fits, with the context asked for or this one; None where it never does.

        Fewer layers leave the host more to hold, so it is the most that the devices hold, or no number at all.
        """
        context = self.context if n_ctx is None else replace(self.context, n_ctx=n_ctx)

        def ledgers(layers: int) -> Sequence[Ledger] | None:
            as_asked = self.on_devices and layers == self.n_gpu_layers  # -1 is all of them
            return self.ask(self.offload if as_asked else replace(self.offload, n_gpu_layers=layers), context)

        def left_on_devices(layers: int) -> int | None:
            found = ledgers(layers)
            return None if found is None else tightest_bytes(found[:-1])

        known: dict[int, int] = {}
        if n_ctx is None and self.n_gpu_layers and (asked := self._asked()):
            known[self.n_gpu_layers] = tightest_bytes(asked[:-1])
        # With no layer at all a device may need more than with some: large batches bring the output layer to it.
        most = largest(left_on_devices, 1, self.n_layers, known=known) or 0
        return most if _fit(ledgers(most)) else None

    def remedies(self, longest: Mapping[str, int | None], most_layers: int | None) -> tuple[Remedy, ...]:
        """What fits instead, cheapest for the user first; `longest` and `most_layers` are as found above.

        The CPU alone is tried where nothing else keeps the context asked for, and shorter contexts with fewer layers
        where there is nothing else.
        """
        smaller = self._smaller_micro_batch()
        found = [remedy for remedy in self._caches(longest) if not (smaller and self._is_cut_short(remedy))]
        found += smaller
        if most_layers is not None and most_layers != self.n_gpu_layers:
            found.append(Remedy(n_gpu_layers=most_layers))
        if self.on_devices and not any(remedy.n_ctx is None or remedy.n_ctx >= self.n_ctx for remedy in found):
            found += self._cpu_alone()
        return tuple(found or self._shorter_elsewhere())

    def _asked(self) -> Sequence[Ledger]:
        return self.ask(self.offload, self.context) or ()

    def _longest(self, kind: str, offload: OffloadSettings) -> int | None:
        refused = False

        def left(n_ctx: int) -> int | None:
            nonlocal refused
            found = self.ask(offload, replace(self.context, n_ctx=n_ctx, type_k=kind, type_v=kind))
            refused = refused or found is None
            return None if found is None else tightest_bytes(found)

        known = {}
        if kind == self.context.type_k == self.context.type_v and offload == self.offload:
            known[self.n_ctx] = tightest_bytes(self._asked())
        most = largest(left, min(CONTEXT_STEP, self.trained), self.trained, CONTEXT_STEP, known)
        return most or (None if refused else 0)

    def _caches(self, longest: Mapping[str, int | None]) -> list[Remedy]:
        """The longest context with each cache, as long as a smaller cache gains something."""
        found, best = [], 0
        for kind, n_ctx in longest.items():
            if n_ctx and n_ctx > best and best < self.n_ctx:
                best = n_ctx
                found.append(Remedy(n_ctx=n_ctx, cache_type=kind))
        return found

    @property
    def _n_ubatch(self) -> int:
        return min(self.context.n_ubatch, self.context.n_batch, self.n_ctx)

    def _is_cut_short(self, remedy: Remedy) -> bool:
        """Whether its context fits only for being shorter than a micro-batch, which is as long at most."""
        return remedy.n_ctx is not None and remedy.n_ctx < self._n_ubatch

    def _smaller_micro_batch(self) -> list[Remedy]:
        """Not tried where it could not help: it makes the compute buffer smaller, and the sliding window's cache."""
        short = [ledger for ledger in self._asked() if not ledger.fits]
        helps = all(-one.free_bytes < one.use.compute_bytes + one.use.kv_swa_bytes for one in short)
        if self._n_ubatch <= _SMALL_MICRO_BATCH or not helps:
            return []
        fits = _fit(self.ask(self.offload, replace(self.context, n_ubatch=_SMALL_MICRO_BATCH)))
        return [Remedy(n_ubatch=_SMALL_MICRO_BATCH)] if fits else []

    def _without_devices(self) -> OffloadSettings:
        return replace(self.offload, devices=("none",), n_gpu_layers=0, tensor_split=(), main_gpu=0)

    def _cpu_alone(self) -> list[Remedy]:
        return [Remedy(cpu_alone=True)] if _fit(self.ask(self._without_devices(), self.context)) else []

    def _shorter_elsewhere(self) -> list[Remedy]:
        """Shorter contexts with another number of layers, and on the CPU alone where they are longer there."""
        if not self.on_devices:
            return []
        found = self._shorter_with_layers()
        best = max((remedy.n_ctx or 0 for remedy in found), default=0)
        for kind in SEARCHED_CACHE_TYPES:
            longest = self._longest(kind, self._without_devices())
            if longest and longest > best:
                return [*found, Remedy(longest, kind, cpu_alone=True)]
        return found

    def _shorter_with_layers(self) -> list[Remedy]:
        kinds = {self.context.type_k, self.context.type_v}
        shorter: list[int] = []
        while (n_ctx := (shorter or [self.n_ctx])[-1] // _SHORTER // CONTEXT_STEP * CONTEXT_STEP) > 0:
            shorter.append(n_ctx)
        if shorter and self.most_layers(shorter[-1]) is not None:
            for n_ctx in shorter:
                layers = self.most_layers(n_ctx)
                if layers is not None:
                    return [Remedy(n_ctx, kinds.pop() if len(kinds) == 1 else None, n_gpu_layers=layers)]
        return []


def _fit(ledgers: Sequence[Ledger] | None) -> bool:
    return ledgers is not None and all(ledger.fits for ledger in ledgers)
