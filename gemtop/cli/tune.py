"""gemtop tune: which context, cache type, offload and micro-batch are worth having on this machine, measured."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from gemtop.cli import bench, options
from gemtop.cli.tune_job import Job, Planning, Tuning, forget, make_job, saved
from gemtop.config import paths
from gemtop.domain.errors import EXIT_INTERRUPTED, EXIT_OK, BadInputError, EngineCrashedError, GemtopError
from gemtop.domain.tuning import Candidate, Point
from gemtop.engine.protocol import BenchRequest

if TYPE_CHECKING:
    from gemtop.cli.headless import Headless
    from gemtop.domain.model import DeviceMemory

CACHE_TYPES = ["f16", "q8_0", "q4_0"]
MICRO_BATCHES = [512, 256, 128]


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "tune",
        help="measure which settings are worth having here",
        description="Plan contexts, KV cache types, layers on the GPU and micro-batches within the memory that is "
        "there, measure those that may be worth having, and print the Pareto front of context, decode speed and "
        "memory. Ctrl-C stops it; the same command goes on where it was stopped.",
        allow_abbrev=False,
    )
    options.add_model(parser)
    _add_space(parser)
    _add_test(parser)
    _add_fixed(parser)
    add = parser.add_argument
    add("--fresh", action="store_true", help="start over instead of going on with what was stopped")
    add("-o", "--output", choices=("md", "json", "jsonl", "csv"), default="md", help="format on stdout (default: md)")
    add("-v", "--verbose", action="store_true", help=f"{options.VERBOSE}, and llama.cpp's to stderr")
    options.add_db(parser)
    parser.set_defaults(func=main)


def _add_space(parser: argparse.ArgumentParser) -> None:
    tried = parser.add_argument_group("what is tried")
    context = tried.add_mutually_exclusive_group()
    context.add_argument(
        "--max-context",
        type=int,
        metavar="N",
        help="longest context in tokens (default: the trained one, or the longest that fits)",
    )
    context.add_argument(
        "-c",
        "--ctx-size",
        dest="contexts",
        type=bench.comma_list(int),
        metavar="N,...",
        help="these contexts (default: 4096, 6144, 8192, 12288, ... up to the longest)",
    )
    add = tried.add_argument
    add(
        "--cache-types",
        type=bench.comma_list(options.cache_type),
        default=CACHE_TYPES,
        metavar="TYPE,...",
        help=f"types of the KV cache, K and V alike (default: {','.join(CACHE_TYPES)})",
    )
    add(
        "-ub",
        "--ubatch-size",
        dest="micro_batches",
        type=bench.comma_list(int),
        default=MICRO_BATCHES,
        metavar="N,...",
        help=f"micro-batches (default: {','.join(map(str, MICRO_BATCHES))}); the largest that fits is measured, a "
        "smaller one only where it lets more fit or takes the least memory of all with that context",
    )
    add(
        "--memory",
        type=_sizes,
        default=(),
        metavar="SIZE,...",
        help="use no more than this of each device, such as 20GiB (of this machine's memory where there is none)",
    )
    add("--most", type=int, default=32, metavar="N", help="measure no more than so many candidates (default: 32)")


def _add_test(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how it is measured").add_argument
    add(
        "-n",
        "--n-gen",
        type=options.not_negative,
        default=64,
        metavar="N",
        help="tokens to generate for the decode speed (default: 64)",
    )
    add(
        "-p",
        "--n-prompt",
        type=options.not_negative,
        default=512,
        metavar="N",
        help="prompt tokens for the prefill speed (default: 512; 0: not measured)",
    )
    add(
        "-d",
        "--n-depth",
        type=options.not_negative,
        default=0,
        metavar="N",
        help="tokens in the context before each test; decode slows with them (default: 0)",
    )
    add("-r", "--repetitions", type=int, default=3, metavar="N", help="repetitions of each test (default: 3)")


def _add_fixed(parser: argparse.ArgumentParser) -> None:
    fixed = parser.add_argument_group("the same for all")
    add = fixed.add_argument
    add("-t", "--threads", dest="n_threads", type=int, metavar="N", help="CPU threads (default: physical cores)")
    add(
        "-fa",
        "--flash-attn",
        type=options.flash_attention,
        default="auto",
        metavar="on|off|auto",
        help="flash attention (default: auto)",
    )
    add("--swa-full", action="store_true", help="keep the whole context for sliding-window layers too")
    add("--mmap", action=argparse.BooleanOptionalAction, default=True, help="map the file (default) or read it")
    add("--repack", action=argparse.BooleanOptionalAction, default=True, help="repacked CPU weights (default)")
    options.add_placement(fixed)


def _sizes(text: str) -> tuple[int, ...]:
    from gemtop.engine.planner import parse_sizes

    try:
        return parse_sizes(text)
    except BadInputError:
        raise argparse.ArgumentTypeError(f"{text!r} is no memory size; give one such as 20GiB") from None


def main(args: argparse.Namespace) -> int:
    where = paths(args.db)
    decode, prefill = _tests(args)
    from gemtop.cli.headless import headless
    from gemtop.cli.plan import learned_reserves
    from gemtop.cli.tune_report import report
    from gemtop.engine.planner import Planner

    with Planner(where) as planner:
        planner.start()  # it loads llama.cpp while the model is looked up
        path = options.model_path(args, where)
        job = make_job(args, path, decode, prefill, planner)
        tuning = None if args.fresh else saved(where, job.key)
        if tuning is None:
            tuning = _planned(args, job, Planning(job, planner, args.memory, learned_reserves(where)))
    with headless("tune", where, verbose=args.verbose) as run:
        run.say(_beginning(tuning))
        tuning.tuning_id = tuning.tuning_id or run.session.session_id
        crash = _sit(run, job, tuning, lambda: tuning.save(where, job.key))
        report(run, job, tuning, args.output)
        if crash:
            run.say("what was measured is kept; the same command goes on without the candidate at hand")
            raise crash
        left = len(tuning.left())
        if left:
            run.say(f"{left} of {len(tuning.candidates)} not measured yet; the same command goes on with them")
            return EXIT_INTERRUPTED
        forget(where, job.key)
        if not tuning.points:
            raise GemtopError(f"no candidate could be measured: {next(iter(tuning.failed.values()))}")
        return EXIT_INTERRUPTED if run.interrupted else EXIT_OK


def _tests(args: argparse.Namespace) -> tuple[BenchRequest, BenchRequest | None]:
    bench.check_repetitions(args.repetitions)
    if args.n_gen < 1:
        raise BadInputError("-n 0: the decode speed is what is tuned for; at least 1 token")
    if args.most < 1:
        raise BadInputError(f"--most {args.most}: at least 1 candidate")
    for flag, values in (
        ("-ub", args.micro_batches),
        ("-c", args.contexts or [1]),
        ("--max-context", [args.max_context]),
    ):
        if values[0] is not None and min(values) < 1:
            raise BadInputError(f"{flag} {min(values)}: at least 1 token")
    decode = BenchRequest(0, args.n_gen, args.n_depth, args.repetitions)
    prefill = BenchRequest(args.n_prompt, 0, args.n_depth, args.repetitions) if args.n_prompt else None
    return decode, prefill


def _planned(args: argparse.Namespace, job: Job, planning: Planning) -> Tuning:
    from gemtop.cli.progress import Progress

    progress = Progress()
    planning.on_question = lambda n, candidate: progress.show(f"planning, {n}: {job.describe(candidate)}")
    try:
        return planning.tuning(args)
    finally:
        progress.clear()


def _beginning(tuning: Tuning) -> str:
    done, total = len(tuning.points), len(tuning.candidates)
    if tuning.tuning_id:
        return f"going on with the tuning {tuning.tuning_id}: {done} of {total} measured (--fresh starts over)"
    capped = f" of {tuning.worthwhile} worthwhile (--most)" if total < tuning.worthwhile else ""
    return f"{tuning.planned} settings planned, {tuning.fit} fit, {total}{capped} to measure"


def _sit(run: Headless, job: Job, tuning: Tuning, save: Callable[[], None]) -> EngineCrashedError | None:
    """Measure what is left, until it is done, stopped, or llama.cpp gives up; that is returned then."""
    try:
        for label, candidate in _in_turn(run, job, tuning):
            tuning.at_hand = candidate
            save()
            try:
                point = _measure(run, job, candidate, tuning.candidates[candidate], label)
                if point is not None:
                    tuning.points.append(point)
            except EngineCrashedError as error:
                tuning.failed[candidate] = f"llama.cpp gave up: {run.session.crashed}"
                return error
            except GemtopError as error:
                run.say(f"{job.describe(candidate)} is left out: {error}")
                tuning.failed[candidate] = str(error)
            tuning.at_hand = None
            save()
            if run.interrupted:
                break
    except KeyboardInterrupt:
        run.interrupted = True
        run.session.stop()
    finally:
        tuning.at_hand = None
        save()
    return None


def _in_turn(run: Headless, job: Job, tuning: Tuning) -> Iterator[tuple[str, Candidate]]:
    """What is left to measure, each with a label for its progress that says how long the rest will take."""
    begin_s, left, total = time.monotonic(), tuning.left(), len(tuning.candidates)
    for done, candidate in enumerate(left):
        remaining = _remaining(time.monotonic() - begin_s, done, len(left))
        if done == 1:
            run.say(f"{len(left) - 1} more to measure{remaining}")
        yield f"{total - len(left) + done + 1}/{total}{remaining}, {job.short(candidate)}", candidate


def _remaining(elapsed_s: float, done: int, total: int) -> str:
    if not done:
        return ""
    seconds = elapsed_s / done * (total - done)
    return f", {f'{seconds / 60:.0f} min' if seconds >= 90 else f'{seconds:.0f} s'} left"


def _measure(run: Headless, job: Job, candidate: Candidate, planned_bytes: int, label: str) -> Point | None:
    """Load a candidate and run its tests; None where that was interrupted."""
    settings = job.settings(candidate)
    model = run.load(job.header.path, settings)
    prefill = None
    if job.prefill is not None:
        prefill = bench.measure(run, bench.Case(job.header.path, settings, job.prefill), model, label)
        if prefill is None or run.interrupted:
            return None
    decode = bench.measure(run, bench.Case(job.header.path, settings, job.decode), model, label)
    if decode is None:
        return None
    return Point(
        candidate=candidate,
        decode=decode.speed,
        prefill=prefill.speed if prefill else None,
        planned_bytes=planned_bytes,
        measured_bytes=_measured_bytes(run.session.view(0.0).memory, job.devices),
        session_id=run.session.session_id,
        flash_attn=model.flash_attn,
        n_threads=model.n_threads,
    )


def _measured_bytes(memory: tuple[DeviceMemory, ...], devices: tuple[str, ...]) -> int:
    counted = devices or ("CPU",)
    return sum(entry.measured.total_bytes for entry in memory if entry.device in counted)
