"""llama.cpp gives up inside a process: its thread is parked, everything else lives on."""

from __future__ import annotations

import json
import subprocess
import sys

from gemtop.config import Paths
from tests.conftest import child_environment
from tests.rpc_server import rpc_server

LIMIT_S = 60

DIRECT = """
import ctypes, json, threading
from queue import SimpleQueue

from gemtop.config import paths
from gemtop.domain.events import EngineCrashed, LoadFailed
from gemtop.domain.settings import EngineSettings
from gemtop.engine.worker import LlamaEngine

events = SimpleQueue()
engine = LlamaEngine(events.put, paths())

def give_up():
    from gemtop.engine import binding

    # void ggml_abort(const char * file, int line, const char * fmt, ...): variadic, so no argtypes.
    abort = binding.lib.ggml_abort
    abort.restype = None
    abort(b"somewhere.cpp", ctypes.c_int(42), b"%s of %d \\x1b[31mfailed", b"assertion", ctypes.c_int(7))

engine._submit(give_up, lambda error: events.put(error))
event = events.get(timeout=30)
assert isinstance(event, EngineCrashed), event

# Every other Python thread runs on, and the parked one does not hold the interpreter's lock.
ticked = threading.Event()
other = threading.Thread(target=lambda: (sum(range(1_000_000)), ticked.set()))
other.start()
assert ticked.wait(30)
other.join()

# What is asked of the engine now returns at once; nothing comes of it.
engine.open("/nowhere/x.gguf", EngineSettings())
engine.cancel()
closed = engine.close(timeout_s=0.5)
alive = [t.name for t in threading.enumerate() if t.daemon]
print(json.dumps({"message": event.message, "closed": closed, "alive": alive, "more": events.empty()}))
"""
"""ggml_abort called on the engine thread, as a failed assertion does."""

ASSERTION = """
import json, sys, threading
from queue import SimpleQueue

from gemtop.config import paths
from gemtop.domain.events import EngineCrashed, GenerateRequest, ModelLoaded, TokenGenerated
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from gemtop.engine.worker import LlamaEngine

events = SimpleQueue()
engine = LlamaEngine(events.put, paths())
offload = OffloadSettings(rpc_servers=(sys.argv[2],))
engine.open(sys.argv[1], EngineSettings(offload, ContextSettings(n_ctx=512, n_threads=1)))

def wait_for(kind):
    while not isinstance(event := events.get(timeout=60), kind):
        pass
    return event

wait_for(ModelLoaded)
engine.generate(GenerateRequest("Once upon a time", -1, SamplingSettings(temperature=0)))
wait_for(TokenGenerated)
print("generating", flush=True)
crashed = wait_for(EngineCrashed)
print(json.dumps({"message": crashed.message, "closed": engine.close(timeout_s=0.5)}), flush=True)
"""
"""A real one: the RPC server is killed while the engine waits for its answer."""


def test_what_ggml_says_arrives_and_the_process_lives_on(folders: Paths) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIRECT],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env=child_environment(),
    )
    assert done.returncode == 0, f"it leaves in the ordinary way, with a thread parked: {done.stderr}"
    found = json.loads(done.stdout)
    assert found["message"] == "somewhere.cpp:42: assertion of 7 \u241b[31mfailed"
    assert found["closed"] is False, "the thread does not end"
    assert "gemtop-engine" in found["alive"]
    assert found["more"] is True
    assert "Traceback" not in done.stderr


def test_a_real_assertion_in_a_lost_connection(folders: Paths, model_path: str) -> None:
    with rpc_server() as (endpoint, server):
        process = subprocess.Popen(
            [sys.executable, "-c", ASSERTION, model_path, endpoint],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=child_environment(),
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "generating\n"
            server.kill()
            out, err = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0, err
    found = json.loads(out)
    assert "ggml-rpc.cpp" in found["message"]
    assert "\n" not in found["message"]
    assert found["closed"] is False
