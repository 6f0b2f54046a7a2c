"""Power of a device that does nothing: the quietest second in which no run went on."""

from __future__ import annotations

from collections.abc import Iterable

from gemtop.domain.energy import Power, Reading, Window, from_power

QUIET_NS = 1_000_000_000
"""Length of a second, and how long after a run a card's average of power still holds some of it."""
BUSY_PCT = 5.0
"""Where more of the time a kernel was running, somebody was at work."""
PACKAGE = "package"
"""The processor's packages, beside the NVML indices of GPUs."""


class IdlePower:
    """Fed with every reading of power, told when something is going on."""

    def __init__(self) -> None:
        self._recent: dict[str, list[Reading]] = {}
        self._busy_until: dict[str, int] = {}
        self._quietest: dict[str, Power] = {}

    def add(self, device: str, t_ns: int, watts: float | None, util_pct: float | None, *, busy: bool) -> None:
        """A reading; `busy` says that gemtop itself has work under way. Of unknown utilisation it is not idle."""
        recent = self._recent.setdefault(device, [])
        if busy or watts is None or util_pct is None or util_pct > BUSY_PCT:
            recent.clear()
            self._busy_until[device] = t_ns
            return
        if t_ns - self._busy_until.get(device, t_ns - QUIET_NS) < QUIET_NS:
            return
        recent.append((t_ns, watts))
        while len(recent) > 2 and recent[1][0] <= t_ns - QUIET_NS:
            del recent[0]
        if t_ns - recent[0][0] < QUIET_NS:
            return
        energy = from_power(recent, Window(t_ns - QUIET_NS, t_ns))
        every = [w for _, w in recent]
        best = self._quietest.get(device)
        if energy is not None and (best is None or energy.joules < best.watts):
            self._quietest[device] = Power(energy.joules / (QUIET_NS / 1e9), (max(every) - min(every)) / 2)

    def of(self, devices: Iterable[str]) -> Power | None:
        """Of these devices together; None where no quiet second of one of them was seen."""
        found = [self._quietest.get(device) for device in devices]
        known = [power for power in found if power is not None]
        return sum(known[1:], known[0]) if known and len(known) == len(found) else None
