"""gemtop bench against llama-bench of the same llama.cpp source, in turn, same threads and flags.

python -m tests.benchmarks.against_llama_bench [--llama-bench PATH] [--pairs 5] [--threads 2]

Without PATH llama-bench is built from the source that llama-cpp-python ships, into --build (some minutes).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from tests.benchmarks.llama_tools import build_tool
from tests.benchmarks.pairs import demo_model, gemtop, machine, say, spread


def theirs(program: Path, model: str, flags: list[str]) -> dict[str, float]:
    command = [str(program), "-m", model, "-o", "json", *flags]
    tests = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {("tg" if t["n_gen"] else "pp"): float(t["avg_ts"]) for t in tests}


def ours(model: str, flags: list[str]) -> dict[str, float]:
    tests = json.loads(gemtop("bench", model, "-o", "json", *flags))
    names = {"tg": "decode_tokens_per_s", "pp": "prefill_tokens_per_s"}
    return {t["kind"]: float(t[names[t["kind"]]]["mean"]) for t in tests}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bench", type=Path)
    parser.add_argument("--build", type=Path, default=Path(tempfile.gettempdir()) / "gemtop-llama-bench")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    program = args.llama_bench or build_tool("llama-bench", args.build)
    model = demo_model()
    flags = ["-p", "512", "-n", "128", "-r", str(args.repetitions), "-t", str(args.threads)]
    ratios: dict[str, list[float]] = {"pp": [], "tg": []}
    say(machine())
    for pair in range(args.pairs):
        # The order alternates, so that a machine that slows down favours neither.
        if pair % 2:
            mine, other = ours(model, flags), theirs(program, model, flags)
        else:
            other, mine = theirs(program, model, flags), ours(model, flags)
        for kind, values in ratios.items():
            values.append(mine[kind] / other[kind])
            say(f"pair {pair + 1}  {kind}  gemtop {mine[kind]:8.2f}  llama-bench {other[kind]:8.2f} tokens/s")
    for kind, values in ratios.items():
        say(f"{kind}: gemtop / llama-bench {spread(values)}")


if __name__ == "__main__":
    main()
