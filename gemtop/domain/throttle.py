"""Why a card's clocks are not higher: NVML's event reasons by name, and which of them are throttling."""

from __future__ import annotations

from collections.abc import Iterable

POWER = frozenset({"SwPowerCap", "HwPowerBrakeSlowdown"})
THERMAL = frozenset({"SwThermalSlowdown", "HwThermalSlowdown"})
_EITHER = frozenset({"HwSlowdown"})


def throttling(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the reasons that mean throttling."""
    return tuple(name for name in names if name in POWER | THERMAL | _EITHER)
