-- Points of a tuning
-- What a tuning measured, the longest context first: decode and prefill speed, memory, and what is on the Pareto front.
-- param: tuning_id text = null  the tuning; the last one where none is given
-- param: model text = null  only models whose name contains this
-- param: front boolean = false  only what is on the front
WITH matching AS (
    SELECT * FROM tune WHERE $model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR))
),
chosen AS (
    SELECT * FROM matching
    WHERE tuning_id = coalesce($tuning_id::VARCHAR, (SELECT arg_max(tuning_id, recorded_at) FROM matching))
)
SELECT
    tuning_id,
    model_name,
    variant,
    n_ctx,
    type_k,
    n_gpu_layers,
    n_ubatch,
    n_depth,
    decode_tokens_per_s,
    decode_sd,
    prefill_tokens_per_s,
    planned_bytes / 1048576 AS planned_mib,
    measured_bytes / 1048576 AS measured_mib,
    on_front,
    reason
FROM chosen
WHERE on_front OR NOT $front::BOOLEAN
ORDER BY n_ctx DESC, measured_bytes, n_ubatch
