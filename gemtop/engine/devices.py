"""The devices and abilities of this llama.cpp build, as ggml's registry has them."""

from __future__ import annotations

import ctypes
from typing import Literal, cast

from gemtop.domain.errors import BadInputError
from gemtop.domain.model import BackendDevice
from gemtop.engine import rpc, stand_ins
from gemtop.engine.binding import DEVICE_KINDS, BackendFeature, DeviceProps, GgmlInitParams, c, text

_Q4_0 = 2


def devices() -> tuple[BackendDevice, ...]:
    """Every device of the registry that is in use, the CPU included, with its memory now."""
    return tuple(_device(handle) for handle in backend_handles().values())


def properties(handle: int) -> DeviceProps:
    """What a device says of itself."""
    props = DeviceProps()
    c("ggml_backend_dev_get_props")(handle, ctypes.byref(props))
    return props


def _device(handle: int) -> BackendDevice:
    props = properties(handle)
    kind = cast(Literal["cpu", "gpu", "igpu", "accel", "other"], DEVICE_KINDS.get(props.type, "other"))
    return BackendDevice(
        name=text(props.name),
        description=text(props.description),
        kind=kind,
        backend=text(c("ggml_backend_reg_name")(c("ggml_backend_dev_backend_reg")(handle))),
        memory_total_bytes=int(props.memory_total),
        memory_free_bytes=int(props.memory_free),
        pci_bus_id=text(props.device_id) or None,
    )


def backend_handles() -> dict[str, int]:
    """Every device of the registry that is in use by its name, as the C functions take it."""
    handles = (c("ggml_backend_dev_get")(i) for i in range(c("ggml_backend_dev_count")()))
    named = {text(c("ggml_backend_dev_name")(handle)): handle for handle in handles}
    return {name: handle for name, handle in named.items() if name not in stand_ins.not_in_use}


def backends() -> tuple[str, ...]:
    """Names of the backends compiled in or loaded: CPU, RPC, CUDA, Vulkan, ..."""
    count = c("ggml_backend_reg_count")()
    return tuple(text(c("ggml_backend_reg_name")(c("ggml_backend_reg_get")(i))) for i in range(count))


def bench_backend_label() -> str:
    """The backend column of llama-bench's table."""
    names = [name for name in backends() if name != "CPU" and not name.startswith("RPC")]
    if any(d.backend.startswith("RPC") for d in devices()):
        names.append("RPC")
    return ",".join(names) or "CPU"


def cpu_features() -> tuple[str, ...]:
    """Instruction sets and options the CPU backend was compiled with, as it names them."""
    registry = _registry("CPU")
    address = registry and c("ggml_backend_reg_get_proc_address")(registry, b"ggml_backend_get_features")
    if not address:
        return ()
    feature = ctypes.CFUNCTYPE(ctypes.POINTER(BackendFeature), ctypes.c_void_p)(address)(registry)
    found = []
    index = 0
    while feature[index].name:
        if text(feature[index].value) != "0":
            found.append(text(feature[index].name))
        index += 1
    return tuple(found)


def _registry(name: str) -> int | None:
    """The backend of that name, as the C functions take it; None where this build has none."""
    every = (c("ggml_backend_reg_get")(i) for i in range(c("ggml_backend_reg_count")()))
    return next((one for one in every if text(c("ggml_backend_reg_name")(one)) == name), None)


def add_rpc_servers(endpoints: tuple[str, ...]) -> None:
    """Add the devices of llama.cpp RPC servers to the registry, each server once a process; no others are in use.

    Each is asked first: llama.cpp aborts the process where nobody answers, and waits for ever for one that is busy.
    Those added earlier are busy with this program. Raises BadInputError.
    """
    for endpoint in endpoints:
        if endpoint in stand_ins.known:
            rpc.check_there(endpoint)
            continue
        rpc.check_free(endpoint)
        there = _registry("RPC")
        if there is None:
            raise BadInputError(
                "this llama.cpp build has no RPC backend; rebuild it with: CMAKE_ARGS=-DGGML_RPC=on "
                "pip install --no-cache-dir --force-reinstall --no-binary llama-cpp-python llama-cpp-python"
            )
        # By its registry and not by its name in the library: a backend may be a library that ggml loaded itself.
        address = c("ggml_backend_reg_get_proc_address")(there, b"ggml_backend_rpc_add_server")
        registry = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(address)(endpoint.encode())
        if not registry:
            raise BadInputError(f"{endpoint} does not answer as a llama.cpp RPC server")
        c("ggml_backend_register")(registry)
        count = c("ggml_backend_reg_dev_count")(registry)
        handles = [c("ggml_backend_reg_dev_get")(registry, index) for index in range(count)]
        stand_ins.known[endpoint] = tuple(_stand_in(handle) for handle in handles)
    others = (devices for endpoint, devices in stand_ins.known.items() if endpoint not in endpoints)
    stand_ins.not_in_use.clear()
    stand_ins.not_in_use.update(device.name for devices in others for device in devices)


def _stand_in(handle: int) -> stand_ins.StandIn:
    """A remote device as the planner has to know it, its ways of allocating found out by asking for one tensor."""
    device, buffer_type = _device(handle), c("ggml_backend_dev_buffer_type")(handle)
    context = c("ggml_init")(GgmlInitParams(1 << 12, None, True))
    try:
        uneven = c("ggml_new_tensor_2d")(context, _Q4_0, 544, 2)
        padded = c("ggml_backend_buft_get_alloc_size")(buffer_type, uneven) > c("ggml_nbytes")(uneven)
    finally:
        c("ggml_free")(context)
    return stand_ins.StandIn(
        device.name,
        device.description,
        device.memory_total_bytes,
        device.memory_free_bytes,
        alignment=int(c("ggml_backend_buft_get_alignment")(buffer_type)),
        pads_rows=bool(padded),
        remote=True,
    )
