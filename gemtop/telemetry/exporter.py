"""The latest readings for a Prometheus server: the only module that imports prometheus_client.

It listens on 127.0.0.1 alone. What is not known is left out, never 0: a gap in a graph is true, a zero is not.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gemtop.domain.telemetry import CostSample, DeviceInfo, DeviceSample, HostSample, TelemetryStatus

ADDRESS = "127.0.0.1"
_PREFIX = "gemtop_"
_PER_GPU = ("gpu", "name", "uuid")
_FAMILIES = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}

Value = tuple[tuple[str, ...], float | None]
"""Values of the metric's own labels, and the number."""


class Source(Protocol):
    """Readings that are of now."""

    @property
    def status(self) -> TelemetryStatus: ...

    @property
    def devices(self) -> Sequence[DeviceSample]: ...

    @property
    def host(self) -> HostSample | None: ...

    @property
    def cost(self) -> CostSample | None: ...


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _power(info: DeviceInfo, s: DeviceSample) -> Iterable[Value]:
    if s.power_average_w is None and s.power_instant_w is None:
        return [((info.power_reading or "unspecified",), s.power_w)]
    return [(("average",), s.power_average_w), (("instant",), s.power_instant_w)]


def _device(read: Callable[[DeviceSample], float | None]) -> Callable[[DeviceInfo, DeviceSample], list[Value]]:
    return lambda _info, s: [((), read(s))]


def _known(read: Callable[[DeviceInfo], float | None]) -> Callable[[DeviceInfo, DeviceSample], list[Value]]:
    return lambda info, _s: [((), read(info))]


_GPU_METRICS: tuple[tuple[str, str, str, tuple[str, ...], Callable[[DeviceInfo, DeviceSample], Iterable[Value]]], ...]
_GPU_METRICS = (
    ("gauge", "gpu_utilization_ratio", "Share of time that the GPU was busy.", (),
     _device(lambda s: _scaled(s.gpu_util_pct, 0.01))),
    ("gauge", "gpu_memory_controller_utilization_ratio", "Share of time that its memory was read or written.", (),
     _device(lambda s: _scaled(s.mem_util_pct, 0.01))),
    ("gauge", "gpu_memory_used_bytes", "Memory in use.", (), _device(lambda s: s.vram_used_bytes)),
    ("gauge", "gpu_memory_free_bytes", "Memory that is free.", (), _device(lambda s: s.vram_free_bytes)),
    ("gauge", "gpu_memory_total_bytes", "Memory of the card.", (), _known(lambda i: i.memory_total_bytes)),
    ("gauge", "gpu_power_watts", "Power draw, as a mean of the second before or at the moment.", ("reading",), _power),
    ("gauge", "gpu_power_limit_watts", "Power limit in force.", (), _known(lambda i: i.power_limit_w)),
    ("counter", "gpu_energy_joules", "Energy since the driver was loaded.", (), _device(lambda s: s.energy_j)),
    ("gauge", "gpu_temperature_celsius", "Temperature of the GPU.", (), _device(lambda s: s.temperature_c)),
    ("gauge", "gpu_clock_hertz", "Clocks.", ("clock",),
     lambda _i, s: [(("sm",), _scaled(s.clock_sm_mhz, 1e6)), (("memory",), _scaled(s.clock_mem_mhz, 1e6))]),
    ("gauge", "gpu_clock_max_hertz", "Highest clocks.", ("clock",),
     lambda i, _s: [(("sm",), _scaled(i.clock_sm_max_mhz, 1e6)), (("memory",), _scaled(i.clock_mem_max_mhz, 1e6))]),
    ("gauge", "gpu_throttled", "1 for each reason in force why clocks are not higher, by NVML's name.", ("reason",),
     lambda _i, s: [((reason,), 1.0) for reason in s.throttle_reasons or ()]),
    ("gauge", "gpu_fan_ratio", "Fan speed as a share of the highest.", (), _device(lambda s: _scaled(s.fan_pct, 0.01))),
    ("gauge", "gpu_performance_state", "Performance state: 0 is the fastest.", (), _device(lambda s: s.pstate)),
    ("gauge", "gpu_pcie_generation", "PCIe generation in use.", (), _device(lambda s: s.pcie_gen)),
    ("gauge", "gpu_pcie_lanes", "PCIe lanes in use.", (), _device(lambda s: s.pcie_width)),
    ("gauge", "gpu_pcie_bytes_per_second", "PCIe throughput into and out of the card.", ("direction",),
     lambda _i, s: [(("in",), s.pcie_rx_bytes_per_s), (("out",), s.pcie_tx_bytes_per_s)]),
    ("counter", "gpu_ecc_errors", "Memory errors since the driver was loaded.", ("kind",),
     lambda _i, s: [(("corrected",), s.ecc_corrected), (("uncorrected",), s.ecc_uncorrected)]),
    ("gauge", "gpu_processes", "Processes on the card, graphics too.", (),
     _device(lambda s: None if s.processes is None else len(s.processes))),
    ("gauge", "gpu_other_processes", "Compute processes on the card beside this one.", (),
     _device(lambda s: s.other_processes)),
    ("gauge", "gpu_memory_process_bytes", "Memory that this process holds.", (),
     _device(lambda s: s.vram_process_bytes)),
    ("gauge", "gpu_temperature_limit_celsius", "What the card is kept below, slows itself down at, shuts down at.",
     ("limit",), lambda i, _s: [(("target",), i.temperature_target_c), (("slowdown",), i.temperature_slowdown_c),
                                (("shutdown",), i.temperature_shutdown_c)]),
    ("gauge", "gpu_pcie_generation_max", "PCIe generation that card and slot can do.", (),
     _known(lambda i: i.pcie_gen_max)),
    ("gauge", "gpu_pcie_lanes_max", "PCIe lanes that card and slot have.", (), _known(lambda i: i.pcie_width_max)),
    ("gauge", "gpu_ecc_enabled", "1 where memory errors are corrected.", (), _known(lambda i: i.ecc_enabled)),
    ("gauge", "gpu_mig_enabled", "1 where the card is cut into instances.", (), _known(lambda i: i.mig_enabled)),
)  # fmt: skip
"""Type, name, help, labels beside the card's own, and how the values are read."""

_HOST_METRICS: tuple[tuple[str, str, str, tuple[str, ...], Callable[[HostSample], Iterable[Value]]], ...]
_HOST_METRICS = (
    ("gauge", "host_cpu_ratio", "Share of all cores that was busy.", (),
     lambda s: [((), _scaled(s.host_cpu_pct, 0.01))]),
    ("gauge", "host_cpu_core_ratio", "Share of each logical CPU that was busy.", ("core",),
     lambda s: [((str(core),), load / 100) for core, load in enumerate(s.cpu_by_core_pct or ())]),
    ("gauge", "host_memory_used_bytes", "Memory in use, caches not counted.", (), lambda s: [((), s.ram_used_bytes)]),
    ("gauge", "host_memory_total_bytes", "Memory of the machine.", (), lambda s: [((), s.ram_total_bytes)]),
    ("counter", "host_package_energy_joules", "Energy of the processor packages since gemtop started.", (),
     lambda s: [((), s.package_energy_j)]),
    ("gauge", "host_package_power_watts", "Power of the processor packages.", (), lambda s: [((), s.package_power_w)]),
    ("gauge", "host_cpu_temperature_celsius", "The hottest sensor of the processor.", (),
     lambda s: [((), s.cpu_temperature_c)]),
    ("counter", "host_swap_bytes", "Read from and written to swap since boot.", ("direction",),
     lambda s: [(("in",), s.swap_in_bytes), (("out",), s.swap_out_bytes)]),
)  # fmt: skip

_OWN_METRICS: tuple[tuple[str, str, str, Callable[[CostSample], float | None]], ...]
_OWN_METRICS = (
    ("gauge", "observer_cpu_ratio", "Cores that gemtop itself keeps busy.",
     lambda c: _scaled(c.observer_cpu_pct, 0.01)),
    ("gauge", "observer_nvml_ratio", "Share of time that gemtop spends inside NVML.",
     lambda c: _scaled(c.nvml_pct, 0.01)),
    ("counter", "observer_samples_late", "Ticks of the sampling that were skipped.", lambda c: c.samples_late),
)  # fmt: skip


class _Readings(Collector):
    """Makes the metrics anew from the latest readings, each time they are asked for."""

    def __init__(self, latest: Callable[[], Source | None]) -> None:
        self._latest = latest

    def collect(self) -> Iterator[Metric]:
        found = self._latest()
        if found is None:
            return
        yield self._info(found)
        samples = {sample.device: sample for sample in found.devices}
        cards = [(info, samples[info.index]) for info in found.status.devices if info.index in samples]
        for kind, name, text, labels, read in _GPU_METRICS:
            values = [
                ((info.index, info.name, info.uuid or "", *own), value)
                for info, sample in cards
                for own, value in read(info, sample)
            ]
            yield from _metric(kind, name, text, (*_PER_GPU, *labels), values)
        if found.host is not None:
            for kind, name, text, labels, read_host in _HOST_METRICS:
                yield from _metric(kind, name, text, labels, read_host(found.host))
        if found.cost is not None:
            for kind, name, text, read_own in _OWN_METRICS:
                yield from _metric(kind, name, text, (), [((), read_own(found.cost))])

    @staticmethod
    def _info(found: Source) -> Metric:
        labels = (*_PER_GPU, "pci_bus_id", "driver_version", "cuda_version")
        metric = GaugeMetricFamily(f"{_PREFIX}gpu_info", "1 for each card the driver knows.", labels=labels)
        for info in found.status.devices:
            about = (info.uuid, info.pci_bus_id, found.status.driver_version, found.status.cuda_version)
            metric.add_metric([info.index, info.name, *(text or "" for text in about)], 1.0)
        return metric


def _metric(kind: str, name: str, text: str, labels: Sequence[str], values: Iterable[Value]) -> Iterator[Metric]:
    known = [(own, value) for own, value in values if value is not None]
    if known:
        metric = _FAMILIES[kind](_PREFIX + name, text, labels=labels)
        for own, value in known:
            metric.add_metric(own, value)
        yield metric


class Exporter:
    """A server of metrics. Nothing listens before `start`.

    `latest` gives the readings that are of now, or None; it is called on the threads of the server.
    """

    def __init__(self, latest: Callable[[], Source | None]) -> None:
        # A registry of its own: the default one also tells of this process, which nobody asked for.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Readings(latest))
        self._server: Any = None
        self._thread: Any = None
        self._port = 0

    @property
    def address(self) -> str:
        """Where a Prometheus server finds the readings."""
        return f"http://{ADDRESS}:{self._port}/metrics"

    def start(self, port: int) -> None:
        """Listen on this port of 127.0.0.1. Raises OSError where that is not possible."""
        with socket.socket() as trial:
            # http.server shares a port with another that does so from Python 3.14 on; this one is not to be shared.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((ADDRESS, port))
        self._server, self._thread = start_http_server(port, addr=ADDRESS, registry=self._registry)
        self._port = self._server.server_port

    def stop(self) -> None:
        """Stop listening. May be called again, and without `start`."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()
