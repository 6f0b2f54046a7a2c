"""One NVIDIA card: what does not change, its samples, and how it is found again when it was lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from typing import Any

from gemtop.domain.telemetry import DeviceInfo, DeviceSample, PowerReading
from gemtop.telemetry.nvml_processes import ProcessReader
from gemtop.telemetry.nvml_queries import (
    AVERAGING,
    CARD_GONE,
    FAST_QUERIES,
    INFO_QUERIES,
    INVALID_ARGUMENT,
    LASTING,
    LIBRARY_GONE,
    NO_FUNCTION,
    NO_VALUE,
    OTHER_CALL,
    POWER_FIELDS,
    REASONS,
    SLOW_FIELDS,
    SLOW_QUERIES,
    Answer,
    Asker,
    Library,
    thousandths,
)
from gemtop.telemetry.probes import unread_device

UNKNOWN_NAME = "unknown GPU"
LATE_NS = 50_000_000
"""A reading of energy or power that took longer says nothing of the moment it is stamped with."""
_OF_THE_MOMENT = ("energy_j", "power_w", "power_average_w", "power_instant_w")
_GA100 = "8.0"
_Slow = tuple[Mapping[str, Any], Mapping[str, str]]
_NOT_READ: _Slow = ({}, dict.fromkeys(SLOW_FIELDS, "not read yet"))
_STUCK: _Slow = ({}, dict.fromkeys(SLOW_FIELDS, "the driver does not answer"))
_INTEGER_FIELDS = {1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal"}
"""nvmlValueType_t to the member of the union that has the value; 0 is a double."""
_INFO_FIELDS = tuple(f.name for f in fields(DeviceInfo) if f.name not in ("index", "name", "reasons"))


class Device:
    """A card by its index. `sample` is called on one thread, `refresh` on another.

    `in_use` is held while the handle is used by `sample`, so that the library is not shut down meanwhile.
    """

    def __init__(self, library: Library, processes: ProcessReader, in_use: threading.Lock, index: int) -> None:
        self._library = library
        self._processes = processes
        self._in_use = in_use
        self._index = index
        self._handle: Any = None
        self._described = False
        self._fast = Asker(library, FAST_QUERIES)
        self._slow_asker = Asker(library, SLOW_QUERIES)
        self._power_refused: dict[str, str] = {}
        self._slow = _NOT_READ
        self._lost: Answer | None = None
        self.info = DeviceInfo(str(index), UNKNOWN_NAME, None, None, None, None)
        refused = self._open()
        if refused is not None:
            self.lose(refused)

    @property
    def lost_code(self) -> int | None:
        """NVML's error where the card does not answer."""
        return None if self._lost is None else self._lost.code

    def lose(self, answer: Answer) -> None:
        """Ask nothing until `refresh` has found the card again."""
        self._slow = _NOT_READ
        self._lost = answer

    def sample(self, t_ns: int, stuck: bool = False) -> DeviceSample:
        """Read what changes fast; the rest is as of the last `refresh`, unless that is `stuck` in the driver.

        A lost card is not asked.
        """
        if self._lost is None:
            with self._in_use:
                # It may have been lost while this waited.
                if self._lost is None:
                    began_ns = time.monotonic_ns()
                    values, reasons, gone = self._fast.ask(self._handle)
                    gone = gone or self._read_power(values, reasons)
                    if gone is None:
                        _drop_late(values, reasons, time.monotonic_ns() - began_ns)
                        return self._sample(t_ns, values, reasons, _STUCK if stuck else self._slow)
                    self.lose(gone)
        reason = self._lost.reason if self._lost else None
        return unread_device(t_ns, self.info.index, reason or NO_VALUE)

    def _sample(self, t_ns: int, values: dict[str, Any], reasons: dict[str, str], slow: _Slow) -> DeviceSample:
        slow_values, slow_reasons = slow
        reasons.update(slow_reasons)
        return DeviceSample(t_ns=t_ns, device=self.info.index, reasons=reasons, **values, **slow_values)

    def refresh(self) -> None:
        """Read what is slow, ask again what was not supported, and look for the card where it was lost."""
        if self._lost is not None:
            refused = self._open()
            if refused is not None:
                self.lose(refused)
                return
        self._fast.forget()
        self._slow_asker.forget()
        self._power_refused = {}
        values, reasons, gone = self._slow_asker.ask(self._handle)
        if gone is None:
            found, more_reasons, gone = self._processes.read(self._handle)
            values.update(found)
            reasons.update(more_reasons)
        if gone is not None:
            self.lose(gone)
            return
        self._slow = (values, reasons)
        # Last, so that the sample after coming back has everything.
        self._lost = None

    def _open(self) -> Answer | None:
        """Get a handle, and what does not change where that is not known yet; else why there is none."""
        opened = Answer(code=next(iter(OTHER_CALL)))
        if self.info.uuid is not None:
            opened = self._library.call("nvmlDeviceGetHandleByUUID", self.info.uuid)
        if opened.code in OTHER_CALL:
            opened = self._library.call("nvmlDeviceGetHandleByIndex", self._index)
        if opened.reason is not None:
            if not self._described:
                self.info = DeviceInfo(
                    str(self._index), UNKNOWN_NAME, None, None, None, None, {"handle": opened.reason}
                )
            return opened
        self._handle = opened.value
        return None if self._described else self._describe()

    def _describe(self) -> Answer | None:
        values, reasons, gone = Asker(self._library, INFO_QUERIES).ask(self._handle)
        if gone is not None:
            reason = gone.reason or NO_VALUE
            self.info = DeviceInfo(
                str(self._index), UNKNOWN_NAME, None, None, None, None, dict.fromkeys(("name", *_INFO_FIELDS), reason)
            )
            return gone
        power_reading, why = _power_reading(values.get("architecture"), values.get("compute_capability"))
        if why is not None:
            reasons["power_reading"] = why
        known = {name: values.get(name) for name in _INFO_FIELDS if name != "power_reading"}
        self.info = DeviceInfo(
            index=str(self._index),
            name=values.get("name") or UNKNOWN_NAME,
            reasons=reasons,
            power_reading=power_reading,
            **known,
        )
        self._described = True
        self._fast.mig = bool(self.info.mig_enabled)
        return None

    def _read_power(self, values: dict[str, Any], reasons: dict[str, str]) -> Answer | None:
        """Average and instantaneous power, as fields of their own where the driver has them, else from power_w."""
        refused = self._power_refused
        wanted = [name for name in POWER_FIELDS if name not in refused]
        if wanted:
            answer = self._library.call(
                "nvmlDeviceGetFieldValues", self._handle, [POWER_FIELDS[name] for name in wanted]
            )
            if answer.code in CARD_GONE or answer.code in LIBRARY_GONE:
                return answer
            for number, name in enumerate(wanted):
                value, reason, code = _field(answer, number)
                if value is not None:
                    values[name] = value
                    continue
                if code in CARD_GONE or code in LIBRARY_GONE:
                    return Answer(reason=reason, code=code)
                reasons[name] = reason
                if code in LASTING:
                    refused[name] = reason
        if refused:
            reasons.update(refused)
        if len(values.keys() & POWER_FIELDS.keys()) < len(POWER_FIELDS) and self.info.power_reading is not None:
            same = "power_average_w" if self.info.power_reading == "average" else "power_instant_w"
            if same not in values and "power_w" in values:
                values[same] = values["power_w"]
                reasons.pop(same, None)
        return None


def _drop_late(values: dict[str, Any], reasons: dict[str, str], took_ns: int) -> None:
    """Leave out what must be of the moment of the stamp where the driver took too long over the reading."""
    if took_ns <= LATE_NS:
        return
    for name in _OF_THE_MOMENT:
        if values.pop(name, None) is not None:
            reasons[name] = "the driver took too long to tell it"


def _field(answer: Answer, number: int) -> tuple[float | None, str, int | None]:
    """One of the values of nvmlDeviceGetFieldValues in W, or why there is none, with NVML's code."""
    if answer.reason is not None:
        return None, answer.reason, answer.code
    entry = answer.value[number]
    if entry.nvmlReturn == INVALID_ARGUMENT:  # a driver from before this field
        return None, REASONS[NO_FUNCTION], NO_FUNCTION
    if entry.nvmlReturn != 0:
        return None, REASONS.get(entry.nvmlReturn, f"NVML: error {entry.nvmlReturn}"), entry.nvmlReturn
    if entry.valueType == 0:
        milliwatts = entry.value.dVal
        return (milliwatts / 1e3 if isfinite(milliwatts) else None), NO_VALUE, None
    member = _INTEGER_FIELDS.get(entry.valueType)
    watts = None if member is None else thousandths(getattr(entry.value, member))
    return watts, NO_VALUE, None


def _power_reading(architecture: str | None, compute_capability: str | None) -> tuple[PowerReading | None, str | None]:
    """What nvmlDeviceGetPowerUsage gives on this card, by NVIDIA's documentation, or why that is not known."""
    if architecture is None:
        return None, "the driver does not tell the card's architecture"
    if architecture.startswith("architecture"):
        return None, f"not known of {architecture}"
    if architecture not in AVERAGING:
        return "instant", None
    if architecture == "Ampere" and compute_capability is None:
        return None, "whether the card is a GA100 is not known"
    return ("instant" if compute_capability == _GA100 else "average"), None
