"""A comparison in a sentence: what each variant keeps of the baseline, and whether QAT keeps more than PTQ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gemtop.domain.comparison import VariantFigures
from gemtop.domain.statistics import Z95, Ratio

_SAME_SIZE = 0.15
"""Files whose sizes differ by less are held against each other as of one size."""
_FEW = 3
"""Of more variants the sentence says how they predict and no more: the rest is in the table."""


def verdict(found: Sequence[VariantFigures], baseline: int) -> str:
    """One sentence, the variants by how they predict the text."""
    base = found[baseline]
    others = [one for number, one in enumerate(found) if number != baseline]
    if not others:
        return f"Only {base.facts.label} was measured: there is nothing to hold it against."
    held = [one for one in others if quality_differs(one) is not None]
    ways = {
        "as well, within the noise,": [one for one in held if not quality_differs(one)],
        "better": [one for one in held if quality_differs(one) and _loss(one) < 0],
        "worse": [one for one in held if quality_differs(one) and _loss(one) >= 0],
    }

    def named(one: VariantFigures) -> str:
        return f"{one.facts.label} ({_fidelity(one) if len(others) > _FEW else _figures(one, base)})"

    parts = [f"{way} by " + ", ".join(map(named, sorted(ones, key=_loss))) for way, ones in ways.items() if ones]
    clauses = ["the text is predicted " + "; ".join(parts)] if parts else []
    clauses += [_not_held(one, base) for one in others if one not in held]
    clauses += _claims(others)
    return f"Against {base.facts.label}, " + "; ".join(clauses) + "."


def quality_differs(one: VariantFigures) -> bool | None:
    """Whether it predicts the text otherwise than the baseline, beyond the noise; None where that is not known."""
    fidelity = one.scores.fidelity if one.scores else None
    if fidelity is None or fidelity.ln_perplexity_ratio.standard_error is None:
        return None
    return abs(fidelity.ln_perplexity_ratio.value) > Z95 * fidelity.ln_perplexity_ratio.standard_error


def _loss(one: VariantFigures) -> float:
    """ln of its perplexity over the baseline's."""
    assert one.scores is not None and one.scores.fidelity is not None
    return one.scores.fidelity.ln_perplexity_ratio.value


def _fidelity(one: VariantFigures) -> str:
    fidelity = one.scores.fidelity if one.scores else None
    if fidelity is None:
        return ""
    error = fidelity.ln_perplexity_ratio.standard_error
    reach = "" if error is None else f" \u00b1 {Z95 * error:.2%}"
    return f"perplexity {math.expm1(_loss(one)):+.2%}{reach}, KL {fidelity.kl_mean.value:.2g}"


def _figures(one: VariantFigures, base: VariantFigures) -> str:
    words = [_fidelity(one)]
    memory = memory_share(one, base)
    if memory is not None:
        words.append(f"{memory:.0%} of the memory")
    speed = one.ratios.get("decode_tokens_per_s")
    if speed is not None:
        words.append(f"decode {_times(speed)}")
    # Where nobody has any right, as with a model that was not tuned to follow a prompt, they tell nothing.
    if one.task_success is not None and base.task_success is not None and (one.task_success or base.task_success):
        words.append(f"{one.task_success:.0%} of {one.n_checked} tasks right, the baseline {base.task_success:.0%}")
    return ", ".join(filter(None, words))


def _times(ratio: Ratio) -> str:
    """A ratio of speeds."""
    if ratio.differs is None:
        return f"{ratio.value:.2f} times (one pair: no interval)"
    reach = f"{ratio.low:.2f} to {ratio.high:.2f}"
    return f"{ratio.value:.2f} times, within the noise of {reach}" if not ratio.differs else f"{reach} times"


def _not_held(one: VariantFigures, base: VariantFigures) -> str:
    """What is known of a variant whose predictions could not be held against the baseline's."""
    if one.n_runs == 0 and one.scores is None:
        return f"{one.facts.label} could not be measured ({one.failure or 'no run'})"
    if one.scores is not None and one.scores.fidelity is not None:
        return f"{one.facts.label} has too few tokens to tell ({_figures(one, base)})"
    why = (one.scores.reason if one.scores else None) or one.failure or "no text was scored"
    known = _figures(one, base)
    return f"{one.facts.label} was not held against its predictions ({why})" + (f", and has {known}" if known else "")


def _claims(found: Sequence[VariantFigures]) -> list[str]:
    """Each QAT variant against each PTQ variant of its size.

    The error is that of the difference of two independent figures. Both are of the same text, and mostly err the same
    way: the true one is smaller, so that what is called a difference here is one.
    """
    trained = [one for one in found if one.facts.training == "qat" and quality_differs(one) is not None]
    rounded = [one for one in found if one.facts.training == "ptq" and quality_differs(one) is not None]
    return [
        _claim(qat, ptq)
        for qat in trained
        for ptq in rounded
        if abs(ptq.facts.size_bytes - qat.facts.size_bytes) < _SAME_SIZE * qat.facts.size_bytes
    ]


def _claim(qat: VariantFigures, ptq: VariantFigures) -> str:
    ours, theirs = (one.scores.fidelity.ln_perplexity_ratio for one in (qat, ptq) if one.scores and one.scores.fidelity)
    error = Z95 * math.hypot(ours.standard_error or 0.0, theirs.standard_error or 0.0)
    apart = ours.value - theirs.value
    how = "no better and no worse, within the noise, than" if abs(apart) <= error else (
        "better than" if apart < 0 else "worse than"
    )  # fmt: skip
    return (
        f"{qat.facts.label} predicts it {how} {ptq.facts.label}, which is of its size"
        f" (perplexity {math.expm1(apart):+.2%} \u00b1 {error:.2%})"
    )


def memory_share(one: VariantFigures, base: VariantFigures) -> float | None:
    """Peak memory over the baseline's: of the GPUs where both used them, else of the process."""
    for name in ("vram_peak_bytes", "ram_peak_bytes"):
        mine, theirs = getattr(one, name), getattr(base, name)
        if mine and theirs:
            return float(mine / theirs)
    return None
