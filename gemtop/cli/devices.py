"""gemtop devices: every device llama.cpp sees, here and on RPC servers, with its memory."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from gemtop.cli import options
from gemtop.domain.errors import EXIT_OK
from gemtop.domain.plan import gib
from gemtop.domain.text import one_line

_HEADS = ("name", "kind", "backend", "memory", "free", "where", "description")
_NUMBERS = ("memory", "free")


def add_parser(commands: Any) -> None:
    """Add `devices` to the program's commands, an argparse subparsers action."""
    parser = commands.add_parser(
        "devices",
        help="the devices llama.cpp sees",
        description="Every device that this llama.cpp build sees, by the name that --device takes, with its memory "
        "and what of it is free; with --rpc also those of llama.cpp RPC servers on other machines.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--rpc", type=options.endpoints, default=(), metavar="HOST:PORT,...", help="add devices of RPC servers"
    )
    parser.add_argument("--json", action="store_true", help="a list of objects on stdout")
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    from gemtop.engine.describe import list_devices

    found = list_devices(args.rpc)
    if args.json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(report(found)) + "\n")
    return EXIT_OK


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
    where = device["rpc_server"] or device["pci_bus_id"] or "here"
    return tuple(
        one_line(cell)
        for cell in (
            device["name"],
            device["kind"],
            device["backend"],
            gib(device["memory_total_bytes"]),
            gib(device["memory_free_bytes"]),
            where,
            device["description"],
        )
    )
