-- Speed by context depth
-- Prefill and decode of each variant by how full the context was half-way through, and how fast that is beside the shallowest; runs that were not valid are left out.
-- param: model text = null  only models whose name contains this
-- param: step integer = 2048  tokens of depth that are put together
-- param: min_prompt integer = 128  shortest prompt whose prefill counts
WITH finished AS (
    -- The view does not have cached_tokens.
    SELECT r.*, coalesce(r.gpu_name, s.host) AS machine
    FROM store.runs AS r LEFT JOIN sessions AS s USING (session_id)
    WHERE r.status = 'finished'
        AND r.valid IS NOT FALSE
        AND r.kind <> 'apply'
        AND ($model::VARCHAR IS NULL OR contains(lower(r.model_name), lower($model::VARCHAR)))
),
speeds AS (
    SELECT
        model_name, variant, machine, n_gpu_layers, type_k,
        'decode' AS phase,
        cached_tokens + prompt_tokens + generated_tokens // 2 AS depth,
        decode_tokens_per_s AS speed
    FROM finished
    UNION ALL
    SELECT
        model_name, variant, machine, n_gpu_layers, type_k,
        'prefill' AS phase,
        cached_tokens + prompt_tokens // 2 AS depth,
        prefill_tokens_per_s AS speed
    FROM finished
    WHERE prompt_tokens >= $min_prompt::BIGINT
),
steps AS (
    SELECT
        model_name, variant, machine, n_gpu_layers, type_k, phase,
        depth // greatest($step::BIGINT, 1) * greatest($step::BIGINT, 1) AS from_depth,
        count(*) AS n,
        avg(speed) AS tokens_per_s,
        coalesce(stddev_samp(speed), 0) AS sd,
        min(speed) AS slowest,
        max(speed) AS fastest
    FROM speeds
    WHERE speed IS NOT NULL
    GROUP BY ALL
)
SELECT
    *,
    tokens_per_s / first_value(tokens_per_s) OVER (
        PARTITION BY model_name, variant, machine, n_gpu_layers, type_k, phase ORDER BY from_depth
    ) AS of_shallowest
FROM steps
ORDER BY model_name, machine, variant, n_gpu_layers, type_k, phase DESC, from_depth
