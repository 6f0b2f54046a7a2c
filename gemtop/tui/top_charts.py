"""The charts of the monitor, from what it has read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gemtop.charts.live import LiveCharts, Scene
from gemtop.charts.spec import ChartSpec, Reading, Series, nice_ceiling, stepped_window, with_gaps
from gemtop.domain.telemetry import DeviceSample, HostSample
from gemtop.monitor import MonitorView
from gemtop.tui.devices import GIB
from gemtop.tui.traces import without_values

_ROLES = ("load", "prefill", "decode", "memory", "power", "throttle", "weights", "text")
_LEAST_SPAN_S = 60.0
_RAM_STEP_GIB = 4.0
"""The axis of the memory ends at a multiple of it, so that its quarters are whole."""
_READINGS = 120
"""Readings in view at most: one for each dot of a chart that is a third of the usual width."""


def span_of(period_s: float) -> float:
    """Seconds that the charts of a monitor with this period show."""
    return max(_LEAST_SPAN_S, _READINGS * period_s)


@dataclass(frozen=True, slots=True)
class TopCharts:
    """Charts of the cards; where there is none, of the machine."""

    origin_ns: int
    live: LiveCharts

    @classmethod
    def begin(cls, origin_ns: int, period_s: float) -> TopCharts:
        """Charts that count their time from `origin_ns`."""
        return cls(origin_ns, LiveCharts(origin_ns, span_of(period_s)))

    def specs(self, view: MonitorView) -> list[ChartSpec]:
        """Most important first."""
        if view.status is None:
            return []
        if not view.status.devices:
            return self._of_host(view)
        devices, samples, hosts = view.status.devices, view.device_samples, view.host_samples
        named = len(devices) > 1
        scene = Scene(view.t_ns, devices, samples, hosts)
        charts = (self._utilisation(view), self.live.power(scene), self.live.memory(scene))
        return [without_values(spec, named=named) for spec in charts]

    def _seconds(self, t_ns: int) -> float:
        return (t_ns - self.origin_ns) / 1e9

    def _window(self, view: MonitorView) -> tuple[float, float]:
        return stepped_window(self._seconds(view.t_ns), self.live.span_s)

    def _utilisation(self, view: MonitorView) -> ChartSpec:
        assert view.status is not None
        series, readings = [], []
        for number, info in enumerate(view.status.devices):
            role = _ROLES[number % len(_ROLES)]
            points = with_gaps((self._seconds(s.t_ns), s.gpu_util_pct) for s in _of(view.device_samples, info.index))
            series.append(Series(f"GPU {info.index}", role, points))
            readings.append(Reading(f"GPU {info.index}", "", role))
        return ChartSpec(
            title="utilisation",
            unit="%",
            series=tuple(series),
            x_range=self._window(view),
            y_range=(0.0, 100.0),
            readings=tuple(readings),
            placeholder="utilisation appears here",
        )

    def _of_host(self, view: MonitorView) -> list[ChartSpec]:
        last = view.host_samples[-1] if view.host_samples else None
        total = last.ram_total_bytes if last else None
        charts = [
            self._host_chart(view, "CPU load", "%", "load", lambda s: s.host_cpu_pct, 100.0),
            self._host_chart(
                view,
                "RAM",
                "GiB",
                "memory",
                lambda s: None if s.ram_used_bytes is None else s.ram_used_bytes / GIB,
                _RAM_STEP_GIB * math.ceil(total / GIB / _RAM_STEP_GIB) if total else 1.0,
            ),
        ]
        temperature = [s.cpu_temperature_c for s in view.host_samples if s.cpu_temperature_c is not None]
        if temperature:
            most = max(100.0, nice_ceiling(max(temperature)))
            charts.append(self._host_chart(view, "CPU temp", "°C", "power", lambda s: s.cpu_temperature_c, most))
        return charts

    def _host_chart(
        self,
        view: MonitorView,
        title: str,
        unit: str,
        role: str,
        value: Callable[[HostSample], float | None],
        most: float,
    ) -> ChartSpec:
        points = with_gaps((self._seconds(s.t_ns), value(s)) for s in view.host_samples)
        return ChartSpec(
            title=title,
            unit=unit,
            series=(Series(title, role, points),),
            x_range=self._window(view),
            y_range=(0.0, most),
            placeholder=f"{title} appears here",
        )


def _of(samples: Sequence[DeviceSample], device: str) -> list[DeviceSample]:
    return [sample for sample in samples if sample.device == device]
