"""gemtop devices: every device llama.cpp sees, here and on RPC servers, with its memory."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gemtop.cli import options
from gemtop.cli.progress import Progress
from gemtop.domain.errors import EXIT_OK, GemtopError
from gemtop.domain.plan import gib
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.config import Paths

_HEADS = ("name", "kind", "backend", "memory", "free", "bandwidth", "where", "description")
_NUMBERS = ("memory", "free", "bandwidth")


def add_parser(commands: Any) -> None:
    """Add `devices` to the program's commands, an argparse subparsers action."""
    parser = commands.add_parser(
        "devices",
        help="the devices llama.cpp sees",
        description="Every device that this llama.cpp build sees, by the name that --device takes, with its memory "
        "what of it is free and how fast it was measured to be read; with --rpc also those of llama.cpp RPC servers on "
        "other machines.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--rpc", type=options.endpoints, default=(), metavar="HOST:PORT,...", help="add devices of RPC servers"
    )
    parser.add_argument(
        "--bandwidth",
        action="store_true",
        help="measure how fast each device reads its memory, some tenths of a second each; the best ever is kept",
    )
    parser.add_argument("--json", action="store_true", help="a list of objects on stdout")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    from gemtop.config import paths
    from gemtop.engine.describe import list_devices

    found = _with_bandwidths(list_devices(args.rpc), args, paths())
    if args.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(report(found)) + "\n")
    return EXIT_OK


def _with_bandwidths(devices: Sequence[dict[str, Any]], args: argparse.Namespace, where: Paths) -> list[dict[str, Any]]:
    """The devices with what is remembered of their memory's bandwidth, measured first where it was asked for."""
    from gemtop.engine import bandwidth
    from gemtop.engine.cpu import physical_cores

    n_threads, found, progress = physical_cores(), [], Progress()
    for device, identity in zip(devices, bandwidth.identities(devices, n_threads), strict=True):
        reason = bandwidth.NOT_MEASURED
        if args.bandwidth:
            progress.show(f"measuring the memory bandwidth of {device['name']}")
            try:
                bandwidth.remember(where, identity, bandwidth.measure_in_child(device["name"], n_threads, args.rpc))
            except GemtopError as error:
                reason = str(error)
                progress.clear()
                sys.stderr.write(f"gemtop: {one_line(reason)}\n")
        best = bandwidth.remembered(where, identity)
        known = {"memory_bandwidth_bytes_per_s": best, "memory_bandwidth_reason": reason if best is None else None}
        found.append(device | known)
    progress.clear()
    return found


def report(found: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each device, below one of heads."""
    rows = [_HEADS, *(_cells(device) for device in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(_HEADS, row, widths, strict=True)
        line = "  ".join(f"{cell:{'>' if head in _NUMBERS else '<'}{width}}" for head, cell, width in cells)
        lines.append(line.rstrip())
    return lines


def _cells(device: dict[str, Any]) -> tuple[str, ...]:
    speed = device["memory_bandwidth_bytes_per_s"]
    where = device["rpc_server"] or device["pci_bus_id"] or "here"
    return tuple(
        one_line(cell)
        for cell in (
            device["name"],
            device["kind"],
            device["backend"],
            gib(device["memory_total_bytes"]),
            gib(device["memory_free_bytes"]),
            "-" if speed is None else f"{speed / 1e9:.1f} GB/s",
            where,
            device["description"],
        )
    )
