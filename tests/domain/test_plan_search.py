"""The search for what would fit, on a model and a machine made of a few numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gemtop.domain.plan import Ledger, Memory, MemoryUse, Remedy
from gemtop.domain.plan_search import Search
from gemtop.domain.settings import ContextSettings, OffloadSettings

LAYERS = 20
_CACHE = {"f16": 4, "q8_0": 2, "q4_0": 1}
"""Of one layer, for each 1,024 tokens."""


@dataclass
class Machine:
    """A card and a host; a layer takes 100, the compute buffer as much as a micro-batch has tokens."""

    card: int | None
    host: int
    asked: list[tuple[int, ContextSettings]] = field(default_factory=list)

    def ask(self, offload: OffloadSettings, context: ContextSettings) -> tuple[Ledger, ...] | None:
        if context.type_k == "q4_0" and context.flash_attn == "off":
            return None
        n_ctx = context.n_ctx or 0
        alone = self.card is None or offload.devices == ("none",)
        layers = 0 if alone else LAYERS if offload.n_gpu_layers < 0 else offload.n_gpu_layers
        self.asked.append((layers, context))
        cache = n_ctx * _CACHE[context.type_k] / 1024
        compute = min(context.n_ubatch, n_ctx)

        def ledger(name: str, there: int, held: int, compute: int) -> Ledger:
            use = MemoryUse(weights_bytes=100 * held, kv_global_bytes=round(cache * held), compute_bytes=compute)
            return Ledger(Memory(name, "", there, 0), use)

        cards = () if self.card is None else (ledger("GPU0", self.card, layers, 0 if alone else compute),)
        return (*cards, ledger("host", self.host, LAYERS - layers, 10))


def search(machine: Machine, n_ctx: int = 8192, layers: int = -1, **context: object) -> Search:
    on_card = machine.card is not None
    return Search(
        ask=machine.ask,
        offload=OffloadSettings(n_gpu_layers=layers),
        context=ContextSettings(n_ctx=n_ctx, **context),  # type: ignore[arg-type]
        n_ctx=n_ctx,
        trained=32_768,
        n_layers=LAYERS,
        n_gpu_layers=0 if not on_card else LAYERS if layers < 0 else layers,
        on_devices=on_card,
    )


def remedies(around: Search) -> tuple[Remedy, ...]:
    return around.remedies(around.longest(), around.most_layers() if around.on_devices else None)


def test_layers_are_no_remedy_where_the_host_cannot_hold_the_rest() -> None:
    roomy = search(Machine(card=2000, host=2000))
    assert roomy.most_layers() == 11
    assert Remedy(n_gpu_layers=11) in remedies(roomy)
    tight = search(Machine(card=2000, host=500))
    assert tight.most_layers() is None
    assert all(remedy.n_gpu_layers is None for remedy in remedies(tight))


def test_no_layers_and_no_number_of_layers_are_told_apart() -> None:
    assert search(Machine(card=520, host=5000)).most_layers() == 0
    assert search(Machine(card=500, host=5000)).most_layers() is None


def test_more_layers_may_be_the_remedy() -> None:
    around = search(Machine(card=5000, host=700), layers=10)
    assert around.most_layers() == LAYERS
    assert remedies(around)[-1] == Remedy(n_gpu_layers=LAYERS)


def test_the_settings_asked_for_are_not_asked_about_again_under_another_name() -> None:
    machine = Machine(card=9000, host=5000)
    around = search(machine)
    assert around.most_layers() == LAYERS
    assert {layers for layers, _ in machine.asked} == {LAYERS}
    assert around.longest() == {"f16": 32_768, "q8_0": 32_768, "q4_0": 32_768}


def test_shorter_and_smaller_caches_come_first() -> None:
    found = remedies(search(Machine(card=2900, host=2000)))
    assert found[0].cache_type == "f16" and (found[0].n_ctx or 0) < 8192
    assert found[1] == Remedy(9728, "q8_0")
    assert found[2:] == (Remedy(n_ubatch=128), Remedy(n_gpu_layers=18))


@pytest.mark.parametrize("card", [2768, 2900])
def test_a_smaller_micro_batch_is_found_where_the_compute_buffer_is_too_large(card: int) -> None:
    assert Remedy(n_ubatch=128) in remedies(search(Machine(card=card, host=5000)))
    machine = Machine(card=2000, host=5000)
    assert Remedy(n_ubatch=128) not in remedies(search(machine))
    assert all(context.n_ubatch == 512 for _, context in machine.asked), "it could not have helped"


def test_a_context_cut_to_less_than_a_micro_batch_is_no_advice_beside_a_smaller_one() -> None:
    machine = Machine(card=2300, host=10)
    around = search(machine, n_ctx=1024)
    assert around.longest()["f16"] == 256
    assert remedies(around) == (Remedy(n_ubatch=128),)
    none_smaller = search(machine, n_ctx=8192)
    assert remedies(none_smaller)[0] == Remedy(256, "f16")


def test_the_cpu_alone_is_found_where_nothing_else_keeps_the_context() -> None:
    assert remedies(search(Machine(card=100, host=5000))) == (Remedy(cpu_alone=True),)


def test_shorter_contexts_elsewhere_are_found_where_nothing_keeps_it() -> None:
    on_the_cpu, with_layers = (Machine(card=100, host=2300), Machine(card=1700, host=1300))
    assert remedies(search(on_the_cpu)) == (Remedy(3584, "f16", cpu_alone=True),)
    assert remedies(search(with_layers)) == (Remedy(2048, "f16", n_gpu_layers=11),)


def test_where_nothing_fits_nothing_is_found() -> None:
    assert remedies(search(Machine(card=300, host=300))) == ()
    assert remedies(search(Machine(card=None, host=300))) == ()


def test_a_cache_that_llama_refuses_has_no_longest_context() -> None:
    assert search(Machine(card=5000, host=10), flash_attn="off").longest()["q4_0"] is None
    assert search(Machine(card=300, host=10)).longest()["q4_0"] == 0
