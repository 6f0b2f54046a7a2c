"""The arithmetic of plans: searches against brute force, and what is said of what fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.plan import (
    CONTEXT_STEP,
    GIB,
    Ledger,
    Memory,
    MemoryUse,
    Plan,
    gib,
    largest,
    plan_from_json,
    plan_json,
    verdict,
)

MODEL = {"name": "m", "variant": "QAT Q4_0", "n_layers": 63, "n_ctx_train": 131_072, "size_bytes": 1, "path": "m"}


def ledger(name: str, needed_gib: float, there_gib: float, reserve_gib: float = 0.5) -> Ledger:
    memory = Memory(name, "a card", round(there_gib * GIB), round(reserve_gib * GIB))
    return Ledger(memory, MemoryUse(weights_bytes=round(needed_gib * GIB)))


def plan(card: Ledger | None, longest: dict[str, int | None], layers: int | None = None, n_ctx: int = 8192) -> Plan:
    return Plan(
        model=MODEL,
        settings={"n_ctx": n_ctx, "n_gpu_layers": 63 if card else 0, "type_k": "f16", "type_v": "f16"},
        devices=(card,) if card else (),
        host=ledger("host", 3, 24),
        max_n_ctx=longest,
        max_n_gpu_layers=layers,
    )


@given(
    top=st.integers(1, 512).map(lambda steps: steps * CONTEXT_STEP),
    room=st.integers(-1000, 400_000),
    bend=st.integers(0, 131_072),
    slopes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_the_largest_context_is_the_largest(top: int, room: int, bend: int, slopes: tuple[int, int]) -> None:
    asked = []

    def free(n_ctx: int) -> int:
        asked.append(n_ctx)
        return room - slopes[0] * min(n_ctx, bend) - slopes[1] * max(0, n_ctx - bend)

    found = largest(free, CONTEXT_STEP, top, CONTEXT_STEP)
    assert len(asked) < 40
    fitting = [n for n in {*range(CONTEXT_STEP, top + 1, CONTEXT_STEP), top} if free(n) >= 0]
    assert found == max(fitting, default=0)


def test_what_llama_refuses_has_no_largest_context() -> None:
    assert largest(lambda _n: None, 256, 4096, 256) is None


@given(n_layers=st.integers(1, 200), holds=st.integers(0, 200))
def test_the_most_layers_are_the_most(n_layers: int, holds: int) -> None:
    assert largest(lambda layers: holds - layers, 0, n_layers) == min(holds, n_layers)


def test_what_fits_is_said_with_what_is_left() -> None:
    said = verdict(plan(ledger("GPU0", 20, 24), {"f16": 43_008}))
    assert said == (
        "QAT Q4_0 with 8,192 tokens of context and 63 of 63 layers offloaded fits, with 3.50 GiB free on GPU0; "
        "up to 43,008 tokens fit."
    )


def test_what_does_not_fit_is_said_with_the_arithmetic_and_what_would() -> None:
    said = verdict(plan(ledger("GPU0", 27, 24), {"f16": 82_944, "q8_0": 131_072}, 51, n_ctx=131_072))
    assert "GPU0 needs 27.00 GiB and has 23.50 GiB, 3.50 GiB too little" in said
    assert "82,944 tokens with an f16 cache" in said and "131,072 tokens with a q8_0 cache" in said
    assert "51 layers offloaded" in said


def test_a_reserve_larger_than_the_card_leaves_nothing() -> None:
    assert ledger("GPU0", 1, 1, 3).memory.usable_bytes == 0
    assert "has 0 MiB" in verdict(plan(ledger("GPU0", 1, 1, 3), {}))


def test_pages_the_kernel_takes_back_do_not_count() -> None:
    use = MemoryUse(weights_bytes=30 * GIB, reclaimable_bytes=14 * GIB)
    assert Ledger(Memory("host", "", 24 * GIB, GIB), use).free_bytes == 7 * GIB


def test_sizes_as_people_say_them() -> None:
    assert [gib(n) for n in (0, 340 << 20, GIB, round(1.234 * GIB))] == ["0 MiB", "340 MiB", "1.00 GiB", "1.23 GiB"]


def test_json_and_back() -> None:
    first = plan(ledger("GPU0", 20, 24), {"f16": 43_008, "q8_0": 80_128, "q4_0": 131_072}, 63)
    again = plan_from_json(plan_json(first))
    assert plan_json(again) == plan_json(first)
    assert again.ledgers == first.ledgers
