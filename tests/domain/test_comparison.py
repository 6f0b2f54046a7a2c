"""Figures of variants and the verdict, from runs and scores that are known."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gemtop.domain.comparison import (
    Scores,
    Seen,
    VariantFacts,
    VariantFigures,
    as_dict,
    figures,
    part_at,
)
from gemtop.domain.fidelity import Divergences, Likelihoods, fidelity, perplexity
from gemtop.domain.verdict import quality_differs, verdict

PROMPTS = ("a", "b", "c", "d")


def facts(label: str, training: str = "ptq", size: int = 100) -> VariantFacts:
    return VariantFacts(label, "Gemma", f"/m/{label}", label, label, "Q4_0", training, "name", size)


def seen(variant: int, repeat: int, prompt: str, **changes: Any) -> Seen:
    fields = {name: changes.pop(name) for name in ("passed", "tokens", "reason") if name in changes}
    row = {
        "status": "finished", "valid": True, "generated_tokens": 64, "ttft_s": 0.5, "decode_tokens_per_s": 40.0,
        "prefill_tokens_per_s": 400.0, "ram_peak_bytes": 1000, **changes,
    }  # fmt: skip
    return Seen(
        variant, repeat, prompt, row, "text", (1, 2), tuple(fields.get("tokens", (5, 6, 7))),
        fields.get("passed"), fields.get("reason", ""),
    )  # fmt: skip


def found(
    runs: Sequence[Seen], scores: Mapping[int, Scores] | None = None, names: Sequence[str] = ("FP16", "PTQ Q4_0"),
    **more: Any,
) -> list[VariantFigures]:  # fmt: skip
    return figures(
        [facts(name) for name in names], runs, scores or {}, 0, dict.fromkeys(PROMPTS, "code"),
        more.get("failures", {}), more.get("loads_s", {}), {},
    )  # fmt: skip


def test_speeds_are_means_over_repeats() -> None:
    runs = [seen(0, r, p, decode_tokens_per_s=40.0 + r) for r in range(3) for p in PROMPTS]
    runs += [seen(1, r, p, decode_tokens_per_s=80.0 + 2 * r) for r in range(3) for p in PROMPTS]
    base, other = found(runs)
    speed = base.speeds["decode_tokens_per_s"]
    assert speed is not None and (speed.mean, speed.n) == (41.0, 3)
    assert base.ratios["decode_tokens_per_s"] is None
    ratio = other.ratios["decode_tokens_per_s"]
    assert ratio is not None and ratio.value == pytest.approx(2.0) and ratio.differs
    assert base.speeds["decode_j_per_token"] is None
    assert base.reasons["decode_j_per_token"] == "not measured on this machine"


def test_one_repeat_is_a_mean_over_prompts() -> None:
    (base, _) = found([seen(0, 0, p, ttft_s=1.0 + i) for i, p in enumerate(PROMPTS)])
    speed = base.speeds["ttft_s"]
    assert speed is not None and (speed.mean, speed.n) == (2.5, 4)


def test_spoiled_runs_are_in_no_speed_and_short_answers_in_none_of_decode() -> None:
    runs = [
        seen(0, 0, "a", decode_tokens_per_s=40.0),
        seen(0, 0, "b", decode_tokens_per_s=1.0, valid=False, invalid_reason="another process used GPU 0"),
        seen(0, 0, "c", decode_tokens_per_s=2.0, ttft_s=0.7, generated_tokens=3, valid=False,
             invalid_reason="too few tokens: 3 generated tokens, a speed needs 32"),
    ]  # fmt: skip
    base, other = found(runs)
    decode, ttft = base.speeds["decode_tokens_per_s"], base.speeds["ttft_s"]
    assert decode is not None and (decode.mean, decode.n) == (40.0, 1)
    assert ttft is not None and (ttft.mean, ttft.n) == (pytest.approx(0.6), 2)
    assert (base.n_runs, base.n_invalid) == (3, 1)
    assert other.reasons["ttft_s"] == "no run ended"


def test_a_variant_against_itself_does_not_differ_in_19_of_20() -> None:
    """Speeds with noise of the load and of the run: the share of false findings is that of the interval."""
    chance = random.Random(7)
    wrong = total = 0
    for _ in range(400):
        runs = []
        for variant in range(2):
            for repeat in range(3):
                load = chance.gauss(0, 0.03)
                runs += [
                    seen(variant, repeat, p, decode_tokens_per_s=40.0 * (1 + load + chance.gauss(0, 0.02)))
                    for p in PROMPTS
                ]
        ratio = found(runs)[1].ratios["decode_tokens_per_s"]
        assert ratio is not None
        wrong += bool(ratio.differs)
        total += 1
    assert wrong / total < 0.08


def test_outputs_and_tasks_are_looked_at_once_a_prompt() -> None:
    runs = [seen(0, r, p, passed=True) for r in range(2) for p in PROMPTS]
    runs += [
        seen(1, r, p, passed=p != "a", tokens=(5, 6, 7) if p in "ab" else (5, 9)) for r in range(2) for p in PROMPTS
    ]
    base, other = found(runs)
    assert (base.task_success, base.n_checked, base.same_output_share) == (1.0, 4, None)
    assert (other.task_success, other.n_checked, other.same_output_share) == (0.75, 4, 0.5)
    assert other.by_kind == {"code": (3, 4)}


def test_where_outputs_part() -> None:
    assert part_at((1, 2, 3), (1, 2, 3)) is None
    assert part_at((1, 2, 3), (1, 5, 3)) == 1
    assert part_at((1, 2), (1, 2, 3)) == 2
    assert part_at((), (4,)) == 0


def scored(shift: float, training: str = "ptq") -> Scores:
    chance = random.Random(1)
    theirs = [chance.expovariate(0.5) for _ in range(2000)]
    mine = [max(0.0, nll + chance.gauss(shift, 0.2)) for nll in theirs]
    text = Likelihoods(512, 8, mine)
    return Scores(perplexity(text), fidelity(text, Divergences(theirs, [0.02] * 2000, [0.0] * 2000, [True] * 2000)))


def test_the_verdict_says_what_differs_and_what_is_noise() -> None:
    names = ("FP16", "PTQ Q8_0", "PTQ Q4_0", "PTQ Q2_K")
    runs = [seen(v, r, p, decode_tokens_per_s=(40.0 + r) * (v + 1), ram_peak_bytes=1000 // (v + 1), passed=v < 2)
            for v in range(3) for r in range(3) for p in PROMPTS]  # fmt: skip
    all_of_it = found(runs, {1: scored(0.0), 2: scored(0.1)}, names, failures={3: "does not fit"})
    assert quality_differs(all_of_it[1]) is False
    assert quality_differs(all_of_it[2]) is True
    text = verdict(all_of_it, 0)
    assert text.startswith("Against FP16, the text is predicted as well, within the noise, by PTQ Q8_0 (perplexity ")
    assert "; worse by PTQ Q4_0 (perplexity +" in text
    assert "50% of the memory, decode 2.00 to 2.00 times, 100% of 4 tasks right, the baseline 100%)" in text
    assert "0% of 4 tasks right, the baseline 100%)" in text
    assert text.endswith("PTQ Q2_K could not be measured (does not fit).")
    assert text.count(".\n") == 0


def test_of_many_variants_the_verdict_says_how_they_predict_and_no_more() -> None:
    names = ("FP16", "PTQ Q8_0", "PTQ Q6_K", "PTQ Q4_0", "PTQ Q2_K")
    runs = [seen(v, r, p, decode_tokens_per_s=40.0 + r, ram_peak_bytes=1000, passed=True)
            for v in range(5) for r in range(3) for p in PROMPTS]  # fmt: skip
    text = verdict(found(runs, {v: scored(v / 10) for v in range(1, 5)}, names), 0)
    assert text.count(" (perplexity +") == text.count(", KL 0.02)") == 4
    assert not any(word in text for word in ("memory", "decode", "tasks"))


@pytest.mark.parametrize(
    ("shifts", "said"),
    [
        ((0.0, 0.1), "QAT Q4_0 predicts it better than PTQ Q4_0, which is of its size (perplexity -"),
        ((0.1, 0.0), "QAT Q4_0 predicts it worse than PTQ Q4_0, which is of its size (perplexity +"),
        ((0.1, 0.1), "QAT Q4_0 predicts it no better and no worse, within the noise, than PTQ Q4_0, which is of"),
    ],
)
def test_the_verdict_holds_qat_against_ptq_of_its_size(shifts: tuple[float, float], said: str) -> None:
    names = [facts("FP16", "none", 400), facts("QAT Q4_0", "qat", 100), facts("PTQ Q4_0", "ptq", 101),
             facts("PTQ Q8_0", "ptq", 200)]  # fmt: skip
    scores = {1: scored(shifts[0]), 2: scored(shifts[1]), 3: scored(0.0)}
    text = verdict(figures(names, [], scores, 0, {}, {}, {}, {}), 0)
    assert said in text
    assert text.count("which is of its size") == 1


def test_the_verdict_names_what_was_held_against_nothing() -> None:
    names = ("FP16", "PTQ Q4_0", "Another")
    runs = [seen(v, 0, p) for v in range(3) for p in PROMPTS]
    alone = Scores(scored(0.0).perplexity, None, "its tokenizer makes other tokens")
    text = verdict(found(runs, {2: alone}, names), 0)
    assert "PTQ Q4_0 was not held against its predictions (no text was scored), and has 100% of the memory" in text
    assert "Another was not held against its predictions (its tokenizer makes other tokens), and has " in text
    assert "predicted" not in text


def test_json_has_every_figure_or_a_reason() -> None:
    base, other = found([seen(v, 0, p) for v in range(2) for p in PROMPTS], {1: scored(0.1)}, loads_s={0: [1.0, 2.0]})
    data = as_dict(other)
    for name in ("variant", "quantization", "training", "size_bytes", "vram_peak_bytes", "ram_peak_bytes", "load_s",
                 "ttft_s", "prefill_tokens_per_s", "decode_tokens_per_s", "decode_j_per_token", "perplexity",
                 "perplexity_se", "kl_mean", "kl_mean_se", "kl_p99", "top1_agreement", "same_output_share",
                 "task_success"):  # fmt: skip
        assert name in data
    assert data["decode_tokens_per_s"] == {"mean": 40.0, "ci95": 0.0, "n": 4}
    assert data["decode_j_per_token"] is None and "decode_j_per_token" in data["reasons"]
    assert as_dict(base)["load_s"]["n"] == 2
    assert as_dict(base)["kl_mean"] is None
