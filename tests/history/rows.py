"""Records and histories for the tests of gemtop.history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from gemtop.config import Paths
from gemtop.domain.records import (
    FidelityRow,
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
from gemtop.history.ingest import TakenIn, take_in_dead
from gemtop.history.lines import Encoder
from gemtop.history.mover import MovePace
from gemtop.history.reader import Reader
from gemtop.history.recorder import Pace
from gemtop.history.spool import Spool

S = 1_000_000_000
"""A second in nanoseconds."""
SESSION = "20261123-100000-aaaa0001"
STARTED_NS = 500 * S
STARTED_AT_MS = 1_795_000_000_000
FAST_MOVES = MovePace(first_s=0.02, every_s=0.05, soon_s=0.01, patience_s=0.0, locked_s=0.02, failed_s=0.05)
FAST = Pace(spool_s=0.01, sync_s=0.05, close_s=1.0, move=FAST_MOVES)


def session(session_id: str = "20261123-100000-aaaa0001", **changes: Any) -> SessionBegin:
    begin = SessionBegin(
        session_id=session_id,
        started_at_ms=STARTED_AT_MS,
        started_ns=STARTED_NS,
        command="run",
        host="box",
        pid=4711,
        gemtop_version="0.1.0",
        python_version="3.11.7",
        platform="Linux x86_64",
        driver_version="580.10",
    )
    return replace(begin, **changes)


def run(session_id: str = "20261123-100000-aaaa0001", number: int = 1, **changes: Any) -> RunBegin:
    begin = RunBegin(
        run_id=f"{session_id}.{number}",
        started_at_ms=STARTED_AT_MS + 1000 * number,
        start_ns=STARTED_NS + S,
        kind="generate",
        llama_build="b6000",
        gpu_name="NVIDIA Test",
        model_name="Gemma 3 270M",
        model_path="/models/gemma.gguf",
        model_fingerprint="abc",
        architecture="gemma3",
        parameters=268_098_176,
        quantization="Q4_0",
        training="qat",
        variant="QAT Q4_0",
        size_bytes=200 * 2**20,
        n_ctx=8192,
        n_gpu_layers=19,
        type_k="f16",
        type_v="f16",
        flash_attn="auto",
        n_batch=2048,
        n_ubatch=512,
        n_threads=2,
        swa_full=False,
        load_s=0.5,
        devices=("0",),
        cached_tokens=0,
        temperature=0.8,
        top_k=40,
        top_p=0.95,
        min_p=0.05,
        seed=2**32 - 1,
        prompt="Tell me",
    )
    return replace(begin, **changes)


def run_end(run_id: str, **changes: Any) -> RunEnd:
    end = RunEnd(
        run_id=run_id,
        end_ns=STARTED_NS + 3 * S,
        status="finished",
        stop_reason="length",
        message=None,
        prompt_tokens=4,
        generated_tokens=11,
        ttft_s=0.5,
        prefill_tokens_per_s=8.0,
        decode_tokens_per_s=10.0,
        itl_p50_ms=100.0,
        itl_p95_ms=100.0,
        itl_p99_ms=100.0,
        vram_peak_bytes=300 * 2**20,
        ram_peak_bytes=500 * 2**20,
        power_mean_w=90.0,
        energy_j=180.0,
        prefill_j_per_token=1.0,
        decode_j_per_token=17.0,
        output="a story",
    )
    return replace(end, **changes)


def ledger_row(device: str = "CUDA0", load_number: int = 1, **changes: Any) -> LedgerRow:
    """A load of 200 MiB of weights, planned to the byte; the driver took 64 MiB of its own."""
    row = LedgerRow(
        t_ns=STARTED_NS + S,
        load_number=load_number,
        model_name="Gemma 3 270M",
        model_fingerprint="abc",
        quantization="Q4_0",
        variant="QAT Q4_0",
        n_ctx=8192,
        n_gpu_layers=19,
        type_k="f16",
        type_v="f16",
        flash_attn="auto",
        n_ubatch=512,
        swa_full=False,
        device=device,
        device_description="NVIDIA Test",
        driver_version="580.10",
        load_s=0.5,
        weights_kept=False,
        predicted_weights_bytes=200 * 2**20,
        predicted_kv_bytes=100 * 2**20,
        predicted_compute_bytes=50 * 2**20,
        predicted_output_bytes=0,
        measured_weights_bytes=200 * 2**20,
        measured_kv_bytes=100 * 2**20,
        measured_compute_bytes=50 * 2**20,
        measured_output_bytes=0,
        device_used_bytes=414 * 2**20,
    )
    return replace(row, **changes)


def tune_point(tuning_id: str = "20261123-100000-aaaa0001", **changes: Any) -> TunePoint:
    """A candidate of a tuning that was measured and is on the front."""
    point = TunePoint(
        t_ns=STARTED_NS + 2 * S,
        tuning_id=tuning_id,
        model_name="Gemma 3 270M",
        model_fingerprint="abc",
        quantization="Q4_0",
        variant="QAT Q4_0",
        llama_build="b6000",
        device_names=("CUDA0",),
        n_ctx=8192,
        n_gpu_layers=19,
        type_k="f16",
        type_v="f16",
        n_batch=2048,
        n_ubatch=512,
        swa_full=False,
        n_prompt=512,
        n_gen=64,
        n_depth=0,
        repetitions=3,
        planned_bytes=350 * 2**20,
        on_front=True,
        measured_bytes=351 * 2**20,
        flash_attn="on",
        n_threads=2,
        decode_tokens_per_s=100.0,
        decode_sd=1.0,
        prefill_tokens_per_s=2000.0,
        prefill_sd=10.0,
        measured_in=tuning_id,
    )
    return replace(point, **changes)


def fidelity_row(comparison_id: str = "20261123-100000-aaaa0001", **changes: Any) -> FidelityRow:
    """A text that a variant predicted, against the baseline."""
    row = FidelityRow(
        t_ns=STARTED_NS + 2 * S,
        comparison_id=comparison_id,
        label="QAT Q4_0",
        model_name="Gemma 3 270M",
        model_fingerprint="abc",
        quantization="Q4_0",
        training="qat",
        variant="QAT Q4_0",
        llama_build="b6000",
        type_k="f16",
        type_v="f16",
        lora=None,
        corpus="Persuasion",
        corpus_sha256="c0ffee",
        n_ctx=512,
        n_chunks=4,
        n_tokens=1020,
        perplexity=20.5,
        perplexity_error=0.5,
        reference="baseline",
        reference_label="FP16",
        reference_fingerprint="def",
        ln_perplexity_ratio=0.01,
        ln_perplexity_ratio_error=0.002,
        kl_mean=0.02,
        kl_mean_error=0.001,
        kl_median=0.01,
        kl_p90=0.05,
        kl_p99=0.2,
        kl_max=1.5,
        top1_agreement=0.95,
        top1_agreement_error=0.01,
        probability_rms=0.04,
    )
    return replace(row, **changes)


def tokens(
    run_id: str, *, prompt: int = 4, gaps_s: Sequence[float] = (0.1,) * 10, first_s: float = 1.5
) -> list[TokenRow]:
    """A run's tokens: the prompt decoded at `first_s`, as the first generated token was, then the gaps."""
    t_ns = STARTED_NS + round(first_s * S)
    rows = [TokenRow(run_id, i, t_ns, 100 + i, "prefill") for i in range(prompt)]
    for i, gap_s in enumerate((0.0, *gaps_s)):
        t_ns += round(gap_s * S)
        rows.append(TokenRow(run_id, prompt + i, t_ns, 200 + i, "decode"))
    return rows


def samples(until_s: float = 4.0, every_s: float = 0.5, watts: float = 90.0) -> list[DeviceSample | HostSample]:
    rows: list[DeviceSample | HostSample] = []
    for i in range(int(until_s / every_s) + 1):
        t_ns = STARTED_NS + round(i * every_s * S)
        joules = 1000.0 + watts * every_s * i
        rows.append(DeviceSample(t_ns, "0", 50.0 + i, 20.0, 300 * 2**20, watts, joules, 60.0, 1500.0, 5000.0))
        rows.append(HostSample(t_ns, 25.0, 100.0, 2**33, 2**34, 500 * 2**20))
    return rows


def whole_session(session_id: str = "20261123-100000-aaaa0001", **changes: Any) -> list[Record]:
    """A session of one finished run; `changes` are made to the run."""
    begin = run(session_id, **changes)
    return [
        session(session_id),
        begin,
        *tokens(begin.run_id),
        *samples(),
        run_end(begin.run_id),
        SessionEnd(STARTED_NS + 5 * S, None),
    ]


def dead_spool(paths: Paths, records: Iterable[Record], session_id: str, torn: bytes = b"", batch: int = 1000) -> None:
    """What a killed process leaves behind."""
    paths.spools.mkdir(parents=True, exist_ok=True)
    spool = Spool.create(paths.spools, session_id)
    encoder, rows = Encoder(), list(records)
    for i in range(0, len(rows), batch):
        spool.append(encoder.lines(rows[i : i + batch]))
    spool.append(torn)
    spool.close()


def put_in(paths: Paths, records: Iterable[Record], session_id: str = "20261123-100000-aaaa0001") -> TakenIn:
    """Records into the history, by way of a spool."""
    dead_spool(paths, records, session_id)
    return take_in_dead(paths)


def ask(paths: Paths, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with Reader.open(paths) as reader:
        return list(reader.run_sql(sql, parameters).rows())


def until(condition: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not in {within_s} s: {what}"
        time.sleep(0.005)
