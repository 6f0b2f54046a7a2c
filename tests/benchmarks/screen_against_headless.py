"""Decode speed in the TUI with charts, streaming and recording against `gemtop run`; bytes to the terminal.

python -m tests.benchmarks.screen_against_headless [--pairs 7] [--tokens 256] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.benchmarks.pairs import demo_model, gemtop, machine, say, spread
from tests.tui.program import GemtopTerminal

PROMPT = "The history of the city begins with"


def on_screen(model: str, flags: list[str], db: str) -> tuple[float, float]:
    """Decode tokens/s in the TUI at 120x40, and bytes a second to the terminal while it generates."""
    arguments = [model, *flags, "--prompt", PROMPT, "--quit-when-done", "--db", db]
    with GemtopTerminal(arguments) as terminal:
        terminal.wait_for_text("running")
        sent, begun = len(terminal.raw), time.monotonic()
        terminal.wait_until(lambda: "running" not in terminal.text, "the run's end")
        rate = (len(terminal.raw) - sent) / (time.monotonic() - begun)
        terminal.wait()
    found = gemtop("query", "SELECT decode_tokens_per_s FROM runs ORDER BY run_id DESC LIMIT 1",
                   "--format", "json", "--db", db)  # fmt: skip
    return float(json.loads(found)[0]["decode_tokens_per_s"]), rate


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
    args = parser.parse_args()
    model = demo_model()
    flags = ["-n", str(args.tokens), "--temp", "0", "-t", str(args.threads), "-c", "2048"]
    ratios, beside = [], []
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        db = str(Path(folder) / "history.duckdb")
        headless(model, flags, db)  # the preflight and the page cache are not measured
        for pair in range(args.pairs):
            if pair % 2:
                plain, screen = headless(model, flags, db), on_screen(model, flags, db)
            else:
                screen, plain = on_screen(model, flags, db), headless(model, flags, db)
            ratios.append(screen[0] / plain[0])
            beside.append(screen[1] - plain[1])
            say(f"pair {pair + 1}  TUI {screen[0]:6.2f}  run {plain[0]:6.2f} tokens/s  to the terminal "
                f"{screen[1]:5.0f} bytes/s, text {plain[1]:4.0f}")  # fmt: skip
    say(f"decode, TUI / run: {spread(ratios)}")
    say(f"bytes/s beside the text: {statistics.median(beside):.0f} (highest {max(beside):.0f})")


if __name__ == "__main__":
    main()
