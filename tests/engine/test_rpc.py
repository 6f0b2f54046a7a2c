"""RPC servers that are there, busy, mute, gone or something else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gemtop.domain.errors import BadInputError
from gemtop.engine import rpc
from tests.rpc_server import rpc_server


@contextmanager
def listening() -> Iterator[tuple[str, socket.socket]]:
    """A port that takes connections, and says nothing by itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}", server


def closed_port() -> str:
    with listening() as (endpoint, _):
        return endpoint


def test_a_server_is_asked_as_often_as_one_likes() -> None:
    with rpc_server() as (endpoint, server):
        for _ in range(3):
            rpc.check_free(endpoint)
        assert rpc.lost([endpoint]) == ()
        assert server.poll() is None


def test_a_busy_server_is_refused_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_ANSWER_S", 0.3)
    with rpc_server() as (endpoint, _):
        host, _, port = endpoint.partition(":")
        with socket.create_connection((host, int(port))):  # it serves this one, which says nothing
            with pytest.raises(BadInputError, match="one program at a time"):
                rpc.check_free(endpoint)
            rpc.check_there(endpoint)


def test_a_mute_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "_ANSWER_S", 0.2)
    with listening() as (endpoint, _), pytest.raises(BadInputError, match="no RPC server is behind that port"):
        rpc.check_free(endpoint)


def test_one_that_hangs_up_is_for_llama_cpp_to_judge() -> None:
    with listening() as (endpoint, server):
        hang_up = threading.Thread(target=lambda: server.accept()[0].close())
        hang_up.start()
        rpc.check_free(endpoint)
        hang_up.join()


def test_nobody_there() -> None:
    gone = closed_port()
    for check in (rpc.check_there, rpc.check_free):
        with pytest.raises(BadInputError, match="no RPC server at"):
            check(gone)
    with listening() as (endpoint, _):
        assert rpc.lost([endpoint, gone]) == (gone,)


@pytest.mark.parametrize("endpoint", ["host", "host:", ":50052", "host:port", "host:0", "host:99999", "host:-1"])
def test_what_is_no_address(endpoint: str) -> None:
    with pytest.raises(BadInputError, match="HOST:PORT"):
        rpc.check_there(endpoint)
