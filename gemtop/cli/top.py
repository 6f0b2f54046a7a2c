"""gemtop top: the monitor without a model, on the screen, as JSON, for Prometheus and into the history."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from gemtop.cli import options, screens
from gemtop.cli.signals import hear, hear_again
from gemtop.config import Paths, paths
from gemtop.domain.errors import EXIT_INTERRUPTED, EXIT_OK, BadInputError, GemtopError, HistoryError
from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.monitor import Monitor, Snapshot

_PATIENCE_S = 5.0
"""From a signal until another one leaves at once, with what is in the spool."""
_NOT_READ = "not read"
_SILENT = "the driver does not answer"
_ROUND = -1
"""In the queue of a headless monitor: everything was read once more. Other numbers are exit codes."""
_PLAIN_CELLS = 116


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "top",
        help="watch GPUs and machine without a model",
        description="Watch the GPUs and this machine without a model: on the screen, or without one with --once, "
        "--json, --record or --prometheus. Nothing is recorded and nothing listens unless it is asked for.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--once", action="store_true", help="print one reading as text and leave; with --json as JSON")
    add("--json", action="store_true", help="one JSON object a line at each interval, in place of the screen")
    add(
        "--interval",
        type=options.number(0.1, 60),
        default=1.0,
        metavar="SECONDS",
        help="from one reading to the next, 0.1 to 60 (default: 1)",
    )
    add("--record", action="store_true", help="write the readings into the history as well")
    add(
        "--prometheus",
        type=port,
        metavar="PORT",
        help="serve the readings to a Prometheus server at http://127.0.0.1:PORT/metrics",
    )
    add("--all-gpus", action="store_true", help="also the cards that CUDA_VISIBLE_DEVICES hides")
    screens.add_thrift(parser)
    options.add_db(parser)
    parser.set_defaults(func=main, draws=True)


def port(text: str) -> int:
    """A type for argparse: a TCP port."""
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 65535")
    return value


def main(args: argparse.Namespace) -> int:
    if args.once:
        options.start_log(args)
        if args.record or args.prometheus:
            raise BadInputError("--once reads once and leaves; leave out --record and --prometheus")
        return _once(args)
    why = screens.why_no_screen()
    if why is None and not args.json:
        args.thrift = screens.thrift(args)
        return _screen(args)
    options.start_log(args)
    if args.json or args.record or args.prometheus:
        return _headless(args)
    raise BadInputError(f"{why}; without a screen there are: gemtop top --once, or --json")


def _history(args: argparse.Namespace) -> Paths | None:
    return paths(args.db) if args.record else None


# Once -------------------------------------------------------------------------------------------------------


def _once(args: argparse.Namespace) -> int:
    from gemtop.assembly import read_once

    found = read_once(all_gpus=args.all_gpus)
    if args.json:
        sys.stdout.write(json.dumps(document(found)) + "\n")
    else:
        sys.stdout.write("\n".join(text_lines(found)) + "\n")
    return EXIT_OK


def document(found: Snapshot) -> dict[str, Any]:
    """A reading under the names of the view `samples`; whatever is null has its reason beside it."""
    status = found.status
    samples = {sample.device: sample for sample in found.devices}
    return {
        "time": datetime.fromtimestamp(_read_at_s(found), tz=UTC).isoformat(timespec="milliseconds"),
        "driver_version": status.driver_version,
        "cuda_version": status.cuda_version,
        "gpu_reason": status.gpu_reason,
        "reasons": dict(status.reasons),
        "notes": list(status.notes),
        "devices": [_device(info, samples.get(info.index)) for info in status.devices],
        "host": _host(found.host),
    }


def _read_at_s(found: Snapshot) -> float:
    """When the newest of it was read, by the wall clock."""
    stamps = [sample.t_ns for sample in (*found.devices, found.host) if sample is not None]
    return time.time() - (time.monotonic_ns() - max(stamps)) / 1e9 if stamps else time.time()


def _device(info: DeviceInfo, sample: DeviceSample | None) -> dict[str, Any]:
    sample = sample or DeviceSample(t_ns=0, device=info.index)
    row: dict[str, Any] = {"device": info.index}
    row |= {f.name: getattr(info, f.name) for f in fields(info) if f.name not in ("index", "reasons")}
    row |= {f.name: getattr(sample, f.name) for f in fields(sample) if f.name not in ("t_ns", "device", "reasons")}
    if sample.processes is not None:
        row["processes"] = [{f.name: getattr(p, f.name) for f in fields(p)} for p in sample.processes]
    unread = info.reasons.get("handle", _SILENT)
    row["reasons"] = _reasons(row, {**info.reasons, **sample.reasons}, unread)
    return row


def _host(sample: HostSample | None) -> dict[str, Any]:
    sample = sample or HostSample(t_ns=0)
    row: dict[str, Any] = {f.name: getattr(sample, f.name) for f in fields(sample) if f.name not in ("t_ns", "reasons")}
    row["reasons"] = _reasons(row, dict(sample.reasons), _NOT_READ)
    return row


def _reasons(row: dict[str, Any], known: dict[str, str], unread: str) -> dict[str, str]:
    return {name: known.get(name, unread) for name, value in row.items() if value is None}


def text_lines(found: Snapshot) -> list[str]:
    """A reading as the table of the screen, for people who read a log."""
    from gemtop.tui import devices, no_card

    status = found.status
    samples = {sample.device: sample for sample in found.devices}
    versions = [f"driver {status.driver_version}"] if status.driver_version else []
    versions += [f"CUDA {status.cuda_version}"] if status.cuda_version else []
    rows = [] if status.devices else no_card.no_gpu_lines(status, _PLAIN_CELLS)
    for info in status.devices:
        rows += devices.card_rows(info, samples.get(info.index), _PLAIN_CELLS)
    lines = ["  ".join(versions)] if versions else []
    lines += devices.plain(rows)
    if status.devices:
        lines += ["processes", *devices.plain(devices.process_rows(status.devices, samples))]
    if found.host is not None:
        lines += ["machine", *devices.plain(devices.wide_host_rows(found.host, _PLAIN_CELLS))]
    return [*lines, *(one_line(note) for note in status.notes)]


# Without a screen -------------------------------------------------------------------------------------------


def _headless(args: argparse.Namespace) -> int:
    """Read until a signal: 130 after Ctrl-C, 0 where a service is ended in good order."""
    from gemtop.assembly import make_monitor

    heard: SimpleQueue[int] = SimpleQueue()
    code, reason = EXIT_OK, "the program failed"
    said: set[str] = set()
    with _signals(heard):
        monitor = make_monitor(_history(args), args.interval, lambda: heard.put(_ROUND), all_gpus=args.all_gpus)
        try:
            with _served(monitor.fresh, args.prometheus) as address:
                if address:
                    sys.stderr.write(f"gemtop: readings for Prometheus at {address}\n")
                    sys.stderr.flush()
                monitor.start()
                code = _listen(monitor, heard, args.json, said)
            reason = "interrupted" if code == EXIT_INTERRUPTED else "ended"
        except BrokenPipeError:
            reason = "nobody reads its output any more"
            raise
        finally:
            monitor.close(None if reason == "ended" else reason)
            _say_notes(monitor, said)
    if monitor.problem:
        raise HistoryError(monitor.problem)
    return code


def _say_notes(monitor: Monitor, said: set[str]) -> None:
    """What the user should know of the history and was not told yet."""
    for note in monitor.notes:
        if note not in said:
            sys.stderr.write(f"gemtop: {one_line(note)}\n")
            sys.stderr.flush()
            said.add(note)


def _listen(monitor: Monitor, heard: SimpleQueue[int], as_json: bool, said: set[str]) -> int:
    told: str | None = None
    while (what := heard.get()) == _ROUND:
        found = monitor.fresh()
        if as_json and found is not None:
            sys.stdout.write(json.dumps(document(found)) + "\n")
            sys.stdout.flush()
        _say_notes(monitor, said)
        if monitor.problem != told:
            told = monitor.problem
            sys.stderr.write(f"gemtop: {one_line(told)}\n" if told else "gemtop: recording again\n")
            sys.stderr.flush()
    return what


@contextmanager
def _signals(heard: SimpleQueue[int]) -> Iterator[None]:
    """Signals become exit codes in the queue; while the session is written down they wait, but not for ever."""
    first_s: float | None = None

    def heard_one(number: int, _frame: object) -> None:
        nonlocal first_s
        if first_s is not None and time.monotonic() - first_s > _PATIENCE_S:
            os._exit(EXIT_INTERRUPTED)
        first_s = first_s or time.monotonic()
        heard.put(EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_OK)

    before = hear(heard_one, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        yield
    finally:
        hear_again(before)


@contextmanager
def _served(fresh: Callable[[], Snapshot | None], number: int | None) -> Iterator[str | None]:
    """Serve the readings to Prometheus meanwhile, where a port is given. Raises BadInputError for a taken one."""
    if number is None:
        yield None
        return
    from gemtop.telemetry.exporter import Exporter

    exporter = Exporter(fresh)
    _bind(exporter.start, number)
    try:
        yield exporter.address
    finally:
        exporter.stop()


def _bind(start: Callable[[int], None], number: int) -> None:
    try:
        start(number)
    except PermissionError:
        raise BadInputError(f"port {number} is for root alone; choose one above 1023 with --prometheus") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise BadInputError(f"port {number} cannot be had ({why}); choose another with --prometheus PORT") from None


# The screen -------------------------------------------------------------------------------------------------


def _screen(args: argparse.Namespace) -> int:
    from gemtop.supervisor import supervise

    def describe(died_of: str) -> str:
        kept = "; what was recorded comes into the history at the next start" if args.record else ""
        return f"the monitor was ended by {died_of}{kept}"

    return supervise(lambda _attempt: _show(args), describe)


def _show(args: argparse.Namespace) -> int:
    try:
        return _draw(args)
    except GemtopError as error:
        sys.stderr.write(f"gemtop: {error}\n")
        return error.exit_code


def _draw(args: argparse.Namespace) -> int:
    from gemtop.tui.first_paint import first_paint
    from gemtop.tui.hints import TOP_KEYS

    terminal = screens.drawing_file()
    gc.disable()  # until the first frame: nothing made on the way to it is garbage
    with ExitStack() as stack:
        # Entered inside: a port that is taken gives the screen of before back.
        keys = options.screen_keys()
        shown = {"title": "gemtop top", "prompt": ""}
        with first_paint(terminal, "starting", **shown, hints=TOP_KEYS, keys=keys, ascii_only=screens.is_ascii()):
            options.start_log(args)
            from gemtop.tui.top import TopApp, TopOptions

            asked = TopOptions(args.interval, _history(args), args.prometheus, args.all_gpus, args.thrift)
            app = TopApp(asked, keys=keys)
            stack.enter_context(_served(app.fresh, args.prometheus))
        return app.run_and_report()
