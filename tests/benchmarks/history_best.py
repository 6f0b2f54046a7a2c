"""The best SQL known for each shipped query whose own is not plainly that: over the tables, for the defaults alone.

Each gives as many rows as the query does. The other queries are one pass over one view.
"""

from __future__ import annotations

_RUNS = """
    SELECT r.*, s.host, s.gemtop_version FROM store.runs AS r JOIN store.sessions AS s USING (session_id)
    WHERE r.status = 'finished' AND r.valid IS NOT FALSE AND r.kind <> 'apply'
"""
_ID = "last AS MATERIALIZED (SELECT arg_max(run_id, (started_at, run_id)) AS run_id, arg_max(session_id, (started_at,"
_ID += " run_id)) AS session_id FROM store.runs WHERE kind = 'generate' AND generated_tokens > 1)"

BEST = {
    "sessions": """
        WITH latest AS (SELECT * FROM store.sessions ORDER BY started_at DESC LIMIT 20),
        ran AS (
            SELECT session_id, count(*) AS runs, string_agg(DISTINCT model_name || ' ' || variant, ', ') AS models,
                sum(generated_tokens) AS tokens, max(decode_tokens_per_s) AS best
            FROM store.runs WHERE session_id IN (SELECT session_id FROM latest) GROUP BY session_id
        )
        SELECT l.session_id, l.started_at, l.end_ns / 1e9, l.command, l.status, r.* FROM latest AS l
        LEFT JOIN ran AS r USING (session_id) ORDER BY l.started_at DESC
    """,
    "variants": """
        SELECT model_name, variant, gpu_name, s.host, n_gpu_layers, n_threads, kind, valid, count(*),
            avg(decode_tokens_per_s), stddev_samp(decode_tokens_per_s), min(decode_tokens_per_s),
            max(decode_tokens_per_s), median(ttft_s), min(ttft_s), max(ttft_s), avg(decode_j_per_token),
            stddev_samp(decode_j_per_token), avg(roof_share), max(size_bytes), max(vram_peak_bytes), max(ram_peak_bytes)
        FROM store.runs JOIN store.sessions AS s USING (session_id)
        WHERE store.runs.status = 'finished' AND decode_tokens_per_s IS NOT NULL
        GROUP BY ALL ORDER BY model_name, gpu_name, valid DESC, avg(decode_tokens_per_s) DESC
    """,
    "slowest_tokens": f"""
        WITH {_ID},
        gaps AS (
            SELECT "index", token_id, t_ns, t_ns - lag(t_ns) OVER (ORDER BY "index") AS gap FROM store.tokens
            WHERE run_id = (SELECT run_id FROM last) AND phase = 'decode'
        ),
        slowest AS (SELECT * FROM gaps WHERE gap IS NOT NULL ORDER BY gap DESC, "index" LIMIT 20),
        readings AS (
            SELECT device, t_ns, gpu_util_pct, power_w, temperature_c, clock_sm_mhz, host_cpu_pct, ram_used_bytes
            FROM store.samples WHERE session_id = (SELECT session_id FROM last)
                AND t_ns BETWEEN (SELECT min(t_ns) - 5000000000 FROM slowest) AND (SELECT max(t_ns) FROM slowest)
        ),
        pairs AS (SELECT s.*, d.device FROM slowest AS s CROSS JOIN (SELECT DISTINCT device FROM readings) AS d),
        joined AS (
            SELECT p."index", r.* FROM pairs AS p ASOF JOIN readings AS r ON r.device = p.device AND r.t_ns <= p.t_ns
        )
        SELECT s."index", s.token_id, s.t_ns, s.gap, max(j.gpu_util_pct), sum(j.power_w), max(j.temperature_c),
            min(j.clock_sm_mhz), max(j.host_cpu_pct), max(j.ram_used_bytes)
        FROM slowest AS s LEFT JOIN joined AS j USING ("index") GROUP BY ALL ORDER BY s.gap DESC, s."index"
    """,
    "qat_saves": f"""
        WITH counted AS (
            SELECT training, variant, round(parameters / 1e7) AS size, regexp_extract(variant, ' \\+ .*') AS adapters,
                hash(host, gpu_name, r.driver_version, llama_build, kind, n_ctx, n_gpu_layers, type_k, type_v,
                    flash_attn, n_batch, n_ubatch, n_threads, swa_full) AS settings,
                any_value(model_name) AS model_name, any_value(coalesce(gpu_name, host)) AS machine,
                any_value(kind) AS kind, any_value(n_ctx) AS n_ctx, any_value(n_gpu_layers) AS n_gpu_layers,
                any_value(llama_build) AS llama_build, any_value(r.driver_version) AS driver_version,
                count(*) AS n, avg(size_bytes) AS bytes, max(coalesce(vram_peak_bytes, ram_peak_bytes)) AS memory,
                avg(decode_tokens_per_s) AS decode, stddev_samp(decode_tokens_per_s) AS sd,
                avg(prefill_tokens_per_s) AS prefill, avg(ttft_s) AS ttft, avg(decode_j_per_token) AS joules
            FROM ({_RUNS}) AS r WHERE training = 'qat' OR quantization IN ('F16', 'BF16')
            GROUP BY training, variant, size, adapters, settings
        )
        SELECT q.*, f.n, q.bytes / f.bytes, q.memory / f.memory, q.decode / f.decode, q.sd / f.sd,
            q.prefill / f.prefill, q.ttft / f.ttft, q.joules / f.joules, f.bytes - q.bytes, f.memory - q.memory
        FROM counted AS q JOIN counted AS f USING (size, adapters, settings)
        WHERE q.training = 'qat' AND f.training <> 'qat'
        ORDER BY q.size, q.machine, q.kind, q.n_ctx, q.n_gpu_layers, q.llama_build, q.driver_version
    """,
    "depth": f"""
        WITH speeds AS (
            SELECT model_name, variant, coalesce(gpu_name, host) AS machine, n_gpu_layers, type_k, 'decode' AS phase,
                (cached_tokens + prompt_tokens + generated_tokens // 2) // 2048 AS depth, decode_tokens_per_s AS speed
            FROM ({_RUNS}) WHERE decode_tokens_per_s IS NOT NULL
            UNION ALL
            SELECT model_name, variant, coalesce(gpu_name, host), n_gpu_layers, type_k, 'prefill',
                (cached_tokens + prompt_tokens // 2) // 2048, prefill_tokens_per_s
            FROM ({_RUNS}) WHERE prefill_tokens_per_s IS NOT NULL AND prompt_tokens >= 128
        ),
        steps AS (
            SELECT model_name, variant, machine, n_gpu_layers, type_k, phase, depth, count(*) AS n, avg(speed) AS speed,
                stddev_samp(speed), min(speed), max(speed)
            FROM speeds GROUP BY ALL
        )
        SELECT *, speed / first_value(speed) OVER (
            PARTITION BY model_name, variant, machine, n_gpu_layers, type_k, phase ORDER BY depth
        ) FROM steps ORDER BY model_name, machine, variant, n_gpu_layers, type_k, phase DESC, depth
    """,
    "regressions": f"""
        WITH versions AS (
            SELECT hash(model_name, variant, model_fingerprint, host, gpu_name, kind, n_ctx, n_gpu_layers, type_k,
                    type_v, flash_attn, n_batch, n_ubatch, n_threads, swa_full) AS settings,
                r.driver_version, llama_build, gemtop_version, any_value(model_name) AS model_name,
                any_value(variant) AS variant, any_value(coalesce(gpu_name, host)) AS machine, any_value(kind) AS kind,
                any_value(n_ctx) AS n_ctx, any_value(n_gpu_layers) AS n_gpu_layers, min(started_at) AS first_run,
                count(*) AS n,
                avg(CASE WHEN kind = 'pp' THEN prefill_tokens_per_s ELSE decode_tokens_per_s END) AS speed,
                stddev_samp(CASE WHEN kind = 'pp' THEN prefill_tokens_per_s ELSE decode_tokens_per_s END) AS sd
            FROM ({_RUNS}) AS r GROUP BY settings, r.driver_version, llama_build, gemtop_version
        ),
        beside AS (
            SELECT *, lag(driver_version) OVER before AS d, lag(llama_build) OVER before AS b,
                lag(gemtop_version) OVER before AS g, lag(n) OVER before AS m, lag(speed) OVER before AS was,
                lag(sd) OVER before AS was_sd, count(*) OVER (PARTITION BY settings) AS sets
            FROM versions WINDOW before AS (PARTITION BY settings ORDER BY first_run)
        )
        SELECT * EXCLUDE (settings), 100 * (speed / was - 1), (speed - was) / sqrt(sd ^ 2 / n + was_sd ^ 2 / m)
        FROM beside WHERE sets > 1 ORDER BY model_name, machine, variant, kind, n_ctx, n_gpu_layers, settings, first_run
    """,
    "longest_context": """
        WITH ran AS (
            SELECT model_name, variant, coalesce(gpu_name, s.host) AS machine, type_k, type_v, n_ctx, run_id,
                n_gpu_layers, decode_tokens_per_s, vram_peak_bytes, ram_peak_bytes,
                cached_tokens + prompt_tokens + generated_tokens AS used
            FROM store.runs JOIN store.sessions AS s USING (session_id) WHERE store.runs.status = 'finished'
        )
        SELECT model_name, variant, machine, type_k, type_v, max(n_ctx) AS n_ctx, max(used), count(*),
            arg_max({run_id: run_id, n: n_gpu_layers, d: decode_tokens_per_s, v: vram_peak_bytes, r: ram_peak_bytes},
                (n_ctx, used))
        FROM ran GROUP BY ALL ORDER BY model_name, machine, n_ctx DESC, max(used) DESC
    """,
    "throttling": """
        WITH chosen AS (
            SELECT session_id, host, epoch(started_at::TIMESTAMP)::BIGINT AS local_s FROM store.sessions
            WHERE started_at >= (SELECT max(started_at) FROM store.sessions) - to_days(30)
        ),
        counted AS (
            SELECT c.host, s.device, (c.local_s + s.t_ns // 1000000000) // 3600 % 24 AS hour,
                CASE WHEN len(s.throttle_reasons) > 0 THEN array_to_string(s.throttle_reasons, ',') END AS reasons,
                count(*) AS n, sum(temperature_c) AS c, max(temperature_c) AS hot, sum(power_w) AS w
            FROM store.device_samples AS s JOIN chosen AS c USING (session_id)
            WHERE s.gpu_util_pct > 0 AND s.session_id >= (SELECT min(session_id) FROM chosen)
            GROUP BY ALL
        )
        SELECT hour, host, device, sum(n), sum(n) FILTER (regexp_matches(reasons, 'Slowdown|SwPowerCap')) / sum(n),
            sum(n) FILTER (regexp_matches(reasons, 'SwPowerCap|PowerBrake')) / sum(n),
            sum(n) FILTER (contains(reasons, 'Thermal')) / sum(n), sum(c) / sum(n), max(hot), sum(w) / sum(n)
        FROM counted GROUP BY hour, host, device ORDER BY hour, host, device
    """,
    "warm_loads": """
        WITH loads AS (
            SELECT l.session_id, load_number, any_value(s.host) AS host, any_value(model_name) AS model_name,
                any_value(variant) AS variant, any_value(n_gpu_layers) AS layers, any_value(load_s) AS load_s,
                any_value(file_cached_share) AS share, sum(measured_weights_bytes) AS bytes
            FROM store.ledger AS l JOIN store.sessions AS s USING (session_id) WHERE NOT weights_kept
            GROUP BY l.session_id, load_number
        ),
        grouped AS (
            SELECT model_name, variant, host, layers,
                CASE WHEN share IS NULL THEN -1 WHEN share < 0.1 THEN 0 WHEN share > 0.9 THEN 2 ELSE 1 END AS file_was,
                count(*), avg(share), median(load_s) AS load_s, min(load_s), max(load_s), median(bytes)
            FROM loads GROUP BY ALL
        )
        SELECT *, load_s / max(CASE WHEN file_was = 2 THEN load_s END) OVER (
            PARTITION BY model_name, variant, host, layers
        ) FROM grouped ORDER BY model_name, host, variant, layers, file_was
    """,
    "day": """
        WITH chosen AS (
            SELECT * FROM store.sessions
            WHERE started_at >= date_trunc('day', (SELECT max(started_at) FROM store.sessions))
        )
        SELECT c.*, r.* FROM chosen AS c LEFT JOIN (
            SELECT session_id, count(*), count(*) FILTER (valid IS FALSE),
                string_agg(DISTINCT model_name || ' ' || variant, ', '), sum(generated_tokens),
                max(decode_tokens_per_s), sum(energy_j)
            FROM store.runs WHERE session_id IN (SELECT session_id FROM chosen) GROUP BY session_id
        ) AS r USING (session_id) ORDER BY c.started_at
    """,
}
