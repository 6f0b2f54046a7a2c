"""Whether a run can be compared with others, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gemtop.domain.energy import Window
from gemtop.domain.events import RunStatus
from gemtop.domain.records import RunKind
from gemtop.domain.resources import Phases, Resources, throttled
from gemtop.domain.telemetry import DeviceSample, HostSample
from gemtop.domain.throttle import kind_of

LEAST_TOKENS = 32
"""Fewer make no speed: a single late token moves the mean by several percent."""
THROTTLED_SHARE = 0.01
"""Of the time that is judged; less of it moves no figure that is shown."""
CLIMB_C = 3.0
CLIMB_SHARE = 0.03
"""Of the clock at the end."""
SWAPPED_BYTES = 4 * 2**20
SILENT_S = 1.5
"""Longer than any reading takes that goes well."""
_READINGS = ("power_w", "vram_used_bytes", "temperature_c", "gpu_util_pct", "clock_sm_mhz")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`valid` is None where it cannot be said, or is of no meaning."""

    valid: bool | None
    reasons: tuple[str, ...] = ()

    @property
    def invalid_reason(self) -> str | None:
        """All reasons in one line."""
        return "; ".join(self.reasons) or None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a verdict is found on. Samples reach from before the run to after it."""

    kind: RunKind
    status: RunStatus
    phases: Phases
    devices: Mapping[str, Sequence[DeviceSample]]
    """By NVML index: those that hold a part of the model."""
    host: Sequence[HostSample]
    resources: Resources
    unread: Sequence[str] = ()
    """llama.cpp's names of devices that hold a part of the model and cannot be read."""
    shared: Sequence[str] = ()
    """NVML indices of those that are cut into MIG instances: what is read is of the whole card."""

    @property
    def judged(self) -> Window:
        """The decode, or all of a prompt test."""
        return self.phases.decode or self.phases.run


def judge(run: Measured) -> Verdict:
    """A run is valid where nothing that is known to spoil a measurement was seen during its decode."""
    if run.kind == "apply":
        return Verdict(None)
    if run.status in ("failed", "crashed"):
        return Verdict(False, (f"the run {run.status}",))
    found = tuple(
        reason
        for check in (_too_few, _lost, _throttled, _others, _climbing, _swapping, _disagreeing)
        for reason in check(run)
    )
    if found:
        return Verdict(False, found)
    doubts = [f"not judged: {', '.join(run.unread)} cannot be read"] if run.unread else []
    doubts += [f"GPU {device} is cut into MIG instances: energy is of the whole card" for device in run.shared]
    return Verdict(None if doubts else True, tuple(doubts))


def _too_few(run: Measured) -> Iterator[str]:
    prompt = run.kind == "pp"
    count = run.phases.prompt_tokens if prompt else run.phases.generated_tokens
    if count < LEAST_TOKENS:
        words = "prompt tokens" if prompt else "generated tokens"
        yield f"too few tokens: {count} {words}, a speed needs {LEAST_TOKENS}"


def _lost(run: Measured) -> Iterator[str]:
    """Cards that gave no reading at all for a while, or of which none came."""
    window = run.phases.run
    for device, samples in run.devices.items():
        inside = [s for s in samples if window.start_ns <= s.t_ns <= window.end_ns]
        blind = next((s for s in inside if all(getattr(s, name) is None for name in _READINGS)), None)
        if blind is not None:
            yield f"GPU {device} could not be read: {next(iter(blind.reasons.values()), 'no reason given')}"
            continue
        stamps = [window.start_ns, *(s.t_ns for s in inside), window.end_ns]
        silent_s = max(b - a for a, b in pairwise(stamps)) / 1e9
        if silent_s > SILENT_S:
            yield f"no readings of GPU {device} for {silent_s:.1f} s"


def _throttled(run: Measured) -> Iterator[str]:
    window = run.judged
    for device, samples in run.devices.items():
        slowed = throttled({device: samples}, window)
        if slowed is not None and slowed.seconds > THROTTLED_SHARE * window.seconds:
            what = f"{kind_of(slowed.reasons)} throttling of GPU {device} ({', '.join(slowed.reasons)})"
            yield f"{what} for {slowed.seconds:.1f} of {window.seconds:.1f} s"


def _others(run: Measured) -> Iterator[str]:
    """Compute processes that are not ours. In a container, where ours cannot be told apart, one of them is."""
    window = run.phases.run
    for device, samples in run.devices.items():
        inside = [s for s in samples if window.start_ns <= s.t_ns <= window.end_ns]
        most = max((_other_processes(s) for s in inside), default=0)
        if most:
            yield f"another process used GPU {device}" if most == 1 else f"{most} other processes used GPU {device}"


def _other_processes(sample: DeviceSample) -> int:
    if sample.other_processes is not None or sample.processes is None:
        return sample.other_processes or 0
    return max(0, sum(process.kind != "G" for process in sample.processes) - 1)


def _climbing(run: Measured) -> Iterator[str]:
    """Temperature or clock of a card in the last quarter above that in the first: it was not warm yet."""
    for device, samples in run.devices.items():
        warm = _first_and_last(samples, run.judged, "temperature_c")
        if warm and warm[1] - warm[0] > CLIMB_C:
            yield f"temperature of GPU {device} still climbing: {warm[0]:.0f} to {warm[1]:.0f} °C"
        clock = _first_and_last(samples, run.judged, "clock_sm_mhz")
        if clock and clock[1] - clock[0] > CLIMB_SHARE * clock[1]:
            yield f"clock of GPU {device} still climbing: {clock[0]:.0f} to {clock[1]:.0f} MHz"


def _first_and_last(samples: Sequence[DeviceSample], window: Window, name: str) -> tuple[float, float] | None:
    """Means of a reading over the first and the last quarter of a window."""
    quarter_ns = (window.end_ns - window.start_ns) / 4
    first, last = (
        [value for s in samples if a <= s.t_ns <= b and (value := getattr(s, name)) is not None]
        for a, b in (
            (window.start_ns, window.start_ns + quarter_ns),
            (window.end_ns - quarter_ns, window.end_ns),
        )
    )
    return (sum(first) / len(first), sum(last) / len(last)) if first and last else None


def _swapping(run: Measured) -> Iterator[str]:
    moved = sum(_grown([getattr(s, name) for s in run.host]) for name in ("swap_in_bytes", "swap_out_bytes"))
    if moved > SWAPPED_BYTES:
        yield f"the machine was swapping: {moved / 2**20:,.0f} MiB"


def _grown(values: Sequence[int | None]) -> int:
    known = [value for value in values if value is not None]
    return known[-1] - known[0] if known else 0


def _disagreeing(run: Measured) -> Iterator[str]:
    if run.resources.disagreement:
        yield run.resources.disagreement
