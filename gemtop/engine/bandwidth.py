"""How fast a device reads its memory: measured by reading through ggml, as decode does, and remembered.

The test multiplies a matrix of 32-bit floats, larger than any cache, by a vector: what decode does, with the least
arithmetic for each byte, on the threads that decode uses. Unlike a copy it writes next to nothing, and unlike quantised
weights it has nothing to unpack (docs/devices.md has figures). The fastest of several readings counts, and the best
ever measured is kept: other programs can only make it slower.

`python -m gemtop.engine.bandwidth NAME THREADS [HOST:PORT ...]` measures one device and prints it as JSON.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gemtop.config import Paths, read_state, write_state
from gemtop.domain.errors import GemtopError, LoadCancelledError
from gemtop.domain.model import BackendDevice
from gemtop.domain.settings import OffloadSettings
from gemtop.engine.cpu import cpuinfo, last_level_cache_bytes, memory_bytes

NOT_MEASURED = "not measured; gemtop devices --bandwidth does it"

_STATE = "bandwidth"
_HOST = "CPU"
_MIB = 1 << 20
_COLUMNS = 16_384
"""Numbers in a row of the matrix: 64 KiB, read in one go by one thread."""
_ROW_BYTES = _COLUMNS * 4
_F32 = 0
_MOST_PASSES = 64
"""Readings of the matrix in one call, so that calling takes no time beside it."""
_CALL_S = 0.01
_TEST_S = 0.08
"""All readings after the first two, by one thread and by all."""
_FILL = 0x3C
"""Of every byte: a small number, and not the zeros that a memory controller may know how to leave out."""
_TIMEOUT_S = 60

_best: dict[str, float] = {}
"""By key, what this process has measured: it holds where the state folder cannot be written."""
_failed: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Identity:
    """Which memory, and who reads it: what stays the same when devices are numbered anew."""

    key: str
    slower: tuple[str, ...] = ()
    """Keys of what cannot be faster than this: the same memory read by fewer threads."""

    @classmethod
    def host(cls, n_threads: int) -> Identity:
        """This machine's memory, read by so many threads: one alone does not use all of it."""
        about = "\n".join((cpuinfo("model name"), cpuinfo("flags") or cpuinfo("Features")))
        cpu = f"{_HOST} {hashlib.sha256(about.encode()).hexdigest()[:16]}"
        return cls(f"{cpu} {n_threads} threads", tuple(f"{cpu} {fewer} threads" for fewer in range(1, n_threads)))

    @classmethod
    def card(cls, description: str, pci_bus_id: str | None) -> Identity:
        return cls(f"{description} {pci_bus_id or ''}".strip())

    @classmethod
    def remote(cls, endpoint: str, index: int) -> Identity:
        """A device of an RPC server, by its place among the server's."""
        return cls(f"RPC {endpoint} {index}")


def identities(devices: Sequence[Mapping[str, object]], n_threads: int) -> tuple[Identity, ...]:
    """Of devices as describe.list_devices has them, in the same order."""
    found, seen = [], dict[str, int]()
    for device in devices:
        endpoint = device["rpc_server"]
        if endpoint:
            index = seen[str(endpoint)] = seen.get(str(endpoint), -1) + 1
            found.append(Identity.remote(str(endpoint), index))
        elif device["kind"] == "cpu":
            found.append(Identity.host(n_threads))
        else:
            pci = device["pci_bus_id"]
            found.append(Identity.card(str(device["description"]), str(pci) if pci else None))
    return tuple(found)


def remembered(paths: Paths, identity: Identity) -> float | None:
    """The best ever measured, in bytes per second; None where nothing was."""
    stored = read_state(paths, _STATE)
    values = [known.get(key) for key in (identity.key, *identity.slower) for known in (stored, _best)]
    return max((value for value in values if isinstance(value, (int, float)) and value > 0), default=None)


def remember(paths: Paths, identity: Identity, bytes_per_s: float) -> float:
    """Keep what was measured where nothing faster was; the best ever, in bytes per second."""
    best = max(bytes_per_s, remembered(paths, identity) or 0.0)
    _best[identity.key] = best
    write_state(paths, _STATE, read_state(paths, _STATE) | {identity.key: best})
    return best


def host_reads(offload: OffloadSettings, n_layers: int | None, devices: Mapping[str, BackendDevice]) -> bool:
    """Whether these settings leave layers to the CPU; `n_layers` are the model's, the output layer not counted."""
    cards = [
        device
        for device in devices.values()
        if device.kind in ("gpu", "igpu") and (device.name in offload.devices or not offload.devices)
    ]
    return not cards or n_layers is None or 0 <= offload.n_gpu_layers <= n_layers


def measure_host_once(paths: Paths, n_threads: int, cancelled: Callable[[], bool]) -> None:
    """Measure the host's memory with these threads, once a process, in 0.2 to 0.3 s, and remember it.

    Never raises: where it cannot be measured, `known` says why. When cancelled, it is tried again the next time.
    """
    identity = Identity.host(n_threads)
    if identity.key in _best or identity.key in _failed or cancelled():
        return
    try:
        remember(paths, identity, measure(_HOST, n_threads, cancelled))
    except LoadCancelledError:
        return
    except GemtopError as error:
        _failed[identity.key] = str(error)


def known(
    paths: Paths, devices: Mapping[str, BackendDevice], n_threads: int
) -> tuple[dict[str, float], dict[str, str]]:
    """What is remembered of these devices, in bytes per second by llama.cpp's name; and why of the others nothing."""
    from gemtop.engine import stand_ins

    remote = {
        device.name: Identity.remote(endpoint, index)
        for endpoint, served in stand_ins.known.items()
        for index, device in enumerate(served)
    }
    found, reasons = dict[str, float](), dict[str, str]()
    for name, device in devices.items():
        here = Identity.host(n_threads) if device.kind == "cpu" else None
        identity = here or remote.get(name) or Identity.card(device.description, device.pci_bus_id)
        best = remembered(paths, identity)
        if best is None:
            reasons[name] = _failed.get(identity.key, NOT_MEASURED)
        else:
            found[name] = best
    return found, reasons


def measure(name: str, n_threads: int, cancelled: Callable[[], bool] = lambda: False) -> float:
    """Bytes per second that a device of ggml's registry reads from its memory, the CPU with so many threads.

    Takes 0.2 to 0.3 s and, while it lasts, 64 to 256 MiB of the device's memory, more only beside a larger cache, and
    never more than a quarter of what is free. Raises LoadCancelledError when cancelled, and GemtopError, in one line,
    where it cannot be measured.
    """
    from gemtop.engine.devices import backend_handles

    handle = backend_handles().get(name)
    if handle is None:
        raise GemtopError(f"there is no device {name}")
    with _Reading(name, handle) as reading:
        if not reading.set_threads(1) or n_threads == 1:
            return _fastest(reading, _TEST_S, cancelled)
        # Threads wait for the last of them, which another program may hold up for long: then one alone does better.
        # It goes first, for they go on waiting for work for a while.
        alone = _fastest(reading, _TEST_S / 3, cancelled)
        reading.set_threads(n_threads)
        return max(alone, _fastest(reading, _TEST_S * 2 / 3, cancelled))


def _fastest(reading: _Reading, for_s: float, cancelled: Callable[[], bool]) -> float:
    """The best of the readings in so many seconds, in bytes per second."""
    once_s = min(reading.seconds(1) for _ in range(2))  # the first one has kernels to load and threads to start
    passes = max(1, min(_MOST_PASSES, round(_CALL_S / once_s)))
    best, end = reading.size_bytes / once_s, time.perf_counter() + for_s
    while not cancelled():
        best = max(best, passes * reading.size_bytes / reading.seconds(passes))
        if time.perf_counter() >= end:
            return best
    raise LoadCancelledError("loading was cancelled")


class _Reading:
    """A matrix in a device's memory and graphs that read it; freed on leaving."""

    def __init__(self, name: str, handle: int) -> None:
        from gemtop.engine.binding import DEVICE_KINDS, GgmlInitParams, c

        self._name, self._c, self._handle = name, c, handle
        self._kind = DEVICE_KINDS.get(c("ggml_backend_dev_type")(handle))
        self.size_bytes = self._matrix_bytes()
        overhead = int(c("ggml_tensor_overhead")()) * (_MOST_PASSES + 2)
        graphs = int(c("ggml_graph_overhead_custom")(_MOST_PASSES, False)) * 3
        self._backend = self._buffer = None
        self._context = c("ggml_init")(GgmlInitParams(overhead + graphs, None, True))
        self._graphs: dict[int, int] = {}
        try:
            self._set_up()
        except GemtopError:
            self.__exit__()
            raise

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        for free, what in (
            ("ggml_backend_buffer_free", self._buffer),
            ("ggml_backend_free", self._backend),
            ("ggml_free", self._context),
        ):
            if what:
                self._c(free)(what)
        self._buffer = self._backend = self._context = None

    def set_threads(self, n_threads: int) -> bool:
        """False where the device does not work with threads of this process."""
        registry = self._c("ggml_backend_dev_backend_reg")(self._handle)
        address = self._c("ggml_backend_reg_get_proc_address")(registry, b"ggml_backend_set_n_threads")
        if address:
            ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)(address)(self._backend, n_threads)
        return bool(address)

    def seconds(self, passes: int) -> float:
        """What reading the matrix so many times takes, 1 to _MOST_PASSES, three different numbers at most."""
        c = self._c
        if passes not in self._graphs:
            graph = self._graphs[passes] = c("ggml_new_graph_custom")(self._context, _MOST_PASSES, False)
            for product in self._products[:passes]:
                c("ggml_build_forward_expand")(graph, product)
        number = ctypes.c_float()
        begin = time.perf_counter()
        status = c("ggml_backend_graph_compute")(self._backend, self._graphs[passes])
        # A device may compute on after the call: a number of the last product is there when all of it is done.
        c("ggml_backend_tensor_get")(self._products[passes - 1], ctypes.byref(number), 0, 4)
        took = time.perf_counter() - begin
        if status:
            raise GemtopError(f"{self._name} cannot be measured: ggml failed with status {status}")
        return max(took, 1e-9)

    def _matrix_bytes(self) -> int:
        """A size that no cache holds and that is to be had."""
        from gemtop.engine.devices import properties

        if self._kind == "cpu":
            free, cache = memory_bytes()[1], last_level_cache_bytes() or 32 * _MIB
            wanted = max(min(max(3 * cache, 64 * _MIB), 256 * _MIB), 2 * cache)
        else:  # no device says how large its cache is; those of today have up to 128 MiB
            free, cache, wanted = int(properties(self._handle).memory_free), 16 * _MIB, 256 * _MIB
        size = min(wanted, free // 4) // _ROW_BYTES * _ROW_BYTES
        if size <= cache:
            raise GemtopError(
                f"{self._name} cannot be measured: the test takes {wanted // _MIB} MiB and at most a quarter of what "
                f"is free, which is {free // _MIB} MiB"
            )
        return size

    def _set_up(self) -> None:
        c, context = self._c, self._context
        matrix = c("ggml_new_tensor_2d")(context, _F32, _COLUMNS, self.size_bytes // _ROW_BYTES)
        vector = c("ggml_new_tensor_2d")(context, _F32, _COLUMNS, 1)
        self._products = [c("ggml_mul_mat")(context, matrix, vector) for _ in range(_MOST_PASSES)]
        if not c("ggml_backend_dev_supports_op")(self._handle, self._products[0]):
            raise GemtopError(f"{self._name} cannot be measured: it does not multiply matrices of 32-bit floats")
        self._backend = c("ggml_backend_dev_init")(self._handle, None)
        if not self._backend:
            raise GemtopError(f"{self._name} cannot be measured: ggml cannot open it")
        self._buffer = c("ggml_backend_alloc_ctx_tensors")(context, self._backend)
        if not self._buffer:
            raise GemtopError(f"{self._name} cannot be measured: it has no {self.size_bytes // _MIB} MiB for the test")
        c("ggml_backend_buffer_clear")(self._buffer, _FILL)


def measure_in_child(name: str, n_threads: int, rpc_servers: Sequence[str] = ()) -> float:
    """`measure` in a process of its own, which a driver may take down. Raises GemtopError."""
    command = [sys.executable, "-m", "gemtop.engine.bandwidth", name, str(n_threads), *rpc_servers]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise GemtopError(f"{name} cannot be measured: no answer within {_TIMEOUT_S} s") from None
    except OSError as error:
        raise GemtopError(f"{name} cannot be measured: {error}") from None
    if done.returncode < 0:
        died = signal.Signals(-done.returncode).name
        raise GemtopError(f"{name} cannot be measured: llama.cpp died of {died}")
    try:
        answer = json.loads(done.stdout.decode().splitlines()[-1])
        problem, value = answer["problem"], answer["bytes_per_s"]
    except (ValueError, LookupError, TypeError):
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise GemtopError(f"{name} cannot be measured: {lines[-1] if lines else 'no answer'}") from None
    if problem is not None:
        raise GemtopError(problem)
    return float(value)


def main(name: str, n_threads: int, rpc_servers: Sequence[str]) -> None:
    from gemtop.engine import devices
    from gemtop.engine.binding import llama

    bytes_per_s = problem = None
    try:
        llama.llama_backend_init()
        devices.add_rpc_servers(tuple(rpc_servers))
        bytes_per_s = measure(name, n_threads)
    except GemtopError as error:
        problem = str(error)
    sys.stdout.write(json.dumps({"bytes_per_s": bytes_per_s, "problem": problem}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
