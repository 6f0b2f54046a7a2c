"""How close decode comes to the roof: bytes a token must read x tokens per second against the measured bandwidth.

python -m tests.benchmarks.roofline [--rounds 5] [--tokens 96] [MODEL]

Each round measures the memory and decodes in turn, with one thread and with as many as there are cores. The bandwidth
is the best of all rounds, as gemtop remembers it: a share above 1 would mean that the test measures too little.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from gemtop.config import Paths
from gemtop.domain.errors import GemtopError
from gemtop.domain.events import GenerateRequest, LoadFailed, ModelLoaded, TokenGenerated
from gemtop.domain.roofline import Bandwidth, reads_of, roofs, together
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from gemtop.engine.bandwidth import measure
from gemtop.engine.cpu import physical_cores
from gemtop.engine.worker import LlamaEngine
from tests.benchmarks.pairs import demo_model, machine, say, spread
from tests.engines import EngineDriver

_PROMPT = "The history of the steam engine begins with"


def decode(driver: EngineDriver, n_tokens: int) -> tuple[float, float]:
    """Tokens per second, and the mean depth of the context meanwhile."""
    before = len(driver.events)
    driver.engine.forget()
    _, finished = driver.run(GenerateRequest(_PROMPT, n_tokens, SamplingSettings(temperature=0, seed=1)))
    times = [event.t_ns for event in driver.events[before:] if isinstance(event, TokenGenerated)]
    return (len(times) - 1) / (times[-1] - times[0]) * 1e9, finished.context_used - len(times) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    args = parser.parse_args()
    say(machine())
    model = args.model or demo_model()
    with tempfile.TemporaryDirectory() as folder:
        where = Paths(history=Path(folder) / "h.duckdb", state=Path(folder), cache=Path(folder))
        driver = EngineDriver(lambda emit: LlamaEngine(emit, where))
        for n_threads in sorted({1, physical_cores()}):
            context = ContextSettings(n_ctx=2048, n_threads=n_threads)
            driver.engine.open(model, EngineSettings(OffloadSettings(n_gpu_layers=0), context))
            loaded = driver.wait_for(ModelLoaded, LoadFailed)
            if isinstance(loaded, LoadFailed):
                raise GemtopError(loaded.message)
            reads = reads_of(loaded.model, loaded.memory)
            measured = [loaded.bandwidths["CPU"]]
            decoded = []
            for _ in range(args.rounds):
                measured.append(measure("CPU", n_threads))
                decoded.append(decode(driver, args.tokens))
            parts = roofs(reads, {"CPU": Bandwidth(max(measured), "measured")}, decoded[0][1])
            roof = together(parts)
            assert roof is not None
            speeds = [speed for speed, _ in decoded]
            say(f"{n_threads} threads: memory {spread([value / 1e9 for value in measured], 1)} GB/s")
            say(f"  a token reads {parts[0].bytes_per_token / 1e6:.1f} MB; the roof is {roof:.1f} tokens/s")
            say(f"  decode {spread(speeds, 1)} tokens/s, {spread([speed / roof for speed in speeds], 2)} of the roof")
        driver.engine.close()


if __name__ == "__main__":
    main()
