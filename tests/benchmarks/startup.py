"""First frame, --help, a one-row query, the supervisor's share, and memory without a model.

python -m tests.benchmarks.startup [--runs 10]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.benchmarks.pairs import gemtop, machine, say, spread
from tests.tui.program import GemtopTerminal


def seconds(*arguments: str) -> float:
    begun = time.perf_counter()
    gemtop(*arguments)
    return time.perf_counter() - begun


def python_alone() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - begun


def first_frame(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds until header and keys stand, until the charts do, and MB of the program once it has settled."""
    begun = time.perf_counter()
    with GemtopTerminal(arguments) as terminal:
        sent, shown = b"", []
        for words in (b"Quit", b"0:30"):  # the last of the keys; the time axis of a chart
            while words not in sent:  # read past the emulator, which is slower than the program
                sent += os.read(terminal.fd, 65536)
            shown.append(time.perf_counter() - begun)
        terminal.feed(sent)
        terminal.wait_for_text("Another card")  # a key of the models, which are what there is to choose from
        settled = time.monotonic() + 2
        while time.monotonic() < settled:
            terminal.read(0.1)
        memory = sum(p.memory_full_info().pss for p in [psutil.Process(terminal.pid), *terminal.children()])
        terminal.type("\x11")
        terminal.wait()
    return shown[0], shown[1], memory / 1e6


def fork_seconds() -> float:
    """What the supervisor adds before the program begins: a fork, from a process as small as it is then."""
    code = (
        "import os,time,gemtop.cli.main as m,gemtop.cli.live;t=time.perf_counter_ns();p=os.fork()\n"
        "if p==0:\n print(time.perf_counter_ns()-t,flush=True);os._exit(0)\n"
        "os.waitpid(p,0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    args = parser.parse_args()
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(XDG_STATE_HOME=folder, GEMTOP_DB=str(Path(folder) / "history.duckdb"))
        gemtop("run", "--demo", "-p", "One run to ask for", "-n", "2", "-t", "1")
        say(f"python -c pass: {spread([python_alone() for _ in range(args.runs)])} s")
        say(f"gemtop --help: {spread([seconds('--help') for _ in range(args.runs)])} s")
        one_row = ("query", "SELECT decode_tokens_per_s FROM runs")
        say(f"gemtop query, one row of a history: {spread([seconds(*one_row) for _ in range(args.runs)])} s")
        none = ("query", "SELECT 1", "--db", str(Path(folder) / "none.duckdb"))
        say(f"gemtop query where there is no history yet: {spread([seconds(*none) for _ in range(args.runs)])} s")
        say(f"the supervisor's fork: {spread([1000 * fork_seconds() for _ in range(args.runs)])} ms")
        frames = [first_frame([]) for _ in range(args.runs)]
        say(f"first frame at 120x40, header and keys: {spread([painted for painted, _, _ in frames])} s")
        say(f"the charts in their place: {spread([charts for _, charts, _ in frames])} s")
        say(f"memory without a model (PSS, parent and program): {spread([mb for _, _, mb in frames], 1)} MB")


if __name__ == "__main__":
    main()
