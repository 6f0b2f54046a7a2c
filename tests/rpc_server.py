"""A llama.cpp RPC server on loopback, in a process of its own: a real second device where there is no GPU.

python -m tests.rpc_server PORT
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def serve(port: int) -> None:
    from gemtop.engine import binding

    c = binding.c
    cpu = next(
        handle
        for handle in (c("ggml_backend_dev_get")(i) for i in range(c("ggml_backend_dev_count")()))
        if binding.text(c("ggml_backend_reg_name")(c("ggml_backend_dev_backend_reg")(handle))) == "CPU"
    )
    start = binding.lib.ggml_backend_rpc_start_server
    start.restype = None
    start.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
    handles = (ctypes.c_void_p * 1)(cpu)
    start(f"127.0.0.1:{port}".encode(), None, 1, 1, ctypes.cast(handles, ctypes.c_void_p))


@contextmanager
def rpc_server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A running server: its HOST:PORT and its process, killed afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.rpc_server", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_it_listens(port, process)
        yield f"127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    inode_line = f":{port:04X} 00000000:0000 0A"
    while time.monotonic() < deadline:
        assert process.poll() is None, "the RPC server ended; is llama.cpp built with GGML_RPC=on?"
        if inode_line in Path("/proc/net/tcp").read_text():  # a connection would use up its single client
            return
        os.sched_yield()
    raise AssertionError("the RPC server does not listen")


if __name__ == "__main__":
    serve(int(sys.argv[1]))
