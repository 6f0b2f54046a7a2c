-- Variants side by side
-- QAT, PTQ and full precision on each machine, finished runs of prompts and benchmarks apart, and valid ones apart from others: how many, how fast with the spread, TTFT, energy, share of the roof, and the most memory they took.
-- param: model text = null  only models whose name contains this
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
    max(ram_peak_bytes) / 1048576 AS ram_peak_mib
FROM runs
WHERE status = 'finished'
    AND decode_tokens_per_s IS NOT NULL
    AND ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
GROUP BY ALL
ORDER BY model_name, machine, valid DESC NULLS FIRST, decode_tokens_per_s DESC
