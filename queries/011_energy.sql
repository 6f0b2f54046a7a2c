-- Energy of a thousand tokens
-- Joules that a thousand tokens take of the devices with the model, with idle power and without it, each with how far off it may be and the spread of the runs; runs that were not valid are left out.
-- param: model text = null  only models whose name contains this
SELECT
    model_name,
    variant,
    coalesce(gpu_name, host) AS machine,
    n_gpu_layers,
    kind,
    energy_source,
    count(*) AS n,
    -- Errors are bounds: that of a mean is their mean.
    1000 * avg(decode_j_per_token) AS decode_j,
    1000 * avg(decode_j_per_token_error) AS decode_error_j,
    1000 * stddev_samp(decode_j_per_token) AS decode_sd_j,
    1000 * avg(decode_net_j_per_token) AS decode_net_j,
    1000 * avg(decode_net_j_per_token_error) AS decode_net_error_j,
    1000 * avg(prefill_j_per_token) AS prefill_j,
    1000 * avg(prefill_j_per_token_error) AS prefill_error_j,
    1000 * avg(prefill_net_j_per_token) AS prefill_net_j,
    1000 * avg(prefill_net_j_per_token_error) AS prefill_net_error_j,
    avg(power_mean_w) AS power_w,
    avg(idle_power_w) AS idle_power_w
FROM runs
WHERE status = 'finished'
    AND valid IS NOT FALSE
    AND kind <> 'apply'
    AND (decode_j_per_token IS NOT NULL OR prefill_j_per_token IS NOT NULL)
    AND ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
GROUP BY ALL
ORDER BY model_name, machine, kind, decode_j, variant, n_gpu_layers
