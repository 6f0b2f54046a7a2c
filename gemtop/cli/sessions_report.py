"""Sessions for people and as JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gemtop.domain.text import one_line, printable

if TYPE_CHECKING:
    from gemtop.history.manage import Session

Row = Mapping[str, Any]
_FIELDS = (
    "session_id", "started_at", "duration_s", "command", "status", "host", "models", "runs", "tags", "note",
    "imported_from",
)  # fmt: skip
_LIST_HEADS = ("session", "when", "command", "status", "models", "runs", "tags", "note")
_HEADER = (
    "started_at", "duration_s", "status", "end_reason", "command", "host", "pid", "platform", "driver_version",
    "gemtop_version", "python_version", "imported_from",
)  # fmt: skip
_VERDICTS = {True: "yes", False: "no", None: "?"}


def write_list(sessions: Sequence[Session], *, as_json: bool) -> None:
    """The sessions on stdout."""
    if as_json:
        _json([{name: value for name, value in asdict(session).items() if name in _FIELDS} for session in sessions])
        return
    rows = [
        (s.session_id, _moment(s.started_at), s.command or "", s.status, ", ".join(s.models), s.runs,
         ", ".join(s.tags), _short(s.note))
        for s in sessions
    ]  # fmt: skip
    if rows:
        _table(_LIST_HEADS, rows, numbers=("runs",))


def write_session(session: Session, rows: Mapping[str, Sequence[Row]], *, as_json: bool) -> None:
    """One session with everything in it, on stdout."""
    head = dict(rows["sessions"][0]) | {"status": session.status}
    if as_json:
        _json({**head, "devices": rows["devices"], "loads": rows["ledger"], "runs": rows["runs"]})
        return
    _line(one_line(session.session_id))
    for name in _HEADER:
        if head.get(name) is not None:
            value = head[name]
            _line(f"  {name:<15} {one_line(_moment(value) if isinstance(value, datetime) else _figure(value))}")
    if session.tags:
        _line(f"  {'tags':<15} {one_line(', '.join(session.tags))}")
    if session.note:
        _line(f"  {'note':<15} " + printable(session.note).replace("\n", f"\n{'':<18}"))
    _devices(rows["devices"])
    _loads(rows["ledger"])
    _runs(rows["runs"])


def _devices(rows: Sequence[Row]) -> None:
    if not rows:
        return
    _line("\nDevices")
    cells = [
        (r["device"], r["name"], _gib(r["memory_total_bytes"]), _figure(r["power_limit_w"]), r["driver_version"] or "")
        for r in rows
    ]
    _table(("device", "name", "memory GiB", "limit W", "driver"), cells, numbers=("memory GiB", "limit W"))


def _loads(rows: Sequence[Row]) -> None:
    if not rows:
        return
    _line("\nLoads")
    cells = []
    for r in rows:
        taken = [r[f"measured_{part}_bytes"] for part in ("weights", "kv", "compute", "output")]
        known = [part for part in taken if part is not None]
        cells.append(
            (r["load_number"], f"{r['model_name'] or ''} {r['variant'] or ''}", r["device"], r["n_ctx"],
             r["n_gpu_layers"], _figure(r["load_s"]), _gib(sum(known) if known else None))
        )  # fmt: skip
    heads = ("load", "model", "device", "context", "layers", "seconds", "memory GiB")
    _table(heads, cells, numbers=("load", "context", "layers", "seconds", "memory GiB"))


def _runs(rows: Sequence[Row]) -> None:
    _line("\nRuns" if rows else "\nNo runs")
    if not rows:
        return
    heads = (
        "run", "kind", "model", "status", "prompt", "generated", "TTFT s", "prefill t/s", "decode t/s", "VRAM GiB",
        "RAM GiB", "J/token", "valid",
    )  # fmt: skip
    cells = [
        (str(r["run_id"]).removeprefix(f"{r['session_id']}."), r["kind"] or "?",
         f"{r['model_name'] or ''} {r['variant'] or ''}", r["status"] or "live", r["prompt_tokens"],
         r["generated_tokens"], _figure(r["ttft_s"]), _figure(r["prefill_tokens_per_s"]),
         _figure(r["decode_tokens_per_s"]), _gib(r["vram_peak_bytes"]), _gib(r["ram_peak_bytes"]),
         _figure(r["decode_j_per_token"]), _VERDICTS[r["valid"]])
        for r in rows
    ]  # fmt: skip
    _table(heads, cells, numbers=heads[4:12])
    for row, cell in zip(rows, cells, strict=True):
        if row["invalid_reason"]:
            verdict = "not valid" if row["valid"] is False else "not judged"
            _line(f"  {one_line(str(cell[0]))}: {verdict}: {one_line(row['invalid_reason'])}")


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[str]) -> None:
    from gemtop.history import formats

    out = sys.stdout
    cells = [["" if value is None else one_line(str(value)) for value in row] for row in rows]
    width = shutil.get_terminal_size((80, 24)).columns if out.isatty() else None
    formats.write("table", heads, [head in numbers for head in heads], cells, out, terminal_width=width)


def _json(value: object) -> None:
    _line(json.dumps(value, ensure_ascii=False, indent=2, default=_iso))


def _iso(value: datetime) -> str:
    return value.isoformat()


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _figure(value: object) -> str:
    """Four significant digits for numbers that were measured; whole ones as they are."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _gib(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 2**30:.2f}"


def _short(text: str | None, width: int = 40) -> str:
    line = one_line(text or "")
    return line if len(line) <= width else line[: width - 1] + "…"
