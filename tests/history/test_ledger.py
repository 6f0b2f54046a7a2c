"""The memory ledger and runs of kind apply: from the recorder to the views, and what is learned from them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemtop import config
from gemtop.config import Paths
from gemtop.domain.records import LedgerRow, Record, SessionEnd
from gemtop.history.ingest import take_in_dead
from gemtop.history.ledger import learned_overhead_bytes
from gemtop.history.reader import Reader
from gemtop.history.recorder import Recorder
from tests.history.rows import (
    FAST,
    STARTED_AT_MS,
    STARTED_NS,
    S,
    ask,
    dead_spool,
    ledger_row,
    put_in,
    run,
    run_end,
    samples,
    session,
    tokens,
)

SESSION = "20261123-100000-aaaa0001"
MIB = 2**20
PLACED = {
    "lora": "pirate=1.0,poet=0.5",
    "tensor_split": "3,1",
    "override_tensor": "ffn=CPU",
    "split_mode": "layer",
    "device_names": ("CUDA0", "RPC0"),
}
APPLIED = {
    "generated_tokens": 0,
    "ttft_s": None,
    "decode_tokens_per_s": None,
    "itl_p50_ms": None,
    "itl_p95_ms": None,
    "itl_p99_ms": None,
    "decode_j_per_token": None,
    "output": None,
}


def _record(paths: Paths, *records: Record) -> None:
    recorder = Recorder(paths, FAST)
    recorder.open(session())
    for record in records:
        recorder.put(record)
    recorder.close(SessionEnd(STARTED_NS + 60 * S, None))
    assert recorder.problem is None


def _ledger(paths: Paths) -> list[dict[str, Any]]:
    with Reader.open(paths) as reader:
        result = reader.run_sql("SELECT * REPLACE (epoch_us(loaded_at) AS loaded_at) FROM ledger ORDER BY ALL")
        return [dict(zip([c.name for c in result.columns], row, strict=True)) for row in result.rows()]


def _stored(row: LedgerRow) -> dict[str, Any]:
    """A row as the view has it, without what the view computes."""
    known = asdict(row)
    known["loaded_at"] = STARTED_AT_MS * 1000 + (known.pop("t_ns") - STARTED_NS) // 1000
    return {"session_id": SESSION, **known}


def test_a_load_is_in_the_view_as_it_was_recorded(paths: Paths) -> None:
    cpu = ledger_row("CPU", device_description="A CPU", driver_version=None, reason="the CPU has no count of its own",
                     device_used_bytes=None, t_ns=STARTED_NS + 2_345_678_901)  # fmt: skip
    cuda = ledger_row(measured_weights_bytes=190 * MIB, measured_kv_bytes=150 * MIB, measured_compute_bytes=60 * MIB)
    _record(paths, cpu, cuda)
    cuda_found, cpu_found = _ledger(paths)
    total = {"predicted_total_bytes": 350 * MIB, "measured_total_bytes": 350 * MIB}
    assert cpu_found == _stored(cpu) | total | {"error_bytes": 0, "error_pct": 0.0, "overhead_bytes": None}
    assert cuda_found == _stored(cuda) | total | {
        "measured_total_bytes": 400 * MIB,
        "error_bytes": 50 * MIB,
        "error_pct": 12.5,
        "overhead_bytes": 14 * MIB,
    }
    assert cpu_found["loaded_at"] == STARTED_AT_MS * 1000 + 2_345_678


def test_what_is_not_known_leaves_the_totals_unknown(paths: Paths) -> None:
    _record(
        paths,
        ledger_row(predicted_kv_bytes=None, reason="the plan had failed"),
        ledger_row(load_number=2, measured_output_bytes=None, reason="llama.cpp did not say"),
        ledger_row(load_number=3, measured_weights_bytes=0, measured_kv_bytes=0, measured_compute_bytes=0),
    )
    rows = _ledger(paths)
    computed = ("predicted_total_bytes", "measured_total_bytes", "error_bytes", "error_pct", "overhead_bytes")
    assert [tuple(row[name] for name in computed) for row in rows] == [
        (None, 350 * MIB, None, None, 64 * MIB),
        (350 * MIB, None, None, None, None),
        (350 * MIB, 0, -350 * MIB, None, 414 * MIB),
    ]
    assert [row["reason"] for row in rows] == ["the plan had failed", "llama.cpp did not say", None]


def test_a_changed_context_has_no_overhead(paths: Paths) -> None:
    """The weights lay in the memory in use before it already."""
    _record(paths, ledger_row(weights_kept=True, device_used_bytes=20 * MIB))
    (row,) = _ledger(paths)
    assert (row["weights_kept"], row["device_used_bytes"], row["overhead_bytes"]) == (True, 20 * MIB, None)


def test_an_application_of_settings_is_a_run(paths: Paths) -> None:
    begin = run(number=2, kind="apply", load_s=0.21, prompt=None, temperature=None, **PLACED)
    prompt = [t for t in tokens(begin.run_id) if t.phase == "prefill"]
    _record(
        paths,
        run(),
        run_end(f"{SESSION}.1"),
        ledger_row(load_number=2, weights_kept=True),
        begin,
        *prompt,
        run_end(begin.run_id, **APPLIED),
    )
    assert ask(
        paths,
        "SELECT kind, status, prompt_tokens, generated_tokens, load_s, prefill_tokens_per_s, decode_tokens_per_s"
        " FROM runs ORDER BY run_id",
    ) == [("generate", "finished", 4, 11, 0.5, 8.0, 10.0), ("apply", "finished", 4, 0, 0.21, 8.0, None)]
    assert ask(paths, "FROM run_placement ORDER BY run_id") == [
        (f"{SESSION}.1", None, None, None, None, []),
        (f"{SESSION}.2", *list(PLACED.values())[:4], ["CUDA0", "RPC0"]),
    ]
    assert ask(paths, "SELECT count(*) FROM tokens") == [(4,)]
    assert len(_ledger(paths)) == 1


def test_a_process_that_died_while_it_applied_settings(paths: Paths) -> None:
    begin = run(kind="apply", prompt=None, **PLACED)
    prompt = [t for t in tokens(begin.run_id) if t.phase == "prefill"]
    late = ledger_row("CPU", load_number=2, t_ns=STARTED_NS + 9 * S)
    dead_spool(paths, [session(), *samples(), ledger_row(), late, begin, *prompt], SESSION, torn=b'{"kind":"ledg')
    assert "1 incomplete line" in take_in_dead(paths).notes[0]
    row, other = _ledger(paths)
    assert (row["device"], row["overhead_bytes"], other["device"]) == ("CUDA0", 64 * MIB, "CPU")
    assert ask(paths, "SELECT kind, status, prompt_tokens, generated_tokens, decode_tokens_per_s FROM runs") == [
        ("apply", "crashed", 4, 0, None)
    ]
    assert ask(paths, "SELECT split_mode, device_names FROM run_placement") == [("layer", ["CUDA0", "RPC0"])]
    assert ask(paths, "SELECT status, duration_s FROM sessions") == [("crashed", 9.0)]


_BYTES = st.none() | st.integers(0, 2**45)
_ROWS = st.builds(
    replace,
    st.just(ledger_row()),
    t_ns=st.integers(STARTED_NS, 2**60),
    load_number=st.integers(1, 2**31 - 1),
    model_name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9),
    n_ctx=st.integers(0, 2**40),
    device=st.sampled_from(["CPU", "CUDA0", "RPC1"]),
    driver_version=st.none() | st.just("580.10"),
    load_s=st.floats(0, 1e6),
    weights_kept=st.booleans(),
    **{name: _BYTES for name in asdict(ledger_row()) if name.endswith("_bytes")},
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_ROWS, max_size=20))
def test_rows_come_back_as_they_went_in(tmp_path_factory: pytest.TempPathFactory, rows: list[LedgerRow]) -> None:
    paths = config.paths(str(tmp_path_factory.mktemp("history") / "h.duckdb"))
    put_in(paths, [session(), *rows])
    found = [{name: row[name] for name in _stored(ledger_row())} for row in _ledger(paths)]
    assert sorted(map(repr, found)) == sorted(repr(_in_order(_stored(row), found)) for row in rows)


def _in_order(row: dict[str, Any], like: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: row[name] for name in like[0]}


def test_the_overhead_of_a_driver_is_the_median_of_its_loads(paths: Paths) -> None:
    loads = [ledger_row(load_number=n, device_used_bytes=(350 + mib) * MIB) for n, mib in enumerate((60, 300, 64), 1)]
    odd = [
        ledger_row(load_number=4, weights_kept=True, device_used_bytes=0),
        ledger_row(load_number=5, device_used_bytes=None, reason="not supported"),
        ledger_row(load_number=6, measured_kv_bytes=None, reason="llama.cpp did not say"),
        ledger_row("RPC0", load_number=7, driver_version=None, device_used_bytes=351 * MIB),
        ledger_row("CUDA1", load_number=7, device_description="NVIDIA Other", device_used_bytes=353 * MIB + 1),
    ]
    put_in(paths, [session(), *loads, *odd])
    assert learned_overhead_bytes(paths, "NVIDIA Test", "580.10") == 64 * MIB
    assert learned_overhead_bytes(paths, "NVIDIA Test", None) == MIB
    assert learned_overhead_bytes(paths, "NVIDIA Other", "580.10") == 3 * MIB + 1
    assert learned_overhead_bytes(paths, "NVIDIA Other", "570.00") is None
    assert learned_overhead_bytes(paths, "NVIDIA", "580.10") is None


def test_nothing_is_learned_from_no_history(paths: Paths, tmp_path: Path) -> None:
    assert learned_overhead_bytes(paths, "NVIDIA Test", "580.10") is None
    assert not paths.history.parent.exists()
    (tmp_path / "text.duckdb").write_text("this is no database\n" * 1000)
    for where in (tmp_path / "text.duckdb", tmp_path, tmp_path / "text.duckdb" / "below"):
        assert learned_overhead_bytes(config.paths(str(where)), "NVIDIA Test", "580.10") is None


_HOLD = """
import sys, duckdb
with duckdb.connect(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_history_in_use_teaches_nothing(paths: Paths) -> None:
    put_in(paths, [session(), ledger_row()])
    with Reader.open(paths):  # by another part of this process
        assert learned_overhead_bytes(paths, "NVIDIA Test", "580.10") is None
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(paths.history)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert learned_overhead_bytes(paths, "NVIDIA Test", "580.10") is None
        holder.communicate("\n")
    assert learned_overhead_bytes(paths, "NVIDIA Test", "580.10") == 64 * MIB
