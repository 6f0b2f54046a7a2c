"""gemtop bench: llama-bench's protocol and table, recorded in the history."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from gemtop.cli import options
from gemtop.config import Paths, paths
from gemtop.domain.errors import EXIT_INTERRUPTED, EXIT_OK, BadInputError, GemtopError
from gemtop.domain.events import BenchFinished
from gemtop.domain.model import LoadedModel
from gemtop.domain.records import RUN_FIELDS
from gemtop.domain.settings import ContextSettings, EngineSettings, FlashAttention, check_context
from gemtop.domain.statistics import MeanSd, mean_sd
from gemtop.engine.protocol import BenchRequest

if TYPE_CHECKING:
    from gemtop.cli.headless import Headless

T = TypeVar("T")
_DEFAULTS: dict[str, list[Any]] = {
    "n_prompt": [512], "n_gen": [128], "n_depth": [0], "n_gpu_layers": [-1], "n_batch": [2048], "n_ubatch": [512],
    "n_threads": [0], "flash_attn": ["auto"], "type_k": ["f16"], "type_v": ["f16"],
}  # fmt: skip
_LONGEST_RANGE = 1000


def comma_list(convert: Callable[[str], T]) -> Callable[[str], list[T]]:
    """A type for argparse: comma-separated values, and ranges FIRST-LAST[+STEP|*FACTOR] of integers."""

    whole = convert in (int, options.layers)

    def parse(text: str) -> list[T]:
        values: list[T] = []
        for part in text.split(","):
            values.extend(convert(v) for v in (_range(part) if whole else [part]))
        return values

    parse.__name__ = f"list of {'int' if whole else convert.__name__}"
    return parse


def _range(text: str) -> list[str]:
    first, dash, rest = text.partition("-")
    if not first or not dash:
        return [text]
    for sign in "+*":
        last, found, by = rest.partition(sign)
        if found:
            break
    else:
        last, by, sign = rest, "1", "+"
    value, end, step = int(first), int(last), int(by)
    if value > end:
        raise argparse.ArgumentTypeError(f"{text!r} is an empty range")
    values: list[str] = []
    while value <= end:
        if len(values) >= _LONGEST_RANGE:
            raise argparse.ArgumentTypeError(f"{text!r} has more than {_LONGEST_RANGE} values")
        values.append(str(value))
        following = value + step if sign == "+" else value * step
        if following <= value:
            raise argparse.ArgumentTypeError(f"{text!r} never ends")
        value = following
    return values


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="llama-bench's tests",
        description="llama-bench's protocol: a prompt test (pp) and a generation test (tg), warm-up, repetitions, "
        "mean and deviation. Options whose value is N, TYPE or on|off|auto take comma lists, and N also ranges "
        "FIRST-LAST, FIRST-LAST+STEP and FIRST-LAST*FACTOR: every combination is measured.",
        allow_abbrev=False,
    )
    ints = comma_list(int)
    add = parser.add_argument
    add("paths", nargs="*", metavar="MODEL", help="paths of GGUF files, or names gemtop models shows")
    add("-m", "--model", action="append", default=[], metavar="MODEL", help="the same, as llama-bench has it")
    add("--demo", action="store_true", help="the demo model, Gemma 3 270M")
    # A flag that is repeated adds to its list, as in llama-bench; _DEFAULTS is for those that are not given.
    add = partial(parser.add_argument, action="extend")
    add("-p", "--n-prompt", type=ints, metavar="N", help="prompt tokens (default: 512; 0: no test)")
    add("-n", "--n-gen", type=ints, metavar="N", help="tokens to generate (default: 128; 0: no test)")
    add("-d", "--n-depth", type=ints, metavar="N", help="context depth before the test (default: 0)")
    add(
        "-ngl",
        "--gpu-layers",
        "--n-gpu-layers",
        dest="n_gpu_layers",
        type=comma_list(options.layers),
        metavar="N",
        help="layers on the GPU (default: all)",
    )
    add("-b", "--batch-size", dest="n_batch", type=ints, metavar="N", help="batch (default: 2048)")
    add(
        "-ub",
        "--ubatch-size",
        dest="n_ubatch",
        type=ints,
        metavar="N",
        help="micro-batch (default: 512)",
    )
    add(
        "-t",
        "--threads",
        dest="n_threads",
        type=ints,
        metavar="N",
        help="CPU threads (default: physical cores)",
    )
    add(
        "-fa",
        "--flash-attn",
        type=comma_list(options.flash_attention),
        metavar="on|off|auto",
        help="flash attention (default: auto)",
    )
    add(
        "-ctk",
        "--cache-type-k",
        dest="type_k",
        type=comma_list(options.cache_type),
        metavar="TYPE",
        help="K cache (default: f16)",
    )
    add(
        "-ctv",
        "--cache-type-v",
        dest="type_v",
        type=comma_list(options.cache_type),
        metavar="TYPE",
        help="V cache (default: f16)",
    )
    add = parser.add_argument
    add("-r", "--repetitions", type=int, default=5, metavar="N", help="repetitions of each test (default: 5)")
    add("--mmap", action=argparse.BooleanOptionalAction, default=True, help="map the file (default) or read it")
    add("--repack", action=argparse.BooleanOptionalAction, default=True, help="repacked CPU weights (default)")
    options.add_placement(parser)
    add("-o", "--output", choices=("md", "json", "jsonl", "csv"), default="md", help="format on stdout (default: md)")
    add("-v", "--verbose", action="store_true", help=f"{options.VERBOSE}, and llama.cpp's to stderr")
    options.add_db(parser)
    parser.set_defaults(func=main)


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table: a model, settings and a test."""

    path: str
    settings: EngineSettings
    test: BenchRequest


@dataclass(frozen=True, slots=True)
class Result:
    case: Case
    model: LoadedModel
    row: dict[str, Any]
    """The first repetition under the names of the view `runs`: what all repetitions share."""
    speed: MeanSd
    """Tokens a second."""
    description: str
    backend: str
    valid: bool | None
    """Whether every repetition is; None where that cannot be said of one of them."""
    doubts: tuple[str, ...]
    """Why not, or why it cannot be said."""


def main(args: argparse.Namespace) -> int:
    where = paths(args.db)
    for name, default in _DEFAULTS.items():
        setattr(args, name, getattr(args, name) or default)
    cases = list(_cases(args, _models(args, where)))
    for case in cases:  # what cannot be is said before anything is measured
        check_context(case.settings.context, None)
    from gemtop.cli.headless import headless

    writer = _Writer(args)
    with headless("bench", where, verbose=args.verbose) as run:
        loaded: tuple[str, EngineSettings] | None = None
        model: LoadedModel | None = None
        try:
            for number, case in enumerate(cases, 1):
                if model is None or loaded != (case.path, case.settings):
                    model = run.load(case.path, case.settings)
                    loaded = (case.path, case.settings)
                result = measure(run, case, model, f"test {number} of {len(cases)}")
                if result is None:
                    break
                writer.write(result)
                if result.valid is False and args.output == "md":  # the other formats have a field for it
                    run.say(f"{test_name(case.test)} is not valid: {'; '.join(result.doubts)}")
                if run.interrupted:  # too late to stop that test, and no other may begin
                    break
        finally:  # what was measured before a case that failed is worth having
            writer.end(model)
        return EXIT_INTERRUPTED if run.interrupted else EXIT_OK


def _models(args: argparse.Namespace, where: Paths) -> list[str]:
    from gemtop.engine.names import resolve
    from gemtop.engine.stores.demo import demo_model

    names = [*args.paths, *(name for text in args.model for name in text.split(","))]
    models = [resolve(name, where) for name in names]
    if args.demo:
        models.append(str(demo_model(where)))
    if not models:
        raise BadInputError("no model is named; give the path of a GGUF file, a name gemtop models shows, or --demo")
    return models


def _cases(args: argparse.Namespace, models: list[str]) -> Iterator[Case]:
    """Every combination, ordered as llama-bench does, so that a model is loaded as seldom as possible."""
    check_repetitions(args.repetitions)
    for flag, values in (("-p", args.n_prompt), ("-n", args.n_gen), ("-d", args.n_depth)):
        if min(values) < 0:
            raise BadInputError(f"{flag} {min(values)}: a number of tokens cannot be negative")
    tests = [(p, 0) for p in args.n_prompt if p] + [(0, n) for n in args.n_gen if n]
    if not tests:
        raise BadInputError("nothing to measure: -p and -n are both 0")
    axes = itertools.product(
        models, args.n_gpu_layers, args.type_k, args.type_v, args.flash_attn, args.n_batch, args.n_ubatch,
        args.n_threads, args.n_depth, tests,
    )  # fmt: skip
    flash: FlashAttention
    for path, ngl, type_k, type_v, flash, n_batch, n_ubatch, n_threads, n_depth, (n_prompt, n_gen) in axes:
        context = ContextSettings(
            n_ctx=n_depth + n_prompt + n_gen,
            n_batch=n_batch,
            n_ubatch=n_ubatch,
            n_threads=n_threads or None,
            flash_attn=flash,
            type_k=type_k,
            type_v=type_v,
        )
        settings = EngineSettings(options.offload_settings(args, ngl), context, tuple(args.lora))
        yield Case(path, settings, BenchRequest(n_prompt, n_gen, n_depth, args.repetitions))


def check_repetitions(repetitions: int) -> None:
    if not 1 <= repetitions <= 10_000:
        raise BadInputError(f"-r {repetitions}: at least 1 repetition")


def measure(run: Headless, case: Case, model: LoadedModel, label: str) -> Result | None:
    """Run one test on what is loaded; None where it was interrupted. Raises GemtopError where it failed."""
    from gemtop.view import RunRecorded

    test = case.test
    rows: list[dict[str, Any]] = []
    run.session.bench(test)
    for event in run.events():
        done = f"repetition {len(rows) + 1} of {test.repetitions}"
        run.progress.show(f"{label}: {test_name(test)}, {done if rows else 'warm-up'}")
        if isinstance(event, RunRecorded):
            rows.append(event.row)
        elif isinstance(event, BenchFinished):
            run.progress.clear()
            if event.status == "cancelled":
                return None
            if event.status != "finished":
                raise GemtopError(event.message or "the test failed")
            break
    speeds = [row["decode_tokens_per_s" if test.n_gen else "prefill_tokens_per_s"] for row in rows]
    verdicts = {row["valid"] for row in rows}
    valid = False if False in verdicts else None if None in verdicts else True
    doubts = tuple(dict.fromkeys(row["invalid_reason"] for row in rows if row["invalid_reason"]))
    return Result(case, model, rows[0], mean_sd(speeds), model.description, model.backend_label, valid, doubts)


def test_name(test: BenchRequest) -> str:
    """As llama-bench has it: pp512, tg128 @ d4096."""
    name = f"tg{test.n_gen}" if test.n_gen else f"pp{test.n_prompt}"
    return f"{name} @ d{test.n_depth}" if test.n_depth else name


def as_json(result: Result) -> dict[str, Any]:
    """A test under the names of the view `runs`: its settings, and its speed as mean, deviation and n."""
    speed_name = "decode_tokens_per_s" if result.case.test.n_gen else "prefill_tokens_per_s"
    row = result.row | {"valid": result.valid, "invalid_reason": "; ".join(result.doubts) or None}
    data = {name: row[name] for name in RUN_FIELDS if name == speed_name or name not in _PER_RUN}
    test, speed = result.case.test, result.speed
    data |= {
        "n_gpu_layers": result.case.settings.offload.n_gpu_layers,
        "n_gpu_layers_offloaded": result.model.n_gpu_layers,
        "n_batch": result.case.settings.context.n_batch,
        "n_ubatch": result.case.settings.context.n_ubatch,
        "n_prompt": test.n_prompt,
        "n_gen": test.n_gen,
        "n_depth": test.n_depth,
        "test": test_name(test),
    }
    data[speed_name] = {"mean": speed.mean, "sd": speed.sd, "n": speed.n}
    return data


_PER_RUN = {
    "run_id", "status", "stop_reason", "ttft_s", "itl_p50_ms", "itl_p95_ms", "itl_p99_ms", "vram_peak_bytes",
    "ram_peak_bytes", "prefill_tokens_per_s", "decode_tokens_per_s", "power_mean_w", "energy_j", "prefill_j_per_token",
    "decode_j_per_token", *RUN_FIELDS[RUN_FIELDS.index("power_mean_error_w") :],
}  # fmt: skip
"""Columns of the view `runs` that differ from repetition to repetition."""


class _Writer:
    """Results on stdout, one at a time where the format allows it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._format: str = args.output
        self._results: list[Result] = []
        self._columns = _columns(args)
        self._csv_names: list[str] | None = None

    def write(self, result: Result) -> None:
        self._results.append(result)
        if self._format == "md":
            if len(self._results) == 1:
                self._columns = [c for c in self._columns if c.shown(result)]
                self._line(" | ".join(f"{c.title:{c.align}{c.width}}" for c in self._columns))
                self._line(" | ".join("-" * (c.width - 1) + (":" if c.align == ">" else "-") for c in self._columns))
            self._line(" | ".join(f"{c.value(result):{c.align}{c.width}}" for c in self._columns))
        elif self._format == "jsonl":
            out(json.dumps(as_json(result), ensure_ascii=False) + "\n")
        elif self._format == "csv":
            self._write_csv(result)

    def _line(self, text: str) -> None:
        out(f"| {text} |\n")

    def _write_csv(self, result: Result) -> None:
        data = as_json(result)
        speed = data.pop("decode_tokens_per_s", None) or data.pop("prefill_tokens_per_s")
        data.pop("prefill_tokens_per_s", None)
        data |= {"tokens_per_s_mean": speed["mean"], "tokens_per_s_sd": speed["sd"], "n": speed["n"]}
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self._csv_names or list(data), lineterminator="\n")
        if self._csv_names is None:
            self._csv_names = list(data)
            writer.writeheader()
        writer.writerow(data)
        out(buffer.getvalue())

    def end(self, model: LoadedModel | None) -> None:
        if self._format == "json":
            out(json.dumps([as_json(r) for r in self._results], ensure_ascii=False, indent=2) + "\n")
        elif self._format == "md" and model is not None:
            out(f"\nbuild: {model.llama_build}\n")


def out(text: str) -> None:
    """Text on stdout, now."""
    sys.stdout.write(text)
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of llama-bench's table."""

    title: str
    width: int
    align: str
    value: Callable[[Result], str]
    shown: Callable[[Result], bool] = lambda _result: True


def _columns(args: argparse.Namespace) -> list[_Column]:
    """The columns llama-bench shows: the fixed ones, and each setting that differs from its default."""

    def on_cpu(result: Result) -> bool:
        return result.backend == "CPU"

    given = {name: getattr(args, name) != usual for name, usual in _DEFAULTS.items()}
    columns = [
        _Column("model", 30, "<", lambda r: r.description),
        _Column("size", 10, ">", lambda r: _size(r.model.tensor_bytes)),
        _Column("params", 10, ">", lambda r: _parameters(r.model.header.parameters)),
        _Column("backend", 10, "<", lambda r: r.backend),
        _Column("ngl", 3, ">", lambda r: str(r.case.settings.offload.n_gpu_layers),
                lambda r: not on_cpu(r) or len(args.n_gpu_layers) > 1),
        _Column("threads", 7, ">", lambda r: str(r.model.n_threads), lambda r: on_cpu(r) or given["n_threads"]),
    ]  # fmt: skip
    optional: list[tuple[str, str, int, Callable[[Result], str]]] = [
        ("n_batch", "n_batch", 7, lambda r: str(r.case.settings.context.n_batch)),
        ("n_ubatch", "n_ubatch", 8, lambda r: str(r.case.settings.context.n_ubatch)),
        ("type_k", "type_k", 6, lambda r: r.model.type_k),
        ("type_v", "type_v", 6, lambda r: r.model.type_v),
        ("fa", "flash_attn", 4, lambda r: r.model.flash_attn),
    ]
    columns += [_Column(title, w, ">", value) for title, name, w, value in optional if given[name]]
    columns.append(_Column("test", 15, ">", lambda r: test_name(r.case.test)))
    columns.append(_Column("t/s", 20, ">", lambda r: f"{r.speed.mean:.2f} ± {r.speed.sd:.2f}"))
    return columns


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.2f} MiB" if size_bytes < 2**30 else f"{size_bytes / 2**30:.2f} GiB"


def _parameters(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count < 1e9 else f"{count / 1e9:.2f} B"
