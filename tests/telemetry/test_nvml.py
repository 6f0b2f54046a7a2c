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
from gemtop.telemetry.nvml_queries import SLOW_FIELDS
from gemtop.telemetry.probes import DEVICE_FIELDS
from tests import nvml_stub

from .conftest import lay_out_proc, run_python

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
    (samples,) = probe("ok", t_s)["rounds"]
    for index, (sample, model) in enumerate(zip(samples, nvml_stub.MODELS, strict=True)):
        util = nvml_stub.gpu_util_pct(index, t_s)
        into, out_of = nvml_stub.pcie_bytes_per_s(index, t_s)
        corrected, uncorrected = nvml_stub.ecc_errors(t_s)
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
    times = [f"{10 + 0.2 * k}!" for k in range(41)]
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
    assert result["status"] == {
        "devices": [],
        "driver_version": None,
        "gpu_reason": reason,
        "cuda_version": None,
        "notes": [],
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


def test_a_card_lost_from_the_start_is_described_by_its_samples_when_it_comes_back(probe: Probe) -> None:
    result = probe("lost=1@0-5", "1!", 2, 6)
    assert result["status"]["devices"][1]["reasons"]["handle"] == "GPU is lost"
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


# --- power


def test_power_without_fields_of_its_own_is_what_the_generation_makes_of_the_old_call(probe: Probe) -> None:
    for word in ("absent", "unsupported"):
        ((ada, turing),) = probe(f"{word}=field_values", 1)["rounds"]
        reason = {"absent": "not in this version of the driver", "unsupported": "not supported by this card"}[word]
        assert ada["power_average_w"] == ada["power_w"]
        assert ada["reasons"] == {"power_instant_w": reason}
        assert turing["power_instant_w"] == turing["power_w"]
        assert turing["reasons"] == {"power_average_w": reason}


def test_one_power_field_may_be_missing_alone(probe: Probe) -> None:
    ((ada, turing),) = probe("unsupported=0.power_instant,1.power_instant", 1)["rounds"]
    model = nvml_stub.MODELS[0]
    assert ada["power_average_w"] == pytest.approx(model.power_average_w(1), abs=0.0011)
    assert ada["reasons"] == {"power_instant_w": "not supported by this card"}
    assert turing["power_instant_w"] == turing["power_w"]
    assert turing["reasons"] == {}


def test_a_power_field_without_a_value_has_a_reason_and_is_asked_for_again(probe: Probe) -> None:
    result = probe("na=0.power_instant", 1, "2!")
    for samples in result["rounds"]:
        assert samples[0]["reasons"] == {"power_instant_w": "the driver gives no value"}
        assert samples[1]["reasons"] == {}


def test_the_power_fields_serve_where_the_old_call_does_not(probe: Probe) -> None:
    ((first, _),) = probe("unsupported=0.power", 1)["rounds"]
    assert first["reasons"] == {"power_w": "not supported by this card"}
    assert first["power_instant_w"] == pytest.approx(nvml_stub.MODELS[0].power_w(1), abs=0.0011)


def test_what_is_not_supported_is_asked_again_with_the_slow_readings_only(probe: Probe) -> None:
    result = probe("unsupported=energy,power_average,power_instant", 1, "1.2!", "1.4!", 3)
    energies = [calls.get("nvmlDeviceGetTotalEnergyConsumption", 0) for calls in result["calls"]]
    powers = [calls.get("nvmlDeviceGetFieldValues", 0) for calls in result["calls"]]
    assert energies == powers == [2, 0, 0, 2]
    for samples in result["rounds"]:
        assert samples[0]["reasons"] == dict.fromkeys(("energy_j", "power_instant_w"), "not supported by this card")
        assert samples[1]["reasons"] == dict.fromkeys(("energy_j", "power_average_w"), "not supported by this card")


@pytest.mark.parametrize(
    ("arch", "name", "reading"),
    [
        ("7:8.0", "Ampere", "instant"),
        ("7:8.6", "Ampere", "average"),
        ("9:9.0", "Hopper", "average"),
        ("10:12.0", "Blackwell", "average"),
        ("13:13.0", "Rubin", "average"),
        ("2:3.5", "Kepler", "instant"),
        ("5:7.0", "Volta", "instant"),
    ],
)
def test_what_power_is_depends_on_the_generation(probe: Probe, arch: str, name: str, reading: str) -> None:
    device = probe(f"arch=0:{arch}")["status"]["devices"][0]
    assert device["architecture"] == name
    assert device["compute_capability"] == arch.partition(":")[2]
    assert device["power_reading"] == reading
    assert device["reasons"] == {}


def test_of_an_unknown_generation_it_is_not_known_what_power_is(probe: Probe) -> None:
    result = probe("arch=0:17:19.0 absent=1.architecture,field_values", 1)
    new, untold = result["status"]["devices"]
    assert (new["architecture"], new["power_reading"]) == ("architecture 17", None)
    assert new["reasons"] == {"power_reading": "not known of architecture 17"}
    assert untold["reasons"] == {
        "architecture": "not in this version of the driver",
        "power_reading": "the driver does not tell the card's architecture",
    }
    for sample in result["rounds"][0]:
        assert set(sample["reasons"]) == {"power_average_w", "power_instant_w"}
        assert sample["power_w"] is not None


def test_an_ampere_of_unknown_capability_may_be_a_ga100(probe: Probe) -> None:
    device = probe("arch=0:7:8.6 unsupported=0.compute_capability")["status"]["devices"][0]
    assert device["power_reading"] is None
    assert device["reasons"]["power_reading"] == "whether the card is a GA100 is not known"


def test_a_counter_that_begins_again_is_told_as_it_is(probe: Probe) -> None:
    before, after = probe("energy_reset=5.05", "5!", "7!")["rounds"]
    for index, model in enumerate(nvml_stub.MODELS):
        assert before[index]["energy_j"] == pytest.approx(model.counter_j(5), abs=0.0011)
        assert after[index]["energy_j"] == pytest.approx(model.counter_j(7, 5.05), abs=0.0011)
        assert after[index]["energy_j"] < before[index]["energy_j"]


# --- throttling


def test_throttle_reasons_by_name_and_in_their_span(probe: Probe) -> None:
    rounds = probe("throttle=0:0x4@2-4,0:0x220@3,1:1", "1!", "2!", "3!", "5!")["rounds"]
    assert [samples[0]["throttle_reasons"] for samples in rounds] == [
        [],
        ["SwPowerCap"],
        ["SwPowerCap", "SwThermalSlowdown", "0x200"],
        ["SwThermalSlowdown", "0x200"],
    ]
    assert [samples[1]["throttle_reasons"] for samples in rounds] == [["GpuIdle"]] * 4


def test_throttle_reasons_of_an_older_driver_come_from_its_own_call(probe: Probe) -> None:
    result = probe("throttle=0:0x40 absent=event_reasons", "1!", "2!")
    assert [samples[0]["throttle_reasons"] for samples in result["rounds"]] == [["HwThermalSlowdown"]] * 2
    # Which call the driver knows is found out once.
    assert [calls.get("nvmlDeviceGetCurrentClocksEventReasons", 0) for calls in result["calls"]] == [2, 0]


def test_a_performance_state_that_the_driver_does_not_know_has_a_reason(probe: Probe) -> None:
    ((first, _),) = probe("na=0.pstate", 1)["rounds"]
    assert first["reasons"] == {"pstate": "the driver gives no value"}


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


# --- processes


def test_own_and_other_processes_with_their_names(probe: Probe, tmp_path: Path) -> None:
    proc = lay_out_proc(tmp_path / "proc", comm={701: "ollama", 702: "Xorg"})
    scenario = "process=0:self:300:C,0:701:2000:C,0:702:40:G,0:703:10:C+G,1:702:5:G"
    result = probe(scenario, 1, proc=proc)
    first, second = result["rounds"][0]
    mib = nvml_stub.MIB
    expected = [
        {"pid": 701, "kind": "C", "memory_bytes": 2000 * mib, "name": "ollama", "own": False},
        {"pid": 702, "kind": "G", "memory_bytes": 40 * mib, "name": "Xorg", "own": False},
        {"pid": 703, "kind": "C+G", "memory_bytes": 10 * mib, "name": None, "own": False},
        {"pid": result["pid"], "kind": "C", "memory_bytes": 300 * mib, "name": None, "own": True},
    ]
    assert first["processes"] == sorted(expected, key=lambda entry: int(str(entry["pid"])))
    assert (first["vram_process_bytes"], first["other_processes"]) == (300 * mib, 2)
    # Not listed: it holds nothing there. Graphics are no compute processes.
    assert (second["vram_process_bytes"], second["other_processes"]) == (0, 0)
    assert first["reasons"] == second["reasons"] == {}


def test_in_a_container_the_drivers_process_ids_say_nothing_of_ours(probe: Probe, tmp_path: Path) -> None:
    proc = lay_out_proc(tmp_path / "proc", container=True, comm={701: "somebody else"})
    first, second = probe("process=0:701:2000:C,0:self:5:C", 1, proc=proc)["rounds"][0]
    reason = (
        "the driver gives process ids of the host, and gemtop runs in a container: its own cannot be told from others"
    )
    assert first["reasons"] == {"vram_process_bytes": reason, "other_processes": reason}
    assert [(entry["name"], entry["own"]) for entry in first["processes"]] == [(None, False)] * 2
    assert second["reasons"] == {"vram_process_bytes": reason}
    assert second["other_processes"] == 0


def test_wsl2_does_not_say_how_much_a_process_holds(probe: Probe, tmp_path: Path) -> None:
    proc = lay_out_proc(tmp_path / "proc", wsl2=True)
    first, second = probe("process=0:701:2000:C,0:self:5:C na=processes", 1, proc=proc)["rounds"][0]
    for sample in (first, second):
        assert sample["reasons"] == {"vram_process_bytes": "WSL2 does not say how much a process holds"}
    assert [entry["memory_bytes"] for entry in first["processes"]] == [None, None]
    assert first["other_processes"] == 1


def test_a_driver_may_not_say_how_much_we_hold(probe: Probe) -> None:
    ((first, _),) = probe("process=0:self:na:C+G,0:701:3:C", 1)["rounds"]
    assert first["reasons"] == {"vram_process_bytes": "the driver does not say how much a process holds"}
    assert first["other_processes"] == 1


def test_processes_of_an_older_driver_come_from_its_own_call(probe: Probe) -> None:
    ((first, _),) = probe("process=0:self:7:C,0:701:3:G absent=processes_v3", 1)["rounds"]
    assert first["vram_process_bytes"] == 7 * nvml_stub.MIB
    assert len(first["processes"]) == 2
    assert first["reasons"] == {}


def test_a_list_of_graphics_that_is_refused_leaves_what_computes(probe: Probe) -> None:
    ((first, _),) = probe("process=0:self:7:C denied=graphics_processes", 1)["rounds"]
    assert first["reasons"] == {"processes": "no permission"}
    assert first["vram_process_bytes"] == 7 * nvml_stub.MIB


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
