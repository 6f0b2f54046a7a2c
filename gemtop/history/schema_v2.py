"""Migration 2, frozen: the ledger of memory, runs of kind apply, and where the parts of a model were."""

from __future__ import annotations

from gemtop.history import schema_v1

_VIEW_RUNS = next(statement for statement in schema_v1.STATEMENTS if "CREATE VIEW runs AS" in statement)
_RUN_KIND = "ENUM ('generate', 'pp', 'tg', 'apply')"

STATEMENTS: tuple[str, ...] = (
    # DuckDB can neither add a value to an ENUM nor rename one: the column gets the values themselves, so that the
    # type of that name can be made anew.
    "DROP VIEW runs",
    f"ALTER TABLE store.runs ALTER kind SET DATA TYPE {_RUN_KIND}",
    "DROP TYPE store.run_kind",
    f"CREATE TYPE store.run_kind AS {_RUN_KIND}",
    "ALTER TABLE store.runs ADD COLUMN lora VARCHAR",
    "ALTER TABLE store.runs ADD COLUMN tensor_split VARCHAR",
    "ALTER TABLE store.runs ADD COLUMN override_tensor VARCHAR",
    "ALTER TABLE store.runs ADD COLUMN split_mode VARCHAR",
    "ALTER TABLE store.runs ADD COLUMN device_names VARCHAR[]",
    _VIEW_RUNS,
    """
    CREATE VIEW run_placement AS
    SELECT run_id, lora, tensor_split, override_tensor, split_mode, device_names FROM store.runs
    """,
    """
    CREATE TABLE store.ledger (
        session_id VARCHAR NOT NULL,
        t_ns BIGINT NOT NULL,
        load_number INTEGER NOT NULL,
        model_name VARCHAR,
        model_fingerprint VARCHAR,
        quantization VARCHAR,
        variant VARCHAR,
        n_ctx BIGINT,
        n_gpu_layers BIGINT,
        type_k VARCHAR,
        type_v VARCHAR,
        flash_attn VARCHAR,
        n_ubatch BIGINT,
        swa_full BOOLEAN,
        device VARCHAR NOT NULL,
        device_description VARCHAR,
        driver_version VARCHAR,
        load_s DOUBLE,
        weights_kept BOOLEAN,
        predicted_weights_bytes BIGINT,
        predicted_kv_bytes BIGINT,
        predicted_compute_bytes BIGINT,
        predicted_output_bytes BIGINT,
        measured_weights_bytes BIGINT,
        measured_kv_bytes BIGINT,
        measured_compute_bytes BIGINT,
        measured_output_bytes BIGINT,
        device_used_bytes BIGINT,
        reason VARCHAR
    )
    """,
    """
    CREATE VIEW ledger AS
    WITH totals AS (
        SELECT *,
            predicted_weights_bytes + predicted_kv_bytes + predicted_compute_bytes + predicted_output_bytes
                AS predicted_total_bytes,
            measured_weights_bytes + measured_kv_bytes + measured_compute_bytes + measured_output_bytes
                AS measured_total_bytes
        FROM store.ledger
    )
    SELECT l.session_id, make_timestamptz(epoch_us(s.started_at) + l.t_ns // 1000) AS loaded_at, l.load_number,
        l.model_name, l.model_fingerprint, l.quantization, l.variant, l.n_ctx, l.n_gpu_layers, l.type_k, l.type_v,
        l.flash_attn, l.n_ubatch, l.swa_full, l.device, l.device_description, l.driver_version, l.load_s,
        l.weights_kept, l.predicted_weights_bytes, l.predicted_kv_bytes, l.predicted_compute_bytes,
        l.predicted_output_bytes, l.predicted_total_bytes, l.measured_weights_bytes, l.measured_kv_bytes,
        l.measured_compute_bytes, l.measured_output_bytes, l.measured_total_bytes,
        l.measured_total_bytes - l.predicted_total_bytes AS error_bytes,
        100 * error_bytes / nullif(l.measured_total_bytes, 0) AS error_pct,
        l.device_used_bytes,
        CASE WHEN NOT l.weights_kept THEN l.device_used_bytes - l.measured_total_bytes END AS overhead_bytes,
        l.reason
    FROM totals AS l LEFT JOIN store.sessions AS s ON s.session_id = l.session_id
    """,
)

_KIND = (
    "generate for a prompt, pp and tg for llama-bench's tests of prefill and decode, apply for settings changed live"
    " (the conversation decoded again into the new context)"
)
_LOAD_S = "Seconds the model took to load; of kind apply, seconds the change of settings took"
_PLACEMENT = {
    "lora": "LoRA adapters in use with their scales, as name=1.0,other=0.5; NULL without one",
    "tensor_split": "Share of each device, as given; NULL where llama.cpp chose",
    "override_tensor": "Tensors placed by name, as given; NULL without",
    "split_mode": "How the model is split over several devices; NULL where llama.cpp chose",
    "device_names": "llama.cpp's names of the devices in use: CPU, CUDA0, RPC0",
}
_LEDGER = {
    "session_id": "The session it belongs to",
    "load_number": "Counts the loads of the session, from 1",
    "model_name": "Name in the file's metadata, else of the file",
    "model_fingerprint": "Identifies the file's content",
    "quantization": "llama.cpp's name of the format: Q4_0, Q4_K_M, Q8_0, F16, BF16",
    "variant": "What people say: QAT Q4_0, PTQ Q4_K_M, FP16",
    "n_ctx": "Context length in tokens",
    "n_gpu_layers": "Layers on a device",
    "type_k": "Type of the K cache",
    "type_v": "Type of the V cache",
    "flash_attn": "Flash attention: on, off or auto",
    "n_ubatch": "Micro-batch in tokens",
    "swa_full": "Whole context kept for sliding-window layers too",
    "device": "llama.cpp's name of the device: CPU, CUDA0, RPC0",
    "device_description": "What the device is",
    "driver_version": "Version of its driver; NULL without one",
    "load_s": "Seconds this load or change of the context took",
    "weights_kept": "The weights stayed loaded, and only the context was made anew",
    "predicted_weights_bytes": "Weights on this device, as planned",
    "predicted_kv_bytes": "KV cache on this device, as planned",
    "predicted_compute_bytes": "Compute buffer on this device, as planned",
    "predicted_output_bytes": "Output buffer on this device, as planned",
    "measured_weights_bytes": "Weights on this device, as llama.cpp reported them",
    "measured_kv_bytes": "KV cache on this device, as llama.cpp reported it",
    "measured_compute_bytes": "Compute buffer on this device, as llama.cpp reported it",
    "measured_output_bytes": "Output buffer on this device, as llama.cpp reported it",
    "device_used_bytes": "Memory in use on the device after the load, less that before it; NULL where it does not say",
    "reason": "Why something is NULL",
}
_COMPUTED = {
    "loaded_at": "When the load had ended, by the wall clock",
    "predicted_total_bytes": "The four predicted parts together; NULL where one is not known",
    "measured_total_bytes": "The four measured parts together; NULL where one is not known",
    "error_bytes": "Measured total less the predicted one: above 0 where more was taken than planned",
    "error_pct": "The error in percent of the measured total",
    "overhead_bytes": "What the device says was taken beyond the measured total, the driver's own memory: only for"
    " loads of the weights",
}


def _columns(table: str, columns: dict[str, str]) -> dict[str, str]:
    return {f"COLUMN {table}.{name}": text for name, text in columns.items()}


_COMMENTS_OF_RUNS = {
    target: text for target, text in schema_v1.COMMENTS.items() if target.startswith(("VIEW runs", "COLUMN runs."))
}

COMMENTS: dict[str, str] = {
    **_COMMENTS_OF_RUNS,
    **_columns("runs", {"kind": _KIND, "load_s": _LOAD_S}),
    **_columns("store.runs", {"kind": _KIND, "load_s": _LOAD_S} | _PLACEMENT),
    "VIEW run_placement": "Where the parts of the model were in each run, and what was added to it",
    **_columns("run_placement", {"run_id": "The run it belongs to"} | _PLACEMENT),
    "TABLE store.ledger": "One row for each device that a load or a change of the context touched",
    **_columns("store.ledger", _LEDGER | {"t_ns": "Nanoseconds since the session began, on the monotonic clock"}),
    "VIEW ledger": "Memory of each device after each load or change of the context: predicted, measured and taken",
    **_columns("ledger", _LEDGER | _COMPUTED),
}
