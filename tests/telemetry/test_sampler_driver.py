"""The sampler with the real probes, on a driver that hangs or loses a card."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests import nvml_stub

from .conftest import run_python


def test_a_driver_that_hangs_does_not_keep_the_program_from_leaving(stub_dir: Path) -> None:
    code = (
        "import time;"
        "from gemtop.telemetry.nvml import NvmlProbe;"
        "from gemtop.telemetry.host import PsutilProbe;"
        "from gemtop.telemetry.sampler import Sampler;"
        "import threading; found = threading.Event();"
        "s = Sampler(NvmlProbe(), PsutilProbe(), lambda _: None, lambda _: found.set());"
        "s.start(); found.wait(30); print(s.wait_past(0, 0.2), s.stop(0.2))"
    )
    env = nvml_stub.environment(stub_dir, "hang=power hang_s=600")
    assert run_python("-c", code, env=env) == "False False\n"


def test_while_the_driver_hangs_in_each_call_this_machine_is_read_and_a_lost_card_comes_back(stub_dir: Path) -> None:
    """The real probes: a card that hangs two seconds, and is lost meanwhile."""
    code = """
import json, threading, time
from gemtop.domain.telemetry import DeviceSample, HostSample
from gemtop.telemetry.host import PsutilProbe
from gemtop.telemetry.nvml import NvmlProbe
from gemtop.telemetry.sampler import Sampler

begun, enough = time.monotonic_ns(), threading.Event()
hosts, devices = [], []

def emit(sample):
    if isinstance(sample, HostSample):
        hosts.append((sample.t_ns - begun) / 1e9)
    elif isinstance(sample, DeviceSample):
        devices.append((sample.device, (sample.t_ns - begun) / 1e9, sample.power_w))
        if sample.device == "1" and sample.power_w and sample.t_ns - begun > 2.5e9:
            enough.set()

s = Sampler(NvmlProbe(), PsutilProbe(), emit, period_s=0.05, slow_period_s=0.1)
s.start()
came_back = enough.wait(40)
print(json.dumps([came_back, hosts, devices, s.late, s.failure]))
s.stop(0)
"""
    env = nvml_stub.environment(stub_dir, "lost=1@0.5-2.5", epoch_ns=time.monotonic_ns())
    came_back, hosts, devices, late, failure = json.loads(run_python("-c", code, env=env))
    assert came_back
    assert failure is None
    assert [t_s for name, t_s, watts in devices if name == "1" and watts is None]
    assert all(watts is not None for name, _, watts in devices if name == "0")
    assert len(hosts) + late >= 2.0 / 0.05


def test_a_call_that_hangs_delays_its_own_samples_alone(stub_dir: Path) -> None:
    code = """
import json, threading
from gemtop.domain.telemetry import HostSample
from gemtop.telemetry.host import PsutilProbe
from gemtop.telemetry.nvml import NvmlProbe
from gemtop.telemetry.sampler import Sampler

kinds, done = [], threading.Event()

def emit(sample):
    kinds.append(type(sample).__name__)
    if kinds.count("DeviceSample") == 2:
        done.set()

s = Sampler(NvmlProbe(), PsutilProbe(), emit, period_s=0.02, slow_period_s=0.3)
s.start()
done.wait(40)
print(json.dumps(kinds))
s.stop(0)
"""
    env = nvml_stub.environment(stub_dir, "hang=0.energy hang_s=2")
    kinds = json.loads(run_python("-c", code, env=env))
    before = kinds[: kinds.index("DeviceSample")]
    # Two seconds are a hundred ticks; on a machine that others use at least some are served.
    assert before.count("HostSample") > 10
    assert before.count("CostSample") > 1


def test_a_slow_reading_that_hangs_is_not_taken_for_the_present(stub_dir: Path) -> None:
    code = """
import threading
from gemtop.telemetry import nvml

nvml.STUCK_NS = 50_000_000
probe = nvml.NvmlProbe()
probe.start()
begun = threading.Thread(target=probe.refresh, daemon=True)
begun.start()
while True:
    sample = probe.read(1)[0]
    if sample.reasons["fan_pct"] != "not read yet":
        break
print(sample.reasons["fan_pct"], sample.reasons["processes"], sample.power_w is not None, sep="; ")
"""
    env = nvml_stub.environment(stub_dir, "hang=fan hang_s=600")
    assert run_python("-c", code, env=env) == "the driver does not answer; the driver does not answer; True\n"
