"""Migration 1, frozen: the first schema."""

from __future__ import annotations

STATEMENTS: tuple[str, ...] = (
    "CREATE SCHEMA IF NOT EXISTS store",
    """
    CREATE TABLE store.migrations (
        version INTEGER PRIMARY KEY,
        what VARCHAR NOT NULL,
        applied_at TIMESTAMPTZ NOT NULL,
        gemtop_version VARCHAR NOT NULL
    )
    """,
    """
    CREATE TABLE store.spools (
        session_id VARCHAR PRIMARY KEY,
        taken_bytes BIGINT NOT NULL,
        taken_at TIMESTAMPTZ NOT NULL
    )
    """,
    "CREATE TYPE store.session_status AS ENUM ('finished', 'crashed')",
    "CREATE TYPE store.run_kind AS ENUM ('generate', 'pp', 'tg')",
    "CREATE TYPE store.run_status AS ENUM ('finished', 'cancelled', 'failed', 'crashed')",
    """
    CREATE TYPE store.stop_reason AS ENUM (
        'end_of_generation', 'length', 'context_full', 'cancelled', 'error', 'crashed'
    )
    """,
    "CREATE TYPE store.training AS ENUM ('qat', 'ptq', 'none', 'unknown')",
    "CREATE TYPE store.phase AS ENUM ('prefill', 'decode')",
    """
    CREATE TABLE store.sessions (
        session_id VARCHAR PRIMARY KEY,
        started_at TIMESTAMPTZ NOT NULL,
        started_ns BIGINT NOT NULL,
        end_ns BIGINT,
        status store.session_status,
        end_reason VARCHAR,
        command VARCHAR,
        host VARCHAR,
        pid BIGINT,
        gemtop_version VARCHAR,
        driver_version VARCHAR,
        python_version VARCHAR,
        platform VARCHAR
    )
    """,
    """
    CREATE TABLE store.runs (
        run_id VARCHAR PRIMARY KEY,
        session_id VARCHAR NOT NULL,
        started_at TIMESTAMPTZ NOT NULL,
        start_ns BIGINT NOT NULL,
        end_ns BIGINT,
        kind store.run_kind,
        status store.run_status,
        stop_reason store.stop_reason,
        message VARCHAR,
        llama_build VARCHAR,
        driver_version VARCHAR,
        gpu_name VARCHAR,
        model_name VARCHAR,
        model_path VARCHAR,
        model_fingerprint VARCHAR,
        architecture VARCHAR,
        parameters BIGINT,
        quantization VARCHAR,
        training store.training,
        variant VARCHAR,
        size_bytes BIGINT,
        n_ctx BIGINT,
        n_gpu_layers BIGINT,
        type_k VARCHAR,
        type_v VARCHAR,
        flash_attn VARCHAR,
        n_batch BIGINT,
        n_ubatch BIGINT,
        n_threads BIGINT,
        swa_full BOOLEAN,
        load_s DOUBLE,
        devices VARCHAR[],
        cached_tokens BIGINT,
        temperature DOUBLE,
        top_k BIGINT,
        top_p DOUBLE,
        min_p DOUBLE,
        seed BIGINT,
        prompt VARCHAR,
        output VARCHAR,
        prompt_tokens BIGINT,
        generated_tokens BIGINT,
        ttft_s DOUBLE,
        prefill_tokens_per_s DOUBLE,
        decode_tokens_per_s DOUBLE,
        itl_p50_ms DOUBLE,
        itl_p95_ms DOUBLE,
        itl_p99_ms DOUBLE,
        vram_peak_bytes BIGINT,
        ram_peak_bytes BIGINT,
        power_mean_w DOUBLE,
        energy_j DOUBLE,
        prefill_j_per_token DOUBLE,
        decode_j_per_token DOUBLE,
        valid BOOLEAN,
        invalid_reason VARCHAR
    )
    """,
    """
    CREATE TABLE store.tokens (
        run_id VARCHAR NOT NULL,
        "index" INTEGER NOT NULL,
        t_ns BIGINT NOT NULL,
        token_id INTEGER,
        phase store.phase
    )
    """,
    """
    CREATE TABLE store.samples (
        session_id VARCHAR NOT NULL,
        t_ns BIGINT NOT NULL,
        device VARCHAR NOT NULL,
        gpu_util_pct DOUBLE,
        mem_util_pct DOUBLE,
        vram_used_bytes BIGINT,
        power_w DOUBLE,
        energy_j DOUBLE,
        temperature_c DOUBLE,
        clock_sm_mhz DOUBLE,
        clock_mem_mhz DOUBLE,
        host_cpu_pct DOUBLE,
        process_cpu_pct DOUBLE,
        ram_used_bytes BIGINT,
        ram_total_bytes BIGINT,
        process_rss_bytes BIGINT
    )
    """,
    """
    CREATE TABLE store.reasons (
        session_id VARCHAR NOT NULL,
        t_ns BIGINT NOT NULL,
        device VARCHAR NOT NULL,
        field VARCHAR,
        reason VARCHAR
    )
    """,
    """
    CREATE VIEW runs AS
    SELECT r.session_id, r.run_id, r.started_at, r.kind, r.status, r.stop_reason, s.host, s.gemtop_version,
        r.llama_build, r.gpu_name,
        coalesce(r.driver_version, s.driver_version) AS driver_version, r.model_name, r.model_path, r.model_fingerprint,
        r.architecture, r.parameters, r.quantization, r.training, r.variant, r.size_bytes, r.n_ctx,
        r.n_gpu_layers, r.type_k, r.type_v, r.flash_attn, r.n_batch, r.n_ubatch, r.n_threads, r.swa_full,
        r.prompt_tokens, r.generated_tokens, r.load_s, r.ttft_s, r.prefill_tokens_per_s,
        r.decode_tokens_per_s, r.itl_p50_ms, r.itl_p95_ms, r.itl_p99_ms, r.vram_peak_bytes, r.ram_peak_bytes,
        r.power_mean_w, r.energy_j, r.prefill_j_per_token, r.decode_j_per_token, r.valid, r.invalid_reason
    FROM store.runs AS r LEFT JOIN store.sessions AS s ON s.session_id = r.session_id
    """,
    """
    CREATE VIEW samples AS
    SELECT session_id, t_ns / 1e9 AS t_s, device, gpu_util_pct, vram_used_bytes, power_w, energy_j,
        temperature_c, clock_sm_mhz, clock_mem_mhz, host_cpu_pct, ram_used_bytes
    FROM store.samples
    """,
    """
    CREATE VIEW process_samples AS
    SELECT session_id, t_ns / 1e9 AS t_s, process_cpu_pct, process_rss_bytes
    FROM store.samples WHERE device = 'host'
    """,
    """
    CREATE VIEW tokens AS
    SELECT run_id, "index", t_ns / 1e9 AS t_s, token_id, phase FROM store.tokens
    """,
    """
    CREATE VIEW sessions AS
    SELECT session_id, started_at, end_ns / 1e9 AS duration_s, status, end_reason, command, host, pid,
        gemtop_version, driver_version, python_version, platform
    FROM store.sessions
    """,
)

_SESSION = {
    "session_id": "Begins with the UTC time, so that it sorts by it",
    "started_at": "When it began, by the wall clock",
    "status": "finished or crashed; NULL while it is going on",
    "end_reason": "What ended it; NULL where it was left in the ordinary way",
    "command": "tui, run or bench",
    "host": "Name of the machine",
    "pid": "Process id",
    "gemtop_version": "Version of gemtop",
    "driver_version": "Version of the NVIDIA driver; NULL without one",
    "python_version": "Version of Python",
    "platform": "Operating system and processor",
}
_RUN = {
    "session_id": "The session it belongs to",
    "run_id": "session_id, a dot, and a counter from 1",
    "started_at": "When it began, by the wall clock",
    "kind": "generate for a prompt, pp and tg for llama-bench's tests of prefill and decode",
    "status": "finished, cancelled, failed or crashed; NULL while it is going on",
    "stop_reason": "What stopped it; length is -n reached",
    "llama_build": "Version of llama.cpp",
    "driver_version": "Version of the NVIDIA driver; NULL without one",
    "gpu_name": "GPU that holds a part of the model; NULL without one",
    "model_name": "Name in the file's metadata, else of the file",
    "model_path": "Where the file was",
    "model_fingerprint": "Identifies the file's content",
    "architecture": "general.architecture of the file: gemma3",
    "parameters": "Number of weights",
    "quantization": "llama.cpp's name of the format: Q4_0, Q4_K_M, Q8_0, F16, BF16",
    "training": "qat, ptq, none or unknown",
    "variant": "What people say: QAT Q4_0, PTQ Q4_K_M, FP16",
    "size_bytes": "Size of the model file",
    "n_ctx": "Context length in tokens",
    "n_gpu_layers": "Layers on a device",
    "type_k": "Type of the K cache",
    "type_v": "Type of the V cache",
    "flash_attn": "Flash attention: on, off or auto",
    "n_batch": "Logical batch in tokens",
    "n_ubatch": "Micro-batch in tokens",
    "n_threads": "CPU threads while generating",
    "swa_full": "Whole context kept for sliding-window layers too",
    "load_s": "Seconds the model took to load",
    "prompt_tokens": "Tokens decoded before the first was generated",
    "generated_tokens": "Tokens generated",
    "ttft_s": "Time to first token in seconds, from the start of the run",
    "prefill_tokens_per_s": "Prompt tokens over the time until the last of them was decoded",
    "decode_tokens_per_s": "Generated tokens after the first, over the time from the first to the last",
    "itl_p50_ms": "Inter-token latency in milliseconds, median",
    "itl_p95_ms": "Inter-token latency in milliseconds, 95th percentile",
    "itl_p99_ms": "Inter-token latency in milliseconds, 99th percentile",
    "vram_peak_bytes": "Largest memory in use on the GPUs that hold a part of the model, added up",
    "ram_peak_bytes": "Largest resident memory of the process",
    "power_mean_w": "Mean power of the GPUs that hold a part of the model, added up, in watts",
    "energy_j": "Energy of the GPUs that hold a part of the model, in joules",
    "prefill_j_per_token": "Joules for each prompt token",
    "decode_j_per_token": "Joules for each generated token after the first",
    "valid": "Whether it can be compared; NULL where it was not judged",
    "invalid_reason": "Why it cannot",
}
_SAMPLE = {
    "session_id": "The session it belongs to",
    "device": "NVML index as text, or host",
    "gpu_util_pct": "Share of the time a kernel was running, in percent",
    "vram_used_bytes": "Memory in use on the device, by all processes",
    "power_w": "Power of the device in watts",
    "energy_j": "The driver's energy counter in joules",
    "temperature_c": "Temperature of the device in degrees Celsius",
    "clock_sm_mhz": "Clock of the multiprocessors in MHz",
    "clock_mem_mhz": "Clock of the memory in MHz",
    "host_cpu_pct": "CPU of the machine, 100 with all cores busy; host rows only",
    "ram_used_bytes": "Memory in use on the machine, caches not counted; host rows only",
}
_PROCESS = {
    "process_cpu_pct": "CPU of gemtop's process, 100 with one core busy",
    "process_rss_bytes": "Resident memory of gemtop's process, mapped model files included",
}
_TOKEN = {
    "run_id": "The run it belongs to",
    '"index"': "Position in the run, prompt tokens first, from 0",
    "token_id": "Token in the model's vocabulary",
    "phase": "prefill for tokens of the prompt, decode for generated ones",
}
_T_S = "Seconds since the session began"
_T_NS = "Nanoseconds since the session began, on the monotonic clock"


def _columns(table: str, columns: dict[str, str]) -> dict[str, str]:
    return {f"COLUMN {table}.{name}": text for name, text in columns.items()}


COMMENTS: dict[str, str] = {
    "TABLE store.migrations": "Versions of this schema that were applied",
    **_columns(
        "store.migrations",
        {
            "version": "Number of the migration",
            "what": "What it brought",
            "applied_at": "When it was applied",
            "gemtop_version": "The gemtop that applied it",
        },
    ),
    "TABLE store.spools": "How far the spool of each session was taken in",
    **_columns(
        "store.spools",
        {
            "session_id": "The session",
            "taken_bytes": "Bytes of its spool that are in this file, since the session began",
            "taken_at": "When the last of them came in",
        },
    ),
    "TABLE store.sessions": "One row for each sitting of the program",
    **_columns(
        "store.sessions",
        _SESSION | {"started_ns": "The process's monotonic clock at started_at, in nanoseconds", "end_ns": _T_NS},
    ),
    "TABLE store.runs": "One row for each run: what was set, and what was measured",
    **_columns(
        "store.runs",
        _RUN
        | {
            "start_ns": _T_NS,
            "end_ns": _T_NS,
            "message": "What went wrong, for status failed",
            "devices": "NVML indices of the GPUs that hold a part of the model",
            "cached_tokens": "Context depth the run began at",
            "temperature": "Sampling temperature; 0 or less is greedy",
            "top_k": "Sampling: the k most likely tokens",
            "top_p": "Sampling: the most likely tokens up to this probability",
            "min_p": "Sampling: tokens of at least this share of the most likely one",
            "seed": "Seed of the sampler",
            "prompt": "The prompt",
            "output": "The text it generated",
        },
    ),
    "TABLE store.tokens": "One row for each token of a run",
    **_columns("store.tokens", _TOKEN | {"t_ns": _T_NS}),
    "TABLE store.samples": "One row for each reading of a device, and of the machine with device host",
    **_columns(
        "store.samples",
        _SAMPLE
        | _PROCESS
        | {
            "t_ns": _T_NS,
            "mem_util_pct": "Share of the time the device's memory was read or written, in percent",
            "ram_total_bytes": "Memory of the machine",
        },
    ),
    "TABLE store.reasons": "Why fields of the samples are NULL: one row a field, whenever the set changes",
    **_columns(
        "store.reasons",
        {
            "session_id": "The session it belongs to",
            "t_ns": _T_NS,
            "device": "NVML index as text, or host",
            "field": "Field of the samples; NULL where from here on all could be read",
            "reason": "Why it could not be read from this moment on",
        },
    ),
    "VIEW runs": "One row for each run",
    **_columns("runs", _RUN | {name: _SESSION[name] for name in ("host", "gemtop_version")}),
    "VIEW samples": "One row for each reading of a device, and of the machine with device host",
    **_columns("samples", _SAMPLE | {"t_s": _T_S}),
    "VIEW process_samples": "One row for each reading of gemtop's own process",
    **_columns("process_samples", _PROCESS | {"session_id": "The session it belongs to", "t_s": _T_S}),
    "VIEW tokens": "One row for each token of a run",
    **_columns("tokens", _TOKEN | {"t_s": _T_S}),
    "VIEW sessions": "One row for each sitting of the program",
    **_columns("sessions", _SESSION | {"duration_s": "How long it lasted, in seconds"}),
}
