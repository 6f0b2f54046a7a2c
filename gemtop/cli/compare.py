"""gemtop compare: variants held against each other, in quality, speed, memory and energy."""

from __future__ import annotations

import argparse
import json
import mmap
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemtop.cli import options
from gemtop.cli.bench import comma_list, out
from gemtop.cli.streams import exit_code
from gemtop.config import Paths, paths
from gemtop.domain.errors import EXIT_INTERRUPTED, EXIT_OK, BadInputError
from gemtop.domain.text import one_line
from gemtop.supervisor import supervise

if TYPE_CHECKING:
    from gemtop.comparison.job import Job, Journal, TextToScore
    from gemtop.comparison.outcome import Outcome
    from gemtop.comparison.prepare import Wish
    from gemtop.comparison.runner import Doing
    from gemtop.prompts.model import PromptSet

_TICK_S = 0.25
_DEMO_TOKENS, _DEMO_REPEATS, _DEMO_CHUNKS = 36, 4, 4
_DEMO_KINDS = ("extract", "reasoning", "translate")
"""What the demonstration takes, where nothing else is said: a prompt of each kind, some five minutes on two cores.

Many repeats of few prompts: what a speed varies by is mostly the load.
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="variants held against each other: quality, speed, memory, energy",
        description="Run every variant on the same prompts, and a text through each, and say what each keeps of the "
        "baseline: perplexity, KL divergence, tasks, outputs, speed, memory and energy, with errors. It may be "
        "stopped; the same command goes on where it was. A variant is a model with a type of KV cache, with or without "
        "LoRA.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("paths", nargs="*", metavar="MODEL", help="paths of GGUF files, or names gemtop models shows")
    add(
        "--demo", action="store_true", help="formats of the demo model, made for this, with few prompts and little text"
    )
    add("--baseline", metavar="MODEL", help="what the others are held against (default: the most bits a weight)")
    add("--checkpoint", action="append", default=[], metavar="MODEL=CHECKPOINT",
        help="a QAT model's own unquantised checkpoint, among the models: it is held against that as well")  # fmt: skip
    add("--prompts", metavar="SET",
        help="a file of prompts, TOML or JSON lines, or a set of your own by its name, such as saved "
        "(default: the sixty that ship)")  # fmt: skip
    add("--kinds", type=comma_list(str), default=[], metavar="KIND,...", help="only prompts of these kinds")
    add(
        "-n", "--predict", dest="max_tokens", type=int, metavar="N", help="longest answer (default: as the prompts say)"
    )
    add("--corpus", metavar="FILE", help="a text for perplexity and KL (default: the novel that ships)")
    add("--ctx", type=int, default=512, metavar="N", help="tokens in a chunk of the text (default: 512)")
    add("--chunks", type=int, metavar="N", help="chunks of the text; 0 is none (default: -1, all; --demo: 4)")
    add("--repeat", type=int, metavar="N", help="times each variant is loaded and asked (default: 3; --demo: 4)")
    add("--run-code", action="store_true", help="run the code that models write, shut off, to see whether it is right")
    add("--cool-down", type=options.number(0, 3600), default=120.0, metavar="S",
        help="longest wait for a card to be as cool as before (default: 120)")  # fmt: skip
    add("--json", action="store_true", help="all of it as one JSON object on stdout")
    add("--report", metavar="DIR", help="a folder with all of it as Markdown, a page of HTML and Parquet; it is made")
    add("--force", action="store_true", help="replace a report that is in DIR")
    add("--restart", action="store_true", help="forget what an earlier call that was stopped has measured")
    options.add_engine(parser, cache=comma_list(options.cache_type), mapped=False)
    add("-v", "--verbose", action="store_true", help=f"{options.VERBOSE}, and llama.cpp's to stderr")
    options.add_db(parser)
    options.add_no_text(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Run the command in a child, which is started anew when it dies of a variant; returns its exit code."""
    measuring = mmap.mmap(-1, 1)  # shared with the child: whether it has a variant in hand

    def child(attempt: int) -> int:
        from gemtop.cli.headless import hear_once

        hear_once()
        measuring[0] = 0
        return exit_code(lambda: _compare(args, measuring, restart=args.restart and not attempt))

    def goes_on() -> bool:
        if measuring[0]:
            _say("what was measured is kept; going on")
        return bool(measuring[0])

    return supervise(child, lambda died_of: f"the program was ended by {died_of}", goes_on)


def _compare(args: argparse.Namespace, measuring: mmap.mmap, *, restart: bool) -> int:
    where = paths(args.db)
    from gemtop.assembly import make_planner
    from gemtop.cli.headless import headless
    from gemtop.cli.progress import Progress
    from gemtop.comparison.job import Journal
    from gemtop.comparison.prepare import header_of, leave_out_what_does_not_fit, prepare

    progress = Progress()
    try:
        wish = _wish(args, where, progress.show)
        headers = [header_of(path) for path in wish.paths]
        job = prepare(wish, headers, where, _say, lambda what: progress.show(f"preparing {what}"))
    finally:
        progress.clear()
    if args.report is not None:
        from gemtop.comparison.report.write import check_report

        check_report(Path(args.report), job, force=args.force)
    journal = Journal(where, job.key)
    if restart:
        journal.forget()
        journal = Journal(where, job.key)
    elif journal.progress.seen or journal.progress.scores:
        _say(f"going on with {len(journal.progress.seen)} runs that are there; --restart begins anew")
    with make_planner(where) as planner:
        leave_out_what_does_not_fit(job, journal, planner, _say)
    with headless("compare", where, verbose=args.verbose, record_text=options.record_text(args)) as run:
        done = _carry_out(run, job, journal, where, measuring)
        found = _show(args, job, journal)
    if args.report is not None:  # the session is closed: all of its tokens are in the history
        _report(args, found, where, done)
    if done:
        journal.forget()
    return EXIT_OK if done else EXIT_INTERRUPTED


def _say(text: str) -> None:
    sys.stderr.write(f"gemtop compare: {one_line(text)}\n")
    sys.stderr.flush()


def _wish(args: argparse.Namespace, where: Paths, progress: Callable[[str], None]) -> Wish:
    from gemtop.comparison.prepare import Wish

    _check_numbers(args)
    labels = _models(args, where, progress)
    models = tuple(labels)
    checkpoints = dict(_pair(text, models, where) for text in args.checkpoint)
    baseline = _number("--baseline", args.baseline, models, where) if args.baseline is not None else None
    notes: tuple[str, ...] = ()
    if args.demo:
        from gemtop.comparison import demo

        names = list(labels.values())
        checkpoints = checkpoints or {names.index(name): names.index(own) for name, own in demo.CHECKPOINTS.items()}
        baseline = names.index(demo.BASELINE) if baseline is None else baseline
        notes = (demo.NOTE,)
    cache = _cache_types(args)
    lora, args.type_k, args.type_v, args.lora = tuple(args.lora), cache[0][0], cache[0][1], []
    return Wish(
        paths=models,
        labels=tuple(labels.values()) if args.demo else (),
        settings=options.engine_settings(args),
        cache_types=cache,
        lora=lora,
        checkpoints=checkpoints,
        baseline=baseline,
        prompts=_prompts(args),
        kinds=args.kinds,
        max_tokens=args.max_tokens or (_DEMO_TOKENS if args.demo else None),
        text=_text(args),
        repeat=args.repeat or (_DEMO_REPEATS if args.demo else 3),
        run_code=args.run_code,
        cool_down_s=args.cool_down,
        notes=notes,
    )


def _check_numbers(args: argparse.Namespace) -> None:
    from gemtop.prompts.model import KINDS

    least = (
        ("--repeat", args.repeat, 1),
        ("--ctx", args.ctx, 16),
        ("--chunks", args.chunks, -1),
        ("-n", args.max_tokens, 1),
    )
    for flag, value, smallest in least:
        if value is not None and value < smallest:
            raise BadInputError(f"{flag} {value}: at least {smallest}")
    for kind in args.kinds:
        if kind not in KINDS:
            raise BadInputError(f"--kinds {one_line(kind)}: none of {', '.join(KINDS)}")


def _models(args: argparse.Namespace, where: Paths, progress: Callable[[str], None]) -> dict[str, str]:
    """Paths of the models, and what to call them where that is not left to what they are."""
    from gemtop.engine.names import resolve

    found = {str(resolve(name, where)): "" for name in args.paths}
    if args.demo:
        if found:
            raise BadInputError("--demo has its own models: name none, or leave --demo out")
        from gemtop.comparison import demo
        from gemtop.engine.stores.demo import demo_model

        return {
            path: label for label, path in demo.make(str(demo_model(where)), where.cache / "demo", progress).items()
        }
    if not found:
        raise BadInputError("no model is named; give two or more, as paths or by names gemtop models shows, or --demo")
    return found


def _cache_types(args: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """(K, V) pairs; a list for one of them alone is for both."""
    types_k, types_v = args.type_k or ["f16"], args.type_v or args.type_k or ["f16"]
    if len(types_k) != len(types_v) and 1 not in (len(types_k), len(types_v)):
        raise BadInputError("-ctk and -ctv have lists of different lengths: they are taken in pairs")
    pairs = max(len(types_k), len(types_v))
    return tuple(dict.fromkeys(zip(types_k * (pairs // len(types_k)), types_v * (pairs // len(types_v)), strict=True)))


def _text(args: argparse.Namespace) -> TextToScore | None:
    from gemtop.comparison.prepare import default_text, read_text

    chunks = args.chunks if args.chunks is not None else _DEMO_CHUNKS if args.demo else -1
    if chunks == 0:
        return None
    most = None if chunks < 0 else chunks
    return read_text(Path(args.corpus), args.ctx, most) if args.corpus else default_text(args.ctx, most)


def _prompts(args: argparse.Namespace) -> PromptSet:
    from gemtop.prompts.reading import default_set, few_of_each_kind
    from gemtop.prompts.saved import find_set

    if args.prompts:
        return find_set(args.prompts)
    return few_of_each_kind(1, args.kinds or _DEMO_KINDS) if args.demo else default_set()


def _number(flag: str, name: str, models: Sequence[str], where: Paths) -> int:
    """Which of the models is meant."""
    from gemtop.engine.names import resolve

    path = str(resolve(name, where))
    if path not in models:
        raise BadInputError(f"{flag} {one_line(name)} is not among the models that are compared")
    return models.index(path)


def _pair(text: str, models: Sequence[str], where: Paths) -> tuple[int, int]:
    """A model and its own checkpoint."""
    model, sign, checkpoint = text.partition("=")
    if not (model and sign and checkpoint):
        raise BadInputError(f"--checkpoint {one_line(text)}: MODEL=CHECKPOINT")
    return _number("--checkpoint", model, models, where), _number("--checkpoint", checkpoint, models, where)


def _carry_out(run: Any, job: Job, journal: Journal, where: Paths, measuring: mmap.mmap) -> bool:
    """All of it; False where it was stopped. `measuring` is 1 while there is a step that can be given up."""
    from gemtop.comparison.runner import Runner, StoppedError, Tick

    def show(doing: Doing) -> None:
        run.progress.show(f"[{doing.done}/{doing.total}] {doing.words}")

    runner = Runner(run.session, job, journal, where, show)
    runner.start()
    try:
        for event in run.events_and_ticks(_TICK_S):
            done = runner.handle(event if event is not None else Tick())
            measuring[0] = runner.in_a_step
            if done:
                return True
            if run.interrupted:
                return False
    except StoppedError:
        return False
    finally:
        run.progress.clear()
    raise AssertionError("the queue has no end")


def _show(args: argparse.Namespace, job: Job, journal: Journal) -> Outcome:
    from gemtop.comparison.outcome import as_json, outcome
    from gemtop.comparison.table import text

    found = outcome(job, journal.progress)
    if args.json:
        out(json.dumps(as_json(found), ensure_ascii=False, indent=2) + "\n")
    else:
        out(text(found, shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None))
    return found


def _report(args: argparse.Namespace, found: Outcome, where: Paths, done: bool) -> None:
    from gemtop.cli.histories import take_in
    from gemtop.comparison.report.write import write_report

    take_in(where, _say)
    folder = write_report(found, Path(args.report), where, args.argv, finished=done, force=args.force)
    _say(f"{folder / 'report.html'}" + ("" if done else ", of what there is so far"))
