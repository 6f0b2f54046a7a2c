-- Cold and warm loads
-- Loads of weights by how much of the file was in the page cache before: cold is less than a tenth, warm more than nine; how long they took, and how many times as long as warm ones.
-- param: model text = null  only models whose name contains this
WITH loads AS (
    -- The ledger has a row for each device of a load.
    SELECT
        l.session_id,
        l.load_number,
        s.host,
        l.model_name,
        l.variant,
        l.n_gpu_layers,
        any_value(l.load_s) AS load_s,
        any_value(l.file_cached_share) AS share,
        sum(l.measured_weights_bytes) AS weights_bytes
    FROM ledger AS l LEFT JOIN sessions AS s USING (session_id)
    WHERE NOT l.weights_kept
        AND ($model::VARCHAR IS NULL OR contains(lower(l.model_name), lower($model::VARCHAR)))
    GROUP BY ALL
),
grouped AS (
    SELECT
        model_name,
        variant,
        host,
        n_gpu_layers,
        CASE WHEN share IS NULL THEN 'unknown' WHEN share < 0.1 THEN 'cold' WHEN share > 0.9 THEN 'warm' ELSE 'partly' END
            AS file_was,
        count(*) AS n,
        100 * avg(share) AS cached_pct,
        median(load_s) AS load_s_median,
        min(load_s) AS load_s_min,
        max(load_s) AS load_s_max,
        median(weights_bytes) / 1048576 AS weights_mib
    FROM loads
    GROUP BY ALL
)
SELECT
    *,
    weights_mib / load_s_median AS mib_per_s,
    load_s_median / max(CASE WHEN file_was = 'warm' THEN load_s_median END) OVER (
        PARTITION BY model_name, variant, host, n_gpu_layers
    ) AS times_warm
FROM grouped
ORDER BY model_name, host, variant, n_gpu_layers, cached_pct
