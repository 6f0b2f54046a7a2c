"""The figures of a run: speed, latency, memory, power and energy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.energy import Window
from gemtop.domain.figures import Resources, TimingAccumulator, rate_per_s, resources, timing
from gemtop.domain.telemetry import DeviceSample, HostSample

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


# Resources

RUN = Window(10 * S, 14 * S)
FIRST_TOKEN_NS = 11 * S


def gpu(t_s: float, watts: float | None, device: str = "0", vram: int | None = 100) -> DeviceSample:
    return DeviceSample(round(t_s * S), device, power_w=watts, vram_used_bytes=vram)


def host(t_s: float, rss: int | None) -> HostSample:
    return HostSample(round(t_s * S), process_rss_bytes=rss)


def of_run(devices: Sequence[DeviceSample], used: Sequence[str], generated: int = 31) -> Resources:
    return resources(devices, [host(12, 77)], used, RUN, FIRST_TOKEN_NS, 10, generated)


def test_energy_is_split_at_the_first_token() -> None:
    found = of_run([gpu(t, 100.0) for t in (9, 11, 13, 15)], ["0"])
    assert found.energy_j == pytest.approx(400)
    assert found.power_mean_w == pytest.approx(100)
    assert found.prefill_j_per_token == pytest.approx(100 / 10)
    assert found.decode_j_per_token == pytest.approx(300 / 30)
    assert found.vram_peak_bytes == 100
    assert found.ram_peak_bytes == 77
    assert found.reasons == {}


def counted(t_s: float, joules: float, watts: float = 999.0) -> DeviceSample:
    return DeviceSample(round(t_s * S), "0", power_w=watts, energy_j=joules, vram_used_bytes=100)


def test_the_counter_goes_before_the_power() -> None:
    """100 W by the counter, whatever the power sensor averages."""
    found = of_run([counted(t / 10, 5000 + 10.0 * t) for t in range(90, 151)], ["0"])
    assert found.energy_j == pytest.approx(400)
    assert found.decode_j_per_token == pytest.approx(300 / 30)
    assert found.energy_error_j is not None and 0 < found.energy_error_j <= 2 * 1.25 * 999 * 0.1
    assert found.decode_j_per_token_error == pytest.approx(found.energy_error_j / 30)


def test_a_phase_too_short_for_the_counter_has_no_energy() -> None:
    samples = [counted(t / 10, 5000 + 10.0 * t, watts=100.0) for t in range(90, 151)]
    found = resources(samples, [], ["0"], RUN, RUN.start_ns + S // 50, 10, 31)
    assert found.prefill_j_per_token is None
    assert found.reasons["prefill_j_per_token"].startswith("too short to measure: 2.0 ± ")
    assert found.decode_j_per_token == pytest.approx((4 - 0.02) * 100 / 30)


def test_devices_are_added_up_and_others_left_out() -> None:
    samples = [gpu(t, watts, d, vram) for t in (9, 12, 15) for d, watts, vram in
               (("0", 100.0, 100), ("1", 50.0, 30), ("2", 999.0, 9999))]  # fmt: skip
    found = of_run(samples, ["0", "1"])
    assert found.energy_j == pytest.approx(600)
    assert found.power_mean_w == pytest.approx(150)
    assert found.vram_peak_bytes == 130


def test_a_device_without_power_leaves_the_sum_unknown() -> None:
    samples = [gpu(t, 100.0) for t in (9, 12, 15)] + [gpu(t, None, "1", 30) for t in (9, 12, 15)]
    found = of_run(samples, ["0", "1"])
    assert found.energy_j is None
    assert found.power_mean_w is None
    assert found.vram_peak_bytes == 130
    assert set(found.reasons) == {"energy_j", "power_mean_w", "prefill_j_per_token", "decode_j_per_token"}


def test_a_lost_card_leaves_no_number_that_looks_right() -> None:
    found = of_run([gpu(9, 100.0), gpu(11, 100.0)], ["0"])
    assert found.energy_j is None
    assert found.prefill_j_per_token == pytest.approx(10), "the prefill is covered"
    assert found.decode_j_per_token is None


def test_without_a_gpu_every_number_of_one_has_its_reason() -> None:
    found = of_run([gpu(t, 100.0) for t in (9, 12, 15)], [])
    assert (found.vram_peak_bytes, found.energy_j, found.power_mean_w) == (None, None, None)
    assert "no part of the model is on a GPU" in found.reasons["energy_j"]
    assert found.ram_peak_bytes == 77


def test_samples_outside_the_run_make_no_peak() -> None:
    samples = [gpu(9, 1.0, vram=10**6), gpu(12, 1.0, vram=5), gpu(15, 1.0, vram=10**6)]
    found = resources(samples, [host(9, 10**6), host(15, 10**6)], ["0"], RUN, None, 10, 0)
    assert found.vram_peak_bytes == 5
    assert found.ram_peak_bytes is None
    assert "ram_peak_bytes" in found.reasons


@pytest.mark.parametrize("generated", [0, 1])
def test_no_decode_energy_without_decoding(generated: int) -> None:
    found = of_run([gpu(t, 100.0) for t in (9, 12, 15)], ["0"], generated)
    assert found.decode_j_per_token is None
    assert found.reasons["decode_j_per_token"]
