-- Longest context that ran
-- The largest context in which a run of each variant finished on each machine, by type of KV cache, and the most tokens that were ever in it; valid or not, it ran.
-- param: model text = null  only models whose name contains this
WITH ran AS (
    -- The view does not have cached_tokens.
    SELECT
        r.model_name, r.variant, coalesce(r.gpu_name, s.host) AS machine, r.type_k, r.type_v, r.n_ctx,
        r.cached_tokens + r.prompt_tokens + r.generated_tokens AS context_used,
        r.run_id, r.n_gpu_layers, r.decode_tokens_per_s, r.vram_peak_bytes, r.ram_peak_bytes
    FROM store.runs AS r LEFT JOIN sessions AS s USING (session_id)
    WHERE r.status = 'finished'
        AND ($model::VARCHAR IS NULL OR contains(lower(r.model_name), lower($model::VARCHAR)))
),
longest AS (
    SELECT
        model_name, variant, machine, type_k, type_v,
        max(n_ctx) AS n_ctx,
        max(context_used) AS most_tokens_used,
        count(*) AS runs,
        arg_max(ran, (n_ctx, context_used)) AS run
    FROM ran
    GROUP BY model_name, variant, machine, type_k, type_v
)
SELECT
    model_name,
    variant,
    machine,
    type_k,
    type_v,
    n_ctx,
    most_tokens_used,
    runs,
    run.run_id,
    run.n_gpu_layers,
    run.decode_tokens_per_s,
    run.vram_peak_bytes / 1048576 AS vram_peak_mib,
    run.ram_peak_bytes / 1048576 AS ram_peak_mib
FROM longest
ORDER BY model_name, machine, n_ctx DESC, most_tokens_used DESC, variant, type_k
