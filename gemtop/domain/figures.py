"""The figures of one run, computed once from its timestamps and its samples."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from gemtop.domain.energy import Energy, Reading, Window, measured
from gemtop.domain.statistics import percentile
from gemtop.domain.telemetry import DeviceSample, HostSample


@dataclass(frozen=True, slots=True)
class Latency:
    """Inter-token latency (ITL): the gaps between generated tokens, in milliseconds."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Speed and latency of one run. None where the run was too short to have one."""

    prompt_tokens: int
    generated_tokens: int
    ttft_s: float | None
    """From the start of the run to the first generated token."""
    prefill_tokens_per_s: float | None
    """Prompt tokens over the time until the last of them was decoded."""
    decode_tokens_per_s: float | None
    """Generated tokens after the first, over the time from the first to the last."""
    latency: Latency


def rate_per_s(count: int, duration_ns: int) -> float | None:
    """Events a second; None where there are none or no time has passed."""
    return count * 1e9 / duration_ns if count > 0 and duration_ns > 0 else None


class TimingAccumulator:
    """Timing of a run while it runs and when it has ended: fed by one thread, read by any.

    All times are on one monotonic clock in nanoseconds.
    """

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self._prefill: tuple[int, int] | None = None
        self._first_ns: int | None = None
        self._decode_from_ns: int | None = None
        self._last_ns = 0
        self._generated = 0
        self._gaps_ms: list[float] = []

    def add_prefill(self, t_ns: int, n_done: int) -> None:
        """Prompt tokens decoded so far."""
        self._prefill = (t_ns, n_done)

    def begin_decode(self, t_ns: int) -> None:
        """Decoding starts without a prefill before it, as in a generation test: the first token counts too."""
        self._decode_from_ns = self._last_ns = t_ns

    def add_token(self, t_ns: int) -> None:
        """A generated token, stamped when it had been sampled."""
        if self._decode_from_ns is None:
            # The first token comes out of the prefill: decoding is what happens after it.
            self._first_ns = self._decode_from_ns = t_ns
        else:
            insort(self._gaps_ms, (t_ns - self._last_ns) / 1e6)
        self._last_ns = t_ns
        self._generated += 1

    @property
    def first_token_ns(self) -> int | None:
        """When the prefill had given its token; None before, and where there was no prefill."""
        return self._first_ns

    def timing(self) -> Timing:
        t_ns, prompt_tokens = self._prefill or (self.start_ns, 0)
        begun, gaps = self._decode_from_ns, self._gaps_ms
        return Timing(
            prompt_tokens=prompt_tokens,
            generated_tokens=self._generated,
            ttft_s=None if self._first_ns is None else (self._first_ns - self.start_ns) / 1e9,
            prefill_tokens_per_s=rate_per_s(prompt_tokens, t_ns - self.start_ns),
            decode_tokens_per_s=None if begun is None else rate_per_s(len(gaps), self._last_ns - begun),
            latency=Latency(percentile(gaps, 50), percentile(gaps, 95), percentile(gaps, 99)),
        )


def timing(start_ns: int, prefill: Sequence[tuple[int, int]], token_t_ns: Sequence[int]) -> Timing:
    """Timing of a whole run: `prefill` holds (t_ns, prompt tokens decoded so far) in order."""
    run = TimingAccumulator(start_ns)
    for t_ns, n_done in prefill:
        run.add_prefill(t_ns, n_done)
    for t_ns in token_t_ns:
        run.add_token(t_ns)
    return run.timing()


@dataclass(frozen=True, slots=True)
class Resources:
    """Memory, power and energy of one run, over the devices that hold a part of the model."""

    vram_peak_bytes: int | None = None
    ram_peak_bytes: int | None = None
    """Largest resident memory of the process."""
    power_mean_w: float | None = None
    energy_j: float | None = None
    prefill_j_per_token: float | None = None
    decode_j_per_token: float | None = None
    power_mean_error_w: float | None = None
    """How far off it may be, as of the three below."""
    energy_error_j: float | None = None
    prefill_j_per_token_error: float | None = None
    decode_j_per_token_error: float | None = None
    reasons: dict[str, str] = field(default_factory=dict)


def _vram_peak(by_device: dict[str, list[DeviceSample]], window: Window) -> int | None:
    peaks: list[int] = []
    for samples in by_device.values():
        used = [s.vram_used_bytes for s in samples if s.vram_used_bytes is not None and _inside(s.t_ns, window)]
        if not used:
            return None
        peaks.append(max(used))
    return sum(peaks) if peaks else None


def _inside(t_ns: int, window: Window) -> bool:
    return window.start_ns <= t_ns <= window.end_ns


def _total_energy(by_device: dict[str, list[DeviceSample]], window: Window) -> Energy | None:
    """Of all devices together; None where one of them is not known."""
    parts = [measured(_counter(samples), _power(samples), window) for samples in by_device.values()]
    known = [part for part in parts if part is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(parts) else None


def _counter(samples: Sequence[DeviceSample]) -> list[Reading]:
    return [(s.t_ns, s.energy_j) for s in samples if s.energy_j is not None]


def _power(samples: Sequence[DeviceSample]) -> list[Reading]:
    return [(s.t_ns, s.power_w) for s in samples if s.power_w is not None]


def resources(
    devices: Sequence[DeviceSample],
    host: Sequence[HostSample],
    used_devices: Sequence[str],
    run: Window,
    first_token_ns: int | None,
    prompt_tokens: int,
    generated_tokens: int,
) -> Resources:
    """Memory, power and energy of a run from the samples around it.

    `used_devices` are NVML indices of the GPUs that hold a part of the model; others do not count. Samples
    should reach one beyond each end of the run, so that power can be interpolated at its borders.
    Decode energy is per generated token after the first: the first comes out of the prefill.
    """
    reasons: dict[str, str] = {}
    rss = [s.process_rss_bytes for s in host if s.process_rss_bytes is not None and _inside(s.t_ns, run)]
    ram_peak = max(rss) if rss else None
    if ram_peak is None:
        reasons["ram_peak_bytes"] = "no sample of this process fell into the run"
    gpu_fields = ("vram_peak_bytes", "power_mean_w", "energy_j", "prefill_j_per_token", "decode_j_per_token")
    if not used_devices:
        reasons |= dict.fromkeys(gpu_fields, "no part of the model is on a GPU that can be read")
        return Resources(ram_peak_bytes=ram_peak, reasons=reasons)
    by_device = {d: [s for s in devices if s.device == d] for d in used_devices}
    total = _total_energy(by_device, run)
    decode_tokens = generated_tokens
    prefill = decode = None
    if first_token_ns is not None:
        prefill = _total_energy(by_device, Window(run.start_ns, first_token_ns))
        decode = _total_energy(by_device, Window(first_token_ns, run.end_ns))
        decode_tokens -= 1
    elif not generated_tokens:  # a prompt test, or a run stopped in its prefill
        prefill = total
    elif not prompt_tokens:  # a generation test
        decode = total
    figures: dict[str, float] = {}
    for name, energy, count in (
        ("power_mean_w", total, run.seconds),
        ("energy_j", total, 1),
        ("prefill_j_per_token", prefill, prompt_tokens),
        ("decode_j_per_token", decode, decode_tokens),
    ):
        if energy is None or count <= 0:
            covered = total is not None and name.endswith("per_token")
            reasons[name] = "this run has no such phase" if covered else _NOT_COVERED
        elif not energy.is_measured:
            reasons[name] = f"too short to measure: {energy.joules:.1f} ± {energy.error_j:.1f} J"
        else:
            share = energy.per(count)
            figures[name], figures[_ERRORS[name]] = share.joules, share.error_j
    vram_peak = _vram_peak(by_device, run)
    if vram_peak is None:
        reasons["vram_peak_bytes"] = _NOT_COVERED
    return Resources(vram_peak_bytes=vram_peak, ram_peak_bytes=ram_peak, reasons=reasons, **figures)


_NOT_COVERED = "the GPU's readings do not cover the run"
_ERRORS = {
    "power_mean_w": "power_mean_error_w",
    "energy_j": "energy_error_j",
    "prefill_j_per_token": "prefill_j_per_token_error",
    "decode_j_per_token": "decode_j_per_token_error",
}
