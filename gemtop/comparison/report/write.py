"""A report put down in a folder, whole or not at all."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gemtop import __version__, folders
from gemtop.charts.svg import standing_alone
from gemtop.comparison.job import Job
from gemtop.comparison.outcome import Outcome
from gemtop.comparison.report.content import Told, report
from gemtop.comparison.report.data import fill
from gemtop.comparison.report.figures import figures
from gemtop.comparison.report.markdown import FIGURES, markdown
from gemtop.comparison.report.page import page
from gemtop.config import Paths
from gemtop.domain.plan import gib
from gemtop.domain.text import one_line
from gemtop.engine.cpu import memory_bytes, physical_cores
from gemtop.folders import MANIFEST, made_whole, sha256_of
from gemtop.history.dataset import FOLDER, Dataset
from gemtop.telemetry.host import cpu_model_name

FORMAT_VERSION = 1
"""Of the folder: names of its files and columns."""
PAGE, TEXT = "report.html", "report.md"


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a report; empty where there is none."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(found, dict) and "gemtop_report" in found:
            return found
    return {}


def _is_report(folder: Path) -> bool:
    """Whether a folder holds a report and nothing else."""
    files = _manifest(folder).get("files")
    if not isinstance(files, dict):
        return False
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}
    return there <= {MANIFEST, *files}


def check_report(target: Path, job: Job, *, force: bool) -> None:
    """Raises BadInputError where the report cannot or must not be put there: to be asked before anything is measured.

    A report of the same comparison that is unfinished is replaced as this goes on; any other one with `force`.
    """

    def unfinished(folder: Path) -> bool:
        told = _manifest(folder)
        return told.get("finished") is False and told.get("key") == job.key

    folders.check_target(
        Path(os.path.realpath(target)), "a report", "--report", force=force, is_ours=_is_report, goes_on=unfinished
    )


def write_report(
    found: Outcome, target: Path, paths: Paths, command: Sequence[str], *, finished: bool, force: bool = False
) -> Path:
    """Write it; returns the folder. `command` is the arguments that made it. Raises BadInputError, HistoryError."""
    check_report(target, found.job, force=force)
    target = Path(os.path.realpath(target))
    told = Told(finished, command, datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), __version__, _processor())
    with made_whole(target) as half, Dataset() as data:
        no_latencies = fill(data, found, paths)
        drawn = figures(data, found, no_latencies)
        for folder in (FOLDER, FIGURES):
            (half / folder).mkdir()
        data.write(half / FOLDER)
        for figure in drawn:
            if figure.picture:
                path = half / FIGURES / f"{figure.name}.svg"
                path.write_text(standing_alone(figure.picture), encoding="utf-8")
        whole = report(found, drawn, told)
        (half / PAGE).write_text(page(whole), encoding="utf-8")
        (half / TEXT).write_text(markdown(whole), encoding="utf-8")
        _write_manifest(half, found, told, data.rows)
    return target


def _processor() -> str:
    name = cpu_model_name() or platform.machine()
    return f"{one_line(name)}, {physical_cores()} cores, {gib(memory_bytes()[0])} of memory, {platform.system()}"


def _write_manifest(folder: Path, found: Outcome, told: Told, rows: dict[str, int]) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "gemtop_report": FORMAT_VERSION,
        "gemtop_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "comparison_id": found.comparison_id,
        "key": found.job.key,
        "finished": told.finished,
        "command": ["gemtop", *told.command],
        "rows": rows,
        "files": {str(path.relative_to(folder)): sha256_of(path) for path in paths},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
