-- Regressions by driver, llama.cpp build and gemtop version
-- Speed of the same model, machine and settings under each set of versions where there was more than one, the change from the set before it, and that in standard errors: beyond 3, with five runs or more on both sides, it is hardly chance. Runs that were not valid are left out.
-- param: model text = null  only models whose name contains this
-- param: slower_pct number = null  only where it became slower by at least this many percent
WITH speeds AS (
    SELECT
        *,
        coalesce(gpu_name, host) AS machine,
        CASE WHEN kind = 'pp' THEN prefill_tokens_per_s ELSE decode_tokens_per_s END AS speed
    FROM runs
    WHERE status = 'finished'
        AND valid IS NOT FALSE
        AND kind <> 'apply'
        AND ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
),
versions AS (
    SELECT
        model_name, variant, model_fingerprint, host, machine, kind, n_ctx, n_gpu_layers, type_k, type_v, flash_attn,
        n_batch, n_ubatch, n_threads, swa_full,
        driver_version, llama_build, gemtop_version,
        min(started_at) AS first_run,
        count(*) AS n,
        avg(speed) AS tokens_per_s,
        stddev_samp(speed) AS sd
    FROM speeds
    WHERE speed IS NOT NULL
    GROUP BY ALL
),
-- Windows over one number are several times as fast as over fifteen columns.
numbered AS (
    SELECT
        *,
        dense_rank() OVER (
            ORDER BY model_name, machine, variant, kind, n_ctx, n_gpu_layers, model_fingerprint, host, type_k, type_v,
                flash_attn, n_batch, n_ubatch, n_threads, swa_full
        ) AS compared
    FROM versions
),
beside AS (
    SELECT
        *,
        lag(driver_version) OVER before AS driver_before,
        lag(llama_build) OVER before AS build_before,
        lag(gemtop_version) OVER before AS gemtop_before,
        lag(n) OVER before AS n_before,
        lag(tokens_per_s) OVER before AS speed_before,
        lag(sd) OVER before AS sd_before,
        count(*) OVER (PARTITION BY compared) AS sets
    FROM numbered
    WINDOW before AS (PARTITION BY compared ORDER BY first_run, llama_build, driver_version, gemtop_version)
),
judged AS (
    SELECT
        model_name,
        variant,
        machine,
        kind,
        n_ctx,
        n_gpu_layers,
        compared,
        first_run,
        driver_version,
        llama_build,
        gemtop_version,
        n,
        tokens_per_s,
        sd,
        CASE WHEN speed_before IS NOT NULL THEN concat_ws(', ',
            CASE WHEN driver_before IS DISTINCT FROM driver_version THEN 'driver' END,
            CASE WHEN build_before IS DISTINCT FROM llama_build THEN 'llama.cpp' END,
            CASE WHEN gemtop_before IS DISTINCT FROM gemtop_version THEN 'gemtop' END
        ) END AS changed,
        100 * (tokens_per_s / speed_before - 1) AS change_pct,
        (tokens_per_s - speed_before) / nullif(sqrt(sd ^ 2 / n + sd_before ^ 2 / n_before), 0) AS standard_errors
    FROM beside
    WHERE sets > 1
)
SELECT * EXCLUDE (compared)
FROM judged
WHERE $slower_pct::DOUBLE IS NULL OR change_pct <= -$slower_pct::DOUBLE
ORDER BY compared, first_run, llama_build, driver_version, gemtop_version
