"""A comparison made ready: which variants, which prompts they can be asked, and the text."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from gemtop.comparison.job import Asked, Job, Journal, TextToScore, Variant, scoring_settings
from gemtop.config import Paths
from gemtop.domain.classify import UNQUANTIZED, classify
from gemtop.domain.comparison import VariantFacts
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.fidelity import check_length
from gemtop.domain.model import ModelHeader
from gemtop.domain.plan import CONTEXT_STEP, Plan
from gemtop.domain.provenance import SOURCE_FINGERPRINT
from gemtop.domain.settings import EngineSettings, LoraAdapter
from gemtop.domain.text import one_line
from gemtop.engine.adopt_layout import check_layout
from gemtop.engine.gguf import check_language_model, read_header
from gemtop.engine.planner import PlanRequest
from gemtop.engine.token_counter import TokenCounter
from gemtop.prompts import corpus
from gemtop.prompts.excerpts import TEMPLATE_TOKENS
from gemtop.prompts.model import PromptSet

LONGEST_TEXT_BYTES = 64 * 2**20
Said = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks for."""

    paths: tuple[str, ...]
    """Model files."""
    labels: tuple[str, ...]
    """Names of the models; empty has them named by what they are."""
    settings: EngineSettings
    """Shared by all, the context's length left out where it follows from the prompts."""
    cache_types: tuple[tuple[str, str], ...]
    """(K, V) types of the KV cache: each makes a variant."""
    lora: tuple[LoraAdapter, ...]
    """Adapters: with any, each model is a variant without and one with them."""
    checkpoints: Mapping[int, int]
    """Number of a model to that of its own unquantised checkpoint, as the user says."""
    baseline: int | None
    """Number of the model that is the baseline; None chooses the one of most bits."""
    prompts: PromptSet
    kinds: Collection[str]
    """Of prompts; empty is all."""
    max_tokens: int | None
    """Longest answer, where it is to be shorter than the prompts say."""
    text: TextToScore | None
    repeat: int
    run_code: bool
    cool_down_s: float
    notes: tuple[str, ...] = ()
    """What has to be said of the models."""


def default_text(n_ctx: int, n_chunks: int | None) -> TextToScore:
    """The corpus that ships with gemtop."""
    found = corpus.default()
    return TextToScore(found.title, found.text, found.sha256, n_ctx, n_chunks)


def read_text(path: Path, n_ctx: int, n_chunks: int | None) -> TextToScore:
    """A user's text. Raises BadInputError."""
    name = one_line(str(path))
    try:
        if path.stat().st_size > LONGEST_TEXT_BYTES:
            raise BadInputError(f"{name} is larger than {LONGEST_TEXT_BYTES >> 20} MiB: no text takes that long")
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{name} cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{name} is no text in UTF-8: byte {error.start + 1}") from error
    if not text.strip():
        raise BadInputError(f"{name} is empty")
    return TextToScore(one_line(path.name), text, hashlib.sha256(data).hexdigest(), n_ctx, n_chunks)


def prepare(
    wish: Wish, headers: Sequence[ModelHeader], paths: Paths, say: Said, progress: Callable[[str], None]
) -> Job:
    """The job. `say` is told what is left out. Raises BadInputError."""
    if not wish.prompts.prompts and wish.text is None:
        raise BadInputError("nothing to compare: neither prompts nor a text")
    if len(headers) * len(wish.cache_types) * (2 if wish.lora else 1) < 2:
        raise BadInputError("one variant is nothing to compare: name two models, or -ctk f16,q8_0")
    with TokenCounter(headers[0].path) as count:
        _check_text(wish.text, count)
        asked, left_out, n_ctx = _prompts(wish, headers, count, progress)
    for reason in sorted(set(left_out.values())):
        names = [name for name, why in left_out.items() if why == reason]
        say(f"{len(names)} of {len(wish.prompts.prompts)} prompts are left out: {reason} ({', '.join(names[:4])}"
            f"{', ...' if len(names) > 4 else ''})")  # fmt: skip
    settings = replace(wish.settings, context=replace(wish.settings.context, n_ctx=n_ctx))
    variants = _variants(wish, headers, settings)
    baseline = _baseline(wish, headers, variants)
    return Job(
        variants=variants,
        baseline=baseline,
        prompts=asked,
        prompts_name=wish.prompts.title,
        prompts_fingerprint=wish.prompts.fingerprint,
        left_out=left_out,
        text=wish.text,
        repeat=wish.repeat,
        run_code=wish.run_code,
        checkpoints=_checkpoints(wish, headers, variants, baseline),
        cool_down_s=wish.cool_down_s,
        notes=wish.notes,
    )


def header_of(path: str) -> ModelHeader:
    """The header of a model that can be compared. Raises BadInputError."""
    header = read_header(path)
    check_language_model(header)
    check_layout(header)
    return header


class Room(Protocol):
    """Tells whether a variant fits: engine.planner."""

    def fit(self, request: PlanRequest, fingerprint: str) -> tuple[bool, str]: ...

    def plan(self, request: PlanRequest) -> Plan: ...


def leave_out_what_does_not_fit(job: Job, journal: Journal, room: Room, say: Said) -> None:
    """Variants that do not fit are not loaded: on a machine without a card that would end the process.

    Nor are those that llama.cpp refuses when it is asked. What is too large to be run as the others are may still
    have the text put through, with fewer layers offloaded: a baseline is worth being slow once.
    """
    for number, variant in enumerate(job.variants):
        if not journal.progress.can_run(number):
            continue
        label, fingerprint = variant.facts.label, variant.facts.model_fingerprint
        request = PlanRequest(variant.facts.model_path, variant.settings, search=False)
        try:
            fits, reason = room.fit(request, fingerprint)
            layers = None if fits or job.text is None else _layers_for_text(variant, job.text, room)
        except GemtopError as error:
            fits, reason, layers = False, one_line(str(error)), None
        if layers is not None:
            offloaded = "" if layers == variant.settings.offload.n_gpu_layers else f", {layers} layers offloaded"
            reason = f"only the text is put through it{offloaded}: {reason}"
            say(f"{label}: {reason}")
            journal.write("text_only", {"variant": number, "n_gpu_layers": layers, "reason": reason})
        elif not fits:
            say(f"{label} is left out: {reason}")
            journal.write("failure", {"variant": number, "reason": reason})


def _layers_for_text(variant: Variant, text: TextToScore, room: Room) -> int | None:
    """Layers to offload so that there is room for the text, which needs a short context; None where there is none."""
    settings = scoring_settings(variant.settings, text.n_ctx)
    request = PlanRequest(variant.facts.model_path, settings, search=False)
    if room.fit(request, variant.facts.model_fingerprint)[0]:
        return settings.offload.n_gpu_layers
    return room.plan(replace(request, search=True)).max_n_gpu_layers


def _check_text(text: TextToScore | None, count: TokenCounter) -> None:
    """Raises BadInputError for one that no variant can be asked to predict."""
    if text is not None:
        check_length(count(text.text), text.n_ctx, text.name)


def _prompts(
    wish: Wish, headers: Sequence[ModelHeader], count: TokenCounter, progress: Callable[[str], None]
) -> tuple[tuple[Asked, ...], dict[str, str], int]:
    """The prompts that all can be asked, those left out with the reason, and the context they need."""
    trained = min((header.trained_context or CONTEXT_STEP for header in headers), default=CONTEXT_STEP)
    most = wish.settings.context.n_ctx or trained
    asked, left_out, longest = [], {}, CONTEXT_STEP
    for prompt in wish.prompts.prompts:
        if wish.kinds and prompt.kind not in wish.kinds:
            continue
        progress(f"prompt {prompt.id}")
        answer = min(prompt.max_tokens, wish.max_tokens or prompt.max_tokens)
        if prompt.excerpt is not None and prompt.excerpt.context_tokens > most:
            left_out[prompt.id] = f"a context of {most:,} tokens is too short for it"
            continue
        text = prompt.text(count)
        needed = count(text) + TEMPLATE_TOKENS + answer
        if needed > most:
            left_out[prompt.id] = f"a context of {most:,} tokens is too short for it"
            continue
        longest = max(longest, needed)
        asked.append(Asked(prompt.id, prompt.kind, text, answer, prompt.check))
    if wish.kinds and not asked and not left_out:
        raise BadInputError(f"the set has no prompts of {', '.join(sorted(wish.kinds))}")
    n_ctx = wish.settings.context.n_ctx or min(-(-longest // CONTEXT_STEP) * CONTEXT_STEP, trained)
    return tuple(asked), left_out, n_ctx


def _variants(wish: Wish, headers: Sequence[ModelHeader], settings: EngineSettings) -> tuple[Variant, ...]:
    """Every model with every cache type, without and with the adapters."""
    adapters: tuple[tuple[LoraAdapter, ...], ...] = ((), wish.lora) if wish.lora else ((),)
    found = []
    for header, (type_k, type_v), lora in itertools.product(headers, wish.cache_types, adapters):
        own = replace(settings, context=replace(settings.context, type_k=type_k, type_v=type_v), lora=lora)
        differs: dict[str, Any] = {}
        if len(wish.cache_types) > 1:
            differs["type_k"], differs["type_v"] = type_k, type_v
        if wish.lora:
            differs["lora"] = [adapter.path for adapter in lora]
        found.append((header, own, differs))
    if wish.labels:
        named = dict(zip((header.path for header in headers), wish.labels, strict=True))
        labels = [" ".join(filter(None, (named[header.path], _added(differs)))) for header, _, differs in found]
    else:
        labels = _labels([_words(header, differs) for header, _, differs in found])
    return tuple(
        Variant(_facts(header, label, differs), own)
        for label, (header, own, differs) in zip(labels, found, strict=True)
    )


def _words(header: ModelHeader, differs: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Ways to name a variant: what it is, its settings, its name, its file."""
    return classify(header).variant, _added(differs), header.name, Path(header.path).stem


def _added(differs: Mapping[str, Any]) -> str:
    """Settings that tell variants of one model apart."""
    words = []
    if "type_k" in differs:
        k, v = differs["type_k"], differs["type_v"]
        words.append(f"KV {k}" if k == v else f"K {k} V {v}")
    if differs.get("lora"):
        words.append("with LoRA")
    return " ".join(words)


def _labels(words: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Short names that differ: as little is added to the variant as tells them apart."""
    for parts in ((0,), (0, 1), (2, 0, 1), (3, 1), (3, 0, 1)):
        labels = [one_line(" ".join(word[i] for i in parts if word[i])) for word in words]
        if len(set(labels)) == len(labels):
            return labels
    labels = [one_line(" ".join(part for part in word[:2] if part)) for word in words]
    return [f"{label} #{number}" for number, label in enumerate(labels, 1)]


def _facts(header: ModelHeader, label: str, differs: Mapping[str, Any]) -> VariantFacts:
    label_of = classify(header)
    return VariantFacts(
        label=label,
        model_name=header.name,
        model_path=header.path,
        model_fingerprint=header.fingerprint,
        variant=label_of.variant,
        quantization=label_of.quantization,
        training=label_of.training,
        evidence=label_of.evidence,
        size_bytes=header.size_bytes,
        settings=differs,
    )


def _checkpoints(
    wish: Wish, headers: Sequence[ModelHeader], variants: Sequence[Variant], baseline: int
) -> dict[int, int]:
    """Which variant is another's own checkpoint: as the user says, else what the file says it was quantised from."""
    by_path = {header.path: number for number, header in enumerate(headers)}
    found = {}
    for number, variant in enumerate(variants):
        model = by_path[variant.facts.model_path]
        for other, candidate in enumerate(variants):
            if other in (number, baseline) or candidate.settings != variant.settings:
                continue
            if model in wish.checkpoints:
                is_source = candidate.facts.model_path == headers[wish.checkpoints[model]].path
            else:  # what was quantised already is nobody's unquantised checkpoint
                source = headers[model].metadata.get(SOURCE_FINGERPRINT)
                is_source = candidate.facts.quantization in UNQUANTIZED and candidate.facts.model_fingerprint == source
            if is_source:
                found[number] = other
    return found


def _baseline(wish: Wish, headers: Sequence[ModelHeader], variants: Sequence[Variant]) -> int:
    """The first variant of the model that was named, else of the one with the most bits a weight."""
    if wish.baseline is not None:
        path = headers[wish.baseline].path
    else:
        path = max(headers, key=lambda header: header.size_bytes / max(header.parameters, 1)).path
    return next(number for number, variant in enumerate(variants) if variant.facts.model_path == path)
