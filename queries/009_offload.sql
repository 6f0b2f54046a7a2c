-- Speed by offload
-- Decode speed, memory and energy of each variant by layers on the GPU, and how many times as fast as with the fewest; runs that were not valid are left out.
-- param: model text = null  only models whose name contains this
WITH points AS (
    SELECT
        model_name,
        variant,
        -- Without a layer on it no GPU is named: the machine is the host.
        host,
        kind,
        n_ctx,
        n_threads,
        n_gpu_layers,
        max(gpu_name) AS gpu_name,
        count(*) AS n,
        avg(decode_tokens_per_s) AS decode_tokens_per_s,
        coalesce(stddev_samp(decode_tokens_per_s), 0) AS decode_sd,
        avg(prefill_tokens_per_s) AS prefill_tokens_per_s,
        avg(decode_j_per_token) AS decode_j_per_token,
        max(vram_peak_bytes) / 1048576 AS vram_peak_mib,
        max(ram_peak_bytes) / 1048576 AS ram_peak_mib
    FROM runs
    WHERE status = 'finished'
        AND valid IS NOT FALSE
        AND decode_tokens_per_s IS NOT NULL
        AND ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
    GROUP BY model_name, variant, host, kind, n_ctx, n_threads, n_gpu_layers
)
SELECT
    *,
    decode_tokens_per_s / first_value(decode_tokens_per_s) OVER (
        PARTITION BY model_name, variant, host, kind, n_ctx, n_threads ORDER BY n_gpu_layers
    ) AS times_fewest
FROM points
ORDER BY model_name, host, variant, kind, n_ctx, n_threads, n_gpu_layers
