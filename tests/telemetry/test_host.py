"""psutil as it is, and a machine of known counters for the arithmetic."""

from __future__ import annotations

import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from gemtop.telemetry.host import MIN_WINDOW_NS, PsutilProbe, cpu_model_name, total_ram_bytes
from gemtop.telemetry.probes import HOST_FIELDS

Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest guest_nice")
S = 1_000_000_000


class FakeMachine:
    """psutil's part that the probe uses, with counters that a test sets."""

    def __init__(self) -> None:
        self.times: Any = Times(100.0, 0.0, 50.0, 800.0, 20.0, 0.0, 0.0, 0.0, 40.0, 0.0)
        self.process_cpu_ns = 5 * S
        self.memory: Any = SimpleNamespace(total=64_000, available=50_000, used=1)

    def cpu_times(self) -> Any:
        return self.times

    def virtual_memory(self) -> Any:
        if isinstance(self.memory, Exception):
            raise self.memory
        return self.memory

    def Process(self) -> Any:
        return SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=12_345))

    def probe(self) -> PsutilProbe:
        probe = PsutilProbe(lambda: self, lambda: self.process_cpu_ns)
        probe.start()
        return probe


def test_real_readings_of_this_machine_and_process() -> None:
    probe = PsutilProbe()
    probe.start()
    first = probe.read(time.monotonic_ns())
    # Memory of our own, touched so that it is resident.
    block = bytearray(b"x" * 64_000_000)
    second = probe.read(first.t_ns + S)
    assert set(first.reasons) == {"host_cpu_pct", "process_cpu_pct"}
    assert first.host_cpu_pct is None
    assert first.process_cpu_pct is None
    assert second.process_rss_bytes is not None
    assert first.process_rss_bytes is not None
    assert second.process_rss_bytes - first.process_rss_bytes > 0.9 * len(block)
    assert second.ram_total_bytes == psutil.virtual_memory().total == total_ram_bytes()
    assert second.ram_used_bytes is not None
    assert 0 < second.ram_used_bytes < second.ram_total_bytes
    assert second.process_cpu_pct is not None
    assert second.process_cpu_pct > 0
    probe.stop()


def test_cpu_load_is_busy_time_over_all_time_since_the_sample_before() -> None:
    machine = FakeMachine()
    probe = machine.probe()
    first = probe.read(0)
    # Four seconds of CPU time: 1 user, 0.5 system, 2 idle, 0.5 waiting for a disk. Guest time is within user.
    machine.times = machine.times._replace(user=101.0, system=50.5, idle=802.0, iowait=20.5, guest=41.0)
    machine.process_cpu_ns += 3 * S
    second = probe.read(2 * S)
    assert first.reasons == dict.fromkeys(
        ("process_cpu_pct", "host_cpu_pct"), "needs an earlier sample to compare with"
    )
    assert second.host_cpu_pct == pytest.approx(37.5)
    assert second.process_cpu_pct == pytest.approx(150.0)
    assert second.reasons == {}


def test_a_sample_close_to_the_one_before_keeps_its_window() -> None:
    machine = FakeMachine()
    probe = machine.probe()
    probe.read(0)
    close = probe.read(MIN_WINDOW_NS - 1)
    assert close.host_cpu_pct is None
    assert "host_cpu_pct" in close.reasons
    machine.times = machine.times._replace(user=101.0, idle=801.0)
    machine.process_cpu_ns += S
    regular = probe.read(S)
    machine.times = machine.times._replace(user=101.01)
    poked = probe.read(S + 1_000_000)
    assert regular.host_cpu_pct == poked.host_cpu_pct == pytest.approx(50.0)
    assert regular.process_cpu_pct == poked.process_cpu_pct == pytest.approx(100.0)
    assert poked.reasons == {}
    # The time since the regular sample is not lost to the poked one.
    machine.times = machine.times._replace(user=102.0)
    machine.process_cpu_ns += S
    later = probe.read(3 * S)
    assert later.host_cpu_pct == pytest.approx(100.0)
    assert later.process_cpu_pct == pytest.approx(50.0)


def test_counters_that_step_back_stay_within_bounds() -> None:
    machine = FakeMachine()
    probe = machine.probe()
    probe.read(0)
    machine.times = machine.times._replace(user=110.0, iowait=15.0)
    assert probe.read(S).host_cpu_pct == 100.0
    machine.times = machine.times._replace(user=109.0, idle=805.0)
    assert probe.read(2 * S).host_cpu_pct == 0.0


def test_memory_in_use_is_what_could_not_be_given_to_another_program() -> None:
    sample = FakeMachine().probe().read(0)
    assert (sample.ram_used_bytes, sample.ram_total_bytes) == (14_000, 64_000)
    assert sample.process_rss_bytes == 12_345


def test_one_reading_that_fails_leaves_the_others() -> None:
    machine = FakeMachine()
    probe = machine.probe()
    probe.read(0)
    machine.memory = OSError("no /proc here")
    machine.times = machine.times._replace(user=101.0)
    sample = probe.read(S)
    reason = "cannot be read: OSError: no /proc here"
    assert sample.reasons == {"ram_used_bytes": reason, "ram_total_bytes": reason}
    assert sample.host_cpu_pct == 100.0
    assert sample.process_rss_bytes == 12_345


def test_without_psutil_every_field_has_the_reason() -> None:
    def load() -> Any:
        raise ImportError("No module named 'psutil'")

    probe = PsutilProbe(load)
    probe.start()
    sample = probe.read(0)
    assert sample.reasons == dict.fromkeys(HOST_FIELDS, "psutil cannot be used: No module named 'psutil'")


def test_a_probe_that_was_stopped_begins_anew() -> None:
    machine = FakeMachine()
    probe = machine.probe()
    probe.read(0)
    probe.stop()
    assert set(probe.read(S).reasons) == set(HOST_FIELDS)
    probe.start()
    assert set(probe.read(2 * S).reasons) == {"host_cpu_pct", "process_cpu_pct"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: avx2 amx\n", "Some CPU @ 3 GHz"),
        ("cpu model\t\t: MIPS 74Kc\n", "MIPS 74Kc"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nmodel name\t:\n", None),
    ],
)
def test_cpu_model_name(tmp_path: Path, text: str, name: str | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text, encoding="utf-8")
    assert cpu_model_name(cpuinfo) == name


def test_cpu_model_name_without_the_file(tmp_path: Path) -> None:
    assert cpu_model_name(tmp_path / "missing") is None
