"""What a session tells: everything there is to show at one moment, and what has just happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gemtop.domain.events import EngineEvent, LogLine
from gemtop.domain.model import DeviceMemory, LoadedModel
from gemtop.domain.rates import RatePoint
from gemtop.domain.records import RunBegin
from gemtop.domain.settings import EngineSettings
from gemtop.domain.telemetry import CostSample, DeviceInfo, DeviceSample, HostSample, TelemetryStatus
from gemtop.run import RunView


@dataclass(frozen=True, slots=True)
class RunRecorded:
    """A run has ended and its figures are final. `row` has the names of the view `runs`."""

    row: dict[str, Any]
    begin: RunBegin
    prompt: str | None
    output: str
    reasons: dict[str, str]
    message: str | None


SessionEvent = EngineEvent | RunRecorded | TelemetryStatus
Listener = Callable[[SessionEvent], None]
"""Called on the thread where it happened; it must return at once."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """Everything a screen shows, taken at one moment."""

    t_ns: int
    session_id: str
    model: LoadedModel | None
    loading: float | None
    """Fraction loaded; None when nothing is being loaded."""
    load_error: str | None
    crashed: str | None
    """What llama.cpp said before it gave up."""
    run: RunView | None
    """The run that goes on, or the last one."""
    runs: tuple[RunView, ...]
    prefill_rate: tuple[RatePoint, ...]
    decode_rate: tuple[RatePoint, ...]
    devices: tuple[DeviceInfo, ...]
    used_devices: tuple[str, ...]
    """NVML indices of the GPUs that hold a part of the model."""
    device_samples: tuple[DeviceSample, ...]
    host_samples: tuple[HostSample, ...]
    cost: CostSample | None
    """What gemtop itself took lately."""
    telemetry: TelemetryStatus | None
    problem: str | None
    """What keeps the history from being written."""
    notes: tuple[str, ...]
    """What the user should know of the history, a line each."""
    settings: EngineSettings | None
    """What was asked for of the model that is loaded."""
    memory: tuple[DeviceMemory, ...]
    """What it takes of each device, measured and predicted."""
    marks: tuple[Mark, ...]
    """When settings were changed."""
    applying: bool
    """A change of settings is being made."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A change of settings, for the charts."""

    t_ns: int
    label: str
    """What changed: "ctx 8192 -> 16384"."""
    change_s: float


class Shown(Protocol):
    """What the live screen needs of a session, one that goes on or one that is replayed, to draw itself."""

    @property
    def started_ns(self) -> int:
        """When the session began: the zero of its charts."""

    @property
    def run_number(self) -> int:
        """The run that goes on, or the last one; 0 before the first."""

    def view(self, span_s: float = 60.0) -> SessionView: ...

    def text_since(self, number: int, count: int) -> tuple[int, int, str]: ...

    def log_since(self, count: int) -> tuple[int, list[LogLine]]: ...
