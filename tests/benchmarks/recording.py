"""What recording takes: CPU of the recorder at a full load, moves into DuckDB, and taking in a long spool.

python -m tests.benchmarks.recording [--seconds 60] [--lines 200000]

The load is a session at 10 Hz on two GPUs with 200 tokens/s. CPU is that of the recorder's threads and of those DuckDB
makes for them. Everything lies in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from gemtop.config import Paths
from gemtop.domain.records import SessionEnd, TokenRow
from gemtop.domain.telemetry import DeviceSample, HostSample
from gemtop.history.database import Database
from gemtop.history.ingest import take_in_dead
from gemtop.history.recorder import Recorder
from gemtop.history.spool import Spool, spools_in
from tests.benchmarks.pairs import machine, say, thread_cpu_s
from tests.history.rows import run, run_end, session

_S = 1_000_000_000
_NAMES = ("gemtop-recorder", "gemtop-mover")


def card(t_ns: int, device: str, step: int) -> DeviceSample:
    """A sample with every reading, each different from the one before."""
    return DeviceSample(
        t_ns, device, gpu_util_pct=90.0 + step % 9, mem_util_pct=70.0 + step % 7, vram_used_bytes=18 * 2**30 + step,
        power_w=300.0 + step % 40, energy_j=1e6 + 30.0 * step, temperature_c=60.0 + step % 5, clock_sm_mhz=1700.0,
        clock_mem_mhz=9751.0, vram_free_bytes=5 * 2**30 - step, power_average_w=300.0, power_instant_w=305.0 + step % 9,
        throttle_reasons=("SwPowerCap",) if step % 50 > 40 else (), pstate=2, fan_pct=60.0, pcie_gen=4, pcie_width=16,
        pcie_rx_bytes_per_s=10_000_000, pcie_tx_bytes_per_s=5_000_000, ecc_corrected=0, ecc_uncorrected=0,
        vram_process_bytes=17 * 2**30, other_processes=0,
    )  # fmt: skip


def host(t_ns: int, step: int) -> HostSample:
    return HostSample(
        t_ns, 25.0 + step % 10, 100.0, 8 * 2**30 + step, 2**35, 2**29, package_energy_j=30.0 * step,
        package_power_w=30.0 + step % 8, cpu_temperature_c=55.0, cpu_by_core_pct=(90.0, 10.0, 5.0, 5.0),
        swap_in_bytes=0, swap_out_bytes=0,
    )  # fmt: skip


def _cpu_s() -> float:
    """CPU time of the recorder's threads so far."""
    return sum(seconds for name, seconds in thread_cpu_s(os.getpid()).items() if name in _NAMES)


def load(paths: Paths, seconds: float) -> None:
    """Record the load in real time and say what it took."""
    with Database(paths.history).open():
        pass  # making a new history is none of the recorder's daily work
    recorder = Recorder(paths)
    begin = session(started_ns=time.monotonic_ns(), pid=os.getpid())
    recorder.open(begin)
    now_ns = time.monotonic_ns()
    recorder.put(run(start_ns=now_ns))
    started_s, cpu_s = time.monotonic(), _cpu_s()
    step = tokens = 0
    waiter = threading.Event()
    while (elapsed_s := time.monotonic() - started_s) < seconds:
        t_ns = time.monotonic_ns()
        while tokens < elapsed_s * 200:
            recorder.put(TokenRow(f"{begin.session_id}.1", tokens, t_ns, tokens % 262_144, "decode"))
            tokens += 1
        while step < elapsed_s * 10:
            for device in "01":
                recorder.put(card(t_ns, device, step))
            recorder.put(host(t_ns, step))
            step += 1
        waiter.wait(0.005)
    took_s = _cpu_s() - cpu_s
    say(
        f"recorder: {100 * took_s / seconds:.2f} % of a core over {seconds:.0f} s ({tokens} tokens, {3 * step} samples)"
    )
    recorder.put(run_end(f"{begin.session_id}.1", end_ns=time.monotonic_ns(), generated_tokens=tokens))
    closing_s = time.monotonic()
    recorder.close(SessionEnd(time.monotonic_ns(), None))
    say(f"closing: {time.monotonic() - closing_s:.2f} s")
    assert recorder.problem is None, recorder.problem
    say(f"history: {paths.history.stat().st_size / 2**20:.1f} MiB")


def take_in(paths: Paths, lines: int) -> None:
    """Take in the spool of a process that is gone: one row a line, the most lines a session can make of its rows."""
    from gemtop.history.lines import Encoder

    begin = session("20261101-000000-bbbb0001", started_ns=0)
    encoder, run_id = Encoder(), f"{begin.session_id}.1"
    spool = Spool.create(paths.spools, begin.session_id)
    spool.append(encoder.lines([begin]) + encoder.lines([replace(run(begin.session_id), start_ns=0)]))
    batch = []
    for i in range(lines):
        t_ns = i * _S // 200
        kind = i % 20
        row = (
            card(t_ns, "0", i) if kind == 0 else host(t_ns, i) if kind == 1 else TokenRow(run_id, i, t_ns, 7, "decode")
        )
        batch.append(encoder.lines([row]))
    batch.append(encoder.lines([run_end(run_id, end_ns=lines * _S // 200)]))  # one that died has its figures to find
    spool.append(b"".join(batch))
    size = spool.end
    spool.close()
    with Database(paths.history).open():
        pass
    started_s = time.monotonic()
    found = take_in_dead(paths)
    say(f"taking in {lines:,} lines ({size / 2**20:.0f} MiB): {time.monotonic() - started_s:.2f} s")
    assert found.sessions == (begin.session_id,) and not spools_in(paths.spools), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--lines", type=int, default=200_000)
    given = parser.parse_args()
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder) / "history.duckdb", Path(folder) / "state", Path(folder) / "cache")
        load(paths, given.seconds)
        for _ in range(3):
            other = Paths(Path(folder) / f"{time.time_ns()}.duckdb", paths.state, paths.cache)
            other.spools.mkdir(parents=True)
            take_in(other, given.lines)


if __name__ == "__main__":
    main()
