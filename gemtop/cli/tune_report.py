"""What a tuning found: on stdout, and in the history."""

from __future__ import annotations

import csv
import io
import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gemtop.cli import bench
from gemtop.domain.plan import gib
from gemtop.domain.records import TunePoint
from gemtop.domain.settings import EngineSettings
from gemtop.domain.statistics import MeanSd, interval_95
from gemtop.domain.text import one_line
from gemtop.domain.tuning import FULL_SPEED, Candidate, Point, candidate_dict, front, recommended

if TYPE_CHECKING:
    from gemtop.cli.headless import Headless
    from gemtop.cli.tune_job import Job, Tuning


def report(run: Headless, job: Job, tuning: Tuning, output: str) -> None:
    """Write the tuning, as far as it has come, into the history and on stdout (md, json, jsonl or csv)."""
    best = front(tuning.points)
    for point in _records(job, tuning, best):
        run.session.record(point)
    rows = [_as_json(point, job, best) for point in _in_order(tuning.points)]
    if output == "json":
        bench.out(json.dumps(_document(job, tuning, rows), ensure_ascii=False, indent=2) + "\n")
    elif output == "jsonl":
        bench.out("".join(json.dumps(row) + "\n" for row in rows))
    elif output == "csv":
        bench.out(_csv(rows))
    elif tuning.points:
        bench.out(_table(job, tuning.points, best) + _explanation(job, tuning))


def _in_order(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda p: (-p.candidate.n_ctx, -p.measured_bytes))


def start_command(job: Job, candidate: Candidate) -> str:
    """How to run the model with a candidate's settings: the flags that differ from their defaults."""
    wanted, usual = job.settings(candidate), EngineSettings()
    context, offload = wanted.context, wanted.offload
    words = ["gemtop", "run", job.name]
    for flags, value, default in (
        (("-c",), context.n_ctx, usual.context.n_ctx),
        (("-ctk", "-ctv"), context.type_k, usual.context.type_k),
        (("-ngl",), offload.n_gpu_layers, usual.offload.n_gpu_layers),
        (("-ub",), context.n_ubatch, usual.context.n_ubatch),
        (("-t",), context.n_threads, usual.context.n_threads),
        (("-fa",), context.flash_attn, usual.context.flash_attn),
        (("--rpc",), ",".join(offload.rpc_servers), ""),
        (("-dev",), ",".join(offload.devices), ""),
        (("-sm",), offload.split_mode, usual.offload.split_mode),
        (("-ts",), ",".join(f"{share:g}" for share in offload.tensor_split), ""),
        (("-mg",), offload.main_gpu, usual.offload.main_gpu),
        (("-ot",), ",".join(f"{pattern}={buffer}" for pattern, buffer in offload.override_tensor), ""),
    ):
        if value != default:
            words += [word for flag in flags for word in (flag, str(value))]
    words += [word for adapter in wanted.lora for word in ("--lora", f"{adapter.path}={adapter.scale:g}")]
    words += ["--swa-full"] * context.swa_full
    words += ["--no-mmap"] * (not offload.use_mmap) + ["--no-repack"] * (not offload.use_extra_bufts)
    return one_line(shlex.join(words))


def _as_json(point: Point, job: Job, best: Sequence[Point]) -> dict[str, Any]:
    return {
        **candidate_dict(point.candidate),
        "depth": job.decode.n_depth,
        "decode_tokens_per_s": asdict(point.decode),
        "prefill_tokens_per_s": asdict(point.prefill) if point.prefill else None,
        "planned_bytes": point.planned_bytes,
        "measured_bytes": point.measured_bytes,
        "on_front": point in best,
    }


def _document(job: Job, tuning: Tuning, rows: list[dict[str, Any]]) -> dict[str, Any]:
    context, offload = job.base.context, job.base.offload
    choice = recommended(tuning.points).candidate if tuning.points else None
    return {
        "tuning_id": tuning.tuning_id,
        "model": {**job.model, "fingerprint": job.header.fingerprint},
        "settings": {
            "llama_build": job.llama_build,
            "devices": list(job.devices),
            "n_batch": context.n_batch,
            "n_threads": tuning.points[0].n_threads if tuning.points else context.n_threads,
            "flash_attn": context.flash_attn,
            "swa_full": context.swa_full,
            "mmap": offload.use_mmap,
            "repack": offload.use_extra_bufts,
            "n_prompt": job.prefill.n_prompt if job.prefill else 0,
            "n_gen": job.decode.n_gen,
            "n_depth": job.decode.n_depth,
            "repetitions": job.decode.repetitions,
        },
        "candidates": rows,
        "recommended": choice and {**candidate_dict(choice), "command": start_command(job, choice)},
        "skipped": {
            "planned": tuning.planned,
            "not_fitting": tuning.planned - tuning.fit,
            "not_worthwhile": tuning.fit - tuning.worthwhile,
            "beyond_most": tuning.worthwhile - len(tuning.candidates),
            "not_measured_yet": len(tuning.left()),
            "failed": [{**candidate_dict(c), "reason": reason} for c, reason in tuning.failed.items()],
        },
    }


def _csv(rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        flat: dict[str, Any] = {}
        for name, value in row.items():
            if name.endswith("_per_s"):
                speed = value or dict.fromkeys(("mean", "sd", "n"))
                flat |= {f"{name}_{part}": number for part, number in speed.items()}
            else:
                flat[name] = value
        if writer is None:
            writer = csv.DictWriter(buffer, list(flat), lineterminator="\n")
            writer.writeheader()
        writer.writerow(flat)
    return buffer.getvalue()


def _table(job: Job, points: Sequence[Point], best: Sequence[Point]) -> str:
    heads = ["front", "context", "cache", "ngl", "ub", "decode t/s", "prefill", "memory"]
    rows = [heads]
    for point in _in_order(points):
        candidate = point.candidate
        rows.append(
            [
                "*" if point in best else "",
                str(candidate.n_ctx),
                candidate.cache_type,
                str(candidate.n_gpu_layers),
                str(candidate.n_ubatch),
                _with_error(point.decode),
                f"{point.prefill.mean:.1f}" if point.prefill else "",
                gib(point.measured_bytes),
            ]
        )
    shown = [i for i in range(len(heads)) if (i != 3 or job.devices) and (i != 6 or job.prefill)]
    widths = [max(len(row[i]) for row in rows) for i in shown]
    rows.insert(1, ["-" * (max(len(row[i]) for row in rows) - 1) + ":" for i in range(len(heads))])
    return "".join(
        "| " + " | ".join(f"{row[i]:>{width}}" for i, width in zip(shown, widths, strict=True)) + " |\n" for row in rows
    )


def _with_error(speed: MeanSd) -> str:
    return f"{speed.mean:.2f}" + (f" ± {interval_95(speed):.2f}" if speed.n > 1 else "")


def _explanation(job: Job, tuning: Tuning) -> str:
    """What the table shows, in lines of at most 80 columns but for the command."""
    decode, prefill = job.decode, job.prefill
    tests = f"decode over {decode.n_gen} tokens" + (f", prefill over {prefill.n_prompt}" if prefill else "")
    spread = f"± 95 % interval of {decode.repetitions} repetitions" if decode.repetitions > 1 else "one repetition"
    where = f"Memory of {', '.join(job.devices) or 'this machine'}, as llama.cpp reports its buffers."
    slack = 100 - 100 * FULL_SPEED
    command = start_command(job, recommended(tuning.points).candidate)
    return (
        f"\nTokens/s at depth {decode.n_depth:,}: {tests};\n{spread}.\n{where}\n"
        "* Pareto front: more context, faster decode, less memory. What a smaller cache\n"
        "type costs in quality is not in it.\n"
        f"\nbuild: {job.llama_build}\n"
        f"\nThe longest context at full decode speed (within {slack:.0f} % of the fastest, or noise),\n"
        "and of several such the most precise cache, on the front or not, since it fits:\n"
        f"{command}\n"
    )


def _records(job: Job, tuning: Tuning, best: Sequence[Point]) -> list[TunePoint]:
    """The whole tuning for the history: what was measured, and what could not be."""
    from gemtop.domain.classify import classify

    label, context = classify(job.header), job.base.context
    shared: dict[str, Any] = {
        "t_ns": time.monotonic_ns(),
        "tuning_id": tuning.tuning_id,
        "model_name": job.header.name,
        "model_fingerprint": job.header.fingerprint,
        "quantization": label.quantization,
        "variant": label.variant,
        "llama_build": job.llama_build,
        "device_names": job.devices,
        "n_batch": context.n_batch,
        "swa_full": context.swa_full,
        "n_prompt": job.prefill.n_prompt if job.prefill else 0,
        "n_gen": job.decode.n_gen,
        "n_depth": job.decode.n_depth,
        "repetitions": job.decode.repetitions,
    }
    measured = [TunePoint(**shared, **candidate_dict(p.candidate), **_measured(p, best)) for p in tuning.points]
    failed = [
        TunePoint(
            **shared,
            **candidate_dict(candidate),
            planned_bytes=tuning.candidates[candidate],
            on_front=False,
            reason=reason,
        )
        for candidate, reason in tuning.failed.items()
    ]
    return measured + failed


def _measured(point: Point, best: Sequence[Point]) -> dict[str, Any]:
    return {
        "flash_attn": point.flash_attn,
        "n_threads": point.n_threads,
        "decode_tokens_per_s": point.decode.mean,
        "decode_sd": point.decode.sd,
        "prefill_tokens_per_s": point.prefill.mean if point.prefill else None,
        "prefill_sd": point.prefill.sd if point.prefill else None,
        "planned_bytes": point.planned_bytes,
        "measured_bytes": point.measured_bytes,
        "on_front": point in best,
        "measured_in": point.session_id,
    }
