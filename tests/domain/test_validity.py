"""The verdict on a run: one reason at a time, and a clean run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gemtop.domain.energy import Window
from gemtop.domain.resources import Phases, Resources
from gemtop.domain.telemetry import DeviceSample, GpuProcess, HostSample
from gemtop.domain.validity import LEAST_TOKENS, Measured, Verdict, judge

S = 1_000_000_000


def samples(change: Callable[[float], dict[str, Any]] = lambda _: {}, device: str = "0") -> list[DeviceSample]:
    """A warm card that nobody else uses, five times a second from 9 s to 31 s."""
    steady: dict[str, Any] = {
        "power_w": 300.0, "temperature_c": 67.0, "clock_sm_mhz": 1800.0, "gpu_util_pct": 97.0,
        "vram_used_bytes": 2**34, "throttle_reasons": (), "other_processes": 0,
    }  # fmt: skip
    times = [9 + i / 5 for i in range(111)]
    return [DeviceSample(round(t * S), device, **(steady | change(t))) for t in times]


def run(card: Sequence[DeviceSample] | None = None, **changes: Any) -> Measured:
    measured = Measured(
        kind="generate",
        status="finished",
        phases=Phases(Window(10 * S, 30 * S), 12 * S, 100, 200),
        devices={"0": samples() if card is None else card},
        host=[HostSample(9 * S, swap_in_bytes=5, swap_out_bytes=7), HostSample(31 * S, swap_in_bytes=5)],
        resources=Resources(),
    )
    return replace(measured, **changes)


def test_a_clean_run_is_valid() -> None:
    assert judge(run()) == Verdict(True)
    assert judge(run(devices={})) == Verdict(True), "without a GPU as well"
    assert judge(run()).invalid_reason is None


def why(measured: Measured) -> str:
    verdict = judge(measured)
    assert verdict.valid is False
    return verdict.invalid_reason or ""


@pytest.mark.parametrize(
    "name", ["SwPowerCap", "HwPowerBrakeSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwSlowdown"]
)
def test_throttling_during_decode(name: str) -> None:
    slowed = samples(lambda t: {"throttle_reasons": (name,) if 20 <= t < 24 else ()})
    kind = "power" if "Power" in name else "thermal" if "Thermal" in name else "hardware"
    assert why(run(slowed)) == f"{kind} throttling of GPU 0 ({name}) for 4.0 of 18.0 s"
    in_the_prefill = samples(lambda t: {"throttle_reasons": (name,) if 10 <= t < 11.9 else ()})
    assert judge(run(in_the_prefill)).valid


@pytest.mark.parametrize("name", ["GpuIdle", "ApplicationsClocksSetting", "SyncBoost", "DisplayClockSetting", "0x200"])
def test_other_reasons_for_clocks_are_no_throttling(name: str) -> None:
    assert judge(run(samples(lambda _: {"throttle_reasons": (name,)}))).valid


def test_another_process_on_the_card() -> None:
    assert why(run(samples(lambda t: {"other_processes": int(t > 20)}))) == "another process used GPU 0"
    assert why(run(samples(lambda t: {"other_processes": 2}))) == "2 other processes used GPU 0"


def test_in_a_container_one_of_the_processes_is_ours() -> None:
    def seen(*kinds: Any) -> Measured:
        processes = tuple(GpuProcess(100 + i, kind, None, None) for i, kind in enumerate(kinds))
        return run(samples(lambda _: {"other_processes": None, "processes": processes}))

    assert judge(seen("C", "G", "G")).valid
    assert why(seen("C", "C+G")) == "another process used GPU 0"


def test_a_card_that_is_not_warm_yet() -> None:
    warming = run(samples(lambda t: {"temperature_c": 40 + t}))
    assert why(warming) == "temperature of GPU 0 still climbing: 54 to 68 °C"
    clocks = run(samples(lambda t: {"clock_sm_mhz": 1400.0 if t < 15 else 1800.0}))
    assert "clock of GPU 0 still climbing" in why(clocks)
    cooling = run(samples(lambda t: {"temperature_c": 80 - t, "clock_sm_mhz": 1800.0 - t}))
    assert judge(cooling).valid, "that is no warm-up"


@pytest.mark.parametrize(("kind", "prompt", "generated", "words"), [
    ("generate", 900, LEAST_TOKENS - 1, "31 generated tokens"),
    ("tg", 0, 8, "8 generated tokens"),
    ("pp", 16, 0, "16 prompt tokens"),
])  # fmt: skip
def test_too_few_tokens(kind: Any, prompt: int, generated: int, words: str) -> None:
    phases = Phases(Window(10 * S, 30 * S), 12 * S if kind == "generate" else None, prompt, generated)
    assert why(run(kind=kind, phases=phases)) == f"too few tokens: {words}, a speed needs 32"
    enough = replace(phases, prompt_tokens=512 if kind == "pp" else prompt, generated_tokens=0 if kind == "pp" else 128)
    assert judge(run(kind=kind, phases=enough)).valid


def test_a_lost_card() -> None:
    lost = DeviceSample(20 * S, "0", reasons={"power_w": "GPU is lost"})
    assert why(run(sorted([*samples(), lost], key=lambda s: s.t_ns))) == "GPU 0 could not be read: GPU is lost"


def test_a_card_that_is_silent_for_a_while() -> None:
    hung = [s for s in samples() if not 20 * S < s.t_ns < 23 * S]
    assert why(run(hung)) == "no readings of GPU 0 for 3.0 s"
    assert why(run([])) == "no readings of GPU 0 for 20.0 s"


def test_a_machine_that_swaps() -> None:
    hosts = [
        HostSample(9 * S, swap_in_bytes=0, swap_out_bytes=0),
        HostSample(31 * S, swap_in_bytes=2**25, swap_out_bytes=2**25),
    ]
    assert why(run(host=hosts)) == "the machine was swapping: 64 MiB"


def test_sensors_that_disagree() -> None:
    assert why(run(resources=Resources(disagreement="sensors of GPU 0 disagree: ..."))).startswith("sensors of GPU 0")


def test_all_reasons_are_told() -> None:
    bad = samples(lambda t: {"throttle_reasons": ("SwPowerCap",), "other_processes": 1})
    assert why(run(bad)).count("; ") == 1


def test_what_is_not_judged() -> None:
    assert judge(run(kind="apply")) == Verdict(None)
    unread = judge(run(devices={}, unread=("RPC0",)))
    assert unread.valid is None and unread.invalid_reason == "not judged: RPC0 cannot be read"
    shared = judge(run(shared=("0",)))
    assert shared.valid is None and shared.invalid_reason == (
        "GPU 0 is cut into MIG instances: energy is of the whole card"
    )
    assert why(run(status="failed")) == "the run failed"
    assert judge(run(status="cancelled")).valid, "what was measured until then stands"
