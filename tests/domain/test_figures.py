"""Speed and latency of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.figures import TimingAccumulator, rate_per_s, timing

S = 1_000_000_000
"""A second in nanoseconds."""


# Timing


def brute_force(start_ns: int, prefill: Sequence[tuple[int, int]], tokens: Sequence[int]) -> dict[str, float | None]:
    """The definitions of docs/metrics.md, computed from the whole run at once."""
    gaps_ms = np.diff(np.array(tokens, dtype=np.float64)) / 1e6
    done_ns, n_prompt = prefill[-1] if prefill else (start_ns, 0)
    span_ns = tokens[-1] - tokens[0] if tokens else 0
    return {
        "prompt_tokens": n_prompt,
        "generated_tokens": len(tokens),
        "ttft_s": (tokens[0] - start_ns) / 1e9 if tokens else None,
        "prefill": n_prompt / ((done_ns - start_ns) / 1e9) if n_prompt and done_ns > start_ns else None,
        "decode": (len(tokens) - 1) / (span_ns / 1e9) if len(tokens) > 1 and span_ns else None,
        **{f"p{p}": float(np.percentile(gaps_ms, p)) if len(gaps_ms) else None for p in (50, 95, 99)},
    }


def same(value: float | None, expected: float | None) -> bool:
    return value is expected is None or value == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(
    start_ns=st.integers(0, 10**15),
    chunks=st.lists(st.tuples(st.integers(1, 512), st.integers(0, 10**9)), max_size=5),
    gaps_ns=st.lists(st.integers(0, 10**9), max_size=60),
)
def test_timing_is_what_the_definitions_say(start_ns: int, chunks: list[tuple[int, int]], gaps_ns: list[int]) -> None:
    prefill: list[tuple[int, int]] = []
    t_ns, done = start_ns, 0
    for tokens, took_ns in chunks:
        t_ns, done = t_ns + took_ns, done + tokens
        prefill.append((t_ns, done))
    stamps = [t_ns + sum(gaps_ns[: i + 1]) for i in range(len(gaps_ns))]
    expected = brute_force(start_ns, prefill, stamps)
    found = timing(start_ns, prefill, stamps)
    assert (found.prompt_tokens, found.generated_tokens) == (expected["prompt_tokens"], expected["generated_tokens"])
    assert same(found.ttft_s, expected["ttft_s"])
    assert same(found.prefill_tokens_per_s, expected["prefill"])
    assert same(found.decode_tokens_per_s, expected["decode"])
    for pct in (50, 95, 99):
        assert same(getattr(found.latency, f"p{pct}_ms"), expected[f"p{pct}"])


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_timing_while_it_runs_is_that_of_the_run_so_far(gaps_ns: list[int]) -> None:
    run = TimingAccumulator(0)
    run.add_prefill(1000, 3)
    stamps: list[int] = []
    for gap in gaps_ns:
        stamps.append((stamps[-1] if stamps else 1000) + gap)
        run.add_token(stamps[-1])
        assert run.timing() == timing(0, [(1000, 3)], stamps)


def test_a_run_without_tokens_has_no_figures() -> None:
    found = timing(5, [], [])
    assert (found.ttft_s, found.prefill_tokens_per_s, found.decode_tokens_per_s) == (None, None, None)
    assert (found.latency.p50_ms, found.latency.p99_ms) == (None, None)


def test_one_token_has_a_first_and_no_gaps() -> None:
    found = timing(0, [(S // 2, 10)], [S])
    assert found.ttft_s == 1.0
    assert found.prefill_tokens_per_s == 20.0
    assert found.decode_tokens_per_s is None


def test_the_first_token_belongs_to_the_prefill() -> None:
    found = timing(0, [(S, 10)], [S, 2 * S, 3 * S])
    assert found.decode_tokens_per_s == 1.0


def test_in_a_generation_test_the_first_token_counts_as_the_others() -> None:
    run = TimingAccumulator(0)
    run.begin_decode(0)
    for second in (1, 2, 3, 4):
        run.add_token(second * S)
    assert run.timing().decode_tokens_per_s == 1.0
    assert run.timing().ttft_s is None
    assert run.first_token_ns is None


@pytest.mark.parametrize(("count", "duration_ns"), [(0, S), (3, 0), (3, -1), (-1, S)])
def test_no_rate_without_events_or_time(count: int, duration_ns: int) -> None:
    assert rate_per_s(count, duration_ns) is None
