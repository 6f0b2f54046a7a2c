"""gemtop quantize: other formats of a model's file, made by llama.cpp's own quantiser."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from gemtop.cli import options
from gemtop.cli.progress import Progress
from gemtop.cli.signals import hear
from gemtop.config import Paths, paths
from gemtop.domain.errors import EXIT_INTERRUPTED, EXIT_OK, BadInputError
from gemtop.domain.plan import gib
from gemtop.domain.quantization import (
    Outline,
    Quantized,
    QuantizeOptions,
    outline_json,
    parse_formats,
    parse_tensor_type,
    quantized_json,
)
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.engine.quantize import Quantizer

T = TypeVar("T")
_OTHERS = (signal.SIGTERM, signal.SIGHUP)
"""Signals that stop it as Ctrl-C does."""


def add_parser(commands: Any) -> None:
    """Add `quantize` to the program's commands, an argparse subparsers action."""
    parser = commands.add_parser(
        "quantize",
        help="other formats of a model's file",
        description="Make other formats of a model's file with llama.cpp's own quantiser, one after the other, and "
        "print their paths. What each file will take is known before, and the space on the disk is checked for all of "
        "them. The files say in their metadata what they were made of. A source that is quantised already is refused "
        "unless --allow-requantize is given, and what is made of it is called derived for good.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="path of a GGUF file, or a name gemtop models shows")
    add(
        "--to", dest="formats", type=_type(parse_formats), required=True, metavar="TYPE,...", help="such as Q8_0,Q4_K_M"
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--output", metavar="FILE", help="the file to write, where one type is made")
    place.add_argument(
        "--output-dir",
        metavar="DIR",
        help="where to (default: beside a source that is given by its path, else gemtop/models in the XDG data folder)",
    )
    add("--imatrix", metavar="FILE", help="importance matrix as llama-imatrix writes it, GGUF or .dat")
    add("--pure", action="store_true", help="one type for all tensors, without llama.cpp's mixtures")
    add("--token-embedding-type", type=_type(parse_tensor_type), metavar="TYPE", help="type of the token embedding")
    add("--output-tensor-type", type=_type(parse_tensor_type), metavar="TYPE", help="type of the output matrix")
    add("--leave-output-tensor", action="store_true", help="keep the output matrix as it is")
    add("--allow-requantize", action="store_true", help="quantise again what is quantised; the result is derived")
    add(
        "-t",
        "--threads",
        dest="n_threads",
        type=options.positive,
        metavar="N",
        help="threads (default: physical cores)",
    )
    add("--force", action="store_true", help="write over files that are there")
    add("--dry-run", action="store_true", help="only say what would be made: size, bits per weight, file")
    add("--json", action="store_true", help="source and files as one JSON object on stdout")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    hear(_interrupt, *_OTHERS)
    if args.output is not None and len(args.formats) > 1:
        raise BadInputError("--output names one file, and several are to be made; give --output-dir")
    where = paths()
    job = _Job(args, where)
    try:
        job.plan()
        if args.dry_run:
            job.say_what_would_be()
        else:
            job.run()
    except KeyboardInterrupt:
        job.say("interrupted; of what was being made nothing is left")
        return EXIT_INTERRUPTED
    finally:
        job.progress.clear()
        if args.json and job.files:
            job.write_json()
    return EXIT_OK


class _Job:
    """The formats that were asked for, and what became of each."""

    def __init__(self, args: argparse.Namespace, where: Paths) -> None:
        self._args = args
        self.progress = Progress()
        self.files: list[dict[str, Any]] = []
        """Those that were made, or would be, as in JSON."""
        self._left_out: list[dict[str, Any]] = []
        self._planned: list[tuple[Outline, Path]] = []
        self._quantizer = _quantizer(args, where)

    def plan(self) -> None:
        """Ask llama.cpp what it would make of each format, and check that it can be written.

        Raises BadInputError where anything is to be refused: nothing is written then.
        """
        from gemtop.engine.quantize import check_space, check_target

        folder = _folder(self._args)
        for name in self._args.formats:
            self.progress.show(f"asking llama.cpp about {name} …")
            outline = self._quantizer.outline(name)
            reason = self._quantizer.why_skip(outline)
            if reason is not None:
                self._left_out.append({"format": name, "reason": reason})
                continue
            target = (
                Path(self._args.output).expanduser() if self._args.output else self._quantizer.target(outline, folder)
            )
            self._planned.append((outline, target))
        self.progress.clear()
        if not self._planned:
            raise BadInputError("; ".join(each["reason"] for each in self._left_out))
        if not self._args.dry_run:
            for _, target in self._planned:
                check_target(self._quantizer.source, target, force=self._args.force)
            check_space(self._planned[0][1].parent, [outline for outline, _ in self._planned])
        for each in self._left_out:
            self.say(f"left out: {each['reason']}")

    def run(self) -> None:
        """Make the files, one after the other."""
        for outline, target in self._planned:
            made = self._quantizer.write(outline, target, self._meter(target))
            self.files.append(quantized_json(made))
            self.say(f"{target.name}: {result_words(made)}")
            if not self._args.json:
                sys.stdout.write(f"{target}\n")
                sys.stdout.flush()

    def say_what_would_be(self) -> None:
        rows = []
        for outline, target in self._planned:
            self.files.append({**outline_json(outline), "path": str(target)})
            rows.append(
                (outline.format, gib(outline.size_bytes), f"{outline.bits_per_weight:.2f}", one_line(str(target)))
            )
            if outline.fallbacks:
                self.say(f"{outline.format}: {fallback_words(outline)}")
        if not self._args.json:
            heads = ("format", "size", "bits/weight", "file")
            widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
            for row in (heads, *rows):
                cells = f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}"
                sys.stdout.write(f"{cells}\n")

    def write_json(self) -> None:
        """What is known of the source, and the files that are made."""
        source, label = self._quantizer.source, self._quantizer.label
        facts = {
            "path": source.path,
            "name": source.name,
            "size_bytes": source.size_bytes,
            "parameters": source.parameters,
            "quantization": label.quantization,
            "training": label.training,
            "variant": label.variant,
            "derived": label.derived,
            "fingerprint": source.fingerprint,
        }
        found = {"source": facts, "files": self.files, "left_out": self._left_out}
        sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")

    def say(self, text: str) -> None:
        self.progress.clear()
        sys.stderr.write(f"gemtop: {one_line(text)}\n")
        sys.stderr.flush()

    def _meter(self, target: Path) -> Callable[[float, str], None]:
        name = one_line(target.name)
        return lambda fraction, tensor: self.progress.show(f"{name} {fraction:4.0%}  {one_line(tensor)}")


def _quantizer(args: argparse.Namespace, where: Paths) -> Quantizer:
    from gemtop.engine.gguf import read_header
    from gemtop.engine.gguf_scan import check_has_weights
    from gemtop.engine.names import resolve
    from gemtop.engine.quantize import Quantizer

    asked = QuantizeOptions(
        pure=args.pure,
        token_embedding_type=args.token_embedding_type,
        output_tensor_type=args.output_tensor_type,
        leave_output_tensor=args.leave_output_tensor,
        allow_requantize=args.allow_requantize,
        imatrix=args.imatrix,
        n_threads=args.n_threads,
    )
    header = read_header(resolve(args.source, where))
    check_has_weights(header.path, where)
    return Quantizer(header, asked)


def _folder(args: argparse.Namespace) -> Path:
    """Where files go whose names are not given; gemtop's own folder is made where it is not there."""
    from gemtop.engine.adopt_layout import models_folder
    from gemtop.engine.names import is_path
    from gemtop.engine.output import make_folder
    from gemtop.engine.quantize import PLACE

    if args.output_dir is not None:
        return Path(args.output_dir).expanduser()
    if is_path(args.source):
        return Path(args.source).parent
    folder = models_folder()
    if not (args.dry_run or args.output):
        make_folder(folder, PLACE)
    return folder


def result_words(made: Quantized) -> str:
    """What came of a format, in one line."""
    outline = made.outline
    words = [f"{gib(made.size_bytes)}, {outline.bits_per_weight:.2f} bits per weight, {made.classification.variant}"]
    if outline.fallbacks:
        words.append(fallback_words(outline))
    if made.n_without_imatrix:
        words.append(f"the importance matrix has nothing for {_tensors(made.n_without_imatrix)}")
    return "; ".join([*words, f"{made.took_s:.1f} s"])


def fallback_words(outline: Outline) -> str:
    """How many tensors could not be what the format makes of them, and what they became."""
    became: dict[str, int] = {}
    for each in outline.fallbacks:
        became[each.became] = became.get(each.became, 0) + each.n_tensors
    blocks = " or ".join(str(block) for block in sorted({each.block for each in outline.fallbacks}))
    listed = " and ".join(f"{n} to {name}" for name, n in became.items())
    to = f", {listed}" if len(became) > 1 else f" to {next(iter(became))}"
    share = f"{outline.n_fallbacks} of {_tensors(len(outline.tensors))}"
    return f"{share} fell back{to}, since rows do not divide into blocks of {blocks}"


def _tensors(n: int) -> str:
    return f"{n} tensor" if n == 1 else f"{n} tensors"


def _type(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A type for argparse, whose words for what is wrong are the parser's own."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        except BadInputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _interrupt(_number: int, _frame: object) -> NoReturn:
    """Once: keys repeat, and while what was begun is removed nothing may come between."""
    for number in (signal.SIGINT, *_OTHERS):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
