-- Variants side by side
-- QAT, PTQ and full precision on each machine, finished runs of prompts and benchmarks apart, and valid ones apart from others: how many, how fast with the spread, TTFT, energy, share of the roof, the most memory they took, and where a comparison has scored a text the latest perplexity and KL divergence from its baseline.
-- param: model text = null  only models whose name contains this
WITH quality AS (
    SELECT
        model_name,
        variant,
        arg_max(perplexity, session_id) AS perplexity,
        arg_max(perplexity_error, session_id) AS perplexity_error,
        arg_max(kl_mean, session_id) AS kl_mean,
        arg_max(kl_mean_error, session_id) AS kl_mean_error
    FROM fidelity
    WHERE reference IS DISTINCT FROM 'checkpoint'
    GROUP BY ALL
)
SELECT
    model_name,
    variant,
    coalesce(gpu_name, host) AS machine,
    n_gpu_layers,
    n_threads,
    kind,
    valid,
    count(*) AS n,
    avg(decode_tokens_per_s) AS decode_tokens_per_s,
    coalesce(stddev_samp(decode_tokens_per_s), 0) AS decode_sd,
    min(decode_tokens_per_s) AS decode_min,
    max(decode_tokens_per_s) AS decode_max,
    median(ttft_s) AS ttft_s_median,
    min(ttft_s) AS ttft_s_min,
    max(ttft_s) AS ttft_s_max,
    avg(decode_j_per_token) AS decode_j_per_token,
    stddev_samp(decode_j_per_token) AS decode_j_sd,
    100 * avg(roof_share) AS roof_pct,
    max(size_bytes) / 1048576 AS file_mib,
    max(vram_peak_bytes) / 1048576 AS vram_peak_mib,
    max(ram_peak_bytes) / 1048576 AS ram_peak_mib,
    any_value(perplexity) AS perplexity,
    any_value(perplexity_error) AS perplexity_error,
    any_value(kl_mean) AS kl_mean,
    any_value(kl_mean_error) AS kl_mean_error
FROM runs LEFT JOIN quality USING (model_name, variant)
WHERE status = 'finished'
    AND decode_tokens_per_s IS NOT NULL
    AND ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
GROUP BY ALL
ORDER BY model_name, machine, valid DESC NULLS FIRST, decode_tokens_per_s DESC
