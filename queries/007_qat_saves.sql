-- What QAT saves against FP16
-- QAT over FP16 (or BF16) of the same size of model on the same machine with the same settings, as ratios: 0.25 is a quarter of what FP16 has. Runs that were not valid are left out.
-- param: model text = null  only models whose name contains this
WITH counted AS (
    SELECT
        training,
        variant,
        round(parameters / 1e7) / 100 AS billions,
        -- Adapters in use stand behind a + in the variant.
        regexp_extract(variant, ' \+ .*') AS adapters,
        coalesce(gpu_name, host) AS machine,
        host, gpu_name, driver_version, llama_build, kind, n_ctx, n_gpu_layers, type_k, type_v, flash_attn,
        n_batch, n_ubatch, n_threads, swa_full,
        any_value(model_name) AS model_name,
        count(*) AS n,
        avg(size_bytes) AS file_bytes,
        max(CASE WHEN gpu_name IS NULL THEN ram_peak_bytes ELSE vram_peak_bytes END) AS memory_bytes,
        avg(decode_tokens_per_s) AS decode,
        stddev_samp(decode_tokens_per_s) / sqrt(count(decode_tokens_per_s)) AS decode_se,
        avg(prefill_tokens_per_s) AS prefill,
        avg(ttft_s) AS ttft,
        avg(decode_j_per_token) AS joules
    FROM runs
    WHERE status = 'finished'
        AND valid IS NOT FALSE
        AND kind <> 'apply'
        AND (training = 'qat' OR quantization IN ('F16', 'BF16'))
        AND ($model::VARCHAR IS NULL OR contains(lower(model_name), lower($model::VARCHAR)))
    GROUP BY ALL
)
SELECT
    q.model_name,
    q.billions,
    q.variant,
    f.variant AS beside,
    q.machine,
    q.kind,
    q.n_ctx,
    q.n_gpu_layers,
    q.llama_build,
    q.driver_version,
    q.n AS n_qat,
    f.n AS n_fp16,
    q.file_bytes / f.file_bytes AS file_ratio,
    q.memory_bytes / f.memory_bytes AS memory_ratio,
    q.decode / f.decode AS decode_ratio,
    -- One standard error of that ratio, from the spread of both.
    (q.decode / f.decode) * sqrt((q.decode_se / q.decode) ^ 2 + (f.decode_se / f.decode) ^ 2) AS decode_ratio_se,
    q.prefill / f.prefill AS prefill_ratio,
    q.ttft / f.ttft AS ttft_ratio,
    q.joules / f.joules AS j_per_token_ratio,
    (f.file_bytes - q.file_bytes) / 1048576 AS file_saved_mib,
    (f.memory_bytes - q.memory_bytes) / 1048576 AS memory_saved_mib
FROM counted AS q
JOIN counted AS f
    ON q.training = 'qat'
    AND f.training <> 'qat'
    AND f.billions = q.billions
    AND f.adapters = q.adapters
    AND f.host IS NOT DISTINCT FROM q.host
    AND f.gpu_name IS NOT DISTINCT FROM q.gpu_name
    AND f.driver_version IS NOT DISTINCT FROM q.driver_version
    AND f.llama_build IS NOT DISTINCT FROM q.llama_build
    AND f.kind = q.kind
    AND f.n_ctx = q.n_ctx
    AND f.n_gpu_layers = q.n_gpu_layers
    AND f.type_k = q.type_k
    AND f.type_v = q.type_v
    AND f.flash_attn IS NOT DISTINCT FROM q.flash_attn
    AND f.n_batch = q.n_batch
    AND f.n_ubatch = q.n_ubatch
    AND f.n_threads = q.n_threads
    AND f.swa_full = q.swa_full
ORDER BY q.billions, q.machine, q.variant, q.kind, q.n_ctx, q.n_gpu_layers, q.llama_build, q.driver_version
