"""What came of a comparison, for every way it is shown: table, JSON, report, screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemtop.charts.colours import series_of, variant_role
from gemtop.comparison.job import Job, Progress
from gemtop.domain.comparison import Apart, Seen, VariantFigures, as_dict, figures
from gemtop.domain.verdict import verdict

NOT_DAMAGE = (
    "A QAT model was trained on after it left the original: its predictions differ because it learned, and not only"
    " because it was rounded. KL divergence from the original counts both, and is no measure of damage for it; hold it"
    " against its own unquantised checkpoint for that, and compare perplexity and tasks with the original."
)
"""What must stand beside the KL divergence of a QAT model from anything but its own checkpoint."""
ABOVE_THE_ROOF = (
    "the memory's bandwidth was measured too low, on a machine that was busy then; gemtop devices --bandwidth measures"
    " it again"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A comparison as far as it has come."""

    job: Job
    variants: tuple[VariantFigures, ...]
    verdict: str
    runs: tuple[Seen, ...]
    """All of them, in the order they were made."""
    seen: Mapping[tuple[int, str], Seen]
    """The first output of each variant to each prompt."""
    apart: Mapping[int, tuple[Apart, ...]]
    """By variant: where its outputs part from the baseline's."""
    along: Mapping[int, Mapping[str, tuple[float, ...]]]
    """Figures along the text, by variant: nll, and kl where there is a baseline."""
    notes: tuple[str, ...]
    comparison_id: str

    @property
    def baseline(self) -> VariantFigures:
        return self.variants[self.job.baseline]

    @property
    def marks(self) -> tuple[int, ...]:
        """Each variant's colour and shape, as their place in a report's series."""
        facts = [one.facts for one in self.variants]
        return series_of([variant_role(one.training, one.quantization) for one in facts])


def outcome(job: Job, progress: Progress) -> Outcome:
    """The figures of what was seen so far."""
    found = figures(
        [variant.facts for variant in job.variants], progress.seen, progress.scores, job.baseline,
        {asked.id: asked.kind for asked in job.prompts}, progress.shortcomings, progress.loads_s,
        job.checkpoints,
    )  # fmt: skip
    seen: dict[tuple[int, str], Seen] = {}
    for one in progress.seen:
        seen.setdefault((one.variant, one.prompt_id), one)
    notes = [*job.notes, *progress.notes, *_of_training(found, job.baseline), *_of_the_roof(found)]
    return Outcome(
        job=job,
        variants=tuple(found),
        verdict=verdict(found, job.baseline),
        runs=tuple(progress.seen),
        seen=seen,
        apart={
            number: tuple(progress.apart(job.baseline, number))
            for number in range(len(job.variants))
            if number != job.baseline
        },
        along={
            number: {name: tuple(values) for name, values in curves.items()}
            for number, curves in progress.along.items()
        },
        notes=tuple(notes),
        comparison_id=progress.comparison_id,
    )


def _of_training(found: list[VariantFigures], baseline: int) -> list[str]:
    """What must be said of KL where one of the two was trained on."""
    base = found[baseline].facts
    trained = [one.facts for one in found if one.facts.training == "qat" and one.scores and one.scores.fidelity]
    return [NOT_DAMAGE] if any(facts.training != base.training for facts in trained) else []


def _of_the_roof(found: list[VariantFigures]) -> list[str]:
    """What must be said where decode was faster than the memory it reads."""
    above = [one.facts.label for one in found if (share := one.speeds["roof_share"]) is not None and share.mean > 1]
    return [f"{', '.join(above)} decoded faster than the roof: {ABOVE_THE_ROOF}"] if above else []


def as_json(found: Outcome) -> dict[str, Any]:
    """The whole of it in plain types."""
    job, text = found.job, found.job.text
    return {
        "comparison_id": found.comparison_id,
        "baseline": found.baseline.facts.label,
        "corpus": None
        if text is None
        else {
            "name": text.name,
            "sha256": text.sha256,
            "n_ctx": text.n_ctx,
            "n_chunks": next((one.scores.perplexity.n_chunks for one in found.variants if one.scores), None),
            "n_tokens": next((one.scores.perplexity.n_tokens for one in found.variants if one.scores), None),
        },
        "prompts": {
            "name": job.prompts_name,
            "fingerprint": job.prompts_fingerprint,
            "count": len(job.prompts),
            "left_out": dict(job.left_out),
            "repeat": job.repeat,
            "run_code": job.run_code,
        },
        "variants": [as_dict(one) for one in found.variants],
        "divergences": [
            {
                "label": job.variants[number].facts.label,
                "prompt_id": place.prompt_id,
                "token": place.at,
                "baseline_top": [_top(entry) for entry in place.baseline_top],
                "variant_top": [_top(entry) for entry in place.variant_top],
            }
            for number, places in found.apart.items()
            for place in places
        ],
        "outputs": [
            {
                "label": job.variants[number].facts.label,
                "prompt_id": prompt_id,
                "output": one.output,
                "passed": one.passed,
                "reason": one.reason or None,
            }
            for (number, prompt_id), one in found.seen.items()
        ],
        "notes": list(found.notes),
        "verdict": found.verdict,
    }


def _top(entry: tuple[int, str, float]) -> dict[str, Any]:
    token_id, text, probability = entry
    return {"token_id": token_id, "text": text, "probability": probability}
