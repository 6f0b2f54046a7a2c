"""Decode speed in the TUI with charts, streaming and recording against `gemtop run`; bytes it sends; its own CPU.

python -m tests.benchmarks.screen_against_headless [--pairs 7] [--tokens 256] [--threads 1] [--thrift] [--line BYTES_S]

With --line the terminal takes so many bytes a second and no more, and how soon keys show is measured as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.pairs import demo_model, gemtop, machine, say, spread
from tests.tui.program import GemtopTerminal
from tests.tui.slow_line import SlowTerminal

PROMPT = "The history of the city begins with"


class Screen(NamedTuple):
    """What one run on the screen took."""

    decode_tokens_per_s: float
    bytes_per_s: float
    """To the terminal, from "running" to the end of the run."""
    observer_cpu_pct: float
    """Of a core: all threads but llama.cpp's, mean of the run's readings."""


def opened(arguments: list[str], line: float | None) -> GemtopTerminal:
    return SlowTerminal(arguments, line) if line else GemtopTerminal(arguments)


def on_screen(model: str, flags: list[str], db: str, line: float | None) -> Screen:
    """At 120x40, with three charts."""
    arguments = [model, *flags, "--prompt", PROMPT, "--quit-when-done", "--db", db]
    with opened(arguments, line) as terminal:
        terminal.wait_for_text("running")
        sent, begun = len(terminal.raw), time.monotonic()
        terminal.wait_until(lambda: "running" not in terminal.text, "the run's end")
        rate = (len(terminal.raw) - sent) / (time.monotonic() - begun)
        terminal.wait()
    last = asked("SELECT session_id, decode_tokens_per_s AS speed FROM runs ORDER BY run_id DESC LIMIT 1", db)
    decoding = f"session_id = '{last['session_id']}' AND engine_cpu_pct > 25"
    cost = asked(f"SELECT avg(observer_cpu_pct) AS cpu FROM costs WHERE {decoding}", db)
    return Screen(float(last["speed"]), rate, float(cost["cpu"]))


def asked(sql: str, db: str) -> dict[str, Any]:
    (row,) = json.loads(gemtop("query", sql, "--format", "json", "--db", db))
    return dict(row)


def key_times(model: str, flags: list[str], db: str, line: float) -> list[float]:
    """Seconds from keys to what they show, while it generates."""
    with opened([model, *flags, "-n", "-1", "--prompt", PROMPT, "--db", db], line) as terminal:
        terminal.wait_for_text("running", "generated")
        times = []
        steps: list[tuple[str, Callable[[], bool]]] = [
            ("x", lambda: terminal.screen.display[-2].startswith(" x")),
            ("y", lambda: terminal.screen.display[-2].startswith(" xy")),
            ("\x7f", lambda: not terminal.screen.display[-2].startswith(" xy")),
        ]
        for _ in range(5):
            terminal.type("/")
            terminal.wait_until(lambda: "type a prompt; Enter" in terminal.text, "the prompt")
            for key, shows in steps:
                begun = time.monotonic()
                terminal.type(key)
                terminal.wait_until(shows, f"the effect of {key!r}")
                times.append(time.monotonic() - begun)
            terminal.type("\x7f\t")
            terminal.wait_until(lambda: "type a prompt; Enter" not in terminal.text, "the keys of the screen")
        terminal.type("\x1b")
        terminal.wait_for_text("stopped")
        terminal.type("q")
        terminal.wait()
    return times


def headless(model: str, flags: list[str], db: str) -> tuple[float, float]:
    """Decode tokens/s of `gemtop run`, and bytes of text a second."""
    run = json.loads(gemtop("run", model, *flags, "-p", PROMPT, "--json", "--db", db))
    speed = float(run["decode_tokens_per_s"])
    return speed, len(run["text"].encode()) / run["generated_tokens"] * speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--thrift", action="store_true")
    parser.add_argument("--line", type=float, help="bytes a second that the terminal takes")
    args = parser.parse_args()
    model = demo_model()
    flags = ["-n", str(args.tokens), "--temp", "0", "-t", str(args.threads), "-c", "2048"]
    shown = [*flags, "--thrift"] if args.thrift else flags
    ratios, beside, costs = [], [], []
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        db = str(Path(folder) / "history.duckdb")
        headless(model, flags, db)  # the preflight and the page cache are not measured
        for pair in range(args.pairs):
            if pair % 2:
                plain, screen = headless(model, flags, db), on_screen(model, shown, db, args.line)
            else:
                screen, plain = on_screen(model, shown, db, args.line), headless(model, flags, db)
            ratios.append(screen[0] / plain[0])
            beside.append(screen[1] - plain[1])
            costs.append(screen.observer_cpu_pct)
            say(f"pair {pair + 1}  TUI {screen[0]:6.2f}  run {plain[0]:6.2f} tokens/s  to the terminal "
                f"{screen[1]:5.0f} bytes/s, text {plain[1]:4.0f}  gemtop {costs[-1]:.1f} % of a core")  # fmt: skip
        if args.line:
            say(f"seconds until a key shows: {spread(key_times(model, shown, db, args.line))}")
    say(f"decode, TUI / run: {spread(ratios)}")
    say(f"bytes/s beside the text: {statistics.median(beside):.0f} (highest {max(beside):.0f})")
    say(f"gemtop itself, % of a core: {spread(costs, 2)}")


if __name__ == "__main__":
    main()
