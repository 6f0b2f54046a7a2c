"""What gemtop's own threads take of a core while llama.cpp generates, each by the kernel's accounts.

python -m tests.benchmarks.observer [--seconds 30] [--runs 3] [--threads 1] [--thrift]

At 120x40 with three charts, in the middle of a run: its beginning is in neither.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from gemtop.telemetry.cost import ENGINE_THREADS
from tests.benchmarks.pairs import demo_model, machine, say, spread, thread_cpu_s
from tests.tui.program import GemtopTerminal

MAIN = "the screen and its loop"
_SETTLED_S = 12.0
"""After this the first charts, the first move into the history and late imports are over."""


def watch(terminal: GemtopTerminal, for_s: float) -> None:
    """Take what the program sends, as a terminal does."""
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        terminal.read()


def observe(flags: list[str], for_s: float) -> dict[str, float]:
    """Per cent of a core by thread, over so many seconds of a run."""
    with GemtopTerminal([demo_model(), *flags, "-n", "-1", "--prompt", "Once upon a time there was"]) as terminal:
        terminal.wait_for_text("running", "generated")
        watch(terminal, _SETTLED_S)
        before, begun_s = thread_cpu_s(terminal.program.pid, MAIN), time.monotonic()
        watch(terminal, for_s)
        after, took_s = thread_cpu_s(terminal.program.pid, MAIN), time.monotonic() - begun_s
        assert "running" in terminal.text, "the run has ended: its context is full"
        terminal.type("\x1b")
        terminal.wait_for_text("stopped")
        terminal.type("q")
        terminal.wait()
    return {name: 100 * (seconds - before.get(name, 0.0)) / took_s for name, seconds in after.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--thrift", action="store_true")
    args = parser.parse_args()
    flags = ["-t", str(args.threads), "-c", "32768", *(["--thrift"] if args.thrift else [])]
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        flags += ["--db", str(Path(folder) / "history.duckdb")]
        runs = [observe(flags, args.seconds) for _ in range(args.runs)]
    names = sorted({name for run in runs for name in run}, key=lambda name: -runs[0].get(name, 0.0))
    for name in names:
        median = statistics.median(run.get(name, 0.0) for run in runs)
        if median >= 0.01:
            say(f"{median:6.2f} %  {name}")
    beside = [sum(share for name, share in run.items() if not name.startswith(ENGINE_THREADS)) for run in runs]
    say(f"beside llama.cpp, % of a core: {spread(beside, 2)}")


if __name__ == "__main__":
    main()
