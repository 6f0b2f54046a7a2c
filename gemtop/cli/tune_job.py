"""What a tuning is to measure: its candidates, planned, and how far it has come."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gemtop.cli import options
from gemtop.config import Paths, read_state, write_state
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.plan import CONTEXT_STEP, Plan, gib, largest
from gemtop.domain.settings import DEFAULT_N_CTX, ContextSettings, EngineSettings, check_context, settings_to_dict
from gemtop.domain.text import one_line
from gemtop.domain.tuning import Candidate, Need, Point, Space, contexts, point_from_dict, to_measure, worthwhile
from gemtop.engine.protocol import BenchRequest

if TYPE_CHECKING:
    from gemtop.domain.model import ModelHeader
    from gemtop.engine.planner import Planner

_MOST_DEATHS = 2
"""A candidate in the midst of which gemtop was killed so often is not tried again."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same in all sittings of a tuning."""

    name: str
    """The model as it was named."""
    base: EngineSettings
    """Settings that all candidates share."""
    decode: BenchRequest
    prefill: BenchRequest | None
    header: ModelHeader
    model: dict[str, Any]
    """As the planner has it."""
    devices: tuple[str, ...]
    """llama.cpp's names of the devices to offload to."""
    llama_build: str
    key: str
    """Of the state file: stands for the model's content, the flags, the devices and llama.cpp's build."""

    @property
    def n_layers(self) -> int | None:
        """Layers that can be offloaded; None where there is no device."""
        return int(self.model["n_layers"]) if self.devices else None

    def settings(self, candidate: Candidate) -> EngineSettings:
        """What to load a candidate with. All layers are asked for as they are by default."""
        layers = candidate.n_gpu_layers
        if self.n_layers is None or layers >= self.n_layers:
            layers = -1
        kind = candidate.cache_type
        context = replace(
            self.base.context, n_ctx=candidate.n_ctx, n_ubatch=candidate.n_ubatch, type_k=kind, type_v=kind
        )
        return replace(self.base, offload=replace(self.base.offload, n_gpu_layers=layers), context=context)

    def short(self, candidate: Candidate) -> str:
        """A candidate for a line of progress."""
        layers = "" if self.n_layers is None else f" ngl {candidate.n_gpu_layers}"
        return f"{candidate.n_ctx} {candidate.cache_type}{layers} ub {candidate.n_ubatch}"

    def describe(self, candidate: Candidate) -> str:
        """A candidate in a few words."""
        layers = "" if self.n_layers is None else f", {candidate.n_gpu_layers} of {self.n_layers} layers"
        return f"context {candidate.n_ctx:,}, {candidate.cache_type} cache, micro-batch {candidate.n_ubatch}{layers}"


@dataclass(slots=True)
class Tuning:
    """How far a tuning has come. Saved after each step, so that it outlives the process."""

    candidates: dict[Candidate, int]
    """What is to be measured, in order, and the bytes it was planned to take."""
    planned: int
    """Settings that llama.cpp was asked about."""
    fit: int
    worthwhile: int
    """Of those that fit: not dominated for certain."""
    tuning_id: str = ""
    """The session that began it; empty before that."""
    points: list[Point] = field(default_factory=list)
    failed: dict[Candidate, str] = field(default_factory=dict)
    """Why a candidate could not be measured."""
    at_hand: Candidate | None = None
    """What is being measured."""
    deaths: list[Candidate] = field(default_factory=list)
    """What was being measured when the process was killed."""

    def left(self) -> list[Candidate]:
        measured = {point.candidate for point in self.points}
        return [c for c in self.candidates if c not in measured and c not in self.failed]

    def save(self, where: Paths, key: str) -> None:
        state = {
            **{name: getattr(self, name) for name in ("tuning_id", "planned", "fit", "worthwhile")},
            "candidates": [[asdict(candidate), size_bytes] for candidate, size_bytes in self.candidates.items()],
            "points": [asdict(point) for point in self.points],
            "failed": [[asdict(candidate), reason] for candidate, reason in self.failed.items()],
            "deaths": [asdict(candidate) for candidate in (*self.deaths, self.at_hand) if candidate],
        }
        write_state(where, key, state)


def saved(where: Paths, key: str) -> Tuning | None:
    """The tuning that was stopped, if there is one. What gemtop was killed in twice is not tried again."""
    state = read_state(where, key)
    try:
        tuning = Tuning(
            **{name: state[name] for name in ("tuning_id", "planned", "fit", "worthwhile")},
            candidates={Candidate(**candidate): size_bytes for candidate, size_bytes in state["candidates"]},
            points=[point_from_dict(point) for point in state["points"]],
            failed={Candidate(**candidate): reason for candidate, reason in state["failed"]},
            deaths=[Candidate(**candidate) for candidate in state["deaths"]],
        )
    except (KeyError, TypeError, ValueError):  # there is none, or it is of another version of gemtop
        return None
    for candidate in tuning.left():
        if tuning.deaths.count(candidate) >= _MOST_DEATHS:
            tuning.failed[candidate] = f"gemtop was killed {_MOST_DEATHS} times while it was measured"
    return tuning


def forget(where: Paths, key: str) -> None:
    """The tuning is over."""
    with contextlib.suppress(OSError):
        (where.state / f"{key}.json").unlink(missing_ok=True)


def make_job(
    args: argparse.Namespace, path: str, decode: BenchRequest, prefill: BenchRequest | None, planner: Planner
) -> Job:
    """The job, for one question to the planner. Raises BadInputError for what cannot be planned at all."""
    from gemtop.engine.planner import PlanRequest

    context = ContextSettings(
        n_ctx=CONTEXT_STEP, n_threads=args.n_threads, flash_attn=args.flash_attn, swa_full=args.swa_full,
        type_k=args.cache_types[0], type_v=args.cache_types[0],
    )  # fmt: skip
    base = EngineSettings(options.offload_settings(args, n_gpu_layers=-1), context, tuple(args.lora))
    plan = planner.plan(PlanRequest(path, base, search=False))
    # Only now that a child process has read the file without dying of it:
    from gemtop.engine.adopt_layout import check_layout
    from gemtop.engine.binding import llama_build
    from gemtop.engine.gguf import read_header

    header = read_header(path)
    check_layout(header)  # it can be planned, not measured
    check_context(
        replace(context, n_ctx=max(args.contexts or [args.max_context or CONTEXT_STEP])), header.trained_context
    )
    flags = ("contexts", "max_context", "cache_types", "micro_batches", "memory", "most")
    known = [
        header.fingerprint,
        llama_build(),
        [[ledger.memory.name, ledger.memory.description] for ledger in plan.devices],
        settings_to_dict(base),
        [asdict(test) for test in (decode, prefill) if test],
        [getattr(args, flag) for flag in flags],
    ]
    return Job(
        name="--demo" if args.demo else options.named_model(args) or path,
        base=base,
        decode=decode,
        prefill=prefill,
        header=header,
        model=dict(plan.model),
        devices=tuple(ledger.memory.name for ledger in plan.devices),
        llama_build=llama_build(),
        key=f"tune-{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]}",
    )


class Planning:
    """What candidates would take, asked of llama.cpp's dry run, and what of it fits."""

    def __init__(self, job: Job, planner: Planner, budget: tuple[int, ...], reserves: Mapping[str, int]) -> None:
        """`budget` is a size in bytes for all devices, or one for each; none where all that is free may be used.

        Raises BadInputError for a budget of another number of devices than there are.
        """
        n = len(job.devices) or 1
        if len(budget) > 1 and len(budget) != n:
            here = f"{', '.join(job.devices)} here" if job.devices else "no device here"
            raise BadInputError(f"--memory: {len(budget)} sizes, but {here}; give one size, or one for each device")
        self._job, self._planner, self._reserves = job, planner, reserves
        self._budget = budget * n if len(budget) == 1 else budget
        self._needs: dict[Candidate, Need | None] = {}
        self.on_question: Callable[[int, Candidate], None] = lambda _number, _candidate: None
        """Told before each question, with its number."""

    def need(self, candidate: Candidate) -> Need | None:
        """None where llama.cpp refuses the candidate."""
        if candidate not in self._needs:
            self.on_question(len(self._needs) + 1, candidate)
            self._needs[candidate] = self._ask(candidate)
        return self._needs[candidate]

    def _ask(self, candidate: Candidate) -> Need | None:
        from gemtop.engine.planner import PlanRequest

        job = self._job
        try:
            plan = self._planner.plan(
                PlanRequest(job.header.path, job.settings(candidate), search=False, reserves=self._reserves)
            )
        except GemtopError:
            return None
        return self._judge(plan)

    def _judge(self, plan: Plan) -> Need:
        ledgers = plan.devices or (plan.host,)
        left = [ledger.free_bytes for ledger in ledgers]
        left += [size - ledger.use.needed_bytes for size, ledger in zip(self._budget, ledgers, strict=False)]
        return Need(
            memory_bytes=sum(ledger.use.total_bytes for ledger in ledgers),
            free_bytes=min(left),
            host_free_bytes=plan.host.free_bytes,
        )

    def tuning(self, args: argparse.Namespace) -> Tuning:
        """A new tuning: what is worth measuring of what can be tried. Raises BadInputError where nothing fits."""
        types = tuple(dict.fromkeys(args.cache_types))
        tried = Space(self._contexts(args), types, tuple(args.micro_batches), self._job.n_layers)
        found = worthwhile(tried, self.need)
        if not found:
            raise BadInputError(self._nothing_fits(args, min(tried.contexts)))
        chosen = {candidate: found[candidate] for candidate in to_measure(tuple(found), args.most)}
        fit = sum(need is not None and need.fits for need in self._needs.values())
        return Tuning(chosen, planned=len(self._needs), fit=fit, worthwhile=len(found))

    def _nothing_fits(self, args: argparse.Namespace, n_ctx: int) -> str:
        known = [need.memory_bytes for c, need in self._needs.items() if need is not None and c.n_ctx == n_ctx]
        ask = f"gemtop plan {one_line(self._job.name)} -c {n_ctx}"
        if not known:
            return f"llama.cpp refuses everything that was to be tried; {ask} says why"
        within = f" in {' and '.join(map(gib, args.memory))}" if args.memory else ""
        return f"nothing fits{within}: a context of {n_ctx:,} tokens takes {gib(min(known))} or more; see {ask}"

    def _contexts(self, args: argparse.Namespace) -> tuple[int, ...]:
        """The contexts to try: those that hold the tests. Raises BadInputError where none does."""
        least = args.n_depth + max(args.n_prompt, args.n_gen)
        if args.contexts:
            tried = tuple(-(-n // CONTEXT_STEP) * CONTEXT_STEP for n in args.contexts)
            if min(tried) < least:
                raise BadInputError(f"-c {min(args.contexts)}: the tests take {least:,} tokens (-d, -p, -n)")
            return tried
        longest = args.max_context or self._longest_that_fits(args)
        tried = tuple(n for n in contexts(longest) if n >= least)
        if not tried:
            raise BadInputError(
                f"the longest context to try is {longest:,}, and the tests take {least:,} tokens (-d, -p, -n)"
            )
        return tried

    def _longest_that_fits(self, args: argparse.Namespace) -> int:
        """The trained context, or the longest that fits with some cache type and everything else at its least."""

        def left(n_ctx: int) -> int | None:
            needs = [self.need(Candidate(n_ctx, kind, 0, min(args.micro_batches))) for kind in args.cache_types]
            return max((min(n.free_bytes, n.host_free_bytes) for n in needs if n is not None), default=None)

        trained = self._job.model["n_ctx_train"] or DEFAULT_N_CTX
        return largest(left, CONTEXT_STEP, trained, CONTEXT_STEP) or CONTEXT_STEP
