"""Comparisons that nobody ran: variants, runs and texts with figures of chance, in the history too."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gemtop.comparison.job import Asked, Job, Progress, TextToScore, Top, Variant, plain
from gemtop.comparison.outcome import Outcome, outcome
from gemtop.config import Paths
from gemtop.domain.comparison import Scores, Seen, VariantFacts
from gemtop.domain.fidelity import Divergences, Likelihoods, along, fidelity, perplexity
from gemtop.domain.figures import TimingAccumulator
from gemtop.domain.records import Record, SessionEnd, TokenRow, run_row
from gemtop.domain.settings import EngineSettings
from tests.history.rows import SESSION, STARTED_NS, S, put_in, run, run_end, session

LABELS = (
    "F16", "QAT Q4_0", "PTQ Q8_0", "PTQ Q5_0", "PTQ Q4_0", "PTQ Q4_K_M", "PTQ Q2_K", "PTQ Q3_K_S KV q4_0 with LoRA",
)  # fmt: skip
KINDS = ("summarise", "extract", "reasoning")
WORDS = (
    "the", "lighthouse", "keeper", "climbs", "slowly", "up", "a", "narrow", "stair", "and", "lights", "his", "old",
    "lamp", "before", "night", "falls", "on", "us",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What a comparison is to be like."""

    labels: Sequence[str] = LABELS
    prompts: int = 6
    repeat: int = 3
    tokens: int = 48
    n_nll: int = 2000
    gpu: bool = True
    throttled: bool = True
    text: bool = True
    failures: Mapping[int, str] | None = None
    checkpoints: Mapping[int, int] | None = None
    hostile: str = ""
    """Put into everything that models, files and prompts say."""
    until_run: int | None = None
    """Runs after which it was stopped."""


def facts(number: int, made: Made) -> VariantFacts:
    label = made.labels[number]
    training = "qat" if "QAT" in label else "none" if "F16" in label else "ptq"
    return VariantFacts(
        label=label + made.hostile,
        model_name=f"Gemma 3 1B {label}{made.hostile}",
        model_path=f"/models/gemma-{number}{made.hostile}.gguf",
        model_fingerprint=f"{number:02}" * 20,
        variant=label,
        quantization=label.split()[-1],
        training=training,
        evidence="the file's name" + made.hostile,
        size_bytes=int(2e9 / (1 + number)),
        settings={},
    )


def job_of(made: Made) -> Job:
    text = TextToScore("Persuasion" + made.hostile, "text", "ab" * 32, 512, None)
    return Job(
        variants=tuple(Variant(facts(number, made), EngineSettings()) for number in range(len(made.labels))),
        baseline=0,
        prompts=tuple(
            Asked(f"p{i}{made.hostile}", KINDS[i % 3], "Say something." + made.hostile, made.tokens, None)
            for i in range(made.prompts)
        ),
        prompts_name="a set" + made.hostile,
        prompts_fingerprint="cd" * 32,
        left_out={"needle" + made.hostile: "a context of 512 tokens is too short for it"},
        text=text if made.text else None,
        repeat=made.repeat,
        run_code=False,
        cool_down_s=0.0,
        checkpoints=dict(made.checkpoints or {}),
    )


def comparison(made: Made, paths: Paths | None = None, seed: int = 1) -> Outcome:
    """The outcome; with `paths` its runs and their tokens are in that history."""
    chance, job = random.Random(seed), job_of(made)
    progress = Progress(comparison_id=SESSION)
    records: list[Record] = [session()]
    number_of_run = 0
    for repeat in range(made.repeat):
        for number in range(len(made.labels)):
            if number in (made.failures or {}):
                continue
            progress.loads_s.setdefault(number, []).append(0.5 + 0.1 * number + 0.02 * chance.random())
            for asked in job.prompts:
                if made.until_run is not None and number_of_run >= made.until_run:
                    break
                number_of_run += 1
                seen, rows = _run(made, chance, number, repeat, asked, number_of_run)
                progress.seen.append(seen)
                records += rows
    for number, reason in (made.failures or {}).items():
        progress.failures[number] = reason + made.hostile
    if made.text and made.until_run is None:
        _score(made, chance, progress, job)
    for number in range(len(made.labels)):
        for place in progress.places(0, number):
            for variant in (0, number):
                progress.tops[variant, number, place.prompt_id] = (place.at, _top(chance, made))
    if paths is not None:
        put_in(paths, [*records, SessionEnd(STARTED_NS + 10_000 * S, None)])
    return outcome(job, progress)


def _run(
    made: Made, chance: random.Random, number: int, repeat: int, asked: Asked, index: int
) -> tuple[Seen, list[Record]]:
    gap_ms = 12.0 + 9.0 / (1 + number)
    stamps = [STARTED_NS + index * 20 * S]
    for _ in range(made.tokens - 1):
        stamps.append(stamps[-1] + round(1e6 * chance.lognormvariate(0, 0.15) * gap_ms))
    timing = TimingAccumulator(stamps[0] - S // 10)
    timing.add_prefill(stamps[0], 20)
    timing.add_tokens(stamps)
    found = timing.timing()
    gpu = {"gpu_name": "NVIDIA Test" if made.gpu else None, "devices": ("0",) if made.gpu else ()}
    begin = run(number=index, start_ns=stamps[0] - S // 10, **gpu)
    joules = (0.4 + 1.6 / (1 + number)) * (1 + 0.03 * chance.random()) if made.gpu else None
    slow = made.throttled and made.gpu and chance.random() < 0.1
    end = run_end(
        begin.run_id,
        end_ns=stamps[-1],
        prompt_tokens=20,
        generated_tokens=made.tokens,
        ttft_s=found.ttft_s,
        prefill_tokens_per_s=found.prefill_tokens_per_s,
        decode_tokens_per_s=found.decode_tokens_per_s,
        itl_p50_ms=found.latency.p50_ms,
        itl_p95_ms=found.latency.p95_ms,
        itl_p99_ms=found.latency.p99_ms,
        vram_peak_bytes=int(2.3e9 / (1 + number)) if made.gpu else None,
        ram_peak_bytes=int(3e9 / (1 + number / 2)),
        decode_j_per_token=joules,
        throttled_s=(0.004 if slow else 0.0) if made.gpu else None,
        throttle_reasons=("SwPowerCap",) if slow else () if made.gpu else None,
        roof_share=0.7,
        valid=True,
    )
    words = [WORDS[(i * 7 + len(asked.id)) % len(WORDS)] for i in range(made.tokens)]
    same = int(made.tokens / (1 + number)) if number and int(asked.id[1]) % 2 else made.tokens
    spoken = words[:same] + [chance.choice(WORDS) for _ in words[same:]]
    row = json.loads(json.dumps(run_row(session(), begin, end)))
    seen = Seen(
        number, repeat, asked.id, row, " ".join(spoken) + made.hostile, (1, 2, 3),
        tuple(WORDS.index(word) for word in spoken), chance.random() < 0.8, "" if number else "the number is 4, not 5",
    )  # fmt: skip
    return seen, [begin, *(TokenRow(begin.run_id, 20 + i, t, i, "decode") for i, t in enumerate(stamps)), end]


def _score(made: Made, chance: random.Random, progress: Progress, job: Job) -> None:
    theirs = [chance.expovariate(0.4) for _ in range(made.n_nll)]
    for number in range(len(made.labels)):
        if number in (made.failures or {}):
            continue
        size = 0.0 if number == 0 else 0.004 * 3.0 ** (number - 1)
        mine = [nll + chance.gauss(size / 2, size**0.5 / 3) for nll in theirs] if number else theirs
        kl = [abs(size * chance.lognormvariate(-0.7, 1.2)) for _ in theirs]
        found = Likelihoods(512, 8, mine)
        against = Divergences(theirs, kl, [size / 20] * len(kl), [chance.random() > size for _ in kl])
        scores = Scores(perplexity(found), fidelity(found, against) if number else None)
        if number in (made.checkpoints or {}):
            own = replace(against, kl=[value / 30 for value in kl])
            scores = replace(scores, own=fidelity(found, own))
        curves = {"nll": along(mine, 200, _mean)} | ({"kl": along(kl, 200, _mean)} if number else {})
        progress.apply({"step": "scores", "data": {"variant": number, "scores": plain(scores), "along": curves}})


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _top(chance: random.Random, made: Made) -> Top:
    words = chance.sample(WORDS, 5)
    return tuple((i, f" {word}{made.hostile}", 0.5 / 2**i) for i, word in enumerate(words))


def as_arguments(made: Made) -> list[str]:
    return ["compare", *(f"gemma-{i}{made.hostile}.gguf" for i in range(len(made.labels))), "--report", "out"]
