-- Pareto front of memory and speed
-- Variants and settings of each size of model and machine that no other beats in both memory and decode speed, the smallest first; runs that were not valid are left out.
-- param: model text = null  only models whose name contains this
-- param: n_ctx integer = 0  only contexts of at least this many tokens
-- param: all boolean = false  those that are beaten too
WITH points AS (
    SELECT
        round(parameters / 1e7) / 100 AS billions,
        coalesce(gpu_name, host) AS machine,
        kind,
        model_name,
        variant,
        n_ctx,
        n_gpu_layers,
        type_k,
        type_v,
        n_ubatch,
        n_threads,
        count(*) AS n,
        avg(decode_tokens_per_s) AS decode_tokens_per_s,
        coalesce(stddev_samp(decode_tokens_per_s), 0) AS decode_sd,
        max(CASE WHEN gpu_name IS NULL THEN ram_peak_bytes ELSE vram_peak_bytes END) / 1048576 AS memory_mib
    FROM runs
    WHERE status = 'finished'
        AND valid IS NOT FALSE
        AND decode_tokens_per_s IS NOT NULL
        AND n_ctx >= $n_ctx::BIGINT
        AND ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
    GROUP BY ALL
),
judged AS (
    SELECT
        *,
        -- Faster than everything that takes as much or less.
        coalesce(decode_tokens_per_s > max(decode_tokens_per_s) OVER (
            PARTITION BY billions, machine, kind ORDER BY memory_mib, decode_tokens_per_s DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), true) AS on_front
    FROM points
    WHERE memory_mib IS NOT NULL
)
SELECT * FROM judged
WHERE on_front OR $all::BOOLEAN
ORDER BY billions, machine, kind, memory_mib, decode_tokens_per_s DESC
