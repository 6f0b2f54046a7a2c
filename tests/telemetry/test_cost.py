"""What gemtop itself takes: real threads of this process, and totals that a test sets."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from gemtop.telemetry.cost import CostMeter, ThreadTimes
from gemtop.threads import name_thread

S = 1_000_000_000
DEADLINE_S = 30.0


class Totals:
    """A process whose threads and totals a test sets."""

    def __init__(self, tasks: Path) -> None:
        self.tasks = tasks
        tasks.mkdir()
        self.cpu_ns: dict[int, int] = {}
        self.process_ns = 0
        self.nvml_ns = 0
        self.sent = 0
        self.late = 0

    def thread(self, tid: int, comm: str, cpu_ns: int) -> None:
        (self.tasks / str(tid)).mkdir(exist_ok=True)
        (self.tasks / str(tid) / "comm").write_text(comm + "\n", encoding="ascii")
        self.cpu_ns[tid] = cpu_ns

    def clock(self, tid: int) -> int:
        if tid not in self.cpu_ns:
            raise OSError(22, "Invalid argument")
        return self.cpu_ns[tid]

    def meter(self, *, terminal: bool = True) -> CostMeter:
        return CostMeter(
            lambda: self.nvml_ns,
            lambda: self.late,
            (lambda: self.sent) if terminal else None,
            ThreadTimes(self.tasks, self.clock),
            lambda: self.process_ns,
        )


@pytest.fixture
def totals(tmp_path: Path) -> Totals:
    return Totals(tmp_path / "task")


def test_the_engines_threads_and_all_others_apart(totals: Totals) -> None:
    totals.thread(10, "python", 5 * S)
    totals.thread(11, "gemtop-engine", 7 * S)
    totals.thread(12, "gemtop-engine", S)
    totals.process_ns = 13 * S
    meter = totals.meter()
    meter.start(0)
    totals.thread(10, "python", 5 * S + S // 10)
    totals.thread(11, "gemtop-engine", 8 * S)
    totals.thread(12, "gemtop-engine", 2 * S)
    totals.process_ns += 2 * S + S // 10
    totals.nvml_ns, totals.sent, totals.late = S // 50, 4000, 3
    sample = meter.read(2 * S)
    assert sample.engine_cpu_pct == pytest.approx(100.0)
    assert sample.observer_cpu_pct == pytest.approx(5.0)
    assert sample.nvml_pct == pytest.approx(1.0)
    assert sample.terminal_bytes_per_s == pytest.approx(2000.0)
    assert sample.samples_late == 3
    assert sample.reasons == {}
    nothing = meter.read(4 * S)
    assert (nothing.engine_cpu_pct, nothing.observer_cpu_pct, nothing.nvml_pct) == (0.0, 0.0, 0.0)


def test_a_thread_that_names_itself_late_is_the_engines_from_then_on(totals: Totals) -> None:
    totals.thread(11, "python", 0)
    meter = totals.meter()
    meter.start(0)
    totals.thread(11, "gemtop-engine", S)
    totals.process_ns = S
    assert meter.read(S).engine_cpu_pct == pytest.approx(100.0)
    # Named twice alike: it is not read again.
    totals.thread(11, "gemtop-engine", 2 * S)
    meter.read(2 * S)
    totals.thread(11, "something else", 3 * S)
    assert meter.read(3 * S).engine_cpu_pct == pytest.approx(100.0)


def test_a_thread_id_that_came_free_is_another_thread(totals: Totals) -> None:
    totals.thread(11, "gemtop-engine", 5 * S)
    meter = totals.meter()
    meter.start(0)
    totals.thread(11, "gemtop-engine", 5 * S)
    meter.read(S)
    totals.thread(11, "python", S // 2)
    totals.process_ns = S // 2
    sample = meter.read(2 * S)
    assert sample.engine_cpu_pct == 0.0
    assert sample.observer_cpu_pct == pytest.approx(50.0)


def test_threads_that_ended_are_the_observers(totals: Totals) -> None:
    totals.thread(11, "gemtop-engine", 0)
    meter = totals.meter()
    meter.start(0)
    del totals.cpu_ns[11]
    totals.process_ns = S // 4
    sample = meter.read(S)
    assert sample.engine_cpu_pct == 0.0
    assert sample.observer_cpu_pct == pytest.approx(25.0)


def test_clocks_that_disagree_a_little_make_no_negative_load(totals: Totals) -> None:
    totals.thread(11, "gemtop-engine", 0)
    meter = totals.meter()
    meter.start(0)
    totals.thread(11, "gemtop-engine", S)
    totals.process_ns = S - 1000
    assert meter.read(S).observer_cpu_pct == 0.0


def test_what_cannot_be_read_has_a_reason(totals: Totals, tmp_path: Path) -> None:
    def broken() -> int:
        raise RuntimeError("no driver")

    meter = CostMeter(broken, lambda: 0, None, ThreadTimes(tmp_path / "missing"))
    meter.start(0)
    sample = meter.read(S)
    assert sample.reasons["terminal_bytes_per_s"] == "no terminal is drawn on"
    assert "FileNotFoundError" in sample.reasons["engine_cpu_pct"]
    assert "FileNotFoundError" in sample.reasons["observer_cpu_pct"]
    assert sample.reasons["nvml_pct"] == "cannot be read: RuntimeError: no driver"


def test_two_readings_at_one_moment_have_no_window(totals: Totals) -> None:
    meter = totals.meter()
    meter.start(S)
    sample = meter.read(S)
    assert sample.engine_cpu_pct is sample.nvml_pct is None
    assert sample.reasons["nvml_pct"] == "no time has passed since the sample before"


def _spin(name: str, seconds: float, done: threading.Event, leave: threading.Event) -> None:
    name_thread(name)
    while time.thread_time() < seconds:
        pass
    done.set()
    leave.wait(DEADLINE_S)


@pytest.mark.parametrize("clock", ["kernel's clocks", "stat"])
def test_real_threads_are_told_apart_by_the_kernels_name(clock: str) -> None:
    times = ThreadTimes() if clock == "kernel's clocks" else ThreadTimes(cpu_ns=None)
    before_ns = times.engine_ns()
    leave = threading.Event()
    threads, ready = [], []
    for name, seconds in (("gemtop-engine", 0.3), ("gemtop-recorder", 0.2)):
        ready.append(threading.Event())
        threads.append(threading.Thread(target=_spin, args=(name, seconds, ready[-1], leave)))
        threads[-1].start()
    for event in ready:
        assert event.wait(DEADLINE_S)
    spent_ns = times.engine_ns() - before_ns
    leave.set()
    for thread in threads:
        thread.join()
    assert 0.27 * S <= spent_ns <= 0.4 * S


def test_a_thread_has_its_name_and_hands_it_on() -> None:
    names: list[str] = []

    def child() -> None:
        names.append(Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text(encoding="ascii"))

    def parent() -> None:
        name_thread("gemtop-engine-of-a-long-name")
        child()
        # A pthread made by C code has no other name; Python's own are named by Python from 3.14 on.
        thread = threading.Thread(target=child)
        thread.start()
        thread.join()

    thread = threading.Thread(target=parent)
    thread.start()
    thread.join()
    assert names[0] == "gemtop-engine-o\n"
    assert len(names) == 2
    assert Path("/proc/self/comm").read_text(encoding="ascii") != names[0]
    assert os.getpid() == threading.main_thread().native_id
