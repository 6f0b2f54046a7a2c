"""What a report says, section by section."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemtop.comparison.outcome import Outcome
from gemtop.comparison.report.document import Block, Code, Figure, Items, Outputs, Report, Section, Side, Table, Words
from gemtop.comparison.table import UNKNOWN, failures, heads, legend, rows, tops
from gemtop.domain.comparison import Seen
from gemtop.domain.plan import gib
from gemtop.domain.settings import settings_to_dict
from gemtop.domain.statistics import share_interval_95
from gemtop.domain.word_diff import word_diff

MOST_OUTPUTS = 20
"""Outputs of a variant that are shown beside the baseline's; the data have all."""
_NO_FIGURES = "No figure of this comparison is known."
_HARDWARE = (
    ("host", "Machine"), ("gpu_name", "GPU"), ("driver_version", "Driver"), ("llama_build", "llama.cpp"),
    ("gemtop_version", "gemtop"), ("n_gpu_layers", "Layers on a device"), ("n_threads", "Threads"),
    ("energy_source", "Energy from"),
)  # fmt: skip
_FILES = (
    ("variants", "a row a variant: all figures of the table, errors and ratios beside them"),
    ("runs", "a row a run, with the columns of the view runs of the history"),
    ("latencies", "the gaps between generated tokens of the runs that count"),
    ("along", "negative log-likelihood and KL divergence along the text"),
    ("tasks", "right answers by kind of prompt"),
    ("prompts", "the prompts as they were given, and those left out"),
    ("outputs", "the first output of each variant to each prompt"),
    ("tops", "the most likely tokens where outputs part"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a report has to say beside the outcome."""

    finished: bool
    """False where the comparison was stopped."""
    command: Sequence[str]
    """The arguments after `gemtop` that made it."""
    written_at: str
    gemtop_version: str
    processor: str = ""
    """CPU, cores and memory of the machine."""


def report(found: Outcome, figures: Sequence[Figure], told: Told) -> Report:
    """All of it."""
    sections = [
        Section("table", "Figures of all variants", _table(found)),
        Section("figures", "Pictures", figures),
        Section("tasks", "Tasks by kind of prompt", _tasks(found)),
        Section("outputs", "Where outputs part", _outputs(found)),
        Section("left-out", "Left out and failed", _left_out(found)),
        Section("notes", "Notes", _notes(found)),
        Section("variants", "What the variants are", _variants(found)),
        Section("settings", "Settings, hardware and builds", _settings(found, told)),
        Section("again", "The same once more", _again(found, told)),
        Section("data", "Data", _data()),
    ]
    others = len(found.variants) - 1
    return Report(
        title=f"{others} variant{'s' * (others != 1)} held against {found.baseline.facts.label}",
        subtitle=f"gemtop {told.gemtop_version}, {told.written_at}, comparison {found.comparison_id or 'not begun'}",
        verdict=found.verdict,
        warning=None if told.finished else _unfinished(found),
        sections=[section for section in sections if section.blocks],
    )


def _unfinished(found: Outcome) -> str:
    job = found.job
    runs = len(job.variants) * job.repeat * len(job.prompts)
    words = f"{len(found.runs):,} of {runs:,} runs"
    if job.text is not None:
        scored = sum(one.scores is not None for one in found.variants)
        words += f" and the text through {scored} of {len(job.variants)} variants"
    return f"This comparison is unfinished: it was stopped after {words}. The same command goes on where it was."


def _table(found: Outcome) -> list[Block]:
    lines = tuple((row.title, *row.cells) for row in rows(found))
    if not lines:
        return [Words(_NO_FIGURES)]
    told = [Words(line) for line in legend(found)]
    return [Table(("", *heads(found)), lines, of_variants=1, marks=found.marks), *told]


def _tasks(found: Outcome) -> list[Block]:
    kinds = list(dict.fromkeys(asked.kind for asked in found.job.prompts))
    lines = [
        (kind, *(_share(one.by_kind.get(kind)) for one in found.variants))
        for kind in kinds
        if any(kind in one.by_kind for one in found.variants)
    ]
    if not lines:
        return []
    totals = [_total(one.by_kind) for one in found.variants]
    lines.append(("all", *map(_share, totals)))
    return [
        Table(("", *heads(found)), tuple(lines), of_variants=1, marks=found.marks),
        Words("Right answers of those checked, with the 95 % interval of the share (Wilson's score)."),
    ]


def _total(by_kind: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    return (sum(r for r, _ in by_kind.values()), sum(n for _, n in by_kind.values())) if by_kind else None


def _share(counts: tuple[int, int] | None) -> str:
    if counts is None:
        return UNKNOWN
    low, high = share_interval_95(*counts)
    return f"{counts[0]} of {counts[1]} ({low:.0%} to {high:.0%})"


def _outputs(found: Outcome) -> list[Block]:
    """Outputs that differ from the baseline's, beside it."""
    base, kinds = found.job.baseline, {asked.id: asked.kind for asked in found.job.prompts}
    blocks: list[Block] = []
    for number, places in found.apart.items():
        for place in places[:MOST_OUTPUTS]:
            left, right = found.seen.get((base, place.prompt_id)), found.seen.get((number, place.prompt_id))
            if left is None or right is None:
                continue
            label = found.variants[number].facts.label
            kind = kinds.get(place.prompt_id, "")
            blocks.append(
                Outputs(
                    f"{label}, prompt {place.prompt_id} ({kind}): parts at token {place.at + 1}",
                    Side(
                        found.marks[base],
                        found.baseline.facts.label,
                        _judged(left),
                        _likely(place.at, place.baseline_top),
                    ),
                    Side(found.marks[number], label, _judged(right), _likely(place.at, place.variant_top)),
                    word_diff(left.output, right.output),
                )
            )
        if len(places) > MOST_OUTPUTS:
            label = found.variants[number].facts.label
            blocks.append(Words(f"{label}: {len(places) - MOST_OUTPUTS} more, in data/outputs.parquet."))
    if not blocks:
        return []
    words = (
        "Greedy decoding of the same prompt; what differs is marked. Behind it, what both held most likely where they"
    )
    return [Words(f"{words} part."), *blocks]


def _likely(at: int, top: Sequence[tuple[int, str, float]]) -> str:
    return f"Most likely as token {at + 1}: {tops(top)}"


def _judged(one: Seen) -> str:
    if one.passed is None:
        return f"not checked: {one.reason}" if one.reason else "not checked"
    return "right" if one.passed else f"wrong: {one.reason}" if one.reason else "wrong"


def _left_out(found: Outcome) -> list[Block]:
    lines = failures(found)
    lines += [f"{one.facts.label}: no KL divergence: {one.scores.reason}" for one in found.variants
              if one.scores and one.scores.reason]  # fmt: skip
    for reason in dict.fromkeys(found.job.left_out.values()):
        names = [name for name, why in found.job.left_out.items() if why == reason]
        lines.append(f"Prompts not asked, {reason}: {', '.join(names)}")
    for one in found.variants:
        by_reason: dict[str, list[str]] = {}
        for name, reason in one.reasons.items():
            by_reason.setdefault(reason, []).append(name)
        if not one.failure:
            lines += [f"{one.facts.label}: {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    spoiled = [one for one in found.runs if one.spoiled]
    for run in spoiled[:MOST_OUTPUTS]:
        label = found.variants[run.variant].facts.label
        lines.append(f"In no speed: {label}, {run.prompt_id}, repeat {run.repeat + 1}: {run.spoiled}")
    if len(spoiled) > MOST_OUTPUTS:
        lines.append(f"and {len(spoiled) - MOST_OUTPUTS} runs more, in data/runs.parquet")
    return [Items(tuple(lines))] if lines else []


def _notes(found: Outcome) -> list[Block]:
    notes = list(found.notes)
    own = [one for one in found.variants if one.checkpoint]
    if own:
        pairs = ", ".join(f"{one.facts.label} against {one.checkpoint}" for one in own)
        notes.append(
            f"Held against their own unquantised checkpoints as well: {pairs}. That is what quantising alone cost; what"
            f" lies between the checkpoint and {found.baseline.facts.label} is training."
        )
    return [Items(tuple(notes))] if notes else []


def _variants(found: Outcome) -> list[Block]:
    lines = tuple(
        (
            head, one.facts.variant, one.facts.training, one.facts.evidence, one.facts.model_name,
            Path(one.facts.model_path).name, gib(one.facts.size_bytes), one.facts.model_fingerprint[:16],
        )
        for head, one in zip(heads(found), found.variants, strict=True)
    )  # fmt: skip
    titles = ("", "variant", "training", "as known from", "model", "file", "size", "fingerprint")
    return [Table(titles, lines, numbers=False)]


def _settings(found: Outcome, told: Told) -> list[Block]:
    """What all variants share in a table, and what differs by variant in another."""
    each = [_flat(settings_to_dict(variant.settings)) for variant in found.job.variants]
    shared = [(name, value) for name, value in each[0].items() if all(one[name] == value for one in each)]
    differing = [name for name in each[0] if any(one[name] != each[0][name] for one in each)]
    job, blocks = found.job, list[Block]()
    hardware = [(title, _distinct(found.runs, name)) for name, title in _HARDWARE]
    hardware.insert(1, ("Processor", told.processor))
    about = [
        ("Prompts", f"{len(job.prompts)} of {job.prompts_name}, fingerprint {job.prompts_fingerprint[:16]}"),
        ("Repeats", f"{job.repeat}, each from a fresh load, another variant first in each"),
        ("Sampling", "greedy: the most likely token each time"),
        ("Models' code", "was run, shut off" if job.run_code else "was not run"),
    ]
    if job.text is not None:
        about.append(("Text", f"{job.text.name}, chunks of {job.text.n_ctx} tokens, SHA-256 {job.text.sha256[:16]}"))
    pairs = (*((title, value) for title, value in hardware if value), *about, *shared)
    blocks.append(Table(("", ""), tuple(pairs), numbers=False))
    if differing:
        lines = tuple((name, *(one[name] for one in each)) for name in differing)
        blocks.append(Table(("what differs", *heads(found)), lines, numbers=False, of_variants=1, marks=found.marks))
    return blocks


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings of the offload and the context under their own names, in words."""
    flat = {**settings["offload"], **settings["context"]}
    flat["lora"] = [f"{Path(adapter['path']).name}={adapter['scale']}" for adapter in settings["lora"]]
    return {name: _in_words(value) for name, value in flat.items()}


def _in_words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "none"
    return "as it comes" if value is None else str(value)


def _distinct(runs: Sequence[Seen], name: str) -> str:
    return ", ".join(sorted({str(one.row[name]) for one in runs if one.row.get(name) is not None}))


def _again(found: Outcome, told: Told) -> list[Block]:
    words = "The same models are known by their fingerprints, the prompts and the text by their hashes above."
    return [Code(f"gemtop {shlex.join(told.command)}", "sh"), Words(words)]


def _data() -> list[Block]:
    return [
        Words(
            "Beside this page. In this folder, the SQL under each picture works as it is in any duckdb shell; the"
            " history knows more of each run by its run_id."
        ),
        Table(("file", ""), tuple((f"data/{name}.parquet", words) for name, words in _FILES), numbers=False),
    ]
