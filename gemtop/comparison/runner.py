"""Carries a comparison out on a session, a step at a time, whatever front end feeds it the session's events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from gemtop.comparison.job import (
    MOST_DEATHS,
    Asked,
    Job,
    Journal,
    TextToScore,
    Variant,
    plain,
    predictions_file,
    scoring_settings,
)
from gemtop.comparison.recording import fidelity_rows, task_row
from gemtop.config import Paths
from gemtop.domain.comparison import Scores, Seen
from gemtop.domain.events import (
    GenerateRequest,
    LoadFailed,
    LoadProgress,
    ModelLoaded,
    ModelUnloaded,
    RunFinished,
    RunStarted,
    ScoreProgress,
    TextScored,
    TokenGenerated,
    TopTokens,
)
from gemtop.domain.fidelity import Divergences, along, fidelity, perplexity
from gemtop.domain.settings import EngineSettings, SamplingSettings
from gemtop.engine.predictions import is_whole
from gemtop.engine.protocol import ScoreRequest
from gemtop.prompts.judging import judge
from gemtop.session import Session
from gemtop.view import RunRecorded, SessionEvent

TOP = 5
"""Most likely tokens that are shown where outputs part."""
PARTS = 200
"""Stretches of the text that figures along it are kept for."""
_WARM_UP_TOKENS = 16
_GREEDY = SamplingSettings(temperature=0.0, seed=0)
_FREED_S = 10.0
"""A driver may take a moment to give memory back."""
_MEMORY_BACK_BYTES = 64 * 2**20
_TEMPERATURE_BACK_C = 3.0


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. A front end sends one now and then, at least twice a second."""


@dataclass(frozen=True, slots=True)
class Doing:
    """What is going on, for a line of progress."""

    words: str
    done: int
    total: int
    """Steps of the whole comparison, runs and texts."""


class StoppedError(Exception):
    """The user stopped a step: what was done before it is kept."""


Event = SessionEvent | Tick
_Result = TypeVar("_Result")
_Steps = Generator[None, Event, _Result]


class Runner:
    """Call `start`, then `handle` with every event of the session and with Ticks, until it returns True."""

    def __init__(
        self, session: Session, job: Job, journal: Journal, paths: Paths, on_progress: Callable[[Doing], None]
    ) -> None:
        self._session, self._job, self._journal, self._paths = session, job, journal, paths
        self._on_progress = on_progress
        self._memory_freed: int | None = None
        """Bytes in use after the first variant was freed."""
        self._cool_c: float | None = None
        """Temperature of the hottest card before the first load."""
        self._llama_build = ""
        self._script = self._all()
        self.failed: str | None = None
        self.in_a_step = False
        """Whether a death now would be counted against a variant, which is given up after MOST_DEATHS of them."""

    def start(self) -> None:
        """Give the session its first command."""
        if not self._journal.progress.comparison_id:
            self._journal.write("began", self._session.session_id)
        next(self._script, None)

    def handle(self, event: Event) -> bool:
        """Go on by what has happened. True when all is done. Raises StoppedError, HistoryError."""
        try:
            self._script.send(event)
        except StopIteration:
            return True
        return False

    # The plan

    def _all(self) -> _Steps[None]:
        yield from self._await(Tick)  # readings come before the first load
        self._cool_c = self._temperature()
        for repeat in range(self._job.repeat):
            for variant in self._order(repeat):
                yield from self._runs(variant, repeat)
        first = [self._job.baseline, *self._job.checkpoints.values()]  # the others are held against these
        for number in dict.fromkeys((*first, *self._order(0))):
            yield from self._closer_look(number)

    def _order(self, repeat: int) -> list[int]:
        """Forth and back, so that a machine that slows down favours none, and from another variant on each time."""
        count = len(self._job.variants)
        begin = repeat // 2 * max(1, count // -(-self._job.repeat // 2))
        order = [(begin + i) % count for i in range(count)]
        return order[::-1] if repeat % 2 else order

    def _doing(self, words: str) -> None:
        progress, job = self._journal.progress, self._job
        runs = len(job.variants) * job.repeat * len(job.prompts)
        texts = len(job.variants) if job.text else 0
        self._on_progress(Doing(words, len(progress.seen) + len(progress.scores), runs + texts))

    # Runs of prompts

    def _runs(self, number: int, repeat: int) -> _Steps[None]:
        """All prompts that this variant has not been asked in this repeat."""
        progress, variant = self._journal.progress, self._job.variants[number]
        left = [asked for asked in self._job.prompts if not progress.has_seen(number, repeat, asked.id)]
        name = f"{variant.facts.label}, repeat {repeat + 1} of {self._job.repeat}"
        if not left or not progress.can_run(number) or self._died(number, f"runs {number}"):
            return
        self._begin(f"runs {number}")
        if (yield from self._load(number, variant.settings, name)):
            self._doing(f"{name}: warm-up")
            yield from self._generate(left[0], _WARM_UP_TOKENS)
            for asked in left:
                self._doing(f"{name}: {asked.id}")
                seen = yield from self._ask(number, repeat, asked)
                if seen.spoiled:  # once more, and then it is marked as it is
                    self._doing(f"{name}: {asked.id} again ({seen.spoiled})")
                    seen = yield from self._ask(number, repeat, asked)
                self._journal.write("seen", plain(seen))
                if "run_id" in seen.row:
                    row = task_row(self._job, progress.comparison_id, seen, self._session.record_text)
                    self._session.record(row)
            yield from self._free(variant)
        self._end(f"runs {number}")

    def _begin(self, step: str) -> None:
        self._journal.write("begin", step)
        self.in_a_step = True

    def _end(self, step: str) -> None:
        self.in_a_step = False
        self._journal.write("done", step)

    def _died(self, number: int, step: str) -> bool:
        """Whether gemtop died in this step so often that it is given up."""
        if self._journal.progress.begun.get(step, 0) < MOST_DEATHS:
            return False
        self._fail(number, f"llama.cpp or gemtop died {MOST_DEATHS} times with it")
        return True

    def _fail(self, number: int, reason: str) -> None:
        if number not in self._journal.progress.failures:
            self._journal.write("failure", {"variant": number, "reason": reason})

    def _load(self, number: int, settings: EngineSettings, words: str) -> _Steps[bool]:
        self._session.open(self._job.variants[number].facts.model_path, settings)
        while True:
            event: LoadProgress | ModelLoaded | LoadFailed
            event = yield from self._await(LoadProgress, ModelLoaded, LoadFailed)
            if isinstance(event, LoadProgress):
                self._doing(f"{words}: loading {event.fraction:.0%}")
            elif isinstance(event, LoadFailed):
                if event.cancelled:
                    raise StoppedError
                self._fail(number, event.message)
                return False
            else:
                self._llama_build = event.model.llama_build
                if not event.weights_kept:
                    self._journal.write("load", {"variant": number, "load_s": event.model.load_s})
                return True

    def _generate(
        self, asked: Asked, n_predict: int
    ) -> _Steps[tuple[RunRecorded | None, tuple[int, ...], list[TokenGenerated]]]:
        """A run from an empty context: its record, the prompt's tokens and those generated."""
        self._session.new_conversation()
        self._session.generate(GenerateRequest(asked.text, n_predict, _GREEDY))
        prompt: tuple[int, ...] = ()
        tokens: list[TokenGenerated] = []
        while True:
            event: RunStarted | TokenGenerated | RunRecorded | RunFinished
            event = yield from self._await(RunStarted, TokenGenerated, RunRecorded, RunFinished)
            if isinstance(event, RunStarted):
                prompt = event.prompt_tokens
            elif isinstance(event, TokenGenerated):
                tokens.append(event)
            elif isinstance(event, RunFinished):
                if event.status == "cancelled":
                    yield from self._await(RunRecorded)
                    raise StoppedError
                if event.status == "failed" and not prompt:  # it never began: no record comes
                    self.failed = event.message
                    return None, (), []
            else:
                return event, prompt, tokens

    def _ask(self, number: int, repeat: int, asked: Asked) -> _Steps[Seen]:
        recorded, prompt, tokens = yield from self._generate(asked, asked.max_tokens)
        if recorded is None:
            row = {"status": "failed", "valid": False, "invalid_reason": self.failed or "the run failed"}
            return Seen(number, repeat, asked.id, row, "", (), (), None, self.failed or "the run failed")
        result = judge(asked.check, recorded.output, run_code=self._job.run_code)
        ids, pieces = tuple(token.token_id for token in tokens), tuple(token.text for token in tokens)
        return Seen(
            number, repeat, asked.id, recorded.row, recorded.output, prompt, ids, result.passed, result.reason, pieces
        )

    # A closer look: where outputs part, and the text

    def _closer_look(self, number: int) -> _Steps[None]:
        """What needs the outputs of all: the variant is loaded once more, with one context after the other."""
        job, progress = self._job, self._journal.progress
        step, variant = f"text {number}", job.variants[number]
        places, scoring = self._places(number), job.text is not None and number not in progress.scores
        if not (places or scoring) or number in progress.failures or self._died(number, step):
            return
        self._begin(step)
        name = variant.facts.label
        loaded = bool(places) and (yield from self._load(number, variant.settings, name))
        for partner, asked, at, tokens in places if loaded else ():
            self._doing(f"{name}: where its output to {asked} parts")
            self._session.top_tokens(tokens, TOP)
            event: TopTokens = yield from self._await(TopTokens)
            look = {"variant": number, "partner": partner, "prompt_id": asked, "at": at, "top": event.tokens}
            self._journal.write("top", look)
        scoring = scoring and (loaded or not places)  # what could not be loaded once is not tried again
        if scoring and job.text and (yield from self._load(number, self._scoring_settings(number), name)):
            loaded = True
            yield from self._text(number, job.text)
        if loaded:
            yield from self._free(variant)
        self._end(step)

    def _scoring_settings(self, number: int) -> EngineSettings:
        job, text_only = self._job, self._journal.progress.text_only
        assert job.text is not None
        settings = scoring_settings(job.variants[number].settings, job.text.n_ctx)
        if number not in text_only:
            return settings
        return replace(settings, offload=replace(settings.offload, n_gpu_layers=text_only[number][0]))

    def _places(self, number: int) -> list[tuple[int, str, int, tuple[int, ...]]]:
        """Where this variant is to be asked what comes: partner, prompt, position, and the tokens before it."""
        progress, base = self._journal.progress, self._job.baseline
        partners = [i for i in range(len(self._job.variants)) if i != base] if number == base else [number]
        return [
            (partner, place.prompt_id, place.at, place.before)
            for partner in partners
            for place in progress.places(base, partner)
            if (number, partner, place.prompt_id) not in progress.tops
        ]

    def _text(self, number: int, text: TextToScore) -> _Steps[None]:
        """Score the text, against the predictions of the baseline and of the variant's own checkpoint."""
        job = self._job
        kept = predictions_file(self._paths, job, number)
        held_against = number == job.baseline or number in job.checkpoints.values()
        keep = kept if held_against and not is_whole(kept) else None
        name = f"{job.variants[number].facts.label}: {text.name}"
        held = {} if number == job.baseline else {job.baseline: predictions_file(self._paths, job, job.baseline)}
        if number in job.checkpoints:
            held[job.checkpoints[number]] = predictions_file(self._paths, job, job.checkpoints[number])
        there = {other: path for other, path in held.items() if path.exists()}
        scored = yield from self._score(name, text, tuple(there.values()), keep)
        if scored.likelihoods is None:
            self._fail(number, scored.message or "the text could not be scored")
            return
        found = dict(zip(there, scored.divergences, strict=True))
        far = found.get(job.baseline, "the baseline's predictions are not known") if held else None
        own = found.get(job.checkpoints.get(number, -1))
        curves = {"nll": along(scored.likelihoods.nll, PARTS, _average)}
        if isinstance(far, Divergences):
            curves["kl"] = along(far.kl, PARTS, _average)
        scores = Scores(
            perplexity(scored.likelihoods),
            fidelity(scored.likelihoods, far) if isinstance(far, Divergences) else None,
            far if isinstance(far, str) else None,
            fidelity(scored.likelihoods, own) if isinstance(own, Divergences) else None,
        )
        self._journal.write("scores", {"variant": number, "scores": plain(scores), "along": curves})
        comparison_id = self._journal.progress.comparison_id
        for row in fidelity_rows(self._job, comparison_id, number, scores, self._llama_build):
            self._session.record(row)

    def _score(self, name: str, text: TextToScore, against: tuple[Path, ...], keep: Path | None) -> _Steps[TextScored]:
        self._doing(name)
        self._session.score(ScoreRequest(text.text, text.n_ctx, text.n_chunks, against, keep))
        while True:
            event: ScoreProgress | TextScored = yield from self._await(ScoreProgress, TextScored)
            if isinstance(event, ScoreProgress):
                so_far = f"chunk {event.n_done} of {event.n_chunks}, perplexity {event.perplexity:.4g}"
                self._doing(f"{name}: {so_far}")
            elif event.status == "cancelled":
                raise StoppedError
            else:
                return event

    # Between variants

    def _free(self, variant: Variant) -> _Steps[None]:
        """Free the weights, and wait until memory and temperature are back."""
        self._session.unload()
        yield from self._await(ModelUnloaded)
        yield from self._wait_until(self._memory_is_back, _FREED_S)
        if not self._memory_is_back():
            more = (self._memory() or 0) - (self._memory_freed or 0)
            self._note(
                f"after {variant.facts.label} {more / 2**20:,.0f} MiB more were in use than after the first variant"
            )
        self._memory_freed = self._memory() if self._memory_freed is None else self._memory_freed
        if not self._is_cool():
            self._doing(f"waiting until the card is as cool as before: {self._temperature():.0f} °C")
            yield from self._wait_until(self._is_cool, self._job.cool_down_s)
            if not self._is_cool():
                self._note(
                    f"after {variant.facts.label} the card was at {self._temperature():.0f} °C for longer than"
                    f" {self._job.cool_down_s:.0f} s, not at {self._cool_c:.0f} °C as before"
                )

    def _note(self, words: str) -> None:
        if words not in self._journal.progress.notes:
            self._journal.write("note", words)

    def _memory(self) -> int | None:
        """Bytes that this process holds of the cards; of the machine where there is no card."""
        view = self._session.view(span_s=2.0)
        cards = {s.device: s.vram_process_bytes for s in view.device_samples}
        if cards:
            known = [held for held in cards.values() if held is not None]
            return sum(known) if len(known) == len(cards) else None
        return view.host_samples[-1].process_rss_bytes if view.host_samples else None

    def _memory_is_back(self) -> bool:
        now = self._memory()
        return now is None or self._memory_freed is None or now <= self._memory_freed + _MEMORY_BACK_BYTES

    def _temperature(self) -> float | None:
        """Of the hottest card."""
        latest = {s.device: s.temperature_c for s in self._session.view(span_s=2.0).device_samples}
        return max((value for value in latest.values() if value is not None), default=None)

    def _is_cool(self) -> bool:
        now = self._temperature()
        return now is None or self._cool_c is None or now <= self._cool_c + _TEMPERATURE_BACK_C

    def _wait_until(self, condition: Callable[[], bool], within_s: float) -> _Steps[None]:
        deadline = time.monotonic() + within_s
        while not condition() and time.monotonic() < deadline:
            yield from self._await(Tick)

    def _await(self, *kinds: type[Any]) -> Generator[None, Event, Any]:
        """The next event of one of these kinds."""
        while True:
            event = yield
            if isinstance(event, kinds):
                return event


def _average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
