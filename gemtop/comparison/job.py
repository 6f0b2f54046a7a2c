"""What a comparison is to do, and how far it has come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gemtop.config import Paths
from gemtop.domain.comparison import Apart, Scores, Seen, VariantFacts, part_at
from gemtop.domain.errors import HistoryError
from gemtop.domain.fidelity import Estimate, Fidelity, Perplexity
from gemtop.domain.settings import EngineSettings, settings_to_dict
from gemtop.domain.text import one_line
from gemtop.prompts.model import Check

_TUPLES = ("prompt_tokens", "tokens", "pieces")
MOST_DEATHS = 2
"""What gemtop died in so often is not tried again."""
_SCORE_BATCH = 256


@dataclass(frozen=True, slots=True)
class Variant:
    """A model with settings."""

    facts: VariantFacts
    settings: EngineSettings


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as it is given to all variants."""

    id: str
    kind: str
    text: str
    max_tokens: int
    check: Check | None


@dataclass(frozen=True, slots=True)
class TextToScore:
    """The text whose predictions are compared."""

    name: str
    text: str
    sha256: str
    n_ctx: int
    """Tokens in a chunk."""
    n_chunks: int | None
    """None is as many as there are."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same in all sittings of a comparison."""

    variants: tuple[Variant, ...]
    baseline: int
    prompts: tuple[Asked, ...]
    prompts_name: str
    prompts_fingerprint: str
    left_out: Mapping[str, str]
    """Prompts that are not asked: id to why."""
    text: TextToScore | None
    repeat: int
    run_code: bool
    checkpoints: Mapping[int, int]
    """Number of a variant to that of its own unquantised checkpoint, where that is neither it nor the baseline."""
    cool_down_s: float
    """Longest wait for a card to be as cool as before."""
    notes: tuple[str, ...] = ()
    """What has to be said beside the figures."""

    @property
    def key(self) -> str:
        """Stands for all that decides what is measured."""
        what = [
            [[v.facts.model_fingerprint, settings_to_dict(v.settings)] for v in self.variants],
            self.baseline, self.prompts_fingerprint, [(p.id, p.max_tokens) for p in self.prompts],
            [self.text.sha256, self.text.n_ctx, self.text.n_chunks] if self.text else None, self.repeat, self.run_code,
            sorted(self.checkpoints.items()),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


Top = tuple[tuple[int, str, float], ...]
"""Most likely tokens: id, text, probability."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where two outputs to a prompt part."""

    prompt_id: str
    at: int
    """Position among the generated tokens."""
    before: tuple[int, ...]
    """All tokens before it, the prompt's among them."""


@dataclass(slots=True)
class Progress:
    """How far a comparison has come. Each step is written down when it is done, so that it outlives the process."""

    comparison_id: str = ""
    """The session that began it."""
    seen: list[Seen] = field(default_factory=list)
    scores: dict[int, Scores] = field(default_factory=dict)
    along: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    """Figures along the text, by variant: nll, and kl where there is a baseline."""
    tops: dict[tuple[int, int, str], tuple[int, Top]] = field(default_factory=dict)
    """By variant, partner and prompt: a position, and what the variant holds most likely there. One of variant and
    partner is the baseline; the partner of a variant is itself."""
    loads_s: dict[int, list[float]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    """Why a variant is not tried any more."""
    text_only: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Variants that do not fit as they are to run, but do to have the text put through: layers offloaded, and why."""
    notes: list[str] = field(default_factory=list)
    begun: dict[str, int] = field(default_factory=dict)
    """How often a step was begun that has not ended."""

    @property
    def shortcomings(self) -> dict[int, str]:
        """Why a variant could not be measured, or not wholly."""
        return {number: reason for number, (_, reason) in self.text_only.items()} | self.failures

    def can_run(self, variant: int) -> bool:
        """Whether it is to be asked prompts."""
        return variant not in self.failures and variant not in self.text_only

    def has_seen(self, variant: int, repeat: int, prompt_id: str) -> bool:
        return any((s.variant, s.repeat, s.prompt_id) == (variant, repeat, prompt_id) for s in self.seen)

    def places(self, baseline: int, variant: int) -> list[Place]:
        """Where the outputs of a variant part from the baseline's."""
        first: dict[tuple[int, str], Seen] = {}
        for one in self.seen:
            first.setdefault((one.variant, one.prompt_id), one)
        found = []
        for (number, prompt_id), theirs in first.items():
            ours = first.get((variant, prompt_id))
            if number != baseline or ours is None or ours.prompt_tokens != theirs.prompt_tokens:
                continue
            at = part_at(ours.tokens, theirs.tokens)
            if at is not None:
                found.append(Place(prompt_id, at, (*theirs.prompt_tokens, *theirs.tokens[:at])))
        return found

    def apart(self, baseline: int, variant: int) -> list[Apart]:
        """The same, with what both hold most likely there."""
        nothing: tuple[int, Top] = (-1, ())
        return [
            Apart(
                variant,
                place.prompt_id,
                place.at,
                self.tops.get((baseline, variant, place.prompt_id), nothing)[1],
                self.tops.get((variant, variant, place.prompt_id), nothing)[1],
            )
            for place in self.places(baseline, variant)
        ]

    def apply(self, step: Mapping[str, Any]) -> None:
        """Take up one line of the file. Raises KeyError, TypeError or ValueError for one that cannot be."""
        kind, data = step["step"], step["data"]
        match kind:
            case "began":
                self.comparison_id = data
            case "begin":
                self.begun[data] = self.begun.get(data, 0) + 1
            case "done":
                self.begun.pop(data, None)
            case "seen":
                tokens = {name: tuple(data[name]) for name in _TUPLES if name in data}
                self.seen.append(Seen(**(data | tokens)))
            case "scores":
                self.scores[data["variant"]] = _scores(data["scores"])
                self.along[data["variant"]] = data["along"]
            case "top":
                top = tuple((int(i), str(text), float(p)) for i, text, p in data["top"])
                self.tops[data["variant"], data["partner"], data["prompt_id"]] = (data["at"], top)
            case "load":
                self.loads_s.setdefault(data["variant"], []).append(data["load_s"])
            case "failure":
                self.failures[data["variant"]] = data["reason"]
            case "text_only":
                self.text_only[data["variant"]] = (data["n_gpu_layers"], data["reason"])
            case "note":
                self.notes.append(data)
            case _:
                raise ValueError(kind)


def _scores(data: Mapping[str, Any]) -> Scores:
    def estimates(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: Estimate(**value) if isinstance(value, dict) else value for name, value in fields.items()}

    fidelity, own = (Fidelity(**estimates(data[name])) if data[name] else None for name in ("fidelity", "own"))
    return Scores(Perplexity(**estimates(data["perplexity"])), fidelity, data["reason"], own)


class Journal:
    """The file of a comparison's progress: a line a step, in the state folder."""

    def __init__(self, paths: Paths, key: str) -> None:
        self._path = paths.state / f"compare-{key}.jsonl"
        self._ends_in_a_line = False
        self.progress = Progress()
        for step in self._lines():
            try:
                self.progress.apply(step)
            except (KeyError, TypeError, ValueError):  # of another version of gemtop
                self.progress = Progress()
                self.forget()
                break

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        with suppress(OSError), self._path.open(encoding="utf-8") as file:
            for line in file:
                if not line.endswith("\n"):  # it was being written when the process died
                    return
                try:
                    found = json.loads(line)
                except ValueError:
                    return
                if isinstance(found, dict):
                    yield found

    def write(self, step: str, data: Any) -> None:
        """Take a step up and write it down. Raises HistoryError where there is no room for it."""
        line = json.dumps({"step": step, "data": data})
        self.progress.apply(json.loads(line))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._end_torn_line()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            self._path.chmod(0o600)  # outputs are in it
        except OSError as error:
            raise HistoryError(f"{one_line(str(self._path))} cannot be written: {error.strerror}") from error

    def _end_torn_line(self) -> None:
        """Cut off what was being written when a process died: once, this one writes whole lines."""
        if self._ends_in_a_line:
            return
        self._ends_in_a_line = True
        with suppress(FileNotFoundError), self._path.open("rb+") as file:
            data = file.read()
            if data and not data.endswith(b"\n"):
                file.truncate(data.rfind(b"\n") + 1)

    def forget(self) -> None:
        """The comparison is over."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def scoring_settings(settings: EngineSettings, n_ctx: int) -> EngineSettings:
    """A variant's settings with a context as long as a chunk.

    A batch of 256 keeps the logits of Gemma's vocabulary at 256 MiB, and the compute buffer as much.
    """
    batch = min(_SCORE_BATCH, n_ctx)
    return replace(settings, context=replace(settings.context, n_ctx=n_ctx, n_batch=batch, n_ubatch=batch))


def plain(value: Any) -> Any:
    """A dataclass for JSON."""
    return asdict(value)


def predictions_file(paths: Paths, job: Job, number: int) -> Path:
    """Where a variant's predictions of the text are kept, for this comparison and later ones."""
    assert job.text is not None
    base = job.variants[number]
    what = [
        base.facts.model_fingerprint, settings_to_dict(base.settings)["lora"], base.settings.context.type_k,
        base.settings.context.type_v, job.text.sha256, job.text.n_ctx, job.text.n_chunks,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:20]
    return paths.cache / "predictions" / f"{digest}.predictions"
