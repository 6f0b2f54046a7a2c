"""What a plan of a 27B takes, with and without the searches; reading a header; the list of two hundred models.

python -m tests.benchmarks.planning [--runs 6]

The 27B is a sparse file with Gemma's real shapes and vocabulary. Memory is that of all processes together (PSS).
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

from gemtop.config import paths
from gemtop.domain.settings import ContextSettings, EngineSettings
from gemtop.engine.planner import Planner, PlanRequest
from tests.benchmarks.pairs import demo_model, gemtop, machine, say, spread
from tests.gemma_files import write_gemma

CARD = ("--gpu-memory", "24GiB", "-c", "32768")
FILES = 200


def forget_plans(cache: Path) -> None:
    for file in (cache / "gemtop" / "plans").glob("*.json"):
        file.unlink()


def seconds(*arguments: str) -> float:
    begun = time.perf_counter()
    gemtop(*arguments)
    return time.perf_counter() - begun


def peak_mb(*arguments: str) -> float:
    """Most memory of the command and its children together."""
    command = [sys.executable, "-m", "gemtop", *arguments]
    process, most = psutil.Popen(command, stdout=subprocess.DEVNULL), 0.0
    while process.poll() is None:
        total = 0.0
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_full_info().pss
            except psutil.Error:
                continue
        most = max(most, total)
        time.sleep(0.01)
    return most / 1e6


def without_search(model: str) -> float:
    """The ledger alone, in a planner of its own, as `gemtop plan` starts one."""
    begun = time.perf_counter()
    with Planner(paths()) as planner:
        planner.plan(
            PlanRequest(model, EngineSettings(context=ContextSettings(n_ctx=32_768)), (24 << 30,), search=False)
        )
    return time.perf_counter() - begun


def header_seconds(model: str) -> float:
    code = (
        "import sys,time\nfrom gemtop.engine.gguf import read_header\n"
        "t=time.perf_counter();read_header(sys.argv[1]);print(time.perf_counter()-t)"
    )
    done = subprocess.run([sys.executable, "-c", code, model], check=True, capture_output=True, text=True)
    return float(done.stdout)


def list_of_models(folder: Path, runs: int) -> None:
    """Two hundred small models in a folder of the configuration, each with a content of its own."""
    models, config = folder / "models", folder / "config.toml"
    models.mkdir()
    source = write_gemma(folder / "1b.gguf", "1b", demo_model())
    data = source.read_bytes()[: 16 << 20]
    for number in range(FILES):
        file = models / f"gemma-3-1b-it-{number}-Q4_0.gguf"
        file.write_bytes(data)
        os.truncate(file, source.stat().st_size)
        with file.open("r+b") as out:  # a weight that is no other's: each file has a fingerprint of its own
            out.seek(-8, os.SEEK_END)
            out.write(number.to_bytes(8, "little"))
    config.write_text(f'[models]\nfolders = ["{models}"]\n')
    os.environ["GEMTOP_CONFIG"] = str(config)
    say(f"gemtop models over {FILES} files, the first time: {seconds('models', '--json'):.1f} s")
    say(f"gemtop models over {FILES} files, then: {spread([seconds('models', '--json') for _ in range(runs)])} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=6)
    args = parser.parse_args()
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        os.environ.update(
            XDG_STATE_HOME=folder, XDG_CACHE_HOME=str(cache), XDG_DATA_HOME=folder, GEMTOP_DB=f"{folder}/h.duckdb"
        )
        model = str(write_gemma(Path(folder) / "27b.gguf", "27b", demo_model()))
        say(f"the header of a 27B: {spread([header_seconds(model) for _ in range(args.runs)])} s")
        found: dict[str, list[float]] = {"ledger": [], "new": [], "known": [], "memory": []}
        for _ in range(args.runs):
            forget_plans(cache)
            found["ledger"].append(without_search(model))
            forget_plans(cache)
            found["new"].append(seconds("plan", model, *CARD))
            found["known"].append(seconds("plan", model, *CARD))
            forget_plans(cache)
            found["memory"].append(peak_mb("plan", model, *CARD))
        say(f"its ledger, without the searches: {spread(found['ledger'])} s")
        say(f"gemtop plan, with the searches: {spread(found['new'])} s")
        say(f"gemtop plan, asked before: {spread(found['known'])} s")
        say(f"gemtop plan, memory: {spread(found['memory'], 0)} MB")
        list_of_models(Path(folder), args.runs)


if __name__ == "__main__":
    main()
