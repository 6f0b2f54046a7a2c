"""Sittings that stand still: what a session shows at one moment, made up so that it looks the same anywhere.

A clock of their own, two cards, and figures that are functions of time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gemtop.domain.events import LogLine
from gemtop.domain.figures import Latency, Timing
from gemtop.domain.model import BackendDevice, DeviceMemory
from gemtop.domain.plan import MemoryUse
from gemtop.domain.rates import RatePoint
from gemtop.domain.resources import Resources
from gemtop.domain.roofline import Bandwidth, Roof
from gemtop.domain.settings import EngineSettings
from gemtop.domain.telemetry import CostSample, DeviceInfo, DeviceSample, HostSample, TelemetryStatus
from gemtop.domain.validity import Verdict
from gemtop.run import RunView
from gemtop.view import Mark, SessionView
from tests.engines import fake_model

GIB = 2**30
S = 1_000_000_000
NOW_NS = 52 * S
CARD = DeviceInfo(
    "0", "NVIDIA GeForce RTX 3090", "GPU-0", "00000000:65:00.0", 24 * GIB, 350.0, architecture="Ampere",
    clock_sm_max_mhz=2100.0, clock_mem_max_mhz=9751.0, temperature_target_c=83.0, memory_bus_bits=384,
    pcie_gen_max=4, pcie_width_max=16,
)  # fmt: skip
MODEL = replace(
    fake_model(n_ctx=8192),
    n_gpu_layers=63,
    devices=(BackendDevice("CUDA0", "NVIDIA GeForce RTX 3090", "gpu", "CUDA", 24 * GIB, 6 * GIB, "0000:65:00.0"),),
    backend_label="CUDA",
)
MEMORY = (
    DeviceMemory(
        "CUDA0",
        "NVIDIA GeForce RTX 3090",
        MemoryUse(17_180_000_000, 800_000_000, 480_000_000, 540_000_000),
        19_000_000_000,
        MemoryUse(17_180_000_000, 800_000_000, 480_000_000, 540_000_000),
    ),
    DeviceMemory("CPU", "CPU", MemoryUse(1_410_000_000, 0, 0, 28_000_000, 1_050_000), None, MemoryUse(1_410_000_000)),
)
PROMPT = "Summarise the following minutes in three sentences."
TEXT = (
    "The council approved the budget after a short debate. Two amendments on library hours were put to the vote and "
    "carried, and a third, on parking near the harbour, was sent back to its committee. The next meeting is on the "
    "second Tuesday of the month, when the report on the bridge will be heard.\n"
)
LOG = (
    LogLine(1 * S, "info", "llama_model_loader: loaded meta data with 40 key-value pairs and 808 tensors"),
    LogLine(2 * S, "info", "load_tensors: offloaded 63/63 layers to GPU"),
    LogLine(3 * S, "warn", "llama_context: n_ctx_seq (8192) < n_ctx_train (131072)"),
)


def _timing(decode: float | None, tokens: int) -> Timing:
    return Timing(1204, tokens, 0.42, 2866.7, decode, Latency(28.9, 31.0, 44.7))


def run(number: int, status: Any = "finished", decode: float | None = 34.2, **more: Any) -> RunView:
    """A run of the scene's model."""
    made = RunView(
        run_id=f"20261127-101500-5ce9e000.{number}",
        number=number,
        kind="generate",
        prompt=PROMPT,
        status=status,
        stop_reason="end_of_generation" if status == "finished" else None,
        message=None,
        timing=_timing(decode, 312),
        prompt_total=1204,
        context_used=1516,
        variant="QAT Q4_0",
        resources=None if status is None else _RESOURCES,
        verdict=None if status is None else Verdict(True),
        roofs=(Roof("CUDA0", 16.4e9, Bandwidth(936e9, "nvml"), 57.1),),
    )
    return replace(made, **more)


_RESOURCES = Resources(
    vram_peak_bytes=19 * 10**9, power_mean_w=312.0, power_mean_error_w=4.0, energy_j=2980.0, energy_error_j=41.0,
    energy_source="counter", prefill_j_per_token=0.11, prefill_j_per_token_error=0.01, decode_j_per_token=9.1,
    decode_j_per_token_error=0.2, decode_net_j_per_token=8.4, decode_net_j_per_token_error=0.3,
)  # fmt: skip


def wave(t_s: float) -> float:
    return 0.5 + 0.5 * math.sin(t_s / 3)


def _card_samples(until_s: int, throttled: bool, lost: bool) -> tuple[DeviceSample, ...]:
    made = []
    for tick in range(2 * until_s):
        t_s = tick / 2
        if lost and t_s >= 36:
            reasons = dict.fromkeys(DeviceSample.__slots__, "the card is lost")
            made.append(DeviceSample(round(t_s * S), "0", reasons=reasons))
            continue
        busy = t_s >= 20
        why = ("SwPowerCap",) if throttled and 30 <= t_s < 45 else ()
        made.append(
            DeviceSample(
                round(t_s * S),
                "0",
                gpu_util_pct=97.0 if busy else 3.0,
                mem_util_pct=88.0 if busy else 1.0,
                vram_used_bytes=round((18.1 if t_s >= 12 else 0.4) * GIB),
                vram_free_bytes=round((5.9 if t_s >= 12 else 23.6) * GIB),
                power_w=300.0 + 20 * wave(t_s) if busy else 34.0,
                power_average_w=300.0 + 20 * wave(t_s) if busy else 34.0,
                power_instant_w=302.0 + 20 * wave(t_s) if busy else 33.0,
                temperature_c=40.0 + (0.5 * (t_s - 20) if busy else 0),
                clock_sm_mhz=1395.0 if why else 1695.0 if busy else 210.0,
                clock_mem_mhz=9751.0 if busy else 405.0,
                throttle_reasons=why,
                pstate=2 if busy else 8,
                fan_pct=62.0,
                pcie_gen=4,
                pcie_width=16,
                pcie_rx_bytes_per_s=10**8,
                pcie_tx_bytes_per_s=10**8,
                vram_process_bytes=round(17.7 * GIB),
                other_processes=0,
                processes=(),
            )
        )
    return tuple(made)


def view(
    *,
    model: bool = True,
    current: RunView | None = None,
    runs: tuple[RunView, ...] = (),
    throttled: bool = False,
    lost: bool = False,
) -> SessionView:
    """Everything a screen shows, 52 seconds into the sitting."""
    busy = current is not None
    decode = tuple(RatePoint(round((22 + n / 2) * S), 34.2 + 2 * wave(n / 2)) for n in range(60)) if busy else ()
    return SessionView(
        t_ns=NOW_NS,
        session_id="20261127-101500-5ce9e000",
        model=MODEL if model else None,
        loading=None,
        load_error=None,
        crashed=None,
        run=current,
        runs=runs,
        prefill_rate=tuple(RatePoint(round((20 + n / 4) * S), 2850.0) for n in range(8)) if busy else (),
        decode_rate=decode,
        devices=(CARD,),
        used_devices=("0",) if model else (),
        device_samples=_card_samples(52, throttled, lost),
        host_samples=tuple(
            HostSample(n * S, 12.0, 104.0, 9 * GIB, 64 * GIB, GIB, cpu_temperature_c=51.0) for n in range(52)
        ),
        cost=CostSample(NOW_NS, 101.0, 1.8, 0.4, 900.0, 0),
        telemetry=TelemetryStatus((CARD,), "570.00", None, "12.8"),
        problem=None,
        notes=(),
        settings=EngineSettings(),
        memory=MEMORY if model else (),
        marks=(Mark(18 * S, "ctx 4096 -> 8192", 0.4),) if busy else (),
        applying=False,
    )  # fmt: skip


_OLDER = (
    run(1),
    run(2, verdict=Verdict(False, ("power throttling for 4.1 of 31.0 s",)), decode=29.8),
    run(3, "cancelled", 33.9, stop_reason="cancelled", verdict=Verdict(None)),
)
_NOT_VALID = Verdict(False, ("power throttling (SwPowerCap) for 15.0 s of the decode",))
SCENES: Mapping[str, SessionView] = {
    "first start": view(model=False),
    "loading": replace(view(model=False), loading=0.42),
    "loaded": view(),
    "generating": view(current=run(4, None), runs=_OLDER),
    "ended": view(current=run(4), runs=(*_OLDER, run(4))),
    "throttled": view(current=run(4, verdict=_NOT_VALID), runs=(*_OLDER, run(4, verdict=_NOT_VALID)), throttled=True),
    "GPU lost": view(current=run(4, None), runs=_OLDER, lost=True),
    "crashed": replace(
        view(current=run(4, "crashed", verdict=None, resources=None), runs=_OLDER),
        crashed="CUDA error: out of memory",
    ),
}
"""By the state that the sitting is in."""


@dataclass
class StillSession:
    """What the screens ask of a session, at a moment that does not pass."""

    shown: SessionView
    log: tuple[LogLine, ...] = LOG
    conversation: list[tuple[str, str]] = field(default_factory=list)
    started_ns: int = 0
    last_request: Any = None
    problem: str | None = None
    applying: bool = False

    @property
    def run_number(self) -> int:
        return self.shown.run.number if self.shown.run else 0

    @property
    def crashed(self) -> str | None:
        return self.shown.crashed

    @property
    def ready(self) -> bool:
        return self.shown.model is not None and self.shown.crashed is None

    @property
    def busy(self) -> bool:
        return self.shown.run is not None and self.shown.run.status is None

    @property
    def settings(self) -> EngineSettings | None:
        return self.shown.settings

    def start(self) -> None: ...

    def open(self, path: str, settings: EngineSettings) -> None: ...

    def stop(self) -> None: ...

    def close(self, reason: str | None = None) -> bool:
        return True

    def view(self, span_s: float = 60.0) -> SessionView:
        return self.shown

    def text_since(self, number: int, count: int) -> tuple[int, int, str]:
        return number, count, ""

    def log_since(self, count: int) -> tuple[int, list[LogLine]]:
        return len(self.log), list(self.log[count:])
