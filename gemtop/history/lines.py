"""Records as the lines of a spool: rows by columns, everything else one record a line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from gemtop.domain.records import (
    LedgerRow,
    Record,
    RunBegin,
    RunEnd,
    SessionBegin,
    SessionEnd,
    TokenRow,
    TunePoint,
)
from gemtop.domain.telemetry import DeviceSample, HostSample

KINDS: dict[type, str] = {
    SessionBegin: "session_begin",
    SessionEnd: "session_end",
    RunBegin: "run_begin",
    RunEnd: "run_end",
    LedgerRow: "ledger",
    TunePoint: "tune",
}
TOKEN_COLUMNS = ("index", "t_ns", "token_id", "phase")
DEVICE_COLUMNS = tuple(f.name for f in fields(DeviceSample) if f.name != "reasons")
HOST_COLUMNS = tuple(f.name for f in fields(HostSample) if f.name != "reasons")


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


def _line(line: Mapping[str, Any]) -> bytes:
    return json.dumps(_clean(line), separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _rows(line: Mapping[str, Any]) -> bytes:
    """The same for columns of rows, which are rarely in need of cleaning."""
    try:
        return json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except ValueError:
        return _line(line)


def _columns(rows: Sequence[object], names: Iterable[str]) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in rows] for name in names}


class Encoder:
    """Turns records into lines. Remembers the reasons last written, so that each is written once."""

    def __init__(self) -> None:
        self._reasons: dict[str, Mapping[str, str]] = {}

    def lines(self, records: Iterable[Record]) -> bytes:
        """The lines of one batch: what begins, then the rows, then what ends."""
        begins: list[bytes] = []
        ends: list[bytes] = []
        tokens: dict[str, list[TokenRow]] = {}
        devices: list[DeviceSample] = []
        hosts: list[HostSample] = []
        for record in records:
            if isinstance(record, TokenRow):
                tokens.setdefault(record.run_id, []).append(record)
            elif isinstance(record, DeviceSample):
                devices.append(record)
            elif isinstance(record, HostSample):
                hosts.append(record)
            else:
                line = _line({"kind": KINDS[type(record)], "record": asdict(record)})
                (begins if isinstance(record, (SessionBegin, RunBegin)) else ends).append(line)
        rows = [
            _rows({"kind": "tokens", "run_id": run_id, **_columns(batch, TOKEN_COLUMNS)})
            for run_id, batch in tokens.items()
        ]
        rows += [self._reason_line(s, s.device) for s in devices if self._is_new(s.reasons, s.device)]
        rows += [self._reason_line(s, "host") for s in hosts if self._is_new(s.reasons, "host")]
        if devices:
            rows.append(_rows({"kind": "devices", **_columns(devices, DEVICE_COLUMNS)}))
        if hosts:
            rows.append(_rows({"kind": "hosts", **_columns(hosts, HOST_COLUMNS)}))
        return b"".join(begins + rows + ends)

    def _is_new(self, reasons: Mapping[str, str], device: str) -> bool:
        if self._reasons.get(device, {}) == reasons:
            return False
        self._reasons[device] = dict(reasons)
        return True

    @staticmethod
    def _reason_line(sample: DeviceSample | HostSample, device: str) -> bytes:
        record = {
            "t_ns": sample.t_ns,
            "device": device,
            "fields": list(sample.reasons),
            "reasons": list(sample.reasons.values()),
        }
        return _line({"kind": "reasons", "record": record})
