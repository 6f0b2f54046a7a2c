"""Candidates and the Pareto front, against the plainest way to say the same."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.plan import CONTEXT_STEP
from gemtop.domain.statistics import MeanSd, mean_sd
from gemtop.domain.tuning import (
    FULL_SPEED,
    SHORTEST_CONTEXT,
    Candidate,
    Need,
    Point,
    Space,
    candidate_dict,
    contexts,
    dominates,
    front,
    point_from_dict,
    recommended,
    to_measure,
    worthwhile,
)

BITS = {"f16": 16.0, "q8_0": 8.5, "q4_0": 4.5}


def point(n_ctx: int, memory: int, *speeds: float, kind: str = "f16", n_ubatch: int = 512) -> Point:
    return Point(
        Candidate(n_ctx, kind, 0, n_ubatch), mean_sd(speeds), None, memory, memory, "20261123-100000-aaaa0001", "on", 1
    )


# Contexts


def test_contexts_are_powers_of_two_and_the_steps_between() -> None:
    assert contexts(32_768) == (4096, 6144, 8192, 12_288, 16_384, 24_576, 32_768)
    assert contexts(20_000) == (4096, 6144, 8192, 12_288, 16_384, 19_968)
    assert contexts(4096) == (4096,)
    assert contexts(1000) == (768,)
    assert contexts(1) == (CONTEXT_STEP,)


@given(st.integers(1, 10**7))
def test_contexts_rise_to_the_longest(longest: int) -> None:
    found = contexts(longest)
    assert list(found) == sorted(set(found))
    assert all(n % CONTEXT_STEP == 0 for n in found)
    assert found[-1] <= max(longest, CONTEXT_STEP) < found[-1] + CONTEXT_STEP or longest < CONTEXT_STEP
    assert all(n >= SHORTEST_CONTEXT for n in found[:-1])
    assert all(b <= 1.5 * a for a, b in itertools.pairwise(found))


# Candidates


class Machine:
    """A memory with round numbers: layers, a cache that grows with the context, a buffer that does with the batch."""

    def __init__(self, device: int | None, host: int, layer: int, buffer: float, refused: frozenset[str]) -> None:
        self.device, self.host, self.layer, self.buffer, self.refused = device, host, layer, buffer, refused
        self.asked: list[Candidate] = []

    def need(self, candidate: Candidate) -> Need | None:
        self.asked.append(candidate)
        if candidate.cache_type in self.refused:
            return None
        context = round(candidate.n_ctx * BITS[candidate.cache_type] / 64 + candidate.n_ubatch * self.buffer)
        if self.device is None:
            size = context + 10 * self.layer
            return Need(size, self.host - size, self.host - size)
        size = context + candidate.n_gpu_layers * self.layer
        return Need(size, self.device - size, self.host - (10 - candidate.n_gpu_layers) * self.layer)


machines = st.builds(
    Machine,
    st.none() | st.integers(0, 40_000),
    st.integers(0, 40_000),
    st.integers(0, 2000),
    st.floats(0, 10),
    st.frozensets(st.sampled_from(sorted(BITS)), max_size=1),
)
spaces = st.builds(
    lambda n_ctx, kinds, batches: (tuple(n_ctx), tuple(kinds), tuple(batches)),
    st.lists(st.integers(1, 200).map(lambda n: n * CONTEXT_STEP), min_size=1, max_size=5),
    st.lists(st.sampled_from(sorted(BITS)), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from([64, 128, 256, 512]), min_size=1, max_size=3),
)


def _plainly(space: Space, machine: Machine) -> dict[Candidate, int]:
    """What `worthwhile` promises, with everything tried."""
    n_layers = space.n_layers or 0
    everything = {
        Candidate(*settings)
        for settings in itertools.product(space.contexts, space.cache_types, range(n_layers + 1), space.micro_batches)
    }
    needs = {candidate: machine.need(candidate) for candidate in everything}
    fitting = {c: need.memory_bytes for c, need in needs.items() if need is not None and need.fits}
    chosen: set[Candidate] = set()
    for n_ctx in set(space.contexts):
        here: list[Candidate] = []
        for kind in space.cache_types:
            mine = [c for c in fitting if (c.n_ctx, c.cache_type) == (n_ctx, kind)]
            whole = [c for c in mine if c.n_gpu_layers == n_layers]
            if whole:
                here.append(max(whole, key=lambda c: c.n_ubatch))
                continue
            best: list[Candidate] = []
            for n_ubatch in (max(space.micro_batches), min(space.micro_batches)):
                partly = [c for c in mine if c.n_ubatch == n_ubatch]
                most = max(partly, key=lambda c: c.n_gpu_layers, default=None)
                if most and all(most.n_gpu_layers > other.n_gpu_layers for other in best):
                    best.append(most)
            here += best
        if here:
            least = min(fitting[c] for c in here)
            leanest = next(c for c in here if fitting[c] == least)
            leaner = replace(leanest, n_ubatch=min(space.micro_batches))
            tried = any((c.cache_type, c.n_ubatch) == (leaner.cache_type, leaner.n_ubatch) for c in here)
            if not tried and leaner in fitting and fitting[leaner] < least:
                here.append(leaner)
        chosen |= set(here)
    return {
        c: fitting[c]
        for c in chosen
        if not any(
            replace(other, n_ctx=c.n_ctx) == c and other.n_ctx > c.n_ctx and fitting[other] <= fitting[c]
            for other in chosen
        )
    }


@given(spaces, machines)
def test_what_is_found_is_what_trying_everything_finds(
    given_space: tuple[tuple[int, ...], ...], machine: Machine
) -> None:
    space = Space(*given_space, n_layers=None if machine.device is None else 10)  # type: ignore[arg-type]
    expected = _plainly(space, machine)
    assert worthwhile(space, machine.need) == expected


def test_a_micro_batch_is_made_smaller_only_where_that_helps() -> None:
    machine = Machine(None, 3000, 0, 2.0, frozenset())
    found = worthwhile(Space((4096, 8192), ("f16", "q4_0"), (512, 128), None), machine.need)
    assert [(c.n_ctx, c.cache_type, c.n_ubatch) for c in found] == [
        (4096, "f16", 512),
        (4096, "q4_0", 512),
        (4096, "q4_0", 128),  # takes the least of all with that context
        (8192, "f16", 128),  # does not fit otherwise
        (8192, "q4_0", 512),
        (8192, "q4_0", 128),
    ]


def test_where_not_all_layers_fit_the_most_that_do() -> None:
    machine = Machine(7500, 10**6, 1000, 2.0, frozenset())
    found = worthwhile(Space((4096,), ("f16",), (512, 256, 128), 10), machine.need)
    assert [(c.n_gpu_layers, c.n_ubatch) for c in found] == [(5, 512), (6, 128)]
    assert len(set(machine.asked)) < 15


@given(spaces, machines, st.integers(1, 12))
def test_the_order_to_measure_in(given_space: tuple[tuple[int, ...], ...], machine: Machine, most: int) -> None:
    space = Space(*given_space, n_layers=None if machine.device is None else 10)  # type: ignore[arg-type]
    found = tuple(worthwhile(space, machine.need))
    chosen = to_measure(found, most)
    assert len(chosen) == min(most, len(found))
    assert set(chosen) <= set(found)
    layers = [c.n_gpu_layers for c in chosen]
    assert layers == sorted(layers, reverse=True), "the weights are loaded as seldom as can be"
    if found:
        assert max(found, key=lambda c: c.n_ctx).n_ctx in {c.n_ctx for c in chosen}


def test_contexts_are_measured_from_coarse_to_fine() -> None:
    all_of_them = [Candidate(n_ctx, "f16", 0, 512) for n_ctx in (1, 2, 3, 4, 5, 6, 7)]
    assert [c.n_ctx for c in to_measure(all_of_them, 99)] == [7, 1, 4, 2, 5, 3, 6]
    assert [c.n_ctx for c in to_measure(all_of_them, 3)] == [7, 1, 4]
    assert to_measure([], 3) == ()


# The front

speeds = st.lists(st.integers(1, 12).map(float), min_size=1, max_size=3)
points = st.builds(
    lambda n_ctx, memory, values: point(n_ctx, memory, *values), st.integers(1, 3), st.integers(1, 3), speeds
)


@given(st.lists(points, max_size=7))
def test_the_front_is_the_only_set_that_dominates_all_others_and_not_itself(all_of_them: list[Point]) -> None:
    every = range(len(all_of_them))
    beats = {(i, j) for i in every for j in every if dominates(all_of_them[i], all_of_them[j])}

    def is_front(chosen: frozenset[int]) -> bool:
        inside = any((i, j) in beats for i in chosen for j in chosen)
        covered = all(any((i, j) in beats for i in chosen) for j in every if j not in chosen)
        return covered and not inside

    fronts = [
        chosen
        for size in range(len(all_of_them) + 1)
        for chosen in map(frozenset, itertools.combinations(every, size))
        if is_front(chosen)
    ]
    assert len(fronts) == 1
    expected = sorted((all_of_them[i] for i in fronts[0]), key=repr)
    assert sorted(front(all_of_them), key=repr) == expected


@given(st.lists(points, min_size=1, max_size=12), st.randoms())
def test_the_front_does_not_depend_on_the_order(all_of_them: list[Point], random: object) -> None:
    shuffled = list(all_of_them)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sorted(map(repr, front(shuffled))) == sorted(map(repr, front(all_of_them)))


def test_without_noise_it_is_the_pareto_front() -> None:
    fast, lean, long, worse = point(4, 10, 30.0), point(4, 5, 20.0), point(8, 12, 30.0), point(4, 10, 29.0)
    assert set(front([worse, fast, lean, long])) == {fast, lean, long}


def test_differences_inside_the_noise_are_none() -> None:
    fast, lean = point(4, 10, 30.0, 31.0, 29.0), point(4, 5, 29.5, 28.5, 30.5)
    assert front([fast, lean]) == (lean,), "as fast, and takes less"
    same = point(4, 10, 30.5, 31.5, 29.5)
    assert set(front([fast, same])) == {fast, same}, "neither is better"
    slow = point(4, 5, 20.0, 21.0, 19.0)
    assert set(front([fast, slow])) == {fast, slow}


def test_a_fast_point_is_not_lost_by_way_of_one_in_between() -> None:
    fast, between, lean = (
        point(4, memory, mean - 0.2, mean, mean + 0.2) for memory, mean in ((10, 20.0), (9, 19.3), (8, 18.7))
    )
    assert dominates(between, fast) and dominates(lean, between) and not dominates(lean, fast)
    assert set(front([fast, between, lean])) == {fast, lean}


@given(st.lists(points, min_size=1, max_size=8))
def test_what_is_recommended_is_fast_and_nothing_as_fast_is_longer(all_of_them: list[Point]) -> None:
    choice = recommended(all_of_them)
    fastest = max(p.decode.mean for p in all_of_them)
    for other in all_of_them:
        if other.decode.mean >= FULL_SPEED * fastest:
            assert other.candidate.n_ctx <= choice.candidate.n_ctx
    assert choice.decode.mean + choice.half_interval >= min(FULL_SPEED * fastest, fastest - _widest(all_of_them))


def _widest(all_of_them: list[Point]) -> float:
    return max(p.half_interval for p in all_of_them)


def test_memory_that_is_there_buys_precision() -> None:
    lean, precise = point(8, 5, 30.0, 31.0, kind="q4_0"), point(8, 10, 30.0, 31.0)
    long_but_slow, fast_but_short = point(16, 9, 20.0, 20.1), point(4, 4, 31.0, 31.5)
    assert recommended([lean, precise, long_but_slow, fast_but_short]) == precise
    with pytest.raises(ValueError):
        recommended([])


# Numbers and names


def test_a_point_survives_json() -> None:
    one = replace(point(4096, 10, 30.0, 31.0), prefill=MeanSd(100.0, 1.0, 2))
    for there in (one, replace(one, prefill=None)):
        assert point_from_dict(json.loads(json.dumps(asdict(there)))) == there


def test_the_names_of_the_runs() -> None:
    assert candidate_dict(Candidate(4096, "q8_0", 19, 256)) == {
        "n_ctx": 4096, "type_k": "q8_0", "type_v": "q8_0", "n_gpu_layers": 19, "n_ubatch": 256,
    }  # fmt: skip
