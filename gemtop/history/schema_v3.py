"""Migration 3, frozen: the candidates of tunings, measured and on the front or not."""

from __future__ import annotations

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE store.tune_points (
        session_id VARCHAR NOT NULL,
        t_ns BIGINT NOT NULL,
        tuning_id VARCHAR NOT NULL,
        model_name VARCHAR,
        model_fingerprint VARCHAR,
        quantization VARCHAR,
        variant VARCHAR,
        llama_build VARCHAR,
        device_names VARCHAR[],
        n_ctx BIGINT NOT NULL,
        n_gpu_layers BIGINT,
        type_k VARCHAR,
        type_v VARCHAR,
        flash_attn VARCHAR,
        n_batch BIGINT,
        n_ubatch BIGINT,
        n_threads BIGINT,
        swa_full BOOLEAN,
        n_prompt BIGINT,
        n_gen BIGINT,
        n_depth BIGINT,
        repetitions BIGINT,
        decode_tokens_per_s DOUBLE,
        decode_sd DOUBLE,
        prefill_tokens_per_s DOUBLE,
        prefill_sd DOUBLE,
        planned_bytes BIGINT,
        measured_bytes BIGINT,
        on_front BOOLEAN,
        measured_in VARCHAR,
        reason VARCHAR
    )
    """,
    """
    CREATE VIEW tune AS
    WITH last_sitting AS (
        SELECT tuning_id, max(session_id) AS session_id FROM store.tune_points GROUP BY tuning_id
    )
    SELECT p.tuning_id, p.session_id, make_timestamptz(epoch_us(s.started_at) + p.t_ns // 1000) AS recorded_at,
        p.model_name, p.model_fingerprint, p.quantization, p.variant, p.llama_build, p.device_names, p.n_ctx,
        p.n_gpu_layers, p.type_k, p.type_v, p.flash_attn, p.n_batch, p.n_ubatch, p.n_threads, p.swa_full,
        p.n_prompt, p.n_gen, p.n_depth, p.repetitions, p.decode_tokens_per_s, p.decode_sd, p.prefill_tokens_per_s,
        p.prefill_sd, p.planned_bytes, p.measured_bytes, p.on_front, p.measured_in, p.reason
    FROM store.tune_points AS p
    JOIN last_sitting AS l ON l.tuning_id = p.tuning_id AND l.session_id = p.session_id
    LEFT JOIN store.sessions AS s ON s.session_id = p.session_id
    """,
)

_POINT = {
    "tuning_id": "The session that began the tuning",
    "model_name": "Name in the file's metadata, else of the file",
    "model_fingerprint": "Identifies the file's content",
    "quantization": "llama.cpp's name of the format: Q4_0, Q4_K_M, Q8_0, F16, BF16",
    "variant": "What people say: QAT Q4_0, PTQ Q4_K_M, FP16",
    "llama_build": "llama.cpp's version, and the wheel that carries it",
    "device_names": "llama.cpp's names of the devices that were planned for; none is the CPU alone",
    "n_ctx": "Context length in tokens",
    "n_gpu_layers": "Layers on a device",
    "type_k": "Type of the K cache",
    "type_v": "Type of the V cache",
    "flash_attn": "Flash attention as llama.cpp decided: on or off; NULL where it was not measured",
    "n_batch": "Batch in tokens",
    "n_ubatch": "Micro-batch in tokens",
    "n_threads": "CPU threads; NULL where it was not measured",
    "swa_full": "Whole context kept for sliding-window layers too",
    "n_prompt": "Tokens of the prefill test; 0 where there was none",
    "n_gen": "Tokens of the decode test",
    "n_depth": "Tokens in the context before each test",
    "repetitions": "Repetitions of each test",
    "decode_tokens_per_s": "Decode speed, mean of the repetitions; NULL where it was not measured",
    "decode_sd": "Its sample standard deviation",
    "prefill_tokens_per_s": "Prefill speed, mean of the repetitions; NULL where it was not measured",
    "prefill_sd": "Its sample standard deviation",
    "planned_bytes": "Memory as planned, of the devices together; of the machine where there is none",
    "measured_bytes": "The same as llama.cpp reported its buffers; NULL where it was not measured",
    "on_front": "On the Pareto front of context, decode speed and memory",
    "measured_in": "The session whose runs its repetitions are; NULL where it was not measured",
    "reason": "Why it could not be measured",
}


def _columns(table: str, columns: dict[str, str]) -> dict[str, str]:
    return {f"COLUMN {table}.{name}": text for name, text in columns.items()}


COMMENTS: dict[str, str] = {
    "TABLE store.tune_points": "All points of a tuning, written down anew by each session that took part in it",
    **_columns(
        "store.tune_points",
        _POINT
        | {
            "session_id": "The session that wrote it down",
            "t_ns": "Nanoseconds since the session began, on the monotonic clock",
        },
    ),
    "VIEW tune": "Every tuning: its candidates as its last session left them, and which are on the Pareto front",
    **_columns(
        "tune",
        _POINT
        | {
            "session_id": "The last session that took part in the tuning",
            "recorded_at": "When that session wrote it down, by the wall clock",
        },
    ),
}
