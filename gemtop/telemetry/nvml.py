"""NVIDIA cards through NVML: the only module that imports pynvml, and it does so when a probe starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gemtop.domain.telemetry import DeviceInfo, DeviceSample, TelemetryStatus
from gemtop.telemetry.probes import failed, unread_device

# Constants of nvml.h; pynvml has them too, but the table of queries is built before it is imported.
_TEMPERATURE_GPU = 0
_CLOCK_SM = 1
_CLOCK_MEM = 2
_MEMORY_V2 = 0x02000028
_NOT_AVAILABLE = frozenset({0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})
"""NVML_VALUE_NOT_AVAILABLE, -1, as it looks in an unsigned field of either width."""

_REASONS = {
    1: "NVML is not initialised",
    3: "not supported by this card",
    4: "no permission",
    6: "not found by the driver",
    9: "no driver: the NVIDIA kernel module is not loaded",
    10: "the driver did not answer in time",
    12: "no driver: libnvidia-ml.so.1 not found",
    13: "not in this version of the driver",
    15: "GPU is lost",
    16: "GPU needs a reset",
    17: "blocked by the operating system",
    18: "driver/library version mismatch: reboot, or reload the NVIDIA kernel module",
    21: "no data yet",
    25: "not in this version of the driver",
    26: "no longer in this version of the driver",
    27: "the driver is not ready",
    28: "GPU is lost",
    999: "the driver reports an unknown error",
}
"""nvmlReturn_t to what a user reads."""
_GONE = frozenset({15, 16, 28})
"""Errors of the whole card: asking it for the next field would only wait for the same answer."""
_OTHER_CALL = frozenset({13, 25, 26})
"""Errors of the driver's version: another call may give the same reading."""
_NO_FUNCTION = 13
_NO_PERMISSION = 4
_NO_PERMISSION_AT_ALL = "no permission to talk to the driver (/dev/nvidia*)"


def _pynvml() -> Any:
    import pynvml

    return pynvml


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guarded call came back with: a value, or the reason there is none."""

    value: Any = None
    reason: str | None = None
    code: int | None = None
    """nvmlReturn_t of a call that NVML refused."""


class NvmlLibrary:
    """Every call into NVML passes through `call`; nothing else in gemtop touches the bindings.

    `load` returns the bindings; it runs at the first call.
    """

    def __init__(self, load: Callable[[], Any] = _pynvml) -> None:
        self._load = load
        self._bindings: Any = None

    def call(self, name: str, *args: object) -> Answer:
        """Call a function of the bindings by name. Never raises: whatever goes wrong becomes the reason."""
        if self._bindings is None:
            try:
                self._bindings = self._load()
            except ImportError:
                return Answer(reason="nvidia-ml-py is not installed")
        function = getattr(self._bindings, name, None)
        if function is None:
            return Answer(reason="not in this version of nvidia-ml-py", code=_NO_FUNCTION)
        try:
            return Answer(value=function(*args))
        except self._bindings.NVMLError as error:
            code = getattr(error, "value", None)
            reason = _REASONS.get(code) if isinstance(code, int) else None
            return Answer(reason=reason or f"NVML: {error}", code=code)
        except Exception as error:
            return Answer(reason=failed(error))


@dataclass(frozen=True, slots=True, eq=False)
class _Query:
    """One question to a device and the fields its answer fills.

    Of `calls` (name and arguments after the handle) the first that the driver knows is used; they must mean
    the same. Each field has the function that takes its raw number from the answer, and how many of NVML's
    units make one of the field's: None where the field is a whole number in NVML's own unit.
    """

    calls: tuple[tuple[str, tuple[object, ...]], ...]
    fields: tuple[tuple[str, Callable[[Any], Any], float | None], ...]


def _itself(value: Any) -> Any:
    return value


_QUERIES = (
    _Query(
        (("nvmlDeviceGetPowerUsage", ()),),
        (("power_w", _itself, 1e3),),
    ),
    _Query(
        (("nvmlDeviceGetTotalEnergyConsumption", ()),),
        (("energy_j", _itself, 1e3),),
    ),
    _Query(
        (("nvmlDeviceGetUtilizationRates", ()),),
        (("gpu_util_pct", lambda u: u.gpu, 1.0), ("mem_util_pct", lambda u: u.memory, 1.0)),
    ),
    # The first version counts what the driver holds back for itself as used; it serves drivers before 510.
    _Query(
        (("nvmlDeviceGetMemoryInfo", (_MEMORY_V2,)), ("nvmlDeviceGetMemoryInfo", ())),
        (("vram_used_bytes", lambda m: m.used, None),),
    ),
    _Query(
        (
            ("nvmlDeviceGetTemperature", (_TEMPERATURE_GPU,)),
            ("nvmlDeviceGetTemperatureV", (_TEMPERATURE_GPU,)),
        ),
        (("temperature_c", _itself, 1.0),),
    ),
    _Query((("nvmlDeviceGetClockInfo", (_CLOCK_SM,)),), (("clock_sm_mhz", _itself, 1.0),)),
    _Query((("nvmlDeviceGetClockInfo", (_CLOCK_MEM,)),), (("clock_mem_mhz", _itself, 1.0),)),
)
"""What a sample asks. Power and energy come first: they are read closest to the sample's timestamp."""

_INFO_QUERIES = (
    _Query(
        (("nvmlDeviceGetMemoryInfo", (_MEMORY_V2,)), ("nvmlDeviceGetMemoryInfo", ())),
        (("memory_total_bytes", lambda m: m.total, None),),
    ),
    _Query((("nvmlDeviceGetEnforcedPowerLimit", ()),), (("power_limit_w", _itself, 1e3),)),
)
"""Numbers that are read once, when the probe starts."""


class _Device:
    """One card: its handle, what does not change, and which of the alternative calls its driver knows."""

    def __init__(self, library: NvmlLibrary, index: int) -> None:
        self._library = library
        self._first_call: dict[_Query, int] = {}
        opened = library.call("nvmlDeviceGetHandleByIndex", index)
        self._handle = opened.value
        self._unopened = opened.reason
        self.info = self._unknown(index, opened.reason) if opened.reason else self._describe(index)

    def sample(self, t_ns: int) -> DeviceSample:
        """Read every field. Once the card is found lost, the fields left are not asked for."""
        if self._unopened is not None:
            return unread_device(t_ns, self.info.index, self._unopened)
        values, reasons = self._ask_all(_QUERIES)
        return DeviceSample(t_ns=t_ns, device=self.info.index, reasons=reasons, **values)

    def _ask_all(self, queries: tuple[_Query, ...]) -> tuple[dict[str, Any], dict[str, str]]:
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        gone: str | None = None
        for query in queries:
            answer = Answer(reason=gone) if gone else self._ask(query)
            if answer.code in _GONE:
                gone = answer.reason
            for name, raw_of, divisor in query.fields:
                if answer.reason is not None:
                    reasons[name] = answer.reason
                    continue
                raw = int(raw_of(answer.value))
                if raw in _NOT_AVAILABLE:
                    reasons[name] = "the driver gives no value"
                else:
                    values[name] = raw if divisor is None else raw / divisor
        return values, reasons

    def _ask(self, query: _Query) -> Answer:
        first = self._first_call.get(query, 0)
        answer = Answer()
        for number in range(first, len(query.calls)):
            name, args = query.calls[number]
            answer = self._library.call(name, self._handle, *args)
            if answer.code not in _OTHER_CALL:
                self._first_call[query] = number
                break
        return answer

    def _describe(self, index: int) -> DeviceInfo:
        values, reasons = self._ask_all(_INFO_QUERIES)
        name = self._library.call("nvmlDeviceGetName", self._handle)
        uuid = self._library.call("nvmlDeviceGetUUID", self._handle)
        pci = self._library.call("nvmlDeviceGetPciInfo", self._handle)
        for field, answer in (("name", name), ("uuid", uuid), ("pci_bus_id", pci)):
            if answer.reason is not None:
                reasons[field] = answer.reason
        return DeviceInfo(
            index=str(index),
            name=name.value or "unknown GPU",
            uuid=uuid.value,
            pci_bus_id=_pci_bus_id(pci.value) if pci.reason is None else None,
            memory_total_bytes=values.get("memory_total_bytes"),
            power_limit_w=values.get("power_limit_w"),
            reasons=reasons,
        )

    @staticmethod
    def _unknown(index: int, reason: str) -> DeviceInfo:
        return DeviceInfo(str(index), "unknown GPU", None, None, None, None, {"handle": reason})


def _pci_bus_id(info: Any) -> str:
    """`0000:c1:00.0`, as ggml's backends write it; NVML's own text has capitals and a longer domain."""
    return f"{info.domain:04x}:{info.bus:02x}:{info.device:02x}.0"


class NvmlProbe:
    """Samples of every NVIDIA card on the machine, whether or not this process may use it for CUDA."""

    def __init__(self, library: NvmlLibrary | None = None, *, visible_only: bool = False) -> None:
        self._library = library or NvmlLibrary()
        self._devices: list[_Device] = []
        self._initialised = False

    def start(self) -> TelemetryStatus:
        """Load NVML and read what does not change. Without a usable driver the status says why.

        Takes some milliseconds, and seconds where the driver has to wake the cards up first.
        """
        begun = self._library.call("nvmlInit")
        if begun.reason is not None:
            reason = _NO_PERMISSION_AT_ALL if begun.code == _NO_PERMISSION else begun.reason
            return TelemetryStatus((), None, reason)
        self._initialised = True
        driver = self._library.call("nvmlSystemGetDriverVersion").value
        count = self._library.call("nvmlDeviceGetCount")
        if count.reason is not None:
            return TelemetryStatus((), driver, count.reason)
        self._devices = [_Device(self._library, index) for index in range(count.value)]
        none = None if self._devices else "the driver finds no NVIDIA card"
        return TelemetryStatus(tuple(d.info for d in self._devices), driver, none)

    def read(self, t_ns: int) -> tuple[DeviceSample, ...]:
        """One sample of each device, in NVML's order, stamped `t_ns`: monotonic_ns at the call."""
        return tuple(device.sample(t_ns) for device in self._devices)

    def stop(self) -> None:
        """Shut NVML down. May be called again, and without `start`."""
        self._devices = []
        if self._initialised:
            self._initialised = False
            self._library.call("nvmlShutdown")
