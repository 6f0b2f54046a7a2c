"""Memory, power and energy of a run."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import fields

import pytest

from gemtop.domain.energy import Power, Window
from gemtop.domain.records import RunEnd
from gemtop.domain.resources import (
    COLUMNS,
    Phases,
    Resources,
    Throttled,
    error_name,
    resources,
    throttled_spans,
)
from gemtop.domain.telemetry import DeviceSample, HostSample
from tests.domain.test_energy import MOST_W, Card, random_card

S = 1_000_000_000
"""A second in nanoseconds."""
IDLE = Power(20.0, 1.0)


RUN = Window(10 * S, 14 * S)
FIRST_TOKEN_NS = 11 * S


def gpu(t_s: float, watts: float | None, device: str = "0", vram: int | None = 100) -> DeviceSample:
    return DeviceSample(round(t_s * S), device, power_w=watts, vram_used_bytes=vram)


def host(t_s: float, rss: int | None) -> HostSample:
    return HostSample(round(t_s * S), process_rss_bytes=rss)


def of_run(devices: Sequence[DeviceSample], used: Sequence[str], generated: int = 31) -> Resources:
    return resources(devices, [host(12, 77)], used, Phases(RUN, FIRST_TOKEN_NS, 10, generated), IDLE)


def test_energy_is_split_at_the_first_token() -> None:
    found = of_run([gpu(t, 100.0) for t in range(9, 16)], ["0"])
    assert found.energy_j == pytest.approx(400)
    assert found.power_mean_w == pytest.approx(100)
    assert found.prefill_j_per_token == pytest.approx(100 / 10)
    assert found.decode_j_per_token == pytest.approx(300 / 30)
    assert found.vram_peak_bytes == 100
    assert found.ram_peak_bytes == 77
    missing = {"energy_counter_j", "energy_counter_error_j", "throttled_s", "throttle_reasons"}
    assert set(found.reasons) == missing, "no counter in these samples"


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
    found = resources(samples, [], ["0"], Phases(RUN, RUN.start_ns + S // 50, 10, 31), IDLE)
    assert found.prefill_j_per_token is None
    assert found.reasons["prefill_j_per_token"].startswith("too short to measure: 2.0 ± ")
    assert found.decode_j_per_token == pytest.approx((4 - 0.02) * 100 / 30)


def test_devices_are_added_up_and_others_left_out() -> None:
    samples = [gpu(t, watts, d, vram) for t in range(9, 16) for d, watts, vram in
               (("0", 100.0, 100), ("1", 50.0, 30), ("2", 999.0, 9999))]  # fmt: skip
    found = of_run(samples, ["0", "1"])
    assert found.energy_j == pytest.approx(600)
    assert found.power_mean_w == pytest.approx(150)
    assert found.vram_peak_bytes == 130


def test_a_device_without_power_leaves_the_sum_unknown() -> None:
    samples = [gpu(t, 100.0) for t in range(9, 16)] + [gpu(t, None, "1", 30) for t in range(9, 16)]
    found = of_run(samples, ["0", "1"])
    assert found.energy_j is None
    assert found.power_mean_w is None
    assert found.vram_peak_bytes == 130
    assert {"energy_j", "power_mean_w", "prefill_j_per_token", "decode_j_per_token"} <= set(found.reasons)


def test_a_lost_card_leaves_no_number_that_looks_right() -> None:
    found = of_run([gpu(t, 100.0) for t in (9, 10, 11)], ["0"])
    assert found.energy_j is None
    assert found.prefill_j_per_token == pytest.approx(10), "the prefill is covered"
    assert found.decode_j_per_token is None


def test_without_a_gpu_every_number_of_one_has_its_reason() -> None:
    found = of_run([gpu(t, 100.0) for t in range(9, 16)], [])
    assert (found.vram_peak_bytes, found.energy_j, found.power_mean_w) == (None, None, None)
    assert "no part of the model is on a GPU" in found.reasons["energy_j"]
    assert found.ram_peak_bytes == 77


def test_a_run_on_a_device_that_cannot_be_read_has_none_of_these_figures() -> None:
    """Neither those of the other card, nor the processor's."""
    hosts = [HostSample(round(t * S / 10), package_energy_j=3.0 * t) for t in range(90, 151)]
    phases = Phases(RUN, FIRST_TOKEN_NS, 10, 31)
    for used in ([], ["0"]):
        found = resources([gpu(t, 100.0) for t in range(9, 16)], hosts, used, phases, IDLE, unread=("CUDA1",))
        for name in (
            "energy_j",
            "vram_peak_bytes",
            "decode_j_per_token",
            "energy_net_j",
            "idle_power_w",
            "throttled_s",
        ):
            assert getattr(found, name) is None
            assert found.reasons[name] == "CUDA1 cannot be read"
        assert found.energy_source is None and found.ram_peak_bytes is None


def test_a_gap_is_not_filled() -> None:
    """Two seconds in which the card was lost: the counter knows what was used, the power does not."""
    times = [t / 10 for t in range(90, 151) if not 120 < t < 140]
    by_power = of_run([gpu(t, 100.0) for t in times], ["0"])
    assert by_power.energy_j is None and by_power.reasons["energy_j"] == "the GPU's readings do not cover the run"
    assert by_power.prefill_j_per_token == pytest.approx(10)
    by_counter = of_run([counted(t, 1000 + 100 * t) for t in times], ["0"])
    assert by_counter.energy_j == pytest.approx(400) and by_counter.energy_integral_j is None
    assert by_counter.disagreement is None


def test_every_figure_without_a_value_has_its_reason() -> None:
    for found in (of_run([], []), of_run([], ["0"]), of_run([gpu(t, 100.0) for t in range(9, 16)], ["0"])):
        assert {name for name in COLUMNS if getattr(found, name) is None} == set(found.reasons)


def test_energy_that_is_no_more_than_idle_says_so() -> None:
    samples = [counted(t / 10, 5000 + 10.0 * t, watts=100.0) for t in range(90, 151)]
    found = resources(samples, [], ["0"], Phases(RUN, FIRST_TOKEN_NS, 10, 31), Power(99.0, 5.0))
    assert found.energy_j == pytest.approx(400) and found.energy_net_j is None
    assert found.reasons["energy_net_j"].startswith("no more than idle power within the errors: 4.0 ± ")


def test_samples_outside_the_run_make_no_peak() -> None:
    samples = [gpu(9, 1.0, vram=10**6), gpu(12, 1.0, vram=5), gpu(15, 1.0, vram=10**6)]
    found = resources(samples, [host(9, 10**6), host(15, 10**6)], ["0"], Phases(RUN, None, 10, 0))
    assert found.vram_peak_bytes == 5
    assert found.ram_peak_bytes is None
    assert "ram_peak_bytes" in found.reasons


@pytest.mark.parametrize("generated", [0, 1])
def test_no_decode_energy_without_decoding(generated: int) -> None:
    found = of_run([gpu(t, 100.0) for t in range(9, 16)], ["0"], generated)
    assert found.decode_j_per_token is None
    assert found.reasons["decode_j_per_token"]


def test_a_run_has_every_figure_under_its_name() -> None:
    assert set(COLUMNS) <= {f.name for f in fields(RunEnd)}
    for name in COLUMNS:
        if name.endswith(("_j", "_per_token", "_w")) and "_error" not in name:
            assert error_name(name) in COLUMNS


def test_idle_power_is_taken_off_and_both_are_kept() -> None:
    found = of_run([gpu(t, 100.0) for t in range(9, 16)], ["0"])
    assert (found.idle_power_w, found.idle_power_error_w) == (20.0, 1.0)
    assert found.energy_j == pytest.approx(400) and found.energy_net_j == pytest.approx(400 - 80)
    assert found.energy_net_error_j == pytest.approx((found.energy_error_j or 0) + 4)
    assert found.decode_net_j_per_token == pytest.approx((300 - 60) / 30)
    assert found.decode_net_j_per_token_error == pytest.approx((found.decode_j_per_token_error or 0) + 3 / 30)
    assert found.prefill_net_j_per_token == pytest.approx((100 - 20) / 10)
    without = resources([gpu(t, 100.0) for t in range(9, 16)], [], ["0"], Phases(RUN, FIRST_TOKEN_NS, 10, 31))
    assert without.energy_j == pytest.approx(400) and without.energy_net_j is None
    assert (
        without.reasons["energy_net_j"]
        == without.reasons["idle_power_w"]
        == ("no quiet second without a run has been seen yet")
    )


def test_counter_and_integral_are_both_there_and_a_contradiction_is_told() -> None:
    samples = [counted(t / 10, 5000 + 10.0 * t, watts=100.0) for t in range(90, 151)]
    found = of_run(samples, ["0"])
    assert found.energy_source == "counter"
    assert found.energy_counter_j == pytest.approx(400) and found.energy_integral_j == pytest.approx(400)
    assert found.disagreement is None
    off = of_run([counted(t / 10, 5000 + 10.0 * t, watts=125.0) for t in range(90, 151)], ["0"])
    assert off.energy_j == pytest.approx(400) and off.energy_integral_j == pytest.approx(500)
    assert off.disagreement is not None
    assert off.disagreement.startswith("sensors of GPU 0 disagree: 400.0 ± ")


def test_power_of_the_moment_goes_before_the_average() -> None:
    samples = [
        DeviceSample(round(t * S), "0", power_w=50.0, power_average_w=50.0, power_instant_w=100.0) for t in range(9, 16)
    ]
    assert of_run(samples, ["0"]).energy_j == pytest.approx(400)
    assert of_run(samples, ["0"]).energy_source == "power"


def test_without_a_gpu_the_energy_is_that_of_the_processor() -> None:
    hosts = [HostSample(round(t * S / 10), package_energy_j=3.0 * t) for t in range(90, 151)]
    found = resources([], hosts, [], Phases(RUN, FIRST_TOKEN_NS, 10, 31))
    assert found.energy_source == "package"
    assert found.energy_j == pytest.approx(4 * 30)
    assert found.decode_j_per_token == pytest.approx(3 * 30 / 30)
    why = {"package_energy_j": "not allowed to read it"}
    unread = resources([], [HostSample(12 * S, reasons=why)], [], Phases(RUN, FIRST_TOKEN_NS, 10, 31))
    assert unread.energy_j is None
    assert unread.reasons["energy_j"].endswith("of the processor: not allowed to read it")


def test_throttling_is_counted_from_each_sample_to_the_next() -> None:
    def at(t_s: float, *names: str) -> DeviceSample:
        return DeviceSample(round(t_s * S), "0", throttle_reasons=names)

    samples = [at(9), at(10.5, "SwPowerCap"), at(11), at(12, "GpuIdle"), at(13, "HwSlowdown", "SwPowerCap"), at(15)]
    found = of_run(samples, ["0"])
    assert found.throttled_s == pytest.approx(0.5 + 1.0)
    assert found.throttle_reasons == ("SwPowerCap", "HwSlowdown")
    assert of_run([gpu(t, 1.0) for t in range(9, 16)], ["0"]).reasons["throttled_s"]


def test_throttling_is_not_guessed_over_a_gap() -> None:
    """A driver that hung for three seconds between two readings said nothing of them."""

    def at(t_s: float, *names: str) -> DeviceSample:
        return DeviceSample(round(t_s * S), "0", throttle_reasons=names)

    samples = [at(10.0, "SwPowerCap"), at(10.5, "SwPowerCap"), at(13.5), at(14.9, "HwSlowdown")]
    assert throttled_spans(samples, 20 * S) == [
        Throttled(Window(10 * S, 12 * S), ("SwPowerCap",)),
        Throttled(Window(round(14.9 * S), round(16.4 * S)), ("HwSlowdown",)),
    ]


def _read(card: Card, chance: random.Random, borders: Sequence[float], step_s: float) -> list[DeviceSample]:
    """A card read ten times a second, and soon after each border."""
    times = [i / 10 + chance.uniform(0, 0.004) for i in range(150)]
    times = sorted([*times, *(border + chance.uniform(0.0002, 0.003) for border in borders)])
    return [
        DeviceSample(round(t * S), "0", power_w=card.power(t), power_instant_w=card.power(t),
                     energy_j=card.counter(t, step_s)) for t in times
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(100))
def test_joules_a_token_are_within_their_stated_errors(seed: int) -> None:
    """Random cards and runs: prefill and decode, with idle power taken off or not."""
    chance = random.Random(seed)
    card = random_card(chance, 15.0)
    start, first, end = chance.uniform(0.5, 2), chance.uniform(2.5, 6), chance.uniform(8, 13)
    prompt, generated = chance.randint(1, 4000), chance.randint(2, 500)
    samples = _read(card, chance, (start, first, end), chance.uniform(0.01, 0.1))
    phases = Phases(Window(round(start * S), round(end * S)), round(first * S), prompt, generated)
    found = resources(samples, [], ["0"], phases, Power(20.0, 0.0))
    exact = {
        "energy_j": card.energy(start, end),
        "prefill_j_per_token": card.energy(start, first) / prompt,
        "decode_j_per_token": card.energy(first, end) / (generated - 1),
        "energy_net_j": card.energy(start, end) - 20 * (end - start),
        "prefill_net_j_per_token": (card.energy(start, first) - 20 * (first - start)) / prompt,
        "decode_net_j_per_token": (card.energy(first, end) - 20 * (end - first)) / (generated - 1),
    }
    for name, truth in exact.items():
        value, error = getattr(found, name), getattr(found, error_name(name))
        if value is None:
            assert found.reasons[name].startswith("too short to measure")
            continue
        assert abs(value - truth) <= error
    assert found.energy_error_j is not None and found.energy_error_j <= 4.5 * MOST_W * 0.1
    assert found.energy_source == "counter"


@pytest.mark.parametrize("seed", range(100))
def test_energy_by_power_alone_is_within_one_percent_at_ten_hertz(seed: int) -> None:
    """A power that moves as cards' do, in tenths of seconds and more."""
    chance = random.Random(seed)
    mean, swing, turn = chance.uniform(80, 400), chance.uniform(0.1, 0.6), 2 * math.pi / chance.uniform(1.0, 8.0)

    def watts(t: float) -> float:
        return mean * (1 + swing * math.sin(turn * t))

    def joules(a: float, b: float) -> float:
        return mean * ((b - a) + swing / turn * (math.cos(turn * a) - math.cos(turn * b)))

    start, first, end = chance.uniform(0.5, 2), chance.uniform(2.5, 6), chance.uniform(8, 13)
    times = sorted([*(i / 10 for i in range(150)), *(t + 0.001 for t in (start, first, end))])
    samples = [DeviceSample(round(t * S), "0", power_w=watts(t), power_instant_w=watts(t)) for t in times]
    found = resources(samples, [], ["0"], Phases(Window(round(start * S), round(end * S)), round(first * S), 1, 2))
    assert found.energy_j == pytest.approx(joules(start, end), rel=0.01)
    for name, exact in (("prefill", joules(start, first)), ("decode", joules(first, end))):
        value, error = getattr(found, f"{name}_j_per_token"), getattr(found, f"{name}_j_per_token_error")
        assert value == pytest.approx(exact, rel=0.01) and abs(value - exact) <= error
