"""gemtop top against nvitop at 1 Hz and 120x40: CPU time, bytes to the terminal, time to the first frame.

python -m tests.benchmarks.top_against_nvitop [--rounds 3] [--seconds 30] [--cards 2]

Both read the stand-in for NVIDIA's driver and run in turns, each on a pseudo-terminal of its own. CPU is that of
all processes of a program. nvitop has to be installed beside gemtop.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests import nvml_stub
from tests.benchmarks.pairs import machine, say, spread

COLUMNS, ROWS = 120, 40
SETTLE_S = 6.0
PROGRAMS = {
    "gemtop top": ("-m", "gemtop", "top"),
    "nvitop": ("-m", "nvitop", "-m", "full", "--interval", "1"),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a program takes of the machine and of the line."""

    cpu_ms_per_s: float
    bytes_per_s: float
    first_frame_s: float


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process and those below it, to the nanosecond where the kernel tells it."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error, OSError):
            running_ns = Path(f"/proc/{one.pid}/task").glob("*/schedstat")
            total += sum(int(file.read_text().split()[0]) for file in running_ns) / 1e9
    return total


def measured(arguments: tuple[str, ...], environment: dict[str, str], seconds: float) -> Cost:
    """Start it, let it settle, and measure for so many seconds."""
    begun = time.monotonic()
    pid, fd = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.execve(sys.executable, [sys.executable, *arguments], environment)
    process = psutil.Process(pid)
    first: float | None = None
    sent, before_s = 0, 0.0
    since: float | None = None
    try:
        while since is None or time.monotonic() - since < seconds:
            ready, _, _ = select.select([fd], [], [], 0.1)
            now = time.monotonic()
            if since is None and now - begun > SETTLE_S:
                since, before_s, sent = now, cpu_s(process), 0
            if ready:
                data = os.read(fd, 65536)
                sent += len(data)
                if first is None and sent > 1000:
                    first = now - begun
        took = time.monotonic() - since
        used = cpu_s(process) - before_s
    finally:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not os.waitpid(pid, os.WNOHANG)[0]:
            with contextlib.suppress(OSError):
                if select.select([fd], [], [], 0.1)[0]:
                    os.read(fd, 65536)
        else:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        os.close(fd)
    return Cost(1000 * used / took, sent / took, first or float("nan"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--cards", type=int, default=2)
    args = parser.parse_args()
    say(machine())
    found: dict[str, list[Cost]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        stub = nvml_stub.build(Path(folder))
        environment = nvml_stub.environment(stub, f"devices={args.cards}")
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        for _ in range(args.rounds):
            for name, arguments in PROGRAMS.items():
                found[name].append(measured(arguments, environment, args.seconds))
    for name, costs in found.items():
        say(f"{name}: CPU {spread([c.cpu_ms_per_s for c in costs], 1)} ms/s")
        say(f"{name}: sent {spread([c.bytes_per_s for c in costs], 0)} B/s")
        say(f"{name}: first frame {spread([c.first_frame_s for c in costs])} s")
    for what in ("cpu_ms_per_s", "bytes_per_s"):
        ratio = [getattr(a, what) / getattr(b, what) for a, b in zip(*found.values(), strict=True)]
        say(f"gemtop top against nvitop, {what}: {statistics.median(ratio):.2f} (median of {len(ratio)} pairs)")


if __name__ == "__main__":
    main()
