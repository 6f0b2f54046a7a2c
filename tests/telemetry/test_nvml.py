"""The real nvidia-ml-py on a library whose readings are known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gemtop.domain import energy
from gemtop.domain.resources import device_meter
from gemtop.domain.telemetry import DeviceSample
from gemtop.telemetry.nvml import NvmlLibrary, NvmlProbe
from gemtop.telemetry.nvml_queries import SLOW_FIELDS
from gemtop.telemetry.probes import DEVICE_FIELDS
from tests import nvml_stub

from .conftest import run_python

Probe = Callable[..., dict[str, Any]]


def test_devices_are_described_once_with_what_llama_cpp_can_be_matched_by(probe: Probe) -> None:
    status = probe("ok")["status"]
    assert status["gpu_reason"] is None
    assert status["driver_version"] == nvml_stub.DRIVER_VERSION
    assert status["cuda_version"] == nvml_stub.CUDA_VERSION
    assert status["notes"] == []
    for index, (device, model) in enumerate(zip(status["devices"], nvml_stub.MODELS, strict=True)):
        assert device == {
            "index": str(index),
            "name": model.name,
            "uuid": nvml_stub.uuid(index),
            "pci_bus_id": nvml_stub.pci_bus_id(index),
            "memory_total_bytes": model.memory_total_bytes,
            "power_limit_w": model.power_limit_w,
            "reasons": {},
            "architecture": model.architecture,
            "compute_capability": model.compute_capability,
            "power_reading": model.power_reading,
            "clock_sm_max_mhz": model.clock_sm_max_mhz,
            "clock_mem_max_mhz": model.clock_mem_mhz,
            "temperature_target_c": model.temperature_target_c,
            "temperature_slowdown_c": model.temperature_slowdown_c,
            "temperature_shutdown_c": model.temperature_shutdown_c,
            "memory_bus_bits": model.memory_bus_bits,
            "pcie_gen_max": model.pcie_gen_max,
            "pcie_width_max": model.pcie_width_max,
            "ecc_enabled": model.ecc_enabled,
            "mig_enabled": False,
        }
    assert status["devices"][0]["pci_bus_id"] == "0000:1a:00.0"


@pytest.mark.parametrize("t_s", [0.0, 1.0, 3.37, 1234.567])
def test_every_field_is_the_known_function_of_time(probe: Probe, t_s: float) -> None:
    read = probe("ok", t_s)
    (samples,), (took_ns,) = read["rounds"], read["took_ns"]
    for index, (sample, model) in enumerate(zip(samples, nvml_stub.MODELS, strict=True)):
        assert 0 <= sample.pop("t_ns") - round(t_s * 1e9) <= took_ns
        util = nvml_stub.gpu_util_pct(index, t_s)
        into, out_of = nvml_stub.pcie_bytes_per_s(index, t_s)
        corrected, uncorrected = nvml_stub.ecc_errors(t_s)
        assert sample == {
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
            "vram_free_bytes": model.vram_free_bytes(t_s),
            "power_average_w": pytest.approx(model.power_average_w(t_s), abs=0.0011),
            "power_instant_w": pytest.approx(model.power_w(t_s), abs=0.0011),
            "throttle_reasons": [],
            "pstate": nvml_stub.pstate(t_s),
            "fan_pct": nvml_stub.fan_pct(t_s),
            "pcie_gen": nvml_stub.pcie_gen(index, t_s),
            "pcie_width": model.pcie_width_max,
            "pcie_rx_bytes_per_s": into,
            "pcie_tx_bytes_per_s": out_of,
            "ecc_corrected": corrected,
            "ecc_uncorrected": uncorrected,
            "vram_process_bytes": 0,
            "other_processes": 0,
            "processes": [],
        }


def test_power_integrates_to_the_counter_and_to_the_truth(probe: Probe) -> None:
    times = [10 + 0.2 * k for k in range(41)]
    rounds = probe("ok", *times)["rounds"]
    window = energy.Window(11 * 10**9, 17 * 10**9)
    for index, model in enumerate(nvml_stub.MODELS):
        meter = device_meter([DeviceSample(**row[index]) for row in rounds])
        truth = model.energy_j(17) - model.energy_j(11)
        integral, counted = meter.integrated(window), meter.best(window)
        assert integral is not None and counted is not None
        assert integral.joules == pytest.approx(truth, rel=0.01)
        assert abs(counted.joules - truth) <= counted.error_j < 0.1 * truth
        assert not meter.disagrees(window)


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
    assert result["status"] == {
        "devices": [],
        "driver_version": None,
        "gpu_reason": reason,
        "cuda_version": None,
        "notes": [],
        "reasons": {"driver_version": reason, "cuda_version": reason},
    }
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
    "throttle_reasons": {"throttle_reasons"},
    "pstate": {"pstate"},
    "fan": {"fan_pct"},
    "pcie": {"pcie_gen", "pcie_width"},
    "pcie_throughput": {"pcie_rx_bytes_per_s", "pcie_tx_bytes_per_s"},
    "ecc": {"ecc_corrected", "ecc_uncorrected"},
    "processes": {"vram_process_bytes", "other_processes", "processes"},
    "compute_processes": {"vram_process_bytes", "other_processes", "processes"},
    "graphics_processes": set(),
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


def test_memory_that_a_card_does_not_give_is_the_machines(probe: Probe) -> None:
    result = probe("unsupported=1.memory", 1)
    reason = "this card shares the machine's memory: see RAM"
    assert result["rounds"][0][0]["reasons"] == {}
    assert result["rounds"][0][1]["reasons"] == {"vram_used_bytes": reason, "vram_free_bytes": reason}
    assert result["status"]["devices"][1]["reasons"] == {"memory_total_bytes": reason}


def test_a_card_cut_into_mig_instances_says_why_it_gives_no_utilisation(probe: Probe) -> None:
    result = probe("mig=0", 1)
    reason = "not given while the card is cut into MIG instances"
    assert [device["mig_enabled"] for device in result["status"]["devices"]] == [True, False]
    assert result["rounds"][0][0]["reasons"] == {"gpu_util_pct": reason, "mem_util_pct": reason}
    assert result["rounds"][0][1]["reasons"] == {}


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
    ((first, _),) = probe(f"{word}=energy,fan", 1)["rounds"]
    assert first["energy_j"] is first["fan_pct"] is None
    assert first["reasons"] == {"energy_j": reason, "fan_pct": reason}


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


def test_a_card_that_is_lost_leaves_the_other_and_comes_back_with_the_next_slow_reading(probe: Probe) -> None:
    result = probe("lost=1@5-8", 4, "6!", "6.2!", 7, "9!", 10, "10.2!")
    before, found_out, unasked, still, not_yet, back, on = result["rounds"]
    for samples in (before, back, on):
        assert samples[1]["reasons"] == {}
        assert samples[1]["power_w"] is not None
    for samples in (found_out, unasked, still, not_yet):
        assert samples[0]["reasons"] == {}
        assert samples[1]["reasons"] == dict.fromkeys(DEVICE_FIELDS, "GPU is lost")
    # One question finds it out; after that only the slow thread asks.
    powers = [calls.get("nvmlDeviceGetPowerUsage", 0) for calls in result["calls"]]
    assert powers == [2, 2, 1, 1, 1, 2, 2]
    assert [calls.get("nvmlDeviceGetHandleByUUID", 0) for calls in result["calls"]] == [0, 0, 0, 1, 0, 1, 0]


def test_a_card_lost_from_the_start_has_its_name_and_limits_when_it_comes_back(probe: Probe) -> None:
    result = probe("lost=1@0-5", "1!", 2, 6)
    assert result["status"]["devices"][1]["reasons"]["handle"] == "GPU is lost"
    assert result["status_at_the_end"] == probe("ok")["status"]
    assert result["rounds"][1][1]["reasons"] == dict.fromkeys(DEVICE_FIELDS, "GPU is lost")
    assert result["rounds"][2][1]["reasons"] == {}


def test_a_driver_that_is_reloaded_is_initialised_again_and_all_cards_are_opened_anew(probe: Probe) -> None:
    result = probe("reload=5-8", 4, "6!", 6.5, "7!", "9!", 10, "10.2!")
    before, found_out, refused, still, not_yet, back, on = result["rounds"]
    for samples in (before, back, on):
        assert [sample["reasons"] for sample in samples] == [{}, {}]
    for samples in (found_out,):
        for sample in samples:
            assert sample["reasons"] == dict.fromkeys(DEVICE_FIELDS, "the driver was unloaded")
    for samples in (refused, still, not_yet):
        for sample in samples:
            reason = "no driver: the NVIDIA kernel module is not loaded"
            assert sample["reasons"] == dict.fromkeys(DEVICE_FIELDS, reason)
    assert [calls.get("nvmlInit", 0) for calls in result["calls"]] == [0, 0, 1, 0, 0, 1, 0]
    # It may be another one, as after an update.
    assert [calls.get("nvmlSystemGetDriverVersion", 0) for calls in result["calls"]] == [0, 0, 0, 0, 0, 1, 0]


def test_a_reload_between_two_readings_is_found_out_by_the_next(probe: Probe) -> None:
    before, found_out, back = probe("reload=5-6", 4, "7!", 8)["rounds"]
    assert found_out[0]["reasons"] == dict.fromkeys(DEVICE_FIELDS, "the driver was unloaded")
    assert [sample["reasons"] for sample in (*before, *back)] == [{}] * 4


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


def test_versions_that_the_driver_does_not_tell_have_reasons(probe: Probe) -> None:
    status = probe("absent=driver_version,cuda_version")["status"]
    assert status["driver_version"] is status["cuda_version"] is None
    reason = "not in this version of the driver"
    assert status["reasons"] == {"driver_version": reason, "cuda_version": reason}
    assert [device["reasons"] for device in status["devices"]] == [{}, {}]


def test_a_driver_that_was_not_loaded_is_found_by_another_start(probe_again: Callable[..., list[Any]]) -> None:
    reason = "no driver: the NVIDIA kernel module is not loaded"
    assert probe_again("reload=0-5", 1, 6) == [[reason, []], [None, ["0", "1"]]]
    assert probe_again("ok", 1, 2, CUDA_VISIBLE_DEVICES="") == [["CUDA_VISIBLE_DEVICES hides every card", []]] * 2


@pytest.fixture
def probe_again(stub_dir: Path) -> Callable[..., list[Any]]:
    """Starts one probe at each of the stub's times -> why there is no card, and the cards."""
    code = """
import json, os, sys
from gemtop.telemetry.nvml import NvmlProbe

probe, found = NvmlProbe(), []
for t_s in sys.argv[1:]:
    os.environ["NVML_STUB_NOW_NS"] = str(int(t_s) * 10**9)
    status = probe.start()
    found.append([status.gpu_reason, [device.index for device in status.devices]])
probe.stop()
print(json.dumps(found))
"""

    def run(scenario: str, *times: int, **more: str) -> list[Any]:
        env = nvml_stub.environment(stub_dir, scenario, now_ns=0) | more
        found: list[Any] = json.loads(run_python("-c", code, *map(str, times), env=env))
        return found

    return run


# --- slow readings


def test_before_the_first_slow_reading_those_fields_say_so(probe: Probe) -> None:
    first, second, third = probe("ok", "1!", 2, "5!")["rounds"]
    for sample in first:
        assert sample["reasons"] == dict.fromkeys(SLOW_FIELDS, "not read yet")
        assert sample["power_w"] is not None
    # The fast samples after it carry the same values.
    for index in (0, 1):
        for field in SLOW_FIELDS:
            assert third[index][field] == second[index][field] is not None


def test_a_one_off_reading_is_complete(probe: Probe) -> None:
    (samples,) = probe("ok", 3)["rounds"]
    for sample in samples:
        assert sample["reasons"] == {}
        assert not [field for field in DEVICE_FIELDS if sample[field] is None]


def test_the_time_inside_nvml_is_counted(probe: Probe) -> None:
    spent_ns = probe("ok", 1)["spent_ns"]
    # Two cards, two directions of PCIe, at least 20 ms each.
    assert 80_000_000 <= spent_ns < 30_000_000_000


def test_slow_readings_of_many_cards_can_be_taken_side_by_side(stub_dir: Path) -> None:
    """Eight cards and 20 ms for each direction of PCIe: none is asked before all are."""
    code = """
import threading
from gemtop.telemetry.nvml import NvmlLibrary, NvmlProbe

all_ask = threading.Barrier(8, timeout=30)

class Library(NvmlLibrary):
    def call(self, name, *args):
        if name == "nvmlDeviceGetPcieThroughput":
            all_ask.wait()
        return super().call(name, *args)

probe = NvmlProbe(Library(), side_by_side=True)
probe.start()
probe.refresh()
print([sample.pcie_rx_bytes_per_s is not None and sample.reasons for sample in probe.read(1)])
"""
    assert run_python("-c", code, env=nvml_stub.environment(stub_dir, "devices=8")) == f"{[{}] * 8}\n"


# --- CUDA_VISIBLE_DEVICES


def test_only_visible_cards_are_sampled_and_the_others_are_told(probe: Probe) -> None:
    result = probe("ok", 1, CUDA_VISIBLE_DEVICES=nvml_stub.uuid(1))
    assert [device["index"] for device in result["status"]["devices"]] == ["1"]
    assert [sample["device"] for sample in result["rounds"][0]] == ["1"]
    assert result["status"]["notes"] == ["CUDA_VISIBLE_DEVICES hides GPU 0 (Stub RTX 24G)"]


@pytest.mark.parametrize("value", ["", "-1", "9"])
def test_all_cards_may_be_hidden(probe: Probe, value: str) -> None:
    result = probe("ok", 1, CUDA_VISIBLE_DEVICES=value)
    assert result["status"]["gpu_reason"] == "CUDA_VISIBLE_DEVICES hides every card"
    assert result["status"]["driver_version"] == nvml_stub.DRIVER_VERSION
    assert result["rounds"] == [[]]


def test_numbers_count_as_nvml_does_where_that_is_sure(probe: Probe) -> None:
    in_order = probe("ok", 1, CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    alike = probe("alike devices=4", 1, CUDA_VISIBLE_DEVICES="3,1")
    unsure = probe("ok", 1, CUDA_VISIBLE_DEVICES="1")
    assert [device["index"] for device in in_order["status"]["devices"]] == ["1"]
    assert [device["index"] for device in alike["status"]["devices"]] == ["1", "3"]
    assert [device["index"] for device in unsure["status"]["devices"]] == ["0", "1"]
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in unsure["status"]["notes"][0]


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
