"""gemtop plan: whether a model fits, with how much context, and what would; answered by llama.cpp, nothing loaded."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gemtop.cli import options
from gemtop.config import Paths, paths
from gemtop.domain.errors import EXIT_OK, BadInputError, GemtopError
from gemtop.domain.plan import plan_json
from gemtop.domain.plan_text import plan_lines
from gemtop.domain.text import one_line
from gemtop.engine.planner import Planner, PlanRequest, parse_sizes

if TYPE_CHECKING:
    from gemtop.cli.progress import Progress

_HUB = "hf:"
_A_MOMENT_S = 0.7
"""An answer within it needs no sign of life."""


def add_parser(commands: Any) -> None:
    """Add `plan` to the program's commands, an argparse subparsers action."""
    parser = commands.add_parser(
        "plan",
        help="whether a model fits, and with how much context",
        description="What a model and its context would take on each device and of this machine's memory, to the "
        "mebibyte and without loading it; the longest context that fits with f16, q8_0 and q4_0 caches, the most "
        "layers that fit on the devices, and a verdict. A model on the hub, hf:OWNER/NAME[:QUANT], is planned from "
        "its header, without a download. That something does not fit is an answer too: the exit code is 0.",
        allow_abbrev=False,
    )
    options.add_model(parser)
    parser.add_argument(
        "--gpu-memory",
        metavar="SIZE,...",
        help="plan for cards of these sizes that are not in this machine, such as 24GiB or 24GiB,16GiB",
    )
    options.add_engine(parser)
    parser.add_argument("--json", action="store_true", help="the plan as one JSON object on stdout")
    options.add_db(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    where, settings = paths(args.db), options.engine_settings(args)
    cards = parse_sizes(args.gpu_memory) if args.gpu_memory is not None else ()
    if cards and (settings.offload.devices or settings.offload.rpc_servers):
        raise BadInputError("--gpu-memory plans for cards that are not here; leave out --device and --rpc")
    with Planner(where) as planner, _SignOfLife() as sign:
        planner.start()  # it loads llama.cpp while the model is looked up
        path = _path(args, where, sign)
        reserves = {} if cards else learned_reserves(where)
        with _as_it_was_named(args, path):
            plan = planner.plan(PlanRequest(path, settings, cards, reserves=reserves))
    if args.json:
        text = json.dumps(plan_json(plan), ensure_ascii=False, indent=2)
    else:
        text = "\n".join(plan_lines(plan))
    sys.stdout.write(text + "\n")
    return EXIT_OK


def _path(args: argparse.Namespace, where: Paths, sign: _SignOfLife) -> str:
    """The file to plan with: of a model of the hub that is not here only its header, fetched where it is not yet."""
    name = options.named_model(args)
    if name is None or not name.startswith(_HUB):
        return options.model_path(args, where)
    from gemtop.engine.names import find, resolve

    try:
        find(name)
    except BadInputError:  # not here, or not this file of it
        from gemtop.engine.hub import remote_header
        from gemtop.engine.hub_names import parse_spec

        spec = parse_spec(name)
        sign.doing = f"reading the header of {one_line(name)}"
        path = str(remote_header(spec, where))
        sign.doing = _SignOfLife.doing
        return path
    return resolve(name, where)


@contextmanager
def _as_it_was_named(args: argparse.Namespace, path: str) -> Iterator[None]:
    """What is wrong with a model of the hub is said of the name it was given by, not of the copy of its header."""
    name = options.named_model(args)
    try:
        yield
    except GemtopError as error:
        if name is None or not name.startswith(_HUB):
            raise
        shown = one_line(name)
        folder = path.rpartition("/")[0] + "/"  # a further part of a split model lies there too
        raise type(error)(str(error).replace(one_line(path), shown).replace(one_line(folder), f"{shown} ")) from None


def learned_reserves(where: Paths) -> Mapping[str, int]:
    """By a card's name, the bytes its driver took beside llama.cpp's buffers in earlier loads; those that are known."""
    if not where.history.exists():
        return {}
    from gemtop.telemetry.nvml import NvmlProbe

    probe = NvmlProbe()
    status = probe.start()
    probe.stop()
    found = {}
    for name in {device.name for device in status.devices}:
        from gemtop.history.ledger import learned_overhead_bytes

        overhead = learned_overhead_bytes(where, name, status.driver_version)
        if overhead is not None:
            found[name] = max(0, overhead)
    return found


class _SignOfLife:
    """A line on a terminal's stderr once an answer takes longer than a moment, gone when it is there."""

    doing = "asking llama.cpp"

    def __init__(self) -> None:
        self._timer = threading.Timer(_A_MOMENT_S, self._show)
        self._lock = threading.Lock()
        self._over = False
        self._progress: Progress | None = None

    def __enter__(self) -> _SignOfLife:
        if sys.stderr.isatty():
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._progress is not None:
                self._progress.clear()

    def _show(self) -> None:
        from gemtop.cli.progress import Progress

        with self._lock:
            if not self._over:
                self._progress = Progress(late=True)
                self._progress.show(f"{self.doing} …")
