"""The names under which a run is known are the same everywhere."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pytest

from gemtop.config import Paths
from gemtop.domain.records import RUN_FIELDS, RunBegin, RunEnd, SessionBegin, run_row
from gemtop.history.schema import migrate

SESSION = SessionBegin(
    session_id="20261123-221412-9f3ac1d2", started_at_ms=1_795_000_000_000, started_ns=1, command="run", host="box",
    pid=1, gemtop_version="0.1.0", python_version="3.11.7", platform="Linux",
)  # fmt: skip
BEGIN = RunBegin(
    run_id="20261123-221412-9f3ac1d2.1", started_at_ms=1_795_000_001_234, start_ns=2, kind="generate",
    llama_build="llama.cpp 1", gpu_name="Stub RTX 24G", model_name="Gemma", model_path="/m.gguf",
    model_fingerprint="ff", architecture="gemma3", parameters=5, quantization="Q4_0", training="qat",
    variant="QAT Q4_0", size_bytes=6, n_ctx=512, n_gpu_layers=19, type_k="f16", type_v="q8_0", flash_attn="on",
    n_batch=2048, n_ubatch=256, n_threads=3, swa_full=True, load_s=0.25, devices=("0",), cached_tokens=0,
    driver_version="570.00",
)  # fmt: skip
END = RunEnd(
    run_id="20261123-221412-9f3ac1d2.1", end_ns=9, status="finished", stop_reason="length", message=None,
    prompt_tokens=7, generated_tokens=8, ttft_s=0.5, prefill_tokens_per_s=14.0, decode_tokens_per_s=40.0,
    itl_p50_ms=25.0, itl_p95_ms=26.0, itl_p99_ms=27.0, vram_peak_bytes=10, ram_peak_bytes=11, power_mean_w=12.0,
    energy_j=13.0, prefill_j_per_token=1.5, decode_j_per_token=2.5, output="text",
)  # fmt: skip

CONTRACT = """
    session_id, run_id, started_at, kind, status, stop_reason, host, gemtop_version, llama_build, gpu_name,
    driver_version, model_name, model_path, model_fingerprint, architecture, parameters, quantization, training,
    variant, size_bytes, n_ctx, n_gpu_layers, type_k, type_v, flash_attn, n_batch, n_ubatch, n_threads, swa_full,
    prompt_tokens, generated_tokens, load_s, ttft_s, prefill_tokens_per_s, decode_tokens_per_s, itl_p50_ms,
    itl_p95_ms, itl_p99_ms, vram_peak_bytes, ram_peak_bytes, power_mean_w, energy_j, prefill_j_per_token,
    decode_j_per_token, valid, invalid_reason, power_mean_error_w, energy_error_j, prefill_j_per_token_error,
    decode_j_per_token_error, energy_source, energy_counter_j, energy_counter_error_j, energy_integral_j,
    energy_integral_error_j, idle_power_w, idle_power_error_w, energy_net_j, energy_net_error_j,
    prefill_net_j_per_token, prefill_net_j_per_token_error, decode_net_j_per_token, decode_net_j_per_token_error,
    throttled_s, throttle_reasons, bytes_per_token, roof_tokens_per_s, roof_share
"""
"""What other programs rely on. Names may be added at the end; none may go, move or change."""


def test_the_fields_of_a_run_are_the_contract() -> None:
    assert list(RUN_FIELDS) == [name.strip() for name in CONTRACT.split(",")]


def test_a_row_has_the_fields_in_order_and_what_is_known_of_each() -> None:
    row = run_row(SESSION, BEGIN, END)
    assert tuple(row) == RUN_FIELDS
    unknown = [name for name, value in row.items() if value is None]
    assert tuple(unknown) == RUN_FIELDS[RUN_FIELDS.index("valid") :]
    assert (row["host"], row["gpu_name"], row["n_ctx"], row["swa_full"]) == ("box", "Stub RTX 24G", 512, True)
    assert (row["status"], row["energy_j"], row["type_v"]) == ("finished", 13.0, "q8_0")
    assert row["driver_version"] == "570.00", "the run's own, not the session's"


def test_a_run_begins_when_it_did_and_not_with_its_session() -> None:
    started = datetime.fromisoformat(run_row(SESSION, BEGIN, END)["started_at"])
    assert round(started.timestamp() * 1000) == BEGIN.started_at_ms
    assert started.utcoffset() is not None


@pytest.mark.parametrize(
    ("view", "columns"),
    [
        ("runs", RUN_FIELDS),
        (
            "samples",
            ("session_id", "t_s", "device", "gpu_util_pct", "vram_used_bytes", "power_w", "energy_j", "temperature_c",
             "clock_sm_mhz", "clock_mem_mhz", "host_cpu_pct", "ram_used_bytes"),
        ),
        ("tokens", ("run_id", "index", "t_s", "token_id", "phase")),
    ],
)  # fmt: skip
def test_the_views_begin_with_these_columns(view: str, columns: tuple[str, ...], folders: Paths) -> None:
    folders.history.parent.mkdir(parents=True)
    with duckdb.connect(str(folders.history)) as con:
        migrate(con, "history")
        described = con.execute(f"DESCRIBE {view}").fetchall()
    assert tuple(name for name, *_ in described)[: len(columns)] == columns
