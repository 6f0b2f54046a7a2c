-- Longest context that ran
-- The largest context in which a run of each variant finished on each machine, by type of KV cache, and the most tokens that were ever in it; valid or not, it ran.
-- param: model text = null  only models whose name contains this
WITH ran AS (
    SELECT
        r.*,
        coalesce(r.gpu_name, r.host) AS machine,
        -- The view does not have cached_tokens.
        s.cached_tokens + r.prompt_tokens + r.generated_tokens AS context_used
    FROM runs AS r JOIN store.runs AS s ON s.run_id = r.run_id
    WHERE r.status = 'finished'
        AND ($model::VARCHAR IS NULL OR contains(lower(r.model_name), lower($model::VARCHAR)))
)
SELECT
    model_name,
    variant,
    machine,
    type_k,
    type_v,
    max(n_ctx) AS n_ctx,
    max(context_used) AS most_tokens_used,
    count(*) AS runs,
    arg_max(run_id, (n_ctx, context_used)) AS run_id,
    arg_max(n_gpu_layers, (n_ctx, context_used)) AS n_gpu_layers,
    arg_max(decode_tokens_per_s, (n_ctx, context_used)) AS decode_tokens_per_s,
    arg_max(vram_peak_bytes, (n_ctx, context_used)) / 1048576 AS vram_peak_mib,
    arg_max(ram_peak_bytes, (n_ctx, context_used)) / 1048576 AS ram_peak_mib
FROM ran
GROUP BY model_name, variant, machine, type_k, type_v
ORDER BY model_name, machine, n_ctx DESC, most_tokens_used DESC, variant, type_k
