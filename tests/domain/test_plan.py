"""The arithmetic of plans: searches against brute force, and what is said of what fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.plan import (
    CONTEXT_STEP,
    GIB,
    Ledger,
    Memory,
    MemoryUse,
    Plan,
    Remedy,
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
    assert len(asked) < 40 and len(asked) == len(set(asked))
    fitting = [n for n in {*range(CONTEXT_STEP, top + 1, CONTEXT_STEP), top} if free(n) >= 0]
    assert found == max(fitting, default=None)


def test_what_llama_refuses_has_no_largest_context() -> None:
    assert largest(lambda _n: None, 256, 4096, 256) is None


@given(n_layers=st.integers(1, 200), holds=st.integers(0, 200))
def test_the_most_layers_are_the_most(n_layers: int, holds: int) -> None:
    assert largest(lambda layers: holds - layers, 0, n_layers) == min(holds, n_layers)


def test_none_at_all_is_another_answer_than_the_lowest() -> None:
    assert largest(lambda n: -n, 0, 63) == 0
    assert largest(lambda n: -n - 1, 0, 63) is None
    assert largest(lambda n: -n - 1, 5, 5) is None


def test_a_straight_line_takes_four_questions_and_fewer_with_what_is_known() -> None:
    asked: list[int] = []

    def free(n_ctx: int) -> int:
        asked.append(n_ctx)
        return 83_000 - n_ctx

    assert largest(free, 256, 131_072, 256) == 82_944
    assert asked == [131_072, 65_536, 82_944, 83_200]
    asked.clear()
    assert largest(free, 256, 131_072, 256, known={32_768: 83_000 - 32_768}) == 82_944
    assert asked == [131_072, 82_944, 83_200]


def test_what_fits_is_said_with_what_is_left() -> None:
    said = verdict(plan(ledger("GPU0", 20, 24), {"f16": 43_008}))
    assert said == (
        "QAT Q4_0 with 8,192 tokens of context and 63 of 63 layers offloaded fits, with 3.50 GiB free on GPU0; "
        "up to 43,008 tokens fit."
    )


def test_what_does_not_fit_is_said_with_the_arithmetic_and_what_would() -> None:
    tight = plan(ledger("GPU0", 27, 24), {"f16": 82_944, "q8_0": 131_072}, 51, n_ctx=131_072)
    remedies = (Remedy(82_944, "f16"), Remedy(131_072, "q8_0"), Remedy(n_ubatch=128), Remedy(n_gpu_layers=51))
    said = verdict(replace(tight, remedies=remedies))
    assert "GPU0 needs 27.00 GiB and has 23.50 GiB, 3.50 GiB too little; these would: " in said
    assert said.endswith(
        "82,944 tokens with an f16 cache, or 131,072 tokens with a q8_0 cache, or a micro-batch of 128 (-ub 128), "
        "or 51 layers offloaded (-ngl 51)."
    )


@pytest.mark.parametrize(
    ("remedy", "words"),
    [
        (Remedy(n_gpu_layers=0), "0 layers offloaded (-ngl 0)"),
        (Remedy(cpu_alone=True), "the CPU alone (-dev none)"),
        (Remedy(8192, "q8_0", cpu_alone=True), "8,192 tokens with a q8_0 cache and the CPU alone (-dev none)"),
        (Remedy(8192, n_gpu_layers=7), "8,192 tokens and 7 layers offloaded (-ngl 7)"),
    ],
)
def test_one_remedy_is_said(remedy: Remedy, words: str) -> None:
    said = verdict(replace(plan(ledger("GPU0", 27, 24), {"f16": 0}), remedies=(remedy,)))
    assert said.endswith(f"; this would: {words}.")


def test_that_nothing_would_is_said_only_after_a_search() -> None:
    tight = plan(ledger("GPU0", 27, 24), {})
    assert verdict(tight).endswith("3.50 GiB too little.")
    assert verdict(replace(tight, max_n_ctx={"f16": 0})).endswith("; nothing does on this machine.")


def test_a_context_beyond_the_trained_one_is_warned_of_whether_or_not_it_fits() -> None:
    for needed in (20, 27):
        said = verdict(plan(ledger("GPU0", needed, 24), {}, n_ctx=131_328))
        assert said.endswith(
            ". A context of 131,328 tokens is beyond the 131,072 the model was trained for; expect nonsense past that."
        )
    assert "beyond" not in verdict(plan(ledger("GPU0", 20, 24), {}, n_ctx=131_072))


def test_a_reserve_larger_than_the_card_leaves_nothing() -> None:
    assert ledger("GPU0", 1, 1, 3).memory.usable_bytes == 0
    assert "has 0 MiB" in verdict(plan(ledger("GPU0", 1, 1, 3), {}))


def test_pages_the_kernel_takes_back_do_not_count() -> None:
    use = MemoryUse(weights_bytes=30 * GIB, reclaimable_bytes=14 * GIB)
    assert Ledger(Memory("host", "", 24 * GIB, GIB), use).free_bytes == 7 * GIB


def test_sizes_as_people_say_them() -> None:
    assert [gib(n) for n in (0, 340 << 20, GIB, round(1.234 * GIB))] == ["0 MiB", "340 MiB", "1.00 GiB", "1.23 GiB"]


def test_json_and_back() -> None:
    first = replace(
        plan(ledger("GPU0", 20, 24), {"f16": 43_008, "q8_0": 80_128, "q4_0": 131_072}, 63),
        remedies=(Remedy(43_008, "f16"), Remedy(n_gpu_layers=0), Remedy(cpu_alone=True)),
    )
    again = plan_from_json(plan_json(first))
    assert plan_json(again) == plan_json(first)
    assert again.ledgers == first.ledgers and again.remedies == first.remedies
