"""Records llama-perplexity's own figures on this processor, for tests/engine/test_scoring.py to be held against.

python -m tests.tools.llama_perplexity [--llama-perplexity PATH] [--build FOLDER]

Quantised weights are multiplied by other kernels on other processors, which moves figures by up to a hundredth or
more: so they are kept for each kind, under the widest of its instruction sets that llama.cpp has kernels of.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gemtop.config import paths
from gemtop.engine.describe import describe_build
from gemtop.engine.stores.demo import demo_model
from gemtop.prompts import corpus
from tests.benchmarks.llama_tools import build_tool
from tests.derived import derive

DATA = Path(__file__).parents[1] / "engine" / "data" / "llama_perplexity.json"
CHUNKS = 2
KINDS = ("AVX512", "AVX2")
"""Names among gemtop doctor's CPU features, the widest first."""
_NUMBER = r"\s*(-?[\d.]+)"
_FIGURES = {
    "perplexity": r"Mean PPL\(Q\)\s*:" + _NUMBER,
    "ln_ratio": r"Mean ln\(PPL\(Q\)/PPL\(base\)\)\s*:" + _NUMBER,
    "kl_mean": r"Mean\s+KLD:" + _NUMBER,
    "kl_median": r"Median\s+KLD:" + _NUMBER,
    "kl_p90": r"90\.0%\s+KLD:" + _NUMBER,
    "kl_p99": r"99\.0%\s+KLD:" + _NUMBER,
    "kl_max": r"Maximum\s+KLD:" + _NUMBER,
    "rms_pct": r"RMS Δp\s*:" + _NUMBER,
    "top1_pct": r"Same top p:" + _NUMBER,
}
_WITH_ERROR = ("perplexity", "ln_ratio", "kl_mean", "rms_pct", "top1_pct")


def kind_of_processor() -> str | None:
    """The kind that this processor is of; None where its figures have not been recorded as one."""
    features = describe_build().cpu_features
    return next((kind for kind in KINDS if kind in features), None)


def figures(printed: str) -> dict[str, float]:
    """What llama-perplexity prints of one format against the baseline, or of the baseline alone."""
    alone = re.search(r"Final estimate: PPL =" + _NUMBER + r" \+/-" + _NUMBER, printed)
    if alone is not None:
        return {"perplexity": float(alone[1]), "perplexity_se": float(alone[2])}
    found = {}
    for name, pattern in _FIGURES.items():
        with_error = name in _WITH_ERROR
        match = re.search(pattern + (r"\s*±" + _NUMBER if with_error else ""), printed)
        if match is None:
            raise SystemExit(f"llama-perplexity printed no {name}:\n{printed[-3000:]}")
        found[name] = float(match[1])
        if with_error:
            found[f"{name}_se"] = float(match[2])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-perplexity", type=Path)
    parser.add_argument("--build", type=Path, default=Path(tempfile.gettempdir()) / "gemtop-llama-perplexity")
    given = parser.parse_args()
    kind = kind_of_processor()
    if kind is None:
        raise SystemExit(f"this processor has none of {', '.join(KINDS)}: name its kind in KINDS first")
    program = given.llama_perplexity or build_tool("llama-perplexity", given.build)
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    recorded: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), str(demo_model(paths()))
        text, base = folder / "text", folder / "base"
        text.write_text(corpus.default().text, encoding="utf-8")
        for number, form in enumerate(("F16", "Q8_0", "Q5_0", "Q4_0", "Q2_K", "Q4_K_M")):
            file = model if form == "Q4_K_M" else str(derive(model, folder, form))
            command = [str(program), "-m", file, "-f", str(text), "-c", "512", "--chunks", str(CHUNKS), "-t", "2"]
            command += ["--kl-divergence-base", str(base), *(["--kl-divergence"] if number else [])]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
            recorded[form] = figures(done.stdout)
            print(kind, form, recorded[form], flush=True)
    data["kinds"][kind] = recorded
    DATA.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
