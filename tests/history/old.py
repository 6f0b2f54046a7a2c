"""Histories of earlier versions, as the gemtop of that time wrote them with DuckDB 1.5.5.

Each has a session of two runs with rows in every table of its version; the spool beside it is what another session
left when it was killed. `python -m tests.history.old` makes both of the version that this gemtop writes: it is run,
with the oldest DuckDB that is supported, before a migration is added.
"""

from __future__ import annotations

import gzip
import tempfile
from functools import cache
from pathlib import Path

import duckdb

from gemtop.config import Paths
from gemtop.domain.records import DeviceRow, Record, RoofRow, SessionEnd, TaskRow
from gemtop.domain.telemetry import CostSample, DeviceSample
from gemtop.history import schema
from gemtop.history.database import STORAGE_VERSION
from tests.history.rows import (
    SESSION,
    STARTED_NS,
    S,
    dead_spool,
    fidelity_row,
    ledger_row,
    put_in,
    run,
    run_end,
    samples,
    session,
    tokens,
    tune_point,
)

DATA = Path(__file__).parent / "data"
DEAD = "20261124-090000-dead0001"
"""The session in the spools."""
LAST = schema.MIGRATIONS[-1].version
OLD_VERSIONS = tuple(migration.version for migration in schema.MIGRATIONS[:-1])


@cache
def old_history(version: int) -> bytes:
    """The DuckDB file of a history of that version."""
    return gzip.decompress((DATA / f"history_v{version}.duckdb.gz").read_bytes())


def old_spool(version: int) -> bytes:
    """The spool of a session of that version that was killed."""
    return (DATA / f"spool_v{version}.jsonl").read_bytes()


def put_old(paths: Paths, version: int) -> Paths:
    """A history of that version, and nothing beside it."""
    paths.history.parent.mkdir(parents=True)
    paths.history.touch(mode=0o600)
    paths.history.write_bytes(old_history(version))
    return paths


def _records(session_id: str) -> list[Record]:
    one = run(session_id, device_names=("CUDA0",), split_mode="layer")
    two = run(session_id, 2, kind="apply", start_ns=STARTED_NS + 3 * S, prompt=None, temperature=None)
    device = dict.fromkeys(DeviceRow.__dataclass_fields__) | {"device": "0", "name": "NVIDIA Test", "reasons": ""}
    return [
        session(session_id),
        ledger_row(file_cached_share=1.0),
        ledger_row("CPU", reason="not asked"),
        one,
        *tokens(one.run_id),
        *samples(2.0),
        DeviceSample(STARTED_NS + 5 * S, "0", reasons={"power_w": "NOT_SUPPORTED"}),
        tune_point(session_id),
        tune_point(session_id, n_ctx=4096, on_front=False, reason="slower"),
        DeviceRow(**device),  # type: ignore[arg-type]
        CostSample(STARTED_NS + 2 * S, 99.0, 0.8, 0.1, 120.0, 0),
        RoofRow(one.run_id, "CUDA0", 200 * 2**20, 3.5e11, "nvml", 1660.0),
        fidelity_row(session_id),
        TaskRow(one.run_id, session_id, "PTQ Q4_0", "capital", "reasoning", 0, False, "the answer is 7, not 8"),
        run_end(one.run_id, energy_source="counter", energy_error_j=2.5, throttle_reasons=("sw_power_cap",)),
        two,
        run_end(two.run_id, end_ns=STARTED_NS + 4 * S, status="failed", message="no KV slot", output=None),
    ]


def _make() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder) / "history.duckdb", Path(folder), Path(folder))
        with duckdb.connect() as con:  # small blocks make a small file
            con.execute(f"ATTACH '{paths.history}' AS h (STORAGE_VERSION '{STORAGE_VERSION}', BLOCK_SIZE 16384)")
            con.execute("DETACH h")
        put_in(paths, [*_records(SESSION), SessionEnd(STARTED_NS + 7 * S, None)])
        packed = gzip.compress(paths.history.read_bytes(), 9, mtime=0)
        (DATA / f"history_v{LAST}.duckdb.gz").write_bytes(packed)
        dead_spool(paths, _records(DEAD)[:-1], DEAD, torn=b'{"kind":"tokens","run')
        (DATA / f"spool_v{LAST}.jsonl").write_bytes((paths.spools / f"{DEAD}.jsonl").read_bytes())


if __name__ == "__main__":
    _make()
