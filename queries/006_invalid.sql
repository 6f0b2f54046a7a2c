-- Runs that were not valid, and why
-- The newest first: what spoiled each run, with its speed and how long its cards were throttled.
-- param: model text = null  only models whose name contains this
-- param: n integer = 50  how many runs
SELECT
    run_id,
    started_at,
    model_name,
    variant,
    coalesce(gpu_name, host) AS machine,
    kind,
    status,
    generated_tokens,
    decode_tokens_per_s,
    throttled_s,
    invalid_reason
FROM runs
WHERE valid IS FALSE
    AND ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
ORDER BY started_at DESC, run_id DESC
LIMIT $n
