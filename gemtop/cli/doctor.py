"""gemtop doctor: what this build can do, what it sees, and what to do about it."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

from gemtop import __version__
from gemtop.cli import fix, options
from gemtop.cli.private import without_names
from gemtop.config import Paths, paths
from gemtop.domain.builds import BUILDS, TITLES
from gemtop.domain.errors import EXIT_BAD_INPUT, EXIT_FAILURE, EXIT_OK, HistoryError
from gemtop.domain.text import one_line

if TYPE_CHECKING:
    from gemtop.engine.describe import BuildDescription

_PACKAGES = ("llama-cpp-python", "textual", "plotext", "duckdb", "nvidia-ml-py", "psutil", "numpy")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="what this llama.cpp build can do",
        description="What this llama.cpp build can do, which devices and drivers it sees, and where data lives.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="the findings as one JSON object, without names")
    parser.add_argument(
        "--fix",
        nargs="?",
        const=fix.HERE,
        choices=(fix.HERE, *BUILDS, fix.ALL),
        help="print, and do not run, the lines that make a build of llama.cpp: the one this machine should have "
        "(default: here), one by name, or all",
    )
    options.add_db(parser)
    parser.set_defaults(func=main, reads_config=True)


def main(args: argparse.Namespace) -> int:
    findings = without_names(examine(args.db))
    if args.fix and not args.json:
        sys.stdout.write("\n".join(fix.script(findings["fix"], args.fix)) + "\n")
        return EXIT_OK
    if args.json:
        sys.stdout.write(json.dumps(findings, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(_report(findings)) + "\n")
    if findings["llama_cpp"]["problem"] is not None:
        return EXIT_FAILURE
    return EXIT_BAD_INPUT if findings["config"]["problems"] else EXIT_OK


def examine(db: str | None) -> dict[str, Any]:
    """Everything doctor knows, in plain types; `db` is the value of --db."""
    from gemtop.config.reading import read_config
    from gemtop.engine.describe import describe_build
    from gemtop.telemetry.host import cpu_model_name, total_ram_bytes
    from gemtop.telemetry.nvml import NvmlProbe

    config = read_config()
    where = paths(db, config.config)
    build = describe_build()
    probe = NvmlProbe()
    status = probe.start()
    probe.stop()
    found = fix.fix(build, fix.machine(status), fix.this_installation(_version("llama-cpp-python")))
    return {
        "gemtop_version": __version__,
        "python": f"{platform.python_version()} at {sys.executable}",
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "llama_cpp": asdict(build),
        "nvidia": _without_serials(asdict(status)),
        "cpu": {"name": cpu_model_name(), "flags": _cpu_flags(build)},
        "ram_total_bytes": total_ram_bytes(),
        "data": _data(where),
        "config": {
            "file": str(config.file),
            "exists": config.exists,
            "problems": [*map(str, config.problems), *config.config.warnings],
        },
        "advice": advice(build, found),
        "fix": found,
    }


def _without_serials(status: dict[str, Any]) -> dict[str, Any]:
    """A card's UUID names one card in the world."""
    for device in status["devices"]:
        del device["uuid"]
    return status


def _cpu_flags(build: BuildDescription) -> str | None:
    """The CPU's own abilities: of interest where the build does not run."""
    if build.problem is None:
        return None
    from gemtop.engine.cpu import cpu_flags

    return cpu_flags()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _data(where: Paths) -> dict[str, Any]:
    from gemtop.history.recorder import check_history
    from gemtop.logs import log_file

    problem = None
    try:
        check_history(where)
    except HistoryError as error:
        problem = str(error)
    size = where.history.stat().st_size if where.history.is_file() else None
    waiting = len(list(where.spools.glob("*.jsonl"))) if where.spools.is_dir() else 0
    return {
        "history": str(where.history),
        "history_bytes": size,
        "history_problem": problem,
        "spools": str(where.spools),
        "sessions_in_spools": waiting,
        "state": str(where.state),
        "log": str(log_file(where)),
    }


def advice(build: BuildDescription, found: dict[str, Any]) -> list[str]:
    """What to do, most pressing first; empty where all is well. `found` is what fix.fix has found."""
    name = found["build"]
    if build.problem is not None:
        return [f"llama.cpp does not run here: {build.problem}. Rebuild it: {found['builds'][name]['run']}"]
    if found["done"]:
        return []
    how = f"Rebuild it with {TITLES[name]} (gemtop doctor --fix says what must be there first)"
    return [f"{found['why']}. {how}: {found['builds'][name]['run']}"]


def _report(found: dict[str, Any]) -> list[str]:
    build, nvidia, data, config = found["llama_cpp"], found["nvidia"], found["data"], found["config"]
    lines = [
        _row("gemtop", str(found["gemtop_version"])),
        _row("python", found["python"]),
        _row("packages", "  ".join(f"{k} {v or 'missing'}" for k, v in found["packages"].items())),
        "",
        _row("llama.cpp", build["llama_build"] or build["problem"] or "unknown"),
        _row("backends", ", ".join(build["backends"]) or "unknown"),
        _row("CUDA", _yes_no(build, "CUDA")),
        _row("RPC", _yes_no(build, "RPC")),
        _row("CPU features", " ".join(build["cpu_features"]) or "unknown"),
        *(_row("device", _device(d)) for d in build["devices"]),
        "",
        _row("CPU", found["cpu"]["name"] or "unknown"),
        _row("RAM", f"{found['ram_total_bytes'] / 2**30:.1f} GiB"),
        _row("NVIDIA driver", nvidia["driver_version"] or f"N/A ({nvidia['gpu_reason']})"),
        *(_row("GPU " + d["index"], _gpu(d)) for d in nvidia["devices"]),
        "",
        _row("history", _history(data)),
        _row("spools", f"{data['spools']} ({data['sessions_in_spools']} waiting)"),
        _row("state", data["state"]),
        _row("log", data["log"]),
        _row("config", config["file"] + ("" if config["exists"] else " (not there; gemtop config edit makes it)")),
        *(_row("", f"wrong: {problem}") for problem in config["problems"]),
    ]
    if found["advice"]:
        lines += ["", *found["advice"]]
    return lines


def _row(label: str, text: str) -> str:
    return f"{label:<14} {one_line(text)}"


def _yes_no(build: dict[str, Any], backend: str) -> str:
    if build["problem"] is not None:
        return "unknown"
    return "yes" if any(name.startswith(backend) for name in build["backends"]) else "no"


def _device(device: dict[str, Any]) -> str:
    free, total = device["memory_free_bytes"] / 2**30, device["memory_total_bytes"] / 2**30
    return f"{device['name']}  {device['description']}  ({device['kind']}, {free:.1f} of {total:.1f} GiB free)"


def _gpu(device: dict[str, Any]) -> str:
    memory = device["memory_total_bytes"]
    return str(device["name"]) + (f", {memory / 2**30:.1f} GiB" if memory else "")


def _history(data: dict[str, Any]) -> str:
    if data["history_problem"]:
        return f"{data['history']} ({data['history_problem']})"
    size = data["history_bytes"]
    return f"{data['history']} ({'not begun yet' if size is None else f'{size / 2**20:.1f} MiB'})"
