"""The live charts, from what was measured: pure, and the same for a replay."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gemtop.charts.spec import Band, ChartSpec, Mark, Point, Reading, Series, stable_range, stepped_window, with_gaps
from gemtop.domain.figures import Timing
from gemtop.domain.rates import RatePoint
from gemtop.domain.resources import Throttled, power_of
from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample

DEFAULT_SPAN_S = 60.0
SPANS_S = (30, 60, 300, 900)
"""Spans of time that charts can show."""
CHARTS = {
    "speed": "tokens/s",
    "memory": "memory",
    "power": "power",
    "utilisation": "utilisation",
    "temperature": "temperature",
    "clocks": "SM clock",
    "cpu": "CPU load",
}
"""What a chart can be of, by name, in words."""
Moments = Sequence[tuple[int, str]]
"""(monotonic ns, words) of what is marked on the charts: changes of settings."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What was measured, for charts to be drawn of."""

    now_ns: int
    devices: Sequence[DeviceInfo] = ()
    samples: Sequence[DeviceSample] = ()
    hosts: Sequence[HostSample] = ()
    prefill: Sequence[RatePoint] = ()
    decode: Sequence[RatePoint] = ()
    timing: Timing | None = None
    moments: Moments = ()
    throttled: Sequence[Throttled] = ()
    roof_share: float | None = None


_GIB = 2**30
_NOW_NS = 1_500_000_000
"""Speed that was taken within it is of now."""


class LiveCharts:
    """Charts of one session. Keeps only the y ranges, so that they seldom change."""

    def __init__(self, origin_ns: int, span_s: float = DEFAULT_SPAN_S) -> None:
        self._origin_ns = origin_ns
        self.span_s = span_s
        self._ranges: dict[str, tuple[float, float]] = {}

    def _seconds(self, t_ns: int) -> float:
        return (t_ns - self._origin_ns) / 1e9

    def _window(self, now_ns: int) -> tuple[float, float]:
        return stepped_window(self._seconds(now_ns), self.span_s)

    def _marks(self, moments: Moments, window: tuple[float, float], *, labelled: bool = False) -> tuple[Mark, ...]:
        """Those in view; the words stand on one of the charts, the lines on all."""
        found = ((self._seconds(t_ns), words if labelled else "") for t_ns, words in moments)
        return tuple(Mark(x, words) for x, words in found if window[0] <= x <= window[1])

    def _bands(self, throttled: Sequence[Throttled], window: tuple[float, float]) -> tuple[Band, ...]:
        """In whole half seconds, so that a band that goes on does not change with every frame."""
        found = (
            Band(
                math.floor(self._seconds(part.span.start_ns) * 2) / 2,
                math.ceil(self._seconds(part.span.end_ns) * 2) / 2,
                " ".join(part.reasons),
                "throttle",
            )
            for part in throttled
        )
        return tuple(band for band in found if band.end >= window[0] and band.start <= window[1])

    def _range(self, name: str, points: Sequence[Point], window: tuple[float, float]) -> tuple[float, float]:
        visible = [y for x, y in points if window[0] <= x <= window[1]]
        found = stable_range(self._ranges.get(name), visible)
        self._ranges[name] = found
        return found

    def draw(self, name: str, scene: Scene) -> ChartSpec:
        """A chart of CHARTS."""
        made: dict[str, Callable[[Scene], ChartSpec]] = {
            "speed": self.speed,
            "memory": self.memory,
            "power": self.power,
            "utilisation": self.utilisation,
            "temperature": self.temperature,
            "clocks": self.clocks,
            "cpu": self.cpu,
        }
        return made[name](scene)

    def speed(self, scene: Scene) -> ChartSpec:
        """Tokens a second: decode on the left axis, prefill, ten times as fast, on the right one.

        Times at which a card was throttled are set apart by a band.
        """
        window, timing, roof_share = self._window(scene.now_ns), scene.timing, scene.roof_share
        slow = tuple((self._seconds(p.t_ns), p.tokens_per_s) for p in scene.decode)
        fast = tuple((self._seconds(p.t_ns), p.tokens_per_s) for p in scene.prefill)
        now = [p.tokens_per_s for p in scene.decode[-1:] if scene.now_ns - p.t_ns < _NOW_NS]
        readings = (
            _number_reading("now", now[0] if now else None, ""),
            _number_reading("decode", timing.decode_tokens_per_s if timing else None, "decode"),
            _number_reading("prefill", timing.prefill_tokens_per_s if timing else None, "prefill"),
            *([Reading("roof", f"{100 * roof_share:.0f} %", "muted", 4)] if roof_share is not None else []),
        )
        return ChartSpec(
            title="tokens/s",
            series=(Series("prefill", "prefill", fast, right_axis=True), Series("decode", "decode", slow)),
            x_range=window,
            y_range=self._range("decode", slow, window),
            right_range=self._range("prefill", fast, window),
            readings=readings,
            marks=self._marks(scene.moments, window, labelled=True),
            bands=self._bands(scene.throttled, window),
            placeholder="speeds appear here with the first run",
        )

    def memory(self, scene: Scene) -> ChartSpec:
        """Memory used on the devices, or resident memory of this process where there is no GPU."""
        window, hosts = self._window(scene.now_ns), scene.hosts
        marks = self._marks(scene.moments, window)
        if scene.devices:
            spec = ChartSpec(title="VRAM", unit="GiB", x_range=window, marks=marks, placeholder="memory appears here")
            return self._per_device(spec, "memory", scene.devices, scene.samples, _vram_gib, _vram_reading)
        points = with_gaps(
            (self._seconds(s.t_ns), None if s.process_rss_bytes is None else s.process_rss_bytes / _GIB) for s in hosts
        )
        last = hosts[-1] if hosts else None
        return ChartSpec(
            title="RAM",
            unit="GiB",
            series=(Series("this process", "memory", points),),
            x_range=window,
            y_range=self._range("ram", points, window),
            readings=(
                Reading("process", _gib(last.process_rss_bytes if last else None), "memory"),
                Reading("machine", _of(_gib(last.ram_used_bytes), _gib(last.ram_total_bytes)) if last else "", "", 12),
            ),
            marks=marks,
            placeholder="memory appears here",
        )

    def _per_device(
        self,
        spec: ChartSpec,
        role: str,
        devices: Sequence[DeviceInfo],
        samples: Sequence[DeviceSample],
        value: Callable[[DeviceSample], float | None],
        reading: Callable[[DeviceInfo, DeviceSample | None], Reading],
    ) -> ChartSpec:
        """`spec` with a curve and a reading for each device, all on one scale; `reading` gets the last sample."""
        series: list[Series] = []
        readings: list[Reading] = []
        for number, device in enumerate(devices):
            own = [s for s in samples if s.device == device.index]
            label, colour = f"GPU {device.index}", _device_role(number, role)
            series.append(Series(label, colour, with_gaps((self._seconds(s.t_ns), value(s)) for s in own)))
            readings.append(replace(reading(device, own[-1] if own else None), label=label, colour_role=colour))
        every = [point for curve in series for point in curve.points]
        y_range = self._range(spec.title, every, spec.x_range)
        return replace(spec, series=tuple(series), readings=tuple(readings), y_range=y_range)

    def power(self, scene: Scene) -> ChartSpec:
        """Power of the devices, or CPU load where no device has a power sensor, and labelled so."""
        samples = scene.samples
        measured = [d for d in scene.devices if any(s.device == d.index and power_of(s) is not None for s in samples)]
        if not measured:
            return replace(self.cpu(scene), title="CPU load (no power sensor)")
        window = self._window(scene.now_ns)
        spec = ChartSpec(title="power", unit="W", x_range=window, marks=self._marks(scene.moments, window))
        return self._per_device(spec, "power", measured, samples, power_of, _power_reading)

    def utilisation(self, scene: Scene) -> ChartSpec:
        """Share of time in which each card was at work, as the driver counts it."""
        return self._percentages(scene, "utilisation", "load", lambda s: s.gpu_util_pct)

    def temperature(self, scene: Scene) -> ChartSpec:
        """Of the cards; of the CPU where there is none and it tells."""
        window = self._window(scene.now_ns)
        spec = ChartSpec(
            title="temperature",
            unit="°C",
            x_range=window,
            marks=self._marks(scene.moments, window),
            placeholder="no temperature can be read",
        )
        if scene.devices:
            return self._per_device(
                spec,
                "power",
                scene.devices,
                scene.samples,
                lambda s: s.temperature_c,
                _plain_reading("°C", "temperature_c"),
            )
        points = with_gaps((self._seconds(s.t_ns), s.cpu_temperature_c) for s in scene.hosts)
        known = [y for _, y in points if y is not None]
        return replace(
            spec,
            title="CPU temperature",
            series=(Series("CPU", "power", points),),
            y_range=self._range("CPU temperature", points, window),
            readings=(Reading("CPU", f"{known[-1]:.0f} °C" if known else "N/A", "power", 6),),
        )

    def clocks(self, scene: Scene) -> ChartSpec:
        """Of the multiprocessors of each card."""
        window = self._window(scene.now_ns)
        spec = ChartSpec(
            title="SM clock",
            unit="MHz",
            x_range=window,
            marks=self._marks(scene.moments, window),
            placeholder="no clock can be read",
        )
        return self._per_device(
            spec,
            "decode",
            scene.devices,
            scene.samples,
            lambda s: s.clock_sm_mhz,
            _plain_reading("MHz", "clock_sm_mhz"),
        )

    def _percentages(
        self, scene: Scene, title: str, role: str, value: Callable[[DeviceSample], float | None]
    ) -> ChartSpec:
        window = self._window(scene.now_ns)
        spec = ChartSpec(
            title=title,
            unit="%",
            x_range=window,
            marks=self._marks(scene.moments, window),
            placeholder=f"no {title} can be read",
        )
        reading = _plain_reading("%", "gpu_util_pct")
        return replace(self._per_device(spec, role, scene.devices, scene.samples, value, reading), y_range=(0.0, 100.0))

    def cpu(self, scene: Scene) -> ChartSpec:
        """Load of this machine."""
        window, hosts = self._window(scene.now_ns), scene.hosts
        points = with_gaps((self._seconds(s.t_ns), s.host_cpu_pct) for s in hosts)
        last = hosts[-1] if hosts else None
        return ChartSpec(
            title="CPU load",
            unit="%",
            series=(Series("all cores", "load", points),),
            x_range=window,
            y_range=(0.0, 100.0),
            readings=(
                Reading("machine", _percent(last.host_cpu_pct if last else None), "load"),
                Reading("process", _percent(last.process_cpu_pct if last else None)),
            ),
            marks=self._marks(scene.moments, window),
            placeholder="CPU load appears here",
        )


def _plain_reading(unit: str, field: str) -> Callable[[DeviceInfo, DeviceSample | None], Reading]:
    """Of a field of the samples, in whole units."""

    def reading(_device: DeviceInfo, last: DeviceSample | None) -> Reading:
        value = getattr(last, field) if last else None
        return Reading("", "N/A" if value is None else f"{value:.0f} {unit}", width=len(unit) + 5)

    return reading


def _device_role(number: int, first: str) -> str:
    return (first, "prefill", "decode", "load")[number % 4]


def _number_reading(label: str, value: float | None, role: str) -> Reading:
    return Reading(label, "-" if value is None else f"{value:.1f}", role, 6)


def _gib(value: int | None) -> str:
    return "N/A" if value is None else f"{value / _GIB:.2f}"


def _of(part: str, whole: str) -> str:
    return f"{part} of {whole}"


def _percent(value: float | None) -> str:
    return "N/A" if value is None else f"{value:.0f}"


def _vram_gib(sample: DeviceSample) -> float | None:
    return None if sample.vram_used_bytes is None else sample.vram_used_bytes / _GIB


def _vram_reading(device: DeviceInfo, last: DeviceSample | None) -> Reading:
    return Reading("", _of(_gib(last.vram_used_bytes if last else None), _gib(device.memory_total_bytes)), width=12)


def _power_reading(device: DeviceInfo, last: DeviceSample | None) -> Reading:
    watts = power_of(last) if last else None
    text = "N/A" if watts is None else f"{watts:.0f}"
    limit = f" / {device.power_limit_w:.0f}" if device.power_limit_w else ""
    return Reading("", f"{text}{limit} W{_kind_of_power(last)}", width=15)


def _kind_of_power(sample: DeviceSample | None) -> str:
    """Whether what the chart shows is of that moment or a mean."""
    if sample is None or power_of(sample) is None:
        return ""
    return " now" if sample.power_instant_w is not None else " avg" if sample.power_average_w is not None else ""
