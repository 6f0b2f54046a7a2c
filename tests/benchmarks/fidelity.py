"""The pass over a text against llama-perplexity of the same llama.cpp source, in turn: same text, chunks and threads.

python -m tests.benchmarks.fidelity [--llama-perplexity PATH] [--pairs 4] [--threads 2] [--chunks 8]

Three passes: perplexity alone; the same with the model's predictions kept; and perplexity with the divergence from
predictions that were kept. Either side's time runs from the text's tokenisation to the last figure, without loading.
Without PATH llama-perplexity is built from the source that llama-cpp-python ships, into --build (some minutes).
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.llama_tools import build_tool
from tests.benchmarks.pairs import demo_model, machine, say, spread

PASSES = ("perplexity", "kept", "against")


def theirs(program: Path, model: str, text: Path, kept: Path, which: str, chunks: int, threads: int) -> float:
    """Seconds of llama-perplexity's pass, by the lines it prints."""
    command = [str(program), "-m", model, "-c", "512", "--chunks", str(chunks), "-t", str(threads)]
    if which == "against":  # the tokens are in the file
        command += ["--kl-divergence-base", str(kept), "--kl-divergence"]
    else:
        command += ["-f", str(text), *(["--kl-divergence-base", str(kept)] if which == "kept" else [])]
    begin = end = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0) as process:
        assert process.stdout is not None
        for line in process.stdout:
            now = time.perf_counter()
            if begin is None and (b"tokenizing the input" in line or b"kl_divergence: computing" in line):
                begin = now
            if b"Final estimate" in line or b"Same top p" in line:
                end = now
    if process.returncode or begin is None or end is None:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}, and without its figures")
    return end - begin


def ours(model: str, kept: Path, which: str, chunks: int, threads: int) -> dict[str, float]:
    """Seconds of gemtop's pass in a process of its own, that process's peak memory, and the perplexity."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.fidelity",
        "--ours",
        which,
        "--model",
        model,
        "--kept",
        str(kept),
    ]
    command += ["--chunks", str(chunks), "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def pass_of_ours(model: str, kept: Path, which: str, chunks: int, threads: int) -> dict[str, float]:
    """The same, in this process."""
    import resource

    from gemtop.comparison.job import scoring_settings
    from gemtop.config import paths
    from gemtop.domain.events import LoadFailed, ModelLoaded, TextScored
    from gemtop.domain.fidelity import perplexity
    from gemtop.domain.settings import ContextSettings, EngineSettings
    from gemtop.engine.protocol import ScoreRequest
    from gemtop.engine.worker import LlamaEngine
    from gemtop.prompts import corpus

    events: queue.SimpleQueue[object] = queue.SimpleQueue()
    engine = LlamaEngine(events.put, paths())
    settings = EngineSettings(context=ContextSettings(n_threads=threads, n_threads_batch=threads))
    engine.open(model, scoring_settings(settings, 512))
    while not isinstance(event := events.get(), ModelLoaded):
        if isinstance(event, LoadFailed):
            raise SystemExit(event.message)
    request = ScoreRequest(
        corpus.default().text, 512, chunks, (kept,) if which == "against" else (), kept if which == "kept" else None
    )
    begin = time.perf_counter()
    engine.score(request)
    while not isinstance(event := events.get(), TextScored):
        pass
    seconds = time.perf_counter() - begin
    if event.likelihoods is None:
        raise SystemExit(event.message or "not scored")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    engine.close()
    return {"seconds": seconds, "peak_bytes": peak, "perplexity": perplexity(event.likelihoods).perplexity.value}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-perplexity", type=Path)
    parser.add_argument("--build", type=Path, default=Path(tempfile.gettempdir()) / "gemtop-llama-perplexity")
    parser.add_argument("--model", default=None)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=PASSES)
    parser.add_argument("--ours", choices=PASSES, help=argparse.SUPPRESS)
    parser.add_argument("--kept", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = args.model or demo_model()
    if args.ours:
        say(json.dumps(pass_of_ours(model, args.kept, args.ours, args.chunks, args.threads)))
        return
    program = args.llama_perplexity or build_tool("llama-perplexity", args.build)
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        _pairs(args, model, program, Path(folder))


def _pairs(args: argparse.Namespace, model: str, program: Path, folder: Path) -> None:
    from gemtop.prompts import corpus

    text, our_file, their_file = folder / "text", folder / "ours", folder / "theirs"
    text.write_text(corpus.default().text, encoding="utf-8")
    size = Path(model).stat().st_size
    for which in args.passes:
        if which == "against":
            ours(model, our_file, "kept", args.chunks, args.threads)
            theirs(program, model, text, their_file, "kept", args.chunks, args.threads)
        ratios = []
        for pair in range(args.pairs):
            # The order alternates, so that a machine that slows down favours neither.
            if pair % 2:
                mine = ours(model, our_file, which, args.chunks, args.threads)
                other = theirs(program, model, text, their_file, which, args.chunks, args.threads)
            else:
                other = theirs(program, model, text, their_file, which, args.chunks, args.threads)
                mine = ours(model, our_file, which, args.chunks, args.threads)
            ratios.append(other / mine["seconds"])
            more = (mine["peak_bytes"] - size) / 2**20
            say(
                f"{which}, pair {pair + 1}: gemtop {mine['seconds']:.2f} s, llama-perplexity {other:.2f} s; perplexity"
                f" {mine['perplexity']:.4f}; peak memory the model's file and {more:.0f} MiB"
            )
        say(f"{which}: llama-perplexity / gemtop {spread(ratios)}")
    say(f"predictions: {our_file.stat().st_size / 2**20:.1f} MiB, theirs {their_file.stat().st_size / 2**20:.1f} MiB"
        if our_file.exists() else "no predictions were kept")  # fmt: skip


if __name__ == "__main__":
    main()
