"""What gemtop asks of NVML: which call fills which field, and what a refusal is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from gemtop.domain.throttle import names_of

# Constants of nvml.h; pynvml has them too, but these tables are built before it is imported.
_TEMPERATURE_GPU = 0
_THRESHOLD_SHUTDOWN, _THRESHOLD_SLOWDOWN, _THRESHOLD_GPU_MAX = 0, 1, 3
_CLOCK_SM, _CLOCK_MEM = 1, 2
_PCIE_TX, _PCIE_RX = 0, 1
_CORRECTED, _UNCORRECTED, _VOLATILE = 0, 1, 0
_MEMORY_V2 = 0x02000028
_NOT_AVAILABLE = frozenset({0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})
"""NVML_VALUE_NOT_AVAILABLE, -1, as it looks in an unsigned field of either width."""
POWER_FIELDS = {"power_average_w": 185, "power_instant_w": 186}
"""Field of a sample to NVML_FI_DEV_POWER_AVERAGE and NVML_FI_DEV_POWER_INSTANT, both in mW."""

INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NO_FUNCTION = 13
REASONS = {
    1: "the driver was unloaded",
    2: "the driver does not take the question",
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
CARD_GONE = frozenset({15, 16, 28})
"""Errors of the whole card: asking it for the next field would only wait for the same answer."""
LIBRARY_GONE = frozenset({1, 9})
"""Errors of the whole library: it has to be initialised again."""
OTHER_CALL = frozenset({13, 25, 26})
"""Errors of the driver's version: another call may give the same reading."""
LASTING = frozenset({3, 13, 25, 26})
"""Refusals that the next tick would only repeat."""
NO_VALUE = "the driver gives no value"
RELOADED = "the driver was reloaded"
_CUT_INTO_INSTANCES = "not given while the card is cut into MIG instances"
_SHARED_MEMORY = "this card shares the machine's memory: see RAM"


class Answer(NamedTuple):  # there are a hundred a second and more: a frozen dataclass takes twice the time
    """What a guarded call came back with: a value, or the reason there is none."""

    value: Any = None
    reason: str | None = None
    code: int | None = None
    """nvmlReturn_t of a call that NVML refused."""


class Library(Protocol):
    """Calls into NVML; nothing that it raises gets through."""

    def call(self, name: str, *args: object) -> Answer:
        """Call a function of the bindings by name."""


Take = Callable[[Any], Any]
"""From the value of an answer to the value of a field, in the field's unit; None where NVML gives none."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One question to a device and the fields its answer fills.

    Of `calls` (name and arguments after the handle) the first that the driver knows is used; they must mean
    the same.
    """

    calls: tuple[tuple[str, tuple[object, ...]], ...]
    fields: tuple[tuple[str, Take], ...]


def whole(value: Any) -> int | None:
    """A number as NVML gives it."""
    number = int(value)
    return None if number in _NOT_AVAILABLE else number


def real(value: Any) -> float | None:
    """A number as NVML gives it, for a field that need not be whole."""
    number = int(value)
    return None if number in _NOT_AVAILABLE else float(number)


def thousandths(value: Any) -> float | None:
    """mW and mJ to W and J."""
    number = int(value)
    return None if number in _NOT_AVAILABLE else number / 1e3


def _kibibytes(value: Any) -> int | None:
    number = whole(value)
    return None if number is None else number * 1024


def _performance_state(value: Any) -> int | None:
    return value if 0 <= value <= 15 else None  # 32 is NVML_PSTATE_UNKNOWN


def _current_is_on(modes: Any) -> bool:
    return bool(modes[0])  # the second one comes into force with the next restart


def _bus_id(info: Any) -> str:
    """`0000:c1:00.0`, as ggml's backends write it; NVML's own text has capitals and a longer domain."""
    return f"{info.domain:04x}:{info.bus:02x}:{info.device:02x}.0"


ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada",
    9: "Hopper",
    10: "Blackwell",
    13: "Rubin",
}
"""nvmlDeviceArchitecture_t to NVIDIA's name."""
AVERAGING = frozenset({"Ampere", "Ada", "Hopper", "Blackwell", "Rubin"})
"""Where nvmlDeviceGetPowerUsage is an average over a second, but for compute capability 8.0 (GA100)."""


def _architecture(value: Any) -> str | None:
    number = whole(value)
    return None if number is None else ARCHITECTURES.get(number, f"architecture {number}")


_MEMORY_CALLS = (("nvmlDeviceGetMemoryInfo", (_MEMORY_V2,)), ("nvmlDeviceGetMemoryInfo", ()))
"""The second counts what the driver holds back for itself as used; it serves drivers before 510."""


def _one(call: str, *args: object, **fields: Take) -> Query:
    return Query(((call, args),), tuple(fields.items()))


FAST_QUERIES = (
    _one("nvmlDeviceGetPowerUsage", power_w=thousandths),
    _one("nvmlDeviceGetTotalEnergyConsumption", energy_j=thousandths),
    _one(
        "nvmlDeviceGetUtilizationRates",
        gpu_util_pct=lambda rates: real(rates.gpu),
        mem_util_pct=lambda rates: real(rates.memory),
    ),
    Query(
        _MEMORY_CALLS,
        (("vram_used_bytes", lambda m: whole(m.used)), ("vram_free_bytes", lambda m: whole(m.free))),
    ),
    Query(
        (("nvmlDeviceGetTemperature", (_TEMPERATURE_GPU,)), ("nvmlDeviceGetTemperatureV", (_TEMPERATURE_GPU,))),
        (("temperature_c", real),),
    ),
    _one("nvmlDeviceGetClockInfo", _CLOCK_SM, clock_sm_mhz=real),
    _one("nvmlDeviceGetClockInfo", _CLOCK_MEM, clock_mem_mhz=real),
    Query(
        (("nvmlDeviceGetCurrentClocksEventReasons", ()), ("nvmlDeviceGetCurrentClocksThrottleReasons", ())),
        # The same few masks come again and again.
        (("throttle_reasons", lru_cache(maxsize=64)(names_of)),),
    ),
    _one("nvmlDeviceGetPerformanceState", pstate=_performance_state),
)
"""What each sample asks. Power and energy come first: they are read closest to the sample's timestamp."""

SLOW_QUERIES = (
    _one("nvmlDeviceGetFanSpeed", fan_pct=real),
    _one("nvmlDeviceGetCurrPcieLinkGeneration", pcie_gen=whole),
    _one("nvmlDeviceGetCurrPcieLinkWidth", pcie_width=whole),
    _one("nvmlDeviceGetPcieThroughput", _PCIE_RX, pcie_rx_bytes_per_s=_kibibytes),
    _one("nvmlDeviceGetPcieThroughput", _PCIE_TX, pcie_tx_bytes_per_s=_kibibytes),
    _one("nvmlDeviceGetTotalEccErrors", _CORRECTED, _VOLATILE, ecc_corrected=whole),
    _one("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE, ecc_uncorrected=whole),
)
"""What is asked on the slow thread, beside the processes: each throughput takes 20 ms or more."""

PROCESS_FIELDS = ("vram_process_bytes", "other_processes", "processes")
SLOW_FIELDS = (*(name for query in SLOW_QUERIES for name, _ in query.fields), *PROCESS_FIELDS)

INFO_QUERIES = (
    _one("nvmlDeviceGetName", name=str),
    _one("nvmlDeviceGetUUID", uuid=str),
    _one("nvmlDeviceGetPciInfo", pci_bus_id=_bus_id),
    Query(_MEMORY_CALLS, (("memory_total_bytes", lambda m: whole(m.total)),)),
    _one("nvmlDeviceGetEnforcedPowerLimit", power_limit_w=thousandths),
    _one("nvmlDeviceGetArchitecture", architecture=_architecture),
    _one("nvmlDeviceGetCudaComputeCapability", compute_capability=lambda version: f"{version[0]}.{version[1]}"),
    _one("nvmlDeviceGetMaxClockInfo", _CLOCK_SM, clock_sm_max_mhz=real),
    _one("nvmlDeviceGetMaxClockInfo", _CLOCK_MEM, clock_mem_max_mhz=real),
    _one("nvmlDeviceGetTemperatureThreshold", _THRESHOLD_GPU_MAX, temperature_target_c=real),
    _one("nvmlDeviceGetTemperatureThreshold", _THRESHOLD_SLOWDOWN, temperature_slowdown_c=real),
    _one("nvmlDeviceGetTemperatureThreshold", _THRESHOLD_SHUTDOWN, temperature_shutdown_c=real),
    _one("nvmlDeviceGetMemoryBusWidth", memory_bus_bits=whole),
    _one("nvmlDeviceGetMaxPcieLinkGeneration", pcie_gen_max=whole),
    _one("nvmlDeviceGetMaxPcieLinkWidth", pcie_width_max=whole),
    _one("nvmlDeviceGetEccMode", ecc_enabled=_current_is_on),
    _one("nvmlDeviceGetMigMode", mig_enabled=_current_is_on),
)
"""What is read once, when the card is opened."""

_SHARED_FIELDS = frozenset({"vram_used_bytes", "vram_free_bytes", "memory_total_bytes"})
_UTILISATION = frozenset({"gpu_util_pct", "mem_util_pct"})


class Asker:
    """Puts a table of questions to one card. Which calls its driver knows is remembered.

    What the card does not support is not asked again until `forget`.
    """

    def __init__(self, library: Library, queries: tuple[Query, ...]) -> None:
        self._library = library
        self._queries = queries
        self._first_call = [0] * len(queries)
        self._refused: list[Answer | None] = [None] * len(queries)
        self.mig = False
        """The card is cut into MIG instances, which explains some refusals."""

    def ask(self, handle: Any) -> tuple[dict[str, Any], dict[str, str], Answer | None]:
        """The fields that were answered, why the others were not, and the answer that ends all questions.

        That last one is None unless the card or the driver is gone; then nothing was read.
        """
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        stale = False
        for number, query in enumerate(self._queries):
            answer = self._refused[number] or self._put(number, query, handle)
            if answer.reason is None:
                for name, take in query.fields:
                    value = take(answer.value)
                    if value is None:
                        reasons[name] = NO_VALUE
                    else:
                        values[name] = value
                continue
            if answer.code in CARD_GONE or answer.code in LIBRARY_GONE:
                return {}, {}, answer
            stale = stale or answer.code == INVALID_ARGUMENT
            if answer.code in LASTING:
                self._refused[number] = answer
            for name, _ in query.fields:
                reasons[name] = self._worded(name, answer)
        # One question may be refused as invalid; where nothing at all is answered the handle is not valid.
        if stale and not values:
            return {}, {}, Answer(reason=RELOADED, code=INVALID_ARGUMENT)
        return values, reasons, None

    def forget(self) -> None:
        """Ask everything again from now on."""
        self._refused = [None] * len(self._queries)

    def _put(self, number: int, query: Query, handle: Any) -> Answer:
        at = self._first_call[number]
        while True:
            name, args = query.calls[at]
            answer = self._library.call(name, handle, *args)
            if answer.code not in OTHER_CALL:
                self._first_call[number] = at
                return answer
            at += 1
            if at == len(query.calls):
                return answer

    def _worded(self, name: str, answer: Answer) -> str:
        if answer.code == NOT_SUPPORTED:
            if self.mig and name in _UTILISATION:
                return _CUT_INTO_INSTANCES
            if name in _SHARED_FIELDS:
                return _SHARED_MEMORY
        return answer.reason or NO_VALUE
