"""What a comparison tells the history beyond its runs."""

from __future__ import annotations

import time
from typing import Any

from gemtop.comparison.job import Job
from gemtop.domain.comparison import Scores, Seen
from gemtop.domain.fidelity import Fidelity
from gemtop.domain.records import FidelityRow, TaskRow


def task_row(job: Job, comparison_id: str, seen: Seen, with_text: bool) -> TaskRow:
    """The answer to a prompt; the reason may quote it."""
    return TaskRow(
        run_id=str(seen.row["run_id"]),
        comparison_id=comparison_id,
        label=job.variants[seen.variant].facts.label,
        prompt_id=seen.prompt_id,
        prompt_kind=next(asked.kind for asked in job.prompts if asked.id == seen.prompt_id),
        repeat=seen.repeat,
        passed=seen.passed,
        reason=(seen.reason or None) if with_text else None,
    )


def fidelity_rows(job: Job, comparison_id: str, number: int, scores: Scores, llama_build: str) -> list[FidelityRow]:
    """A variant against the baseline, and against its own checkpoint where it has one."""
    assert job.text is not None
    variant, text = job.variants[number], job.text
    facts, context = variant.facts, variant.settings.context
    lora = ", ".join(f"{adapter.path}={adapter.scale:g}" for adapter in variant.settings.lora)
    shared: dict[str, Any] = {
        "t_ns": time.monotonic_ns(),
        "comparison_id": comparison_id,
        "label": facts.label,
        "model_name": facts.model_name,
        "model_fingerprint": facts.model_fingerprint,
        "quantization": facts.quantization,
        "training": facts.training,
        "variant": facts.variant,
        "llama_build": llama_build,
        "type_k": context.type_k,
        "type_v": context.type_v,
        "lora": lora or None,
        "corpus": text.name,
        "corpus_sha256": text.sha256,
        "n_ctx": scores.perplexity.n_ctx,
        "n_chunks": scores.perplexity.n_chunks,
        "n_tokens": scores.perplexity.n_tokens,
        "perplexity": scores.perplexity.perplexity.value,
        "perplexity_error": scores.perplexity.perplexity.standard_error,
    }
    rows = [FidelityRow(**shared, **_against(job, "baseline", job.baseline, scores.fidelity, scores.reason))]
    if number == job.baseline:
        rows = [FidelityRow(**shared)]
    if scores.own is not None:
        rows.append(FidelityRow(**shared, **_against(job, "checkpoint", job.checkpoints[number], scores.own, None)))
    return rows


def _against(job: Job, reference: str, number: int, far: Fidelity | None, reason: str | None) -> dict[str, Any]:
    facts = job.variants[number].facts
    named = {
        "reference": reference,
        "reference_label": facts.label,
        "reference_fingerprint": facts.model_fingerprint,
        "reason": reason,
    }
    if far is None:
        return named
    return named | {
        "ln_perplexity_ratio": far.ln_perplexity_ratio.value,
        "ln_perplexity_ratio_error": far.ln_perplexity_ratio.standard_error,
        "kl_mean": far.kl_mean.value,
        "kl_mean_error": far.kl_mean.standard_error,
        "kl_median": far.kl_median.value,
        "kl_p90": far.kl_p90.value,
        "kl_p99": far.kl_p99.value,
        "kl_max": far.kl_max,
        "top1_agreement": far.top1_agreement.value,
        "top1_agreement_error": far.top1_agreement.standard_error,
        "probability_rms": far.probability_rms.value,
    }
