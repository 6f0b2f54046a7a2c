"""Why a GPU's clocks are not higher: NVML's bit mask taken apart and judged."""

from __future__ import annotations

from collections.abc import Iterable

_NAMES = (
    "GpuIdle",
    "ApplicationsClocksSetting",
    "SwPowerCap",
    "HwSlowdown",
    "SyncBoost",
    "SwThermalSlowdown",
    "HwThermalSlowdown",
    "HwPowerBrakeSlowdown",
    "DisplayClockSetting",
)
"""Bit number to the name after nvmlClocksEventReason."""
_POWER = frozenset({"SwPowerCap", "HwPowerBrakeSlowdown"})
_THERMAL = frozenset({"SwThermalSlowdown", "HwThermalSlowdown"})
_EITHER = frozenset({"HwSlowdown"})
"""Heat or power: the card does not say which by this bit."""


def names_of(mask: int) -> tuple[str, ...]:
    """The reasons in a mask, lowest bit first; a bit without a name as its number (`0x200`)."""
    bits = (bit for bit in range(mask.bit_length()) if mask >> bit & 1)
    return tuple(_NAMES[bit] if bit < len(_NAMES) else hex(1 << bit) for bit in bits)


def throttling(names: Iterable[str]) -> tuple[str, ...]:
    """Those by which the card is slower than it could be with more power or cooling.

    An idle card, clocks that somebody set, and bits of unknown meaning are not throttling.
    """
    return tuple(name for name in names if name in _POWER or name in _THERMAL or name in _EITHER)


def kind_of(names: Iterable[str]) -> str:
    """What the card lacks by these reasons: power, cooling, both, or one of them that it does not name."""
    found = set(names)
    kinds = [word for word, those in (("power", _POWER), ("thermal", _THERMAL)) if found & those]
    return " and ".join(kinds) or "hardware"
