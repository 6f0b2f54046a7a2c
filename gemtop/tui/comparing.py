"""A comparison that goes on behind the screens: on a thread of its own, fed with the session's events."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

from gemtop.comparison.job import Journal
from gemtop.comparison.outcome import Outcome, outcome
from gemtop.comparison.prepare import Wish, default_text, header_of, leave_out_what_does_not_fit, prepare
from gemtop.comparison.runner import Doing, Runner, StoppedError, Tick
from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.events import EngineCrashed, ModelUnloaded, ScoreProgress
from gemtop.domain.settings import EngineSettings
from gemtop.domain.text import one_line
from gemtop.prompts.model import KINDS, Prompt, PromptSet
from gemtop.prompts.reading import default_set, few_of_each_kind
from gemtop.prompts.saved import find_set, your_sets
from gemtop.threads import name_thread

if TYPE_CHECKING:
    from gemtop.comparison.job import Job
    from gemtop.session import Session
    from gemtop.tui.tuning import Plans
    from gemtop.view import SessionEvent

_TICK_S = 0.25
_FREED_S = 60.0
"""How long an engine may take to stop and free its model before that is said."""
_CHUNK_TOKENS = 512
_COOL_DOWN_S = 120.0
FEW, ALL, NONE = "few", "all", "none"
"""Words for sets of prompts: one of each kind, all that ship, none."""

Phase = Literal["preparing", "running", "stopping", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the user chose to compare."""

    paths: tuple[str | None, ...]
    """Model files; None is the demo model, put together first if need be."""
    baseline: int | None
    settings: EngineSettings
    fields: Mapping[str, str]
    """What stands in the fields: prompts, answer, chunks, repeats."""
    prompt: str | None = None
    """One prompt of the user's own, in place of a set and a text."""


@dataclass(frozen=True, slots=True)
class State:
    """How far it is, taken at one moment."""

    phase: Phase
    words: str
    """What goes on, or how it ended."""
    doing: Doing | None = None
    left: str = ""
    """How long the rest will take, in words."""
    said: tuple[str, ...] = ()
    """What was left out, and what was found of an earlier sitting."""
    outcome: Outcome | None = None


class _GivenUpError(Exception):
    """The user has stopped it, or leaves."""


class Comparing:
    """`start` it. `hear` takes the session's events, `state` says how far it is, `on_end` is told once."""

    def __init__(
        self,
        session: Session,
        chosen: Chosen,
        paths: Paths,
        make_plans: Callable[[], Plans],
        find_demo: Callable[[], str],
        on_end: Callable[[Comparing], None],
    ) -> None:
        """`on_end` is called on another thread, when no more is asked of the session."""
        self.chosen = chosen
        self.state = State("preparing", "preparing the comparison")
        self.settled = False
        """Its end has been heard of by the application."""
        self._session, self._paths = session, paths
        self._make_plans, self._find_demo, self._on_end = make_plans, find_demo, on_end
        self._events: SimpleQueue[SessionEvent] = SimpleQueue()
        self._stop, self._closing = threading.Event(), threading.Event()
        self.asked = False
        """The session has been given commands."""
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._main, name="gemtop-compare", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def outcome(self) -> Outcome | None:
        return self.state.outcome

    @property
    def goes_on(self) -> bool:
        """Its thread lives."""
        return self._thread.is_alive()

    @property
    def is_prompt(self) -> bool:
        """One prompt of the user's own."""
        return self.chosen.prompt is not None

    def hear(self, event: SessionEvent) -> None:
        """Take an event of the session, on whatever thread."""
        self._events.put(event)

    def stop(self) -> None:
        """Stop within a token; what was done is kept."""
        if self.state.phase in ("preparing", "running"):
            self._stop.set()
            self._tell(phase="stopping", words="stopping ...")
            if self.asked:
                self._session.stop()

    def close(self, wait_s: float = 2.0) -> None:
        """The session ends: ask no more of it."""
        self._closing.set()
        self._stop.set()
        self._thread.join(wait_s)

    # On its own thread

    def _main(self) -> None:
        name_thread(self._thread.name)
        try:
            done = self._carry_out()
            self._end("done" if done else "stopped", "" if done else "stopped; Enter goes on from here")
        except (StoppedError, _GivenUpError):
            self._end("stopped", "stopped; Enter goes on from here")
        except GemtopError as error:
            self._end("failed", str(error))
        except Exception as error:  # shown, whatever it is
            logging.getLogger(__name__).error("a comparison failed", exc_info=True)
            self._end("failed", f"{type(error).__name__}: {error}")

    def _end(self, phase: Phase, words: str) -> None:
        if self.asked and phase != "done" and not self._closing.is_set() and self._session.crashed is None:
            self._tell(words="stopping ...")
            words = words if self._unload() else "llama.cpp does not stop"
        found = self.state.outcome
        if phase == "done" and found is not None:
            words = found.verdict
        self._tell(phase=phase, words=one_line(words), doing=None, left="")
        if not self._closing.is_set():
            self._on_end(self)

    def _tell(self, **changes: object) -> None:
        with self._guard:
            self.state = replace(self.state, **changes)  # type: ignore[arg-type]

    def _say(self, words: str) -> None:
        self._tell(said=(*self.state.said, one_line(words)))

    def _check_stopped(self, what: str) -> None:
        if self._stop.is_set():
            raise _GivenUpError
        self._tell(words=what)

    def _carry_out(self) -> bool:
        """All of it; False where it was stopped."""
        job = self._prepared()
        journal = Journal(self._paths, job.key)
        seen = len(journal.progress.seen)
        if seen or journal.progress.scores:
            self._say(f"going on with {seen} {'run' if seen == 1 else 'runs'} that are there")
        self._check_stopped("freeing the model that is loaded")
        self.asked = True
        self._unload()  # what it holds is no reason for a variant not to fit
        self._leave_out(job, journal)
        self._tell(phase="running", words="", outcome=outcome(job, journal.progress))
        done = self._run(job, journal)
        if done:
            journal.forget()
        return done

    def _prepared(self) -> Job:
        chosen = self.chosen
        paths = tuple(path if path is not None else self._find_demo() for path in chosen.paths)
        self._check_stopped("reading headers")
        headers = [header_of(path) for path in paths]
        job = prepare(
            wish(paths, chosen), headers, self._paths, self._say, lambda what: self._check_stopped(f"preparing {what}")
        )
        if not job.prompts and job.text is None:
            raise BadInputError(f"no prompt can be asked: {next(iter(job.left_out.values()))}")
        return job

    def _leave_out(self, job: Job, journal: Journal) -> None:
        self._check_stopped("asking what fits")
        plans = self._make_plans()
        try:
            leave_out_what_does_not_fit(job, journal, plans, self._say)
        finally:
            plans.close()

    def _run(self, job: Job, journal: Journal) -> bool:
        pace = Pace(job, journal, time.monotonic)

        def show(doing: Doing) -> None:
            self._tell(doing=doing, words=one_line(doing.words), left=pace.left())

        runner = Runner(self._session, job, journal, self._paths, show)
        if self._stop.is_set():
            return False
        runner.start()
        shown = _steps(journal)
        while not self._stop.is_set():
            event = self._next()
            if isinstance(event, EngineCrashed):
                raise GemtopError(f"llama.cpp gave up: {event.message}")
            pace.hear(event)
            done = runner.handle(event)
            if done or _steps(journal) != shown:
                shown = _steps(journal)
                self._tell(outcome=outcome(job, journal.progress))
            if done:
                return True
        return False

    def _next(self) -> SessionEvent | Tick:
        try:
            return self._events.get(timeout=_TICK_S)
        except Empty:
            return Tick()

    def _unload(self) -> bool:
        """Stop what runs and free the model; False where llama.cpp does not come back."""
        self._session.stop()
        self._session.unload()
        deadline = time.monotonic() + _FREED_S
        while not self._closing.is_set() and time.monotonic() < deadline:
            event = self._next()
            if isinstance(event, ModelUnloaded):
                return True
            if isinstance(event, EngineCrashed):
                return False
        return False


def _steps(journal: Journal) -> tuple[int, ...]:
    """Grows with each step that a table shows."""
    progress = journal.progress
    return len(progress.seen), len(progress.scores), len(progress.tops), len(progress.failures), len(progress.notes)


class Pace:
    """How long what is left will take, by what runs and chunks of the text took so far in this sitting."""

    def __init__(self, job: Job, journal: Journal, clock_s: Callable[[], float]) -> None:
        self._job, self._journal, self._clock_s = job, journal, clock_s
        self._began_s = clock_s()
        self._runs_before = len(journal.progress.seen)
        self._runs_s = 0.0
        """From the beginning to the end of the last run."""
        self._runs = self._runs_before
        self._chunk_began_s: float | None = None
        self._chunk_s: float | None = None
        self._chunks_left = 0
        self._n_chunks = 0

    def hear(self, event: SessionEvent | Tick) -> None:
        now_s, seen = self._clock_s(), len(self._journal.progress.seen)
        if seen != self._runs:
            self._runs, self._runs_s = seen, now_s - self._began_s
        if isinstance(event, ScoreProgress):
            if self._chunk_began_s is not None and event.n_done > 1:
                self._chunk_s = now_s - self._chunk_began_s
            self._chunk_began_s, self._n_chunks = now_s, event.n_chunks
            self._chunks_left = event.n_chunks - event.n_done

    def left(self) -> str:
        """In words; empty while nothing can be told."""
        job, progress = self._job, self._journal.progress
        able = len(job.variants) - len(progress.failures)
        asked = sum(progress.can_run(number) for number in range(len(job.variants)))
        runs = max(0, asked * job.repeat * len(job.prompts) - len(progress.seen))
        texts = max(0, able - len(progress.scores)) if job.text else 0
        measured = self._runs - self._runs_before
        run_s = self._runs_s / measured if measured else None
        if runs and run_s is None:
            return ""
        runs_s = runs * (run_s or 0.0)
        if not texts:
            return f"about {duration(runs_s)} left" if runs else ""
        if self._chunk_s is None:
            of_texts = f"{texts} {'text' if texts == 1 else 'texts'}"
            return f"about {duration(runs_s)} of runs left, then {of_texts}" if runs else f"{of_texts} left"
        chunks = (texts - 1) * self._n_chunks + (self._chunks_left or self._n_chunks)
        return f"about {duration(runs_s + chunks * self._chunk_s)} left"


def duration(seconds: float) -> str:
    """A length of time, as exactly as it can be foretold."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


# What is asked for


def wish(paths: tuple[str, ...], chosen: Chosen) -> Wish:
    """The fields understood. Raises BadInputError, which names the field."""
    context = chosen.settings.context
    if chosen.prompt is not None:
        answer = _number(chosen.fields, "answer", "longest answer", 1)
        assert answer is not None
        prompts = PromptSet("your prompt", (Prompt("prompt", chosen.prompt, max_tokens=answer),))
        kinds, chunks, repeats, longest = frozenset[str](), 0, 1, None
    else:
        prompts, kinds = _prompts(chosen.fields["prompts"].strip())
        longest = _number(chosen.fields, "answer", "longest answer", 1, empty=True)
        given = _number(chosen.fields, "chunks", "chunks of the text", 0)
        asked = _number(chosen.fields, "repeats", "repeats", 1)
        assert given is not None and asked is not None
        chunks, repeats = given, asked
    return Wish(
        paths=paths,
        labels=(),
        settings=replace(
            chosen.settings,
            offload=replace(chosen.settings.offload, use_mmap=False),  # as the command does
            context=replace(context, n_ctx=None),
            lora=(),
        ),
        cache_types=((context.type_k, context.type_v),),
        lora=(),
        checkpoints={},
        baseline=chosen.baseline,
        prompts=prompts,
        kinds=kinds,
        max_tokens=longest,
        text=default_text(_CHUNK_TOKENS, chunks) if chunks else None,
        repeat=repeats,
        run_code=False,
        cool_down_s=_COOL_DOWN_S,
    )


def _number(fields: Mapping[str, str], name: str, words: str, least: int, *, empty: bool = False) -> int | None:
    """A whole number; None for an empty field where it may be empty."""
    typed = fields[name].strip()
    if empty and not typed:
        return None
    try:
        value = int(typed)
    except ValueError:
        raise BadInputError(f"{words} {one_line(typed)}: a whole number of {least} or more") from None
    if value < least:
        raise BadInputError(f"{words} {value}: at least {least}")
    return value


def _prompts(words: str) -> tuple[PromptSet, frozenset[str]]:
    """few, all, none, kinds of the shipped ones, the name of an own set, or a file."""
    if words == FEW:
        return few_of_each_kind(1), frozenset()
    if words in (ALL, NONE):
        shipped = default_set()
        return (shipped if words == ALL else PromptSet("no prompts", ())), frozenset()
    kinds = [kind.strip() for kind in words.split(",")]
    if all(kind in KINDS for kind in kinds):
        return default_set(), frozenset(kinds)
    path = Path(words).expanduser()
    own = your_sets()
    if words not in own and (not words or not (path.exists() or "." in path.name or "/" in words)):
        known = ", ".join(kind for kind in KINDS if kind != "other")
        yours = f", {', '.join(own)}" if own else ""
        raise BadInputError(f"prompts {one_line(words)}: {FEW}, {ALL}, {NONE}{yours}, some of {known}, or a file")
    return find_set(words), frozenset()
