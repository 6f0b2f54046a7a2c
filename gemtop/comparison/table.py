"""A comparison as text: a table of figures with their errors, where outputs part, and the verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from gemtop.comparison.outcome import Outcome
from gemtop.domain.comparison import VariantFigures
from gemtop.domain.fidelity import Estimate, Fidelity
from gemtop.domain.plan import gib
from gemtop.domain.statistics import MeanCi
from gemtop.domain.text import one_line, printable, shortened, text_width

UNKNOWN = "-"
_MOST_APART = 12
"""Places where outputs part that are listed for a variant; the JSON has them all."""


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of all variants."""

    title: str
    cells: tuple[str, ...]


def rows(found: Outcome) -> list[Row]:
    """The figures, a row each; those that nobody has are left out."""
    every = [Row(title, tuple(cell(one) for one in found.variants)) for title, cell in _ROWS]
    return [row for row in every if any(cell != UNKNOWN for cell in row.cells)]


def _speed(name: str, digits: int, scale: float = 1.0) -> Callable[[VariantFigures], str]:
    def cell(one: VariantFigures) -> str:
        ratio = one.ratios.get(name)
        same = "" if ratio is None or ratio.differs is not False else " ="
        return mean_cell(one.speeds[name], digits, scale) + same

    return cell


def mean_cell(found: MeanCi | None, digits: int, scale: float = 1.0) -> str:
    """A mean and its interval: 41.20 ± 0.31."""
    if found is None:
        return UNKNOWN
    reach = "" if found.ci95 is None else f" ± {found.ci95 * scale:,.{digits}f}"
    return f"{found.mean * scale:,.{digits}f}{reach}"


def _estimate(
    of: Callable[[Fidelity], Estimate], digits: int, scale: float = 1.0, unit: str = ""
) -> Callable[[VariantFigures], str]:
    def cell(one: VariantFigures) -> str:
        fidelity = one.scores.fidelity if one.scores else None
        return UNKNOWN if fidelity is None else estimate_cell(of(fidelity), digits, scale) + unit

    return cell


def estimate_cell(found: Estimate, digits: int, scale: float = 1.0) -> str:
    """A figure and its standard error; one that so many digits would show as 0 has as many as it takes."""
    if 0 < abs(found.value * scale) < 0.5 * 10**-digits:
        error = "" if found.standard_error is None else f" ± {found.standard_error * scale:.0e}"
        return f"{found.value * scale:.1e}{error}"
    error = "" if found.standard_error is None else f" ± {found.standard_error * scale:.{digits}f}"
    return f"{found.value * scale:.{digits}f}{error}"


def _size(value: int | None) -> str:
    return UNKNOWN if value is None else gib(value)


def _perplexity(one: VariantFigures) -> str:
    return UNKNOWN if one.scores is None else estimate_cell(one.scores.perplexity.perplexity, 4)


def _own(one: VariantFigures) -> str:
    own = one.scores.own if one.scores else None
    return UNKNOWN if own is None else estimate_cell(own.kl_mean, 6)


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1%}"


def _tasks(one: VariantFigures) -> str:
    return UNKNOWN if one.task_success is None else f"{one.task_success:.1%} of {one.n_checked}"


def _runs(one: VariantFigures) -> str:
    return f"{one.n_runs}" + (f", {one.n_invalid} not valid" if one.n_invalid else "") if one.n_runs else UNKNOWN


_ROWS: tuple[tuple[str, Callable[[VariantFigures], str]], ...] = (
    ("file", lambda one: _size(one.facts.size_bytes)),
    ("VRAM peak", lambda one: _size(one.vram_peak_bytes)),
    ("RAM peak", lambda one: _size(one.ram_peak_bytes)),
    ("load s", lambda one: mean_cell(one.load_s, 2)),
    ("TTFT ms", _speed("ttft_s", 1, 1000)),
    ("prefill tokens/s", _speed("prefill_tokens_per_s", 1)),
    ("decode tokens/s", _speed("decode_tokens_per_s", 2)),
    ("ITL p50 ms", _speed("itl_p50_ms", 2)),
    ("ITL p95 ms", _speed("itl_p95_ms", 2)),
    ("ITL p99 ms", _speed("itl_p99_ms", 2)),
    ("decode J/token", _speed("decode_j_per_token", 3)),
    ("share of the roof", _speed("roof_share", 3)),
    ("perplexity", _perplexity),
    ("ln(perplexity / baseline's)", _estimate(lambda f: f.ln_perplexity_ratio, 5)),
    ("KL mean", _estimate(lambda f: f.kl_mean, 6)),
    ("KL median", _estimate(lambda f: f.kl_median, 6)),
    ("KL p90", _estimate(lambda f: f.kl_p90, 5)),
    ("KL p99", _estimate(lambda f: f.kl_p99, 5)),
    ("KL max", lambda one: f"{one.scores.fidelity.kl_max:.4f}" if one.scores and one.scores.fidelity else UNKNOWN),
    ("KL mean from its own checkpoint", _own),
    ("same top token", _estimate(lambda f: f.top1_agreement, 2, 100, " %")),
    ("RMS of the probability's change", _estimate(lambda f: f.probability_rms, 2, 100, " %")),
    ("same output", lambda one: _share(one.same_output_share)),
    ("tasks right", _tasks),
    ("runs", _runs),
)


def text(found: Outcome, width: int | None = None) -> str:
    """The whole of it for a terminal; tables that are wider than `width` continue below."""
    explained = "\n".join(textwrap.fill(line, width or 100) for line in legend(found))
    parts = [*_tables(heads(found), rows(found), width), explained, *_apart(found)]
    parts += [textwrap.fill(line, width or 100) for line in (*failures(found), *found.notes)]
    parts.append(textwrap.fill(printable(found.verdict), width or 100))
    return "\n\n".join(part for part in parts if part) + "\n"


def heads(found: Outcome) -> list[str]:
    """What stands above the columns."""
    return [
        one.facts.label + (" (baseline)" if number == found.job.baseline else "")
        for number, one in enumerate(found.variants)
    ]


def _tables(titles: Sequence[str], lines: Sequence[Row], width: int | None) -> Iterator[str]:
    for first, widths, chosen in layout(titles, lines, width):
        head = " " * first + "".join("  " + _right(titles[i], widths[i]) for i in chosen)
        body = [
            row.title
            + " " * (first - text_width(row.title))
            + "".join("  " + _right(row.cells[i], widths[i]) for i in chosen)
            for row in lines
        ]
        yield "\n".join([head, *body])


def layout(
    titles: Sequence[str], lines: Sequence[Row], width: int | None
) -> Iterator[tuple[int, Sequence[int], Sequence[int]]]:
    """As many variants beside each other as there is room for: cells of the titles, of each variant, which variants."""
    first = max(text_width(row.title) for row in lines)
    widths = [max(text_width(head), *(text_width(row.cells[i]) for row in lines)) for i, head in enumerate(titles)]
    begin = 0
    while begin < len(titles):
        end, used = begin + 1, first + 2 + widths[begin]
        while end < len(titles) and (width is None or used + 2 + widths[end] <= width):
            used += 2 + widths[end]
            end += 1
        yield first, widths, range(begin, end)
        begin = end


def _right(words: str, width: int) -> str:
    return " " * (width - text_width(words)) + words


def legend(found: Outcome) -> list[str]:
    """What the figures are of, and what the marks mean: a paragraph each."""
    job = found.job
    words = []
    if job.prompts:
        n = f"{job.repeat} repeats" if job.repeat > 1 else "1 repeat"
        basis = "over repeats" if job.repeat > 1 else "over prompts"
        words.append(
            f"Speeds: mean over {len(job.prompts)} prompts of {one_line(job.prompts_name)}, {n}, ± the 95 % interval"
            f" {basis}; = is no difference from the baseline beyond the noise, by pairs of the same prompt."
        )
    if any(variant.settings.offload.use_mmap for variant in job.variants):
        words.append("RAM peak: the mapped file is in it, and weights that were repacked stand beside it.")
    scored = next((one.scores for one in found.variants if one.scores), None)
    if job.text is not None and scored is not None:
        words.append(
            f"Perplexity and KL divergence (nats): {scored.perplexity.n_tokens:,} tokens of {one_line(job.text.name)}"
            f" in {scored.perplexity.n_chunks} chunks of {scored.perplexity.n_ctx}, ± one standard error."
        )
    return words


def _apart(found: Outcome) -> Iterator[str]:
    """Where outputs part, with what both would have said."""
    for number, places in found.apart.items():
        if not places:
            continue
        names = found.job.variants[number].facts.label, found.baseline.facts.label
        lines = [f"{names[0]} parts from {names[1]} in {len(places)} outputs:"]
        for place in places[:_MOST_APART]:
            lines.append(f"  {place.prompt_id}, token {place.at + 1}:")
            lines.append(f"    {names[1]}: {tops(place.baseline_top)}")
            lines.append(f"    {names[0]}: {tops(place.variant_top)}")
        if len(places) > _MOST_APART:
            lines.append(f"  and {len(places) - _MOST_APART} more; --json has them all")
        yield "\n".join(lines)


def tops(entries: Sequence[tuple[int, str, float]]) -> str:
    """The most likely tokens: ' the' 41.2 %, ' a' 20.1 %."""
    return ", ".join(f"{quoted(word)} {share:.1%}" for _, word, share in entries) or "not known"


def quoted(word: str) -> str:
    """A token's text in quotes, spaces kept and line ends shown."""
    shown = printable(word.replace("\n", "\u21b5").replace("\t", "\u21e5"))
    return f"'{shown}'" if shown else "(end)"


def failures(found: Outcome) -> list[str]:
    """Why variants could not be measured, or not wholly."""
    return [f"{one.facts.label}: {one_line(one.failure)}" for one in found.variants if one.failure]


def side_by_side(found: Outcome, prompt_id: str, numbers: Sequence[int], width: int) -> str:
    """Outputs of a prompt in columns."""
    each = max(20, (width - 3 * (len(numbers) - 1)) // len(numbers))
    columns = []
    for number in numbers:
        one = found.seen.get((number, prompt_id))
        lines = printable(one.output).splitlines() if one else [UNKNOWN]
        wrapped = [piece for line in lines for piece in (textwrap.wrap(line, each) or [""])]
        columns.append([shortened(found.variants[number].facts.label, each), *wrapped])
    return "\n".join(
        " \u2502 ".join(cell + " " * (each - text_width(cell)) for cell in line).rstrip()
        for line in zip_longest(*columns, fillvalue="")
    )
