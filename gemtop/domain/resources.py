"""Memory, power and energy of one run, computed once from the samples around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from gemtop.domain.energy import LONGEST_GAP_S, Energy, Meter, Power, Reading, Window
from gemtop.domain.telemetry import DeviceSample, HostSample
from gemtop.domain.throttle import throttling

NVML_AVERAGE_S = 1.0
"""The span of NVML's average power."""
_LONGEST_NS = round(LONGEST_GAP_S * 1e9)
_OF_GPUS = ("vram_peak_bytes", "throttled_s", "throttle_reasons")
_NOT_COVERED = "the GPU's readings do not cover the run"
_NO_PHASE = "this run has no such phase"
_NO_GPU = "no part of the model is on a GPU that can be read"
_TOO_SHORT = "too short to measure"
_NO_MORE_THAN_IDLE = "no more than idle power within the errors"
_NO_IDLE = "no quiet second without a run has been seen yet"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run took, over the devices that hold a part of the model.

    Energies are joules, each with how far off it may be. What is None has its reason in `reasons`.
    """

    vram_peak_bytes: int | None = None
    ram_peak_bytes: int | None = None
    """Largest resident memory of the process."""
    power_mean_w: float | None = None
    power_mean_error_w: float | None = None
    energy_j: float | None = None
    energy_error_j: float | None = None
    energy_source: str | None = None
    """counter, power, both where cards differ, or package: the processor's own counter."""
    energy_counter_j: float | None = None
    energy_counter_error_j: float | None = None
    energy_integral_j: float | None = None
    energy_integral_error_j: float | None = None
    prefill_j_per_token: float | None = None
    prefill_j_per_token_error: float | None = None
    decode_j_per_token: float | None = None
    decode_j_per_token_error: float | None = None
    idle_power_w: float | None = None
    """Of the same devices, in the quietest second without a run."""
    idle_power_error_w: float | None = None
    energy_net_j: float | None = None
    """With idle power taken off, as of the two below."""
    energy_net_error_j: float | None = None
    prefill_net_j_per_token: float | None = None
    prefill_net_j_per_token_error: float | None = None
    decode_net_j_per_token: float | None = None
    decode_net_j_per_token_error: float | None = None
    throttled_s: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    disagreement: str | None = None
    """Counter and integral of a card, where they contradict each other."""

    def columns(self) -> dict[str, Any]:
        """The figures under their names in the view `runs`."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(f.name for f in fields(Resources) if f.name not in ("reasons", "disagreement"))
"""Names of the figures, as `RunEnd` and the view `runs` have them."""


@dataclass(frozen=True, slots=True)
class Phases:
    """When a run began, gave its first token and ended, and how many tokens each part had."""

    run: Window
    first_token_ns: int | None
    prompt_tokens: int
    generated_tokens: int

    @property
    def prefill(self) -> Window | None:
        """Until the first token; all of it for a prompt test, or a run stopped in its prefill."""
        if self.first_token_ns is not None:
            return Window(self.run.start_ns, self.first_token_ns)
        return None if self.generated_tokens else self.run

    @property
    def decode(self) -> Window | None:
        """From the first token on; all of it for a generation test."""
        if self.first_token_ns is not None:
            return Window(self.first_token_ns, self.run.end_ns)
        return self.run if self.generated_tokens and not self.prompt_tokens else None

    @property
    def decode_tokens(self) -> int:
        """Tokens of the decode: the first one comes out of the prefill."""
        return self.generated_tokens - (self.first_token_ns is not None)


@dataclass(frozen=True, slots=True)
class Throttling:
    """For how long of a window, and by which reasons."""

    seconds: float
    reasons: tuple[str, ...]


def resources(
    devices: Sequence[DeviceSample],
    host: Sequence[HostSample],
    used_devices: Sequence[str],
    phases: Phases,
    idle: Power | None = None,
    unread: Sequence[str] = (),
) -> Resources:
    """Memory, power and energy of a run from the samples around it.

    `used_devices` are NVML indices of the GPUs that hold a part of the model; others do not count. `unread` are
    llama.cpp's names of devices that hold one and cannot be read: where there are any, no figure of the rest would be
    that of the run. Where the model is on no other device than the CPU, energy is that of the processor packages, if
    they can be read. Samples should reach one beyond each end of the run, so that power can be interpolated at its
    borders. `idle` is the power of the same devices without a run.
    """
    sheet, run = _Sheet(idle), phases.run
    rss = [s.process_rss_bytes for s in host if s.process_rss_bytes is not None and _inside(s.t_ns, run)]
    sheet.note("ram_peak_bytes", max(rss, default=None), "no sample of this process fell into the run")
    by_device = {d: [s for s in devices if s.device == d] for d in used_devices}
    meters: dict[str, Meter] = {}
    if unread:
        uncovered = f"{', '.join(unread)} cannot be read"
        for name in _OF_GPUS:
            sheet.note(name, None, uncovered)
        sheet.idle = None
    elif by_device:
        sheet.note("vram_peak_bytes", _vram_peak(by_device, run), _NOT_COVERED)
        slowed = throttled(by_device, run)
        why = "the card does not say why its clocks are limited"
        sheet.note("throttled_s", slowed and slowed.seconds, why)
        sheet.note("throttle_reasons", slowed and slowed.reasons, why)
        meters = {d: device_meter(samples) for d, samples in by_device.items()}
        uncovered = _NOT_COVERED
    else:
        for name in _OF_GPUS:
            sheet.note(name, None, _NO_GPU)
        package = _package_meter(host)
        if package.counter:
            meters = {"package": package}
        rapl = host[-1].reasons.get("package_energy_j") if host else None
        uncovered = f"{_NO_GPU}; of the processor: {rapl}" if rapl else _NO_GPU
    _add_energy(sheet, meters, phases, uncovered)
    disagreement = next((words for d, meter in meters.items() if (words := _contradiction(d, meter, run))), None)
    return Resources(reasons=sheet.reasons, disagreement=disagreement, **sheet.figures)


class _Sheet:
    """Figures under their names, and the reasons of those that cannot be had."""

    def __init__(self, idle: Power | None) -> None:
        self.idle = idle
        self.figures: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def note(self, name: str, value: object, why: str) -> None:
        if value is None:
            self.reasons[name] = why
        else:
            self.figures[name] = value

    def put(self, name: str, energy: Energy | None, count: float, why: str, small: str = _TOO_SHORT) -> None:
        """Joules over a count, with their error; `small` is said where the error is as large as they are."""
        if energy is not None and count > 0 and not energy.is_measured:
            why = f"{small}: {energy.joules:.1f} ± {energy.error_j:.1f} J"
        if energy is None or count <= 0 or not energy.is_measured:
            self.reasons[name] = self.reasons[error_name(name)] = why
        else:
            share = energy.per(count)
            self.figures[name], self.figures[error_name(name)] = share.joules, share.error_j

    def put_net(self, name: str, energy: Energy | None, seconds: float, count: float, why: str) -> None:
        """The same with idle power taken off."""
        if energy is None or not energy.is_measured:
            self.put(name, energy, count, why)
        elif self.idle is None:
            self.put(name, None, count, _NO_IDLE)
        else:
            self.put(name, energy.less(self.idle, seconds), count, why, _NO_MORE_THAN_IDLE)


def _add_energy(sheet: _Sheet, meters: Mapping[str, Meter], phases: Phases, uncovered: str) -> None:
    """Everything of energy: by each way, gross and net, of the whole and of each phase a token."""
    run, idle = phases.run, sheet.idle
    total = _sum(meter.best(run) for meter in meters.values())
    counted = _sum(meter.counted(run) for meter in meters.values())
    integrated = _sum(meter.integrated(run) for meter in meters.values())
    source = _source(meters, run) if total and total.is_measured else None
    sheet.note("energy_source", source, uncovered if total is None else _TOO_SHORT)
    sheet.put("energy_counter_j", counted, 1, "no counter that covers the run")
    sheet.put("energy_integral_j", integrated, 1, "no readings of power that cover the run")
    sheet.put("power_mean_w", total, run.seconds, uncovered)
    sheet.put("energy_j", total, 1, uncovered)
    sheet.put_net("energy_net_j", total, run.seconds, 1, uncovered)
    sheet.note("idle_power_w", idle and idle.watts, _NO_IDLE if meters else uncovered)
    sheet.note("idle_power_error_w", idle and idle.error_w, _NO_IDLE if meters else uncovered)
    for name, window, count in (
        ("prefill", phases.prefill, phases.prompt_tokens),
        ("decode", phases.decode, phases.decode_tokens),
    ):
        has_phase = window is not None and count > 0
        energy = _sum(meter.best(window) for meter in meters.values()) if window and has_phase else None
        why = uncovered if has_phase or total is None else _NO_PHASE
        sheet.put(f"{name}_j_per_token", energy, count, why)
        sheet.put_net(f"{name}_net_j_per_token", energy, window.seconds if window else 0.0, count, why)


def error_name(name: str) -> str:
    """The name of a figure's error: power_mean_error_w, energy_error_j, decode_j_per_token_error."""
    return f"{name}_error" if name.endswith("_per_token") else f"{name[:-2]}_error{name[-2:]}"


def _sum(parts_of_devices: Iterable[Energy | None]) -> Energy | None:
    """Of all devices together; None where one of them is not known."""
    parts = list(parts_of_devices)
    known = [part for part in parts if part is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(parts) else None


def _source(meters: Mapping[str, Meter], window: Window) -> str:
    if "package" in meters:
        return "package"
    ways = {"power" if meter.counted(window) is None else "counter" for meter in meters.values()}
    return " and ".join(sorted(ways))


def _contradiction(device: str, meter: Meter, window: Window) -> str | None:
    counted, integrated = meter.counted(window), meter.integrated(window)
    if counted is None or integrated is None or not meter.disagrees(window):
        return None
    return (
        f"sensors of GPU {device} disagree: {counted.joules:.1f} ± {counted.error_j:.1f} J by the counter, "
        f"{integrated.joules:.1f} ± {integrated.error_j:.1f} J by power"
    )


def device_meter(samples: Sequence[DeviceSample]) -> Meter:
    """Energy of one GPU from its samples: power of the moment where the card gives it, else its average."""
    counter = [(s.t_ns, s.energy_j) for s in samples if s.energy_j is not None]
    instant = [(s.t_ns, s.power_instant_w) for s in samples if s.power_instant_w is not None]
    if len(instant) > 1:
        return Meter(counter, instant)
    return Meter(counter, [(s.t_ns, w) for s in samples if (w := power_of(s)) is not None], NVML_AVERAGE_S)


def power_of(sample: DeviceSample) -> float | None:
    """Watts by the most immediate reading there is."""
    for watts in (sample.power_instant_w, sample.power_average_w, sample.power_w):
        if watts is not None:
            return watts
    return None


def _package_meter(host: Sequence[HostSample]) -> Meter:
    counter: list[Reading] = [(s.t_ns, s.package_energy_j) for s in host if s.package_energy_j is not None]
    return Meter(counter, [])


def _vram_peak(by_device: Mapping[str, Sequence[DeviceSample]], window: Window) -> int | None:
    peaks: list[int] = []
    for samples in by_device.values():
        used = [s.vram_used_bytes for s in samples if s.vram_used_bytes is not None and _inside(s.t_ns, window)]
        if not used:
            return None
        peaks.append(max(used))
    return sum(peaks) if peaks else None


@dataclass(frozen=True, slots=True)
class Throttled:
    """A span of time in which a card was throttled, by NVML's names of why."""

    span: Window
    reasons: tuple[str, ...]


def throttled_spans(samples: Sequence[DeviceSample], until_ns: int) -> list[Throttled]:
    """When one card was throttled. What a sample says holds until the next one, or until `until_ns`.

    It does not hold over a gap that is longer than power is interpolated over.
    """
    spans: list[Throttled] = []
    ends = (*(sample.t_ns for sample in samples[1:]), until_ns)
    for sample, next_ns in zip(samples, ends, strict=False):
        end_ns = min(next_ns, sample.t_ns + _LONGEST_NS)
        found = throttling(sample.throttle_reasons or ())
        if not found or end_ns <= sample.t_ns:
            continue
        last = spans[-1] if spans else None
        if last is not None and last.span.end_ns == sample.t_ns and last.reasons == found:
            spans[-1] = Throttled(Window(last.span.start_ns, end_ns), found)
        else:
            spans.append(Throttled(Window(sample.t_ns, end_ns), found))
    return spans


def throttled(by_device: Mapping[str, Sequence[DeviceSample]], window: Window) -> Throttling | None:
    """How long a window was throttled: of the device that was throttled longest. None where no device says."""
    if not any(s.throttle_reasons is not None for samples in by_device.values() for s in samples):
        return None
    longest, names = 0.0, dict[str, None]()
    for samples in by_device.values():
        seconds = 0.0
        for part in throttled_spans(samples, window.end_ns):
            inside = min(part.span.end_ns, window.end_ns) - max(part.span.start_ns, window.start_ns)
            if inside > 0:
                seconds += inside / 1e9
                names.update(dict.fromkeys(part.reasons))
        longest = max(longest, seconds)
    return Throttling(longest, tuple(names))


def _inside(t_ns: int, window: Window) -> bool:
    return window.start_ns <= t_ns <= window.end_ns
