"""Power in its two readings, the energy counter and why clocks are low, on the stand-in for the driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests import nvml_stub

Probe = Callable[..., dict[str, Any]]


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


def test_what_is_no_number_is_no_reading(probe: Probe) -> None:
    ((ada, turing),) = probe("nan=power_average,power_instant", 1)["rounds"]
    # What power_w says stands in for one of the two.
    assert ada["reasons"] == {"power_instant_w": "the driver gives no value"}
    assert turing["reasons"] == {"power_average_w": "the driver gives no value"}
    assert ada["power_average_w"] == ada["power_w"] > 0


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
