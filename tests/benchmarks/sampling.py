"""What sampling costs and how steady it is: ten a second of two cards of the stand-in driver, beside a decode.

python -m tests.benchmarks.sampling [--seconds 60] [--period 0.1] [--idle] [--model PATH]

The load is llama.cpp decoding the demo model, or PATH, on one thread; `--idle` leaves it out. CPU is that of the
sampler's threads by the kernel's clocks; what the calls into NVML take of it (ctypes included, the same threads'
CPU time) is shown apart.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gemtop.domain.telemetry import CostSample, DeviceSample, HostSample, Sample
from gemtop.telemetry.host import PsutilProbe
from gemtop.telemetry.nvml import NvmlLibrary, NvmlProbe
from gemtop.telemetry.sampler import THREAD_NAME, Sampler
from gemtop.threads import name_thread
from tests import nvml_stub
from tests.benchmarks.pairs import demo_model, machine, say


class TimedBindings:
    """pynvml, with the CPU time that the calling threads spend in it."""

    def __init__(self) -> None:
        import pynvml

        self._pynvml = pynvml
        self.cpu_ns = 0
        self.calls = 0
        self._adding = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._pynvml, name)
        if not name.startswith("nvml"):
            return found

        def timed(*args: object) -> Any:
            begun = time.thread_time_ns()
            try:
                return found(*args)
            finally:
                spent = time.thread_time_ns() - begun
                with self._adding:
                    self.cpu_ns += spent
                    self.calls += 1

        setattr(self, name, timed)
        return timed


class TimedHost(PsutilProbe):
    """The machine's probe, with the CPU time of its readings: the kernel's files, mostly."""

    cpu_ns = 0

    def read(self, t_ns: int) -> HostSample:
        begun = time.thread_time_ns()
        try:
            return super().read(t_ns)
        finally:
            self.cpu_ns += time.thread_time_ns() - begun


def cost_of_timing_ns() -> float:
    """CPU time of one call's timing itself, the smallest of some tries: it is none of the sampler's."""
    bindings = TimedBindings()
    bindings.__dict__["_pynvml"] = SimpleNamespace(nvmlNothing=lambda: None)

    def per_call(function: Callable[[], object]) -> float:
        begun = time.thread_time_ns()
        for _ in range(1000):
            function()
        return (time.thread_time_ns() - begun) / 1000

    timed = bindings.nvmlNothing
    return min(per_call(timed) for _ in range(20)) - min(per_call(lambda: None) for _ in range(20))


def decode(model: str, ready: threading.Event, stop: threading.Event) -> None:
    """Decode tokens until told to stop, as the engine's thread does: one call of llama.cpp for each."""
    name_thread("gemtop-engine")
    import llama_cpp

    llm = llama_cpp.Llama(model, n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False)
    while not stop.is_set():
        llm.reset()
        for _ in itertools.islice(llm.generate([2, 669, 5279, 529], top_k=1), 400):
            ready.set()
            if stop.is_set():
                break


def sampler_threads_ns() -> int:
    """CPU time of the sampler's threads."""
    threads = [t for t in threading.enumerate() if t.name.startswith(THREAD_NAME)]
    return sum(time.clock_gettime_ns((~t.native_id << 3) | 6) for t in threads if t.native_id)


def measure(seconds: float, period_s: float) -> dict[str, Any]:
    bindings, period_ns = TimedBindings(), round(period_s * 1e9)
    times: dict[str, list[int]] = {}
    costs: list[CostSample] = []

    def emit(sample: Sample) -> None:
        if isinstance(sample, CostSample):
            costs.append(sample)
            return
        name = f"GPU {sample.device}" if isinstance(sample, DeviceSample) else "host"
        times.setdefault(name, []).append(sample.t_ns)

    host = TimedHost()
    sampler = Sampler(NvmlProbe(NvmlLibrary(lambda: bindings)), host, emit, period_s=period_s)
    sampler.start()
    sampler.wait_past(0, 10)
    time.sleep(1)
    for taken in times.values():
        taken.clear()
    costs.clear()
    late, host_ns = sampler.late, host.cpu_ns
    cpu_ns, in_calls_ns, calls, begun_ns = sampler_threads_ns(), bindings.cpu_ns, bindings.calls, time.monotonic_ns()
    time.sleep(seconds)
    span_ns = time.monotonic_ns() - begun_ns
    cpu_ns, in_calls_ns, calls = sampler_threads_ns() - cpu_ns, bindings.cpu_ns - in_calls_ns, bindings.calls - calls
    late, host_ns = sampler.late - late, host.cpu_ns - host_ns
    sampler.stop()
    return {
        "span_s": span_ns / 1e9,
        "cpu_pct": 100 * cpu_ns / span_ns,
        "in_calls_pct": 100 * in_calls_ns / span_ns,
        "host_pct": 100 * host_ns / span_ns,
        "calls": calls,
        "timing_pct": 100 * calls * cost_of_timing_ns() / span_ns,
        "late": late,
        "jitter_ms": {name: jitter_ms(taken, sampler._origin_ns, period_ns) for name, taken in times.items()},
        "samples": {name: len(taken) for name, taken in times.items()},
        "engine_cpu_pct": statistics.fmean(c.engine_cpu_pct or 0.0 for c in costs) if costs else None,
        "nvml_pct": statistics.fmean(c.nvml_pct or 0.0 for c in costs) if costs else None,
    }


def jitter_ms(taken: list[int], origin_ns: int, period_ns: int) -> dict[str, float]:
    """How long after its tick each sample began; none begins before."""
    after = sorted((t - origin_ns) % period_ns / 1e6 for t in taken)
    return {"p50": statistics.median(after), "p99": after[int(0.99 * (len(after) - 1))], "max": after[-1]}


def child(args: argparse.Namespace) -> None:
    stop, ready = threading.Event(), threading.Event()
    load: Callable[[], object] = lambda: None  # noqa: E731
    if not args.idle:
        engine = threading.Thread(target=decode, args=(args.model, ready, stop), daemon=True)
        engine.start()
        ready.wait(120)
        load = engine.join
    found = measure(args.seconds, args.period)
    stop.set()
    load()
    sys.stdout.write(json.dumps(found) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--period", type=float, default=0.1)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        env = nvml_stub.environment(nvml_stub.build(Path(folder)))
        command = [sys.executable, "-m", "tests.benchmarks.sampling", "--child"]
        command += ["--seconds", str(args.seconds), "--period", str(args.period)]
        command += ["--idle"] if args.idle else ["--model", args.model or demo_model()]
        output = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    found = json.loads(output.splitlines()[-1])
    beside = found["cpu_pct"] - found["in_calls_pct"] - found["timing_pct"]
    say(f"{1 / args.period:.0f} Hz for {found['span_s']:.1f} s, {found['calls']} calls of NVML")
    say(f"CPU of the sampler: {found['cpu_pct'] - found['timing_pct']:.2f} % of a core")
    say(f"  calls of NVML {found['in_calls_pct']:.2f}; beside them {beside:.2f}, of which")
    say(f"  reading the machine {found['host_pct']:.2f}; everything else {beside - found['host_pct']:.2f}")
    for name, jitter in found["jitter_ms"].items():
        shown = "  ".join(f"{key} {value:.2f}" for key, value in jitter.items())
        say(f"{name}: {found['samples'][name]} samples, after their tick {shown} ms")
    say(f"ticks skipped: {found['late']}")
    own_figures = f"engine {found['engine_cpu_pct']:.1f} %, inside NVML {found['nvml_pct']:.2f} % of the time"
    say(f"gemtop's own figures: {own_figures}")


if __name__ == "__main__":
    main()
