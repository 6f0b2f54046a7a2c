"""Records as the lines of a spool: rows by columns, everything else one record a line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from typing import Any

from gemtop.domain.records import (
    DeviceRow,
    FidelityRow,
    LedgerRow,
    Record,
    RoofRow,
    RunBegin,
    RunEnd,
    SessionBegin,
    SessionEnd,
    TaskRow,
    TokenRow,
    TunePoint,
)
from gemtop.domain.telemetry import CostSample, DeviceSample, HostSample, Sample

KINDS: dict[type, str] = {
    SessionBegin: "session_begin",
    SessionEnd: "session_end",
    RunBegin: "run_begin",
    RunEnd: "run_end",
    LedgerRow: "ledger",
    TunePoint: "tune",
    DeviceRow: "device",
    RoofRow: "roof",
    FidelityRow: "fidelity",
    TaskRow: "task",
}
TOKEN_COLUMNS = ("index", "t_ns", "token_id", "phase")
_NO_COLUMNS = ("reasons", "processes")
SAMPLE_KINDS: dict[type[Sample], str] = {DeviceSample: "devices", HostSample: "hosts", CostSample: "costs"}
SAMPLE_COLUMNS: dict[str, tuple[str, ...]] = {
    name: tuple(f.name for f in fields(kind) if f.name not in _NO_COLUMNS) for kind, name in SAMPLE_KINDS.items()
}
"""Columns of the lines of each kind; one without a value in a batch is left out of its line."""
_SOURCES = {HostSample: "host", CostSample: "gemtop"}


def _clean(value: Any) -> Any:
    """What JSON and DuckDB cannot hold, made into what they can: NaN, NUL and half a surrogate pair."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.replace("\0", "\u2400").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {key: _clean(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(v) for v in value]
    return value


_TEXT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_ROWS = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def _line(line: Mapping[str, Any]) -> bytes:
    return _TEXT.encode(_clean(line)).encode() + b"\n"


def _rows(line: Mapping[str, Any]) -> bytes:
    """The same for columns of rows, which are rarely in need of cleaning."""
    try:
        return _ROWS.encode(line).encode() + b"\n"
    except ValueError:
        return _line(line)


def _columns(rows: Sequence[object], names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    columns = zip(*map(attrgetter(*names), rows), strict=True)
    return {name: values for name, values in zip(names, columns, strict=True) if values.count(None) < len(values)}


class Encoder:
    """Turns records into lines. Remembers the reasons last written, so that each is written once."""

    def __init__(self) -> None:
        self._reasons: dict[str, Mapping[str, str]] = {}

    def lines(self, records: Iterable[Record]) -> bytes:
        """The lines of one batch: what begins, then the rows, then what ends."""
        begins: list[bytes] = []
        ends: list[bytes] = []
        tokens: dict[str, list[TokenRow]] = {}
        samples: dict[str, list[Sample]] = {kind: [] for kind in SAMPLE_COLUMNS}
        for record in records:
            if isinstance(record, TokenRow):
                tokens.setdefault(record.run_id, []).append(record)
            elif isinstance(record, Sample):
                samples[SAMPLE_KINDS[type(record)]].append(record)
            else:
                line = _line({"kind": KINDS[type(record)], "record": asdict(record)})
                (begins if isinstance(record, (SessionBegin, RunBegin)) else ends).append(line)
        rows = [
            _rows({"kind": "tokens", "run_id": run_id, **_columns(batch, TOKEN_COLUMNS)})
            for run_id, batch in tokens.items()
        ]
        for kind, batch_of in samples.items():
            rows += [self._reason_line(sample) for sample in batch_of if self._is_new(sample)]
            if batch_of:
                rows.append(_rows({"kind": kind, **_columns(batch_of, SAMPLE_COLUMNS[kind])}))
        return b"".join(begins + rows + ends)

    def _is_new(self, sample: Sample) -> bool:
        source = _source(sample)
        if self._reasons.get(source, {}) == sample.reasons:
            return False
        self._reasons[source] = dict(sample.reasons)
        return True

    @staticmethod
    def _reason_line(sample: Sample) -> bytes:
        record = {
            "t_ns": sample.t_ns,
            "device": _source(sample),
            "fields": list(sample.reasons),
            "reasons": list(sample.reasons.values()),
        }
        return _line({"kind": "reasons", "record": record})


def _source(sample: Sample) -> str:
    """Whose readings these are, as the history has it."""
    return sample.device if isinstance(sample, DeviceSample) else _SOURCES[type(sample)]
