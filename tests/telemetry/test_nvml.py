"""The real nvidia-ml-py on a library whose readings are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gemtop.domain import energy
from gemtop.domain.telemetry import DeviceSample
from gemtop.telemetry.nvml import NvmlLibrary, NvmlProbe
from gemtop.telemetry.probes import DEVICE_FIELDS
from tests import nvml_stub

from .conftest import run_python

Probe = Callable[..., dict[str, Any]]


def test_devices_are_described_once_with_what_llama_cpp_can_be_matched_by(probe: Probe) -> None:
    status = probe("ok")["status"]
    assert status["gpu_reason"] is None
    assert status["driver_version"] == nvml_stub.DRIVER_VERSION
    for index, (device, model) in enumerate(zip(status["devices"], nvml_stub.MODELS, strict=True)):
        assert device == {
            "index": str(index),
            "name": model.name,
            "uuid": nvml_stub.uuid(index),
            "pci_bus_id": nvml_stub.pci_bus_id(index),
            "memory_total_bytes": model.memory_total_bytes,
            "power_limit_w": model.power_limit_w,
            "reasons": {},
        }
    assert status["devices"][0]["pci_bus_id"] == "0000:1a:00.0"


@pytest.mark.parametrize("t_s", [0.0, 1.0, 3.37, 1234.567])
def test_every_field_is_the_known_function_of_time(probe: Probe, t_s: float) -> None:
    (samples,) = probe("ok", t_s)["rounds"]
    for index, (sample, model) in enumerate(zip(samples, nvml_stub.MODELS, strict=True)):
        util = nvml_stub.gpu_util_pct(index, t_s)
        assert sample == {
            "t_ns": round(t_s * 1e9),
            "device": str(index),
            "gpu_util_pct": util,
            "mem_util_pct": util // 2,
            "vram_used_bytes": model.vram_used_bytes(t_s),
            "power_w": pytest.approx(model.power_w(t_s), abs=0.0011),
            "energy_j": pytest.approx(model.counter_j(t_s), abs=0.0011),
            "temperature_c": model.temperature_c(t_s),
            "clock_sm_mhz": model.clock_sm_mhz(t_s),
            "clock_mem_mhz": model.clock_mem_mhz,
            "reasons": {},
        }


def test_power_integrates_to_the_counter_and_to_the_truth(probe: Probe) -> None:
    times = [10 + 0.2 * k for k in range(41)]
    rounds = probe("ok", *times)["rounds"]
    window = energy.Window(11 * 10**9, 17 * 10**9)
    for index, model in enumerate(nvml_stub.MODELS):
        samples = [DeviceSample(**row[index]) for row in rounds]
        truth = model.energy_j(17) - model.energy_j(11)
        power = [(s.t_ns, s.power_w) for s in samples if s.power_w is not None]
        counter = [(s.t_ns, s.energy_j) for s in samples if s.energy_j is not None]
        integral, counted = energy.from_power(power, window), energy.measured(counter, power, window)
        assert integral is not None and counted is not None
        assert integral.joules == pytest.approx(truth, rel=0.01)
        assert abs(counted.joules - truth) <= counted.error_j < 0.1 * truth
        assert not energy.disagree(counted, integral)


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("no_driver", "no driver: the NVIDIA kernel module is not loaded"),
        ("mismatch", "driver/library version mismatch: reboot, or reload the NVIDIA kernel module"),
        ("no_permission", "no permission to talk to the driver (/dev/nvidia*)"),
    ],
)
def test_without_a_usable_driver_the_status_says_why(probe: Probe, scenario: str, reason: str) -> None:
    result = probe(scenario, 1)
    assert result["status"] == {"devices": [], "driver_version": None, "gpu_reason": reason}
    assert result["rounds"] == [[]]


def test_without_the_library_the_status_names_it(probe: Probe, tmp_path: Path) -> None:
    env = nvml_stub.environment_without_driver(tmp_path)
    result = probe("ok", "now", env=env)
    assert result["status"]["gpu_reason"] == "no driver: libnvidia-ml.so.1 not found"
    assert result["rounds"] == [[]]


def test_a_driver_without_cards_says_so_and_gives_its_version(probe: Probe) -> None:
    status = probe("devices=0", 1)["status"]
    assert status["gpu_reason"] == "the driver finds no NVIDIA card"
    assert status["driver_version"] == nvml_stub.DRIVER_VERSION


def test_eight_cards_are_eight_samples(probe: Probe) -> None:
    result = probe("devices=8", 1)
    assert [d["index"] for d in result["status"]["devices"]] == list("01234567")
    assert [s["device"] for s in result["rounds"][0]] == list("01234567")


STUB_FIELDS = {
    "power": {"power_w"},
    "energy": {"energy_j"},
    "utilization": {"gpu_util_pct", "mem_util_pct"},
    "memory": {"vram_used_bytes"},
    "temperature": {"temperature_c"},
    "clock_sm": {"clock_sm_mhz"},
    "clock_mem": {"clock_mem_mhz"},
}


@pytest.mark.parametrize("stub_field", STUB_FIELDS)
def test_a_reading_that_one_card_lacks_is_none_with_a_reason_and_the_rest_stands(probe: Probe, stub_field: str) -> None:
    ((first, second),) = probe(f"unsupported=1.{stub_field}", 1)["rounds"]
    missing = STUB_FIELDS[stub_field]
    assert first["reasons"] == {}
    assert second["reasons"] == dict.fromkeys(missing, "not supported by this card")
    assert {name for name in DEVICE_FIELDS if second[name] is None} == missing


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("denied", "no permission"),
        ("absent", "not in this version of the driver"),
        ("timeout", "the driver did not answer in time"),
        ("unknown", "the driver reports an unknown error"),
        ("na", "the driver gives no value"),
    ],
)
def test_each_refusal_has_its_own_wording(probe: Probe, word: str, reason: str) -> None:
    ((first, _),) = probe(f"{word}=power", 1)["rounds"]
    assert first["power_w"] is None
    assert first["reasons"] == {"power_w": reason}


def test_what_does_not_change_may_be_missing_too(probe: Probe) -> None:
    scenario = "unsupported=0.power_limit,0.uuid,0.pci,0.name"
    first, second = probe(scenario)["status"]["devices"]
    assert (first["name"], first["uuid"], first["pci_bus_id"]) == ("unknown GPU", None, None)
    assert first["power_limit_w"] is None
    assert set(first["reasons"]) == {"name", "uuid", "pci_bus_id", "power_limit_w"}
    assert second["reasons"] == {}


def test_memory_of_an_old_driver_comes_from_the_older_call_and_counts_its_reserve(probe: Probe) -> None:
    result = probe("absent=memory_v2", 1, 2)
    for samples, t_s in zip(result["rounds"], (1, 2), strict=True):
        for sample, model in zip(samples, nvml_stub.MODELS, strict=True):
            assert sample["vram_used_bytes"] == model.vram_used_bytes(t_s) + model.memory_reserved_bytes
            assert sample["reasons"] == {}
    assert result["status"]["devices"][0]["memory_total_bytes"] == nvml_stub.MODELS[0].memory_total_bytes


def test_temperature_of_a_driver_without_the_old_call_comes_from_the_new_one(probe: Probe) -> None:
    ((first, _),) = probe("absent=temperature_v1", 1)["rounds"]
    assert first["temperature_c"] == nvml_stub.MODELS[0].temperature_c(1)


def test_a_card_that_is_lost_leaves_the_other_and_is_read_again_when_it_answers(probe: Probe) -> None:
    before, during, after = probe("lost=1@5-8", 4, 6, 9)["rounds"]
    assert before[1]["reasons"] == after[1]["reasons"] == {}
    assert during[0]["reasons"] == {}
    assert during[1]["reasons"] == dict.fromkeys(DEVICE_FIELDS, "GPU is lost")


def test_a_card_that_cannot_be_opened_is_listed_with_the_reason(probe: Probe) -> None:
    result = probe("denied=0.handle", 1)
    first, second = result["status"]["devices"]
    assert first["reasons"] == {"handle": "no permission"}
    assert second["name"] == nvml_stub.MODELS[1].name
    assert result["rounds"][0][0]["reasons"] == dict.fromkeys(DEVICE_FIELDS, "no permission")
    assert result["rounds"][0][1]["reasons"] == {}


def test_the_stub_runs_by_the_clock_of_monotonic_ns(probe: Probe, stub_dir: Path) -> None:
    epoch_ns = time.monotonic_ns()
    env = nvml_stub.environment(stub_dir, epoch_ns=epoch_ns)
    first, second = probe("ok", "now", "now", env=env)["rounds"]
    end_s = (time.monotonic_ns() - epoch_ns) / 1e9
    model = nvml_stub.MODELS[0]
    assert 0 <= first[0]["energy_j"] <= second[0]["energy_j"] <= model.energy_j(end_s)


def test_importing_the_module_loads_neither_pynvml_nor_psutil(stub_dir: Path) -> None:
    code = (
        "import sys, gemtop.telemetry.nvml, gemtop.telemetry.host, gemtop.telemetry.sampler;"
        "print([m for m in ('pynvml', 'psutil', 'ctypes') if m in sys.modules])"
    )
    assert run_python("-c", code, env=nvml_stub.environment(stub_dir)) == "[]\n"


class FakeNvmlError(Exception):
    def __init__(self, value: int) -> None:
        self.value = value

    def __str__(self) -> str:
        return f"code {self.value}"


def library(**functions: Callable[..., object]) -> NvmlLibrary:
    return NvmlLibrary(lambda: SimpleNamespace(NVMLError=FakeNvmlError, **functions))


def test_a_guarded_call_gives_the_value_or_a_reason_and_never_raises() -> None:
    def refuse(code: int) -> None:
        raise FakeNvmlError(code)

    def garbled() -> None:
        b"\xff".decode()

    nvml = library(refuse=refuse, garbled=garbled, double=lambda x: 2 * x)
    assert nvml.call("double", 21).value == 42
    assert nvml.call("refuse", 3).reason == "not supported by this card"
    assert nvml.call("refuse", 77).reason == "NVML: code 77"
    assert nvml.call("refuse", 77).code == 77
    assert "UnicodeDecodeError" in (nvml.call("garbled").reason or "")
    assert nvml.call("nvmlOfTomorrow").reason == "not in this version of nvidia-ml-py"


def test_without_nvidia_ml_py_the_status_says_so() -> None:
    def load() -> Any:
        raise ImportError("No module named 'pynvml'")

    probe = NvmlProbe(NvmlLibrary(load))
    assert probe.start().gpu_reason == "nvidia-ml-py is not installed"
    assert probe.read(1) == ()
    probe.stop()
