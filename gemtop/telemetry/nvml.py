"""NVIDIA cards through NVML: the only module that imports pynvml, and it does so when a probe starts."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemtop.domain.telemetry import DeviceSample, TelemetryStatus
from gemtop.domain.visible import Card, visible
from gemtop.telemetry.nvml_device import Device
from gemtop.telemetry.nvml_processes import ProcessReader
from gemtop.telemetry.nvml_queries import (
    INVALID_ARGUMENT,
    LIBRARY_GONE,
    NO_FUNCTION,
    NO_PERMISSION,
    OTHER_CALL,
    REASONS,
    RELOADED,
    Answer,
)
from gemtop.telemetry.probes import failed

_NO_PERMISSION_AT_ALL = "no permission to talk to the driver (/dev/nvidia*)"
_HIDDEN = "CUDA_VISIBLE_DEVICES hides every card"
_VERSIONS = ("driver_version", "cuda_version")
STUCK_NS = 5_000_000_000
"""A slow reading that takes longer does not speak of the present any more."""
_LEAVE_S = 0.1
"""How long the library waits to be initialised again for a reading that is under way."""


def _pynvml() -> Any:
    import pynvml

    return pynvml


class NvmlLibrary:
    """Every call into NVML passes through `call`; nothing else in gemtop touches the bindings.

    `load` returns the bindings; it runs at the first call. Any thread may call.
    """

    def __init__(self, load: Callable[[], Any] = _pynvml) -> None:
        self._load = load
        self._bindings: Any = None
        self._counting = threading.Lock()
        self._inside = 0
        self._entered_ns = 0
        self._spent_ns = 0

    @property
    def spent_ns(self) -> int:
        """Nanoseconds in which at least one thread was inside NVML, calls under way included."""
        with self._counting:
            return self._spent_ns + (time.monotonic_ns() - self._entered_ns if self._inside else 0)

    def call(self, name: str, *args: object) -> Answer:
        """Call a function of the bindings by name. Never raises: whatever goes wrong becomes the reason."""
        if self._bindings is None:
            try:
                self._bindings = self._load()
            except ImportError:
                return Answer(reason="nvidia-ml-py is not installed")
        function = getattr(self._bindings, name, None)
        if function is None:
            return Answer(reason="not in this version of nvidia-ml-py", code=NO_FUNCTION)
        with self._counting:
            self._inside += 1
            if self._inside == 1:
                self._entered_ns = time.monotonic_ns()
        try:
            return Answer(value=function(*args))
        except self._bindings.NVMLError as error:
            code = getattr(error, "value", None)
            reason = REASONS.get(code) if isinstance(code, int) else None
            return Answer(reason=reason or f"NVML: {error}", code=code)
        except Exception as error:
            return Answer(reason=failed(error))
        finally:
            with self._counting:
                self._inside -= 1
                if not self._inside:
                    self._spent_ns += time.monotonic_ns() - self._entered_ns


_ONE_MOMENT_NS = 1_000_000


class NvmlProbe:
    """Samples of the NVIDIA cards that CUDA_VISIBLE_DEVICES leaves to this process, where that can be told.

    With `visible_only` false, of every card on the machine. `side_by_side` reads what is slow of all cards at once, on
    a thread each: for one who waits for it. `proc` is where the kernel shows processes.
    """

    def __init__(
        self,
        library: NvmlLibrary | None = None,
        *,
        visible_only: bool = True,
        side_by_side: bool = False,
        proc: Path = Path("/proc"),
    ) -> None:
        self._library = library or NvmlLibrary()
        self._visible_only = visible_only
        self._side_by_side = side_by_side
        self._proc = proc
        self._devices: list[Device] = []
        self._initialised = False
        self._status: TelemetryStatus | None = None
        self._in_use = threading.Lock()
        self._refreshing_ns: int | None = None
        """When the slow reading that is under way began."""

    @property
    def spent_ns(self) -> int:
        """Nanoseconds in which some thread was inside NVML, since the probe was made."""
        return self._library.spent_ns

    @property
    def status(self) -> TelemetryStatus | None:
        """As `start` gave it, with what `refresh` has found since; None before. Any thread may ask."""
        return self._status

    def start(self) -> TelemetryStatus:
        """Load NVML and read what does not change. Without a usable driver the status says why.

        Takes some milliseconds, and seconds where the driver has to wake the cards up first. May be called again
        where no card was found; those that CUDA_VISIBLE_DEVICES hides are not looked for again.
        """
        if self._status is None or self._status.gpu_reason != _HIDDEN:
            self.stop()
            self._status = self._find()
        return self._status

    def _find(self) -> TelemetryStatus:
        begun = self._library.call("nvmlInit")
        if begun.reason is not None:
            reason = _NO_PERMISSION_AT_ALL if begun.code == NO_PERMISSION else begun.reason
            return TelemetryStatus((), None, reason, reasons=dict.fromkeys(_VERSIONS, reason))
        self._initialised = True
        found = self._with_versions(TelemetryStatus((), None, None))
        count = self._library.call("nvmlDeviceGetCount")
        if count.reason is not None:
            return replace(found, gpu_reason=count.reason)
        processes = ProcessReader(self._library, self._proc)
        devices = [Device(self._library, processes, self._in_use, index) for index in range(count.value)]
        self._devices, notes = self._choose(devices)
        none = None if self._devices else _HIDDEN if devices else "the driver finds no NVIDIA card"
        return replace(found, devices=tuple(d.info for d in self._devices), gpu_reason=none, notes=notes)

    def read(self, t_ns: int) -> tuple[DeviceSample, ...]:
        """One sample of each device, in NVML's order, stamped `t_ns`: monotonic_ns at the call.

        Where the devices before it took longer than a millisecond, a sample is stamped as much later. What is slow
        to read is as of the last `refresh`. May be called while another thread is in `refresh`.
        """
        since_ns = self._refreshing_ns
        stuck = since_ns is not None and time.monotonic_ns() - since_ns > STUCK_NS
        began_ns = time.monotonic_ns()
        samples = []
        for device in self._devices:
            later_ns = time.monotonic_ns() - began_ns
            samples.append(device.sample(t_ns + (later_ns if later_ns > _ONE_MOMENT_NS else 0), stuck))
        return tuple(samples)

    def refresh(self) -> None:
        """Read what is slow, and ask for cards that were lost and for a driver that was unloaded.

        What is found of them changes `status`.
        """
        self._refreshing_ns = time.monotonic_ns()
        try:
            down = not self._initialised or any(device.lost_code in LIBRARY_GONE for device in self._devices)
            if self._devices and down and not self._initialise_again():
                return
            if self._side_by_side:
                self._refresh_side_by_side()
            else:
                for device in self._devices:
                    device.refresh()
            infos = tuple(device.info for device in self._devices)
            if self._status is not None and infos != self._status.devices:
                self._status = replace(self._status, devices=infos)
        finally:
            self._refreshing_ns = None

    def _refresh_side_by_side(self) -> None:
        threads = [threading.Thread(target=device.refresh, daemon=True) for device in self._devices]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        """Shut NVML down. May be called again, and without `start`."""
        self._devices, self._status = [], None
        if self._initialised:
            self._initialised = False
            self._library.call("nvmlShutdown")

    def _initialise_again(self) -> bool:
        # A reading that hangs inside the driver keeps its place: try again the next time.
        if not self._in_use.acquire(timeout=_LEAVE_S):
            return False
        try:
            # No card is asked meanwhile, so that no reading waits for the driver.
            self._lose_all(Answer(reason=RELOADED, code=INVALID_ARGUMENT))
        finally:
            self._in_use.release()
        if self._initialised:
            self._library.call("nvmlShutdown")
        begun = self._library.call("nvmlInit")
        self._initialised = begun.reason is None
        if begun.reason is not None:
            self._lose_all(begun)
        elif self._status is not None:
            self._status = self._with_versions(self._status)  # it may be another driver now
        return self._initialised

    def _lose_all(self, answer: Answer) -> None:
        for device in self._devices:
            device.lose(answer)

    def _choose(self, devices: list[Device]) -> tuple[list[Device], tuple[str, ...]]:
        if not self._visible_only:
            return devices, ()
        cards = [Card(int(d.info.index), d.info.uuid, d.info.name) for d in devices]
        found = visible(cards, os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_DEVICE_ORDER"))
        return [device for device in devices if int(device.info.index) in found.indices], found.notes

    def _with_versions(self, status: TelemetryStatus) -> TelemetryStatus:
        driver, cuda = self._library.call("nvmlSystemGetDriverVersion"), self._cuda_version()
        reasons = {name: a.reason for name, a in zip(_VERSIONS, (driver, cuda), strict=True) if a.reason is not None}
        version = None if cuda.reason is not None else f"{cuda.value // 1000}.{cuda.value % 1000 // 10}"
        return replace(status, driver_version=driver.value, cuda_version=version, reasons=reasons)

    def _cuda_version(self) -> Answer:
        answer = Answer()
        for name in ("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"):
            answer = self._library.call(name)
            if answer.code not in OTHER_CALL:
                break
        return answer
