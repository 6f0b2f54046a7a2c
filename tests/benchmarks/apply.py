"""What a change of settings takes: of the context alone, and of the placement against a bare load by llama.cpp.

python -m tests.benchmarks.apply [--runs 8]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from gemtop.config import paths
from gemtop.domain.events import GenerateRequest, ModelLoaded, RunFinished
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from gemtop.engine.stores.demo import demo_model
from gemtop.engine.worker import LlamaEngine
from tests.benchmarks.pairs import machine, say, spread
from tests.engines import EngineDriver

BARE_LOAD = """
import os, sys, time
import llama_cpp
lib = llama_cpp.llama_cpp
callback = lib.llama_log_callback(lambda *_: None)
lib.llama_log_set(callback, None)
lib.llama_backend_init()
for _ in range(2):  # the second one counts: files in the page cache, code warm, as in the engine
    begun = time.perf_counter()
    params = lib.llama_model_default_params()
    params.n_gpu_layers = 0
    model = lib.llama_model_load_from_file(os.fsencode(sys.argv[1]), params)
    settings = lib.llama_context_default_params()
    settings.n_ctx, settings.swa_full = 1024, False
    context = lib.llama_init_from_model(model, settings)
    took = time.perf_counter() - begun
    lib.llama_free(context)
    lib.llama_model_free(model)
print(took)
"""


def change(driver: EngineDriver, settings: EngineSettings) -> tuple[float, float]:
    """Seconds until the context stood, and until the conversation was in it."""
    begun = time.perf_counter()
    driver.engine.apply(settings)
    loaded = driver.wait_for(ModelLoaded)
    driver.wait_for(RunFinished)
    return loaded.change_s, time.perf_counter() - begun


def bare_load(model: str) -> float:
    done = subprocess.run([sys.executable, "-c", BARE_LOAD, model], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8)
    args = parser.parse_args()
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(XDG_STATE_HOME=folder, XDG_CACHE_HOME=folder, GEMTOP_DB=str(Path(folder) / "h.duckdb"))
        measure(str(demo_model(paths())), args.runs)


def measure(model: str, runs: int) -> None:
    start = EngineSettings(OffloadSettings(n_gpu_layers=0), ContextSettings(n_ctx=1024, n_threads=1))
    driver = EngineDriver(lambda sink: LlamaEngine(sink, paths()))
    driver.load(model, start)
    driver.run(GenerateRequest("The capital of France is", 60, SamplingSettings(temperature=0)))
    sizes = [1024 + 256 * number for number in range(1, runs + 1)]
    wider = [replace(start, context=replace(start.context, n_ctx=size)) for size in sizes]
    first = [change(driver, settings)[0] for settings in wider]
    again = [change(driver, settings)[0] for settings in wider]
    ratios, loads = [], []
    for number in range(runs):
        placed = replace(start, offload=replace(start.offload, use_extra_bufts=number % 2 == 1))
        took, bare = change(driver, placed)[0], bare_load(model)
        loads.append(took)
        ratios.append(took / bare)
    driver.engine.close()
    say(f"a change of the context, not planned before: {spread(first)} s")
    say(f"a change of the context, planned before: {spread(again)} s")
    say(f"a change of the placement: {spread(loads)} s")
    say(f"a change of the placement / a bare load by llama.cpp: {spread(ratios)}")


if __name__ == "__main__":
    main()
