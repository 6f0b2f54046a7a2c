"""Whether a llama.cpp RPC server is there and free, asked before llama.cpp is: it aborts or waits for ever instead."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line

_CONNECT_S = 3.0
_ANSWER_S = 5.0
_HELLO, _CAPABILITIES_BYTES = 14, 24
"""RPC_CMD_HELLO, which is always this, and the length of what goes with it (ggml/src/ggml-rpc)."""
_LARGEST_PORT = 65_535


def check_there(endpoint: str) -> None:
    """Raises BadInputError where nobody listens at HOST:PORT."""
    _connect(endpoint).close()


def check_free(endpoint: str) -> None:
    """Raises BadInputError where nobody listens at HOST:PORT, or it does not answer a greeting within seconds.

    A server talks to one program at a time and leaves the next one waiting. What it answers is for llama.cpp to judge.
    """
    with _connect(endpoint) as connection:
        connection.settimeout(_ANSWER_S)
        try:
            connection.sendall(struct.pack("<BQ", _HELLO, _CAPABILITIES_BYTES) + bytes(_CAPABILITIES_BYTES))
            connection.recv(1)
        except TimeoutError:
            raise BadInputError(
                f"{one_line(endpoint)} does not answer: an RPC server talks to one program at a time, so another one "
                "may hold it, or no RPC server is behind that port; end that program or leave the server out"
            ) from None
        except OSError:
            pass  # it hung up: whatever it is, it does not keep anybody waiting


def lost(endpoints: Sequence[str]) -> tuple[str, ...]:
    """Those of these servers at which nobody listens any more. Takes seconds where a machine is gone."""
    found = []
    for endpoint in endpoints:
        try:
            check_there(endpoint)
        except BadInputError:
            found.append(endpoint)
    return tuple(found)


def _connect(endpoint: str) -> socket.socket:
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) <= _LARGEST_PORT:
        raise BadInputError(f"--rpc takes HOST:PORT, not {one_line(endpoint)}")
    try:
        return socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S)
    except OSError as error:
        raise BadInputError(
            f"no RPC server at {one_line(endpoint)}: {error.strerror or error}; start one or leave it out"
        ) from None
