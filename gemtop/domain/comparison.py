"""Variants held against each other: what was seen of each, and the figures of that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import Any

from gemtop.domain.fidelity import Estimate, Fidelity, Perplexity
from gemtop.domain.statistics import MeanCi, Ratio, mean_ci, paired_ratio
from gemtop.domain.validity import LEAST_TOKENS


@dataclass(frozen=True, slots=True)
class VariantFacts:
    """What a variant is."""

    label: str
    """Short, and different for each variant of a comparison."""
    model_name: str
    model_path: str
    model_fingerprint: str
    variant: str
    """What people say: QAT Q4_0, PTQ Q4_K_M, FP16."""
    quantization: str
    training: str
    evidence: str
    """Where the training was read from."""
    size_bytes: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the other variants besides the file: type_k, n_ctx, lora."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of one prompt."""

    variant: int
    repeat: int
    prompt_id: str
    row: Mapping[str, Any]
    """Under the names of the view `runs`."""
    output: str
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    """What was generated."""
    passed: bool | None
    """Whether the answer is right; None where it was not checked."""
    reason: str
    """Why it is not, or was not checked."""
    pieces: tuple[str, ...] = ()
    """What each token added to the output; the last incomplete character is not among them."""

    @property
    def spoiled(self) -> str | None:
        """What spoiled the measurement, in one line; a short answer alone does not."""
        if self.row.get("valid") is not False:
            return None
        reasons = str(self.row.get("invalid_reason") or "not valid").split("; ")
        return "; ".join(reason for reason in reasons if not reason.startswith("too few tokens")) or None

    def figure(self, name: str) -> float | None:
        """A figure that may be compared: none of a spoiled run, none of the decode of a few tokens."""
        few = (self.row.get("generated_tokens") or 0) < LEAST_TOKENS and name in _OF_DECODE
        value = None if few or self.spoiled else self.row.get(name)
        return None if value is None else float(value)


@dataclass(frozen=True, slots=True)
class Apart:
    """Where the outputs of a variant and of the baseline to the same prompt part."""

    variant: int
    prompt_id: str
    at: int
    """Position of the first token that differs, among those generated."""
    baseline_top: tuple[tuple[int, str, float], ...]
    variant_top: tuple[tuple[int, str, float], ...]
    """The most likely tokens there: id, text, probability. Empty where they could not be had."""


def part_at(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """Position of the first token that differs; None where none does."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
    return None if same == len(ours) == len(theirs) else same


@dataclass(frozen=True, slots=True)
class Scores:
    """What came of the text."""

    perplexity: Perplexity
    fidelity: Fidelity | None
    """Against the baseline; None for the baseline itself, and where it cannot be held against it."""
    reason: str | None = None
    """Why there is none."""
    own: Fidelity | None = None
    """Against the variant's own unquantised checkpoint: what quantising alone cost."""


@dataclass(frozen=True, slots=True)
class VariantFigures:
    """A variant's figures. What is None has its reason in `reasons`."""

    facts: VariantFacts
    n_runs: int
    n_invalid: int
    """Runs that were not fit to be measured; they are in no speed."""
    load_s: MeanCi | None
    vram_peak_bytes: int | None
    ram_peak_bytes: int | None
    speeds: Mapping[str, MeanCi | None]
    """ttft_s, prefill_tokens_per_s, decode_tokens_per_s, itl_p50_ms, itl_p95_ms, itl_p99_ms, prefill_j_per_token,
    decode_j_per_token, roof_share."""
    ratios: Mapping[str, Ratio | None]
    """The same over the baseline's, by pairs of the same prompt and repeat."""
    scores: Scores | None
    same_output_share: float | None
    """Of the prompts: the output is the baseline's, token by token."""
    task_success: float | None
    """Share of right answers among those checked."""
    n_checked: int
    by_kind: Mapping[str, tuple[int, int]]
    """Right answers and checked ones by kind of prompt."""
    failure: str | None
    """Why it could not be measured, or not wholly."""
    reasons: Mapping[str, str]
    checkpoint: str | None = None
    """Label of its own unquantised checkpoint, where that is among the variants and is not the baseline."""


_OF_DECODE = {"decode_tokens_per_s", "itl_p50_ms", "itl_p95_ms", "itl_p99_ms", "decode_j_per_token", "roof_share"}
SPEEDS = (
    "ttft_s", "prefill_tokens_per_s", "decode_tokens_per_s", "itl_p50_ms", "itl_p95_ms", "itl_p99_ms",
    "prefill_j_per_token", "decode_j_per_token", "roof_share",
)  # fmt: skip


def figures(
    facts: Sequence[VariantFacts], seen: Sequence[Seen], scores: Mapping[int, Scores], baseline: int,
    kinds: Mapping[str, str], failures: Mapping[int, str], loads_s: Mapping[int, Sequence[float]],
    checkpoints: Mapping[int, int],
) -> list[VariantFigures]:  # fmt: skip
    """The figures of all variants.

    `kinds` is prompt id to kind; `loads_s` how long each load took; `checkpoints` the number of a variant to that of
    its own unquantised checkpoint.
    """
    theirs = [one for one in seen if one.variant == baseline]
    found = []
    for number, fact in enumerate(facts):
        ours = [one for one in seen if one.variant == number]
        speeds = {name: _by_repeat(ours, name) for name in SPEEDS}
        checked = [one for one in _of_first_repeat(ours) if one.passed is not None]
        by_kind: dict[str, tuple[int, int]] = {}
        for one in checked:
            right, of = by_kind.get(kinds[one.prompt_id], (0, 0))
            by_kind[kinds[one.prompt_id]] = (right + bool(one.passed), of + 1)
        found.append(
            VariantFigures(
                facts=fact,
                n_runs=len(ours),
                n_invalid=sum(one.spoiled is not None for one in ours),
                load_s=mean_ci(loads_s[number]) if loads_s.get(number) else None,
                vram_peak_bytes=_largest(ours, "vram_peak_bytes"),
                ram_peak_bytes=_largest(ours, "ram_peak_bytes"),
                speeds=speeds,
                ratios={name: None if number == baseline else _ratio(ours, theirs, name) for name in SPEEDS},
                scores=scores.get(number),
                same_output_share=None if number == baseline else _same_share(ours, theirs),
                task_success=sum(bool(one.passed) for one in checked) / len(checked) if checked else None,
                n_checked=len(checked),
                by_kind=by_kind,
                failure=failures.get(number),
                reasons=_reasons(ours, speeds, failures.get(number)),
                checkpoint=facts[checkpoints[number]].label if number in checkpoints else None,
            )
        )
    return found


def _of_first_repeat(seen: Sequence[Seen]) -> list[Seen]:
    """Greedy decoding answers the same each time: outputs are looked at once a prompt."""
    first: dict[str, Seen] = {}
    for one in seen:
        if one.row.get("status") == "finished":
            first.setdefault(one.prompt_id, one)
    return list(first.values())


def _largest(seen: Sequence[Seen], name: str) -> int | None:
    values = [one.row[name] for one in seen if one.row.get(name) is not None]
    return max(values, default=None)


def _by_repeat(seen: Sequence[Seen], name: str) -> MeanCi | None:
    """Mean over repeats of the mean over prompts: runs of one load are not independent of each other.

    With one repeat it is over the prompts.
    """
    repeats: dict[int, list[float]] = {}
    for one in seen:
        value = one.figure(name)
        if value is not None:
            repeats.setdefault(one.repeat, []).append(value)
    if not repeats:
        return None
    if len(repeats) == 1:
        return mean_ci(next(iter(repeats.values())))
    return mean_ci([math.fsum(values) / len(values) for values in repeats.values()])


def _ratio(ours: Sequence[Seen], theirs: Sequence[Seen], name: str) -> Ratio | None:
    """Pairs of the same prompt and repeat; of several repeats each is one pair, of the means of the logarithms."""
    base = {(one.repeat, one.prompt_id): one.figure(name) for one in theirs}
    repeats: dict[int, list[tuple[float, float]]] = {}
    for one in ours:
        mine, other = one.figure(name), base.get((one.repeat, one.prompt_id))
        if mine and other:
            repeats.setdefault(one.repeat, []).append((other, mine))
    if not repeats:
        return None
    if len(repeats) == 1:
        return paired_ratio(next(iter(repeats.values())))
    return paired_ratio([(1.0, paired_ratio(pairs).value) for pairs in repeats.values()])


def _same_share(ours: Sequence[Seen], theirs: Sequence[Seen]) -> float | None:
    base = {one.prompt_id: one.tokens for one in _of_first_repeat(theirs)}
    pairs = [(one.tokens, base[one.prompt_id]) for one in _of_first_repeat(ours) if one.prompt_id in base]
    return sum(mine == other for mine, other in pairs) / len(pairs) if pairs else None


def _reasons(seen: Sequence[Seen], speeds: Mapping[str, MeanCi | None], failure: str | None) -> dict[str, str]:
    if not seen:
        return dict.fromkeys(speeds, failure or "no run ended")
    why = next((one.spoiled for one in seen if one.spoiled), None)
    few = f"no answer of {LEAST_TOKENS} tokens or more"
    fallback = {
        name: few for name in _OF_DECODE if all((s.row.get("generated_tokens") or 0) < LEAST_TOKENS for s in seen)
    }
    return {
        name: why or fallback.get(name, "not measured on this machine")
        for name, value in speeds.items()
        if value is None
    }


def as_dict(figures_of: VariantFigures) -> dict[str, Any]:
    """A variant for JSON: plain types, None where a figure is not known."""
    facts, scores = figures_of.facts, figures_of.scores
    fidelity = scores.fidelity if scores else None
    perplexity = scores.perplexity if scores else None
    own = scores.own if scores else None

    def value(estimate: Estimate | None) -> float | None:
        return estimate.value if estimate else None

    def error(estimate: Estimate | None) -> float | None:
        return estimate.standard_error if estimate else None

    return {
        "label": facts.label,
        "variant": facts.variant,
        "quantization": facts.quantization,
        "training": facts.training,
        "training_evidence": facts.evidence,
        "model_name": facts.model_name,
        "model_path": facts.model_path,
        "model_fingerprint": facts.model_fingerprint,
        "settings": dict(facts.settings),
        "size_bytes": facts.size_bytes,
        "vram_peak_bytes": figures_of.vram_peak_bytes,
        "ram_peak_bytes": figures_of.ram_peak_bytes,
        "load_s": _mean(figures_of.load_s),
        **{name: _mean(figures_of.speeds[name]) for name in SPEEDS},
        "ratios": {name: asdict(ratio) | {"differs": ratio.differs} if ratio else None
                   for name, ratio in figures_of.ratios.items()},
        "perplexity": value(perplexity.perplexity if perplexity else None),
        "perplexity_se": error(perplexity.perplexity if perplexity else None),
        "ln_perplexity_ratio": value(fidelity.ln_perplexity_ratio if fidelity else None),
        "ln_perplexity_ratio_se": error(fidelity.ln_perplexity_ratio if fidelity else None),
        "kl_mean": value(fidelity.kl_mean if fidelity else None),
        "kl_mean_se": error(fidelity.kl_mean if fidelity else None),
        "kl_mean_compact_se": fidelity.kl_mean_compact_error if fidelity else None,
        "kl_median": value(fidelity.kl_median if fidelity else None),
        "kl_median_se": error(fidelity.kl_median if fidelity else None),
        "kl_p90": value(fidelity.kl_p90 if fidelity else None),
        "kl_p90_se": error(fidelity.kl_p90 if fidelity else None),
        "kl_p99": value(fidelity.kl_p99 if fidelity else None),
        "kl_p99_se": error(fidelity.kl_p99 if fidelity else None),
        "kl_max": fidelity.kl_max if fidelity else None,
        "top1_agreement": value(fidelity.top1_agreement if fidelity else None),
        "top1_agreement_se": error(fidelity.top1_agreement if fidelity else None),
        "probability_rms": value(fidelity.probability_rms if fidelity else None),
        "probability_rms_se": error(fidelity.probability_rms if fidelity else None),
        "checkpoint": figures_of.checkpoint,
        "checkpoint_kl_mean": value(own.kl_mean if own else None),
        "checkpoint_kl_mean_se": error(own.kl_mean if own else None),
        "checkpoint_top1_agreement": value(own.top1_agreement if own else None),
        "checkpoint_ln_perplexity_ratio": value(own.ln_perplexity_ratio if own else None),
        "checkpoint_ln_perplexity_ratio_se": error(own.ln_perplexity_ratio if own else None),
        "same_output_share": figures_of.same_output_share,
        "task_success": figures_of.task_success,
        "task_checked": figures_of.n_checked,
        "task_by_kind": {kind: {"right": right, "checked": of} for kind, (right, of) in figures_of.by_kind.items()},
        "runs": figures_of.n_runs,
        "runs_invalid": figures_of.n_invalid,
        "failure": figures_of.failure,
        "reasons": dict(figures_of.reasons) | ({"kl_mean": scores.reason} if scores and scores.reason else {}),
    }  # fmt: skip


def _mean(found: MeanCi | None) -> dict[str, Any] | None:
    return asdict(found) if found else None
