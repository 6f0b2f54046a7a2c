from __future__ import annotations

import pytest

from gemtop.domain.throttle import kind_of, names_of, throttling

BITS = {
    0x1: "GpuIdle",
    0x2: "ApplicationsClocksSetting",
    0x4: "SwPowerCap",
    0x8: "HwSlowdown",
    0x10: "SyncBoost",
    0x20: "SwThermalSlowdown",
    0x40: "HwThermalSlowdown",
    0x80: "HwPowerBrakeSlowdown",
    0x100: "DisplayClockSetting",
}


@pytest.mark.parametrize(("mask", "name"), BITS.items())
def test_each_bit_has_nvmls_name(mask: int, name: str) -> None:
    assert names_of(mask) == (name,)


def test_the_bits_are_those_of_the_bindings() -> None:
    import pynvml

    for mask, name in BITS.items():
        assert getattr(pynvml, f"nvmlClocksEventReason{name}") == mask


def test_several_reasons_come_lowest_bit_first_and_unknown_bits_as_numbers() -> None:
    assert names_of(0) == ()
    assert names_of(0x264) == ("SwPowerCap", "SwThermalSlowdown", "HwThermalSlowdown", "0x200")
    assert names_of(1 << 63) == ("0x8000000000000000",)


@pytest.mark.parametrize(
    ("mask", "found", "kind"),
    [
        (0x0, (), None),
        (0x1, (), None),
        (0x2 | 0x10 | 0x100 | 0x200, (), None),
        (0x4, ("SwPowerCap",), "power"),
        (0x80, ("HwPowerBrakeSlowdown",), "power"),
        (0x20, ("SwThermalSlowdown",), "thermal"),
        (0x40 | 0x8, ("HwSlowdown", "HwThermalSlowdown"), "thermal"),
        (0x8, ("HwSlowdown",), "hardware"),
        (0x1 | 0x4 | 0x20, ("SwPowerCap", "SwThermalSlowdown"), "power and thermal"),
    ],
)
def test_what_counts_as_throttling(mask: int, found: tuple[str, ...], kind: str | None) -> None:
    assert throttling(names_of(mask)) == found
    assert kind is None or kind_of(found) == kind
