-- Slowest tokens of a run
-- The generated tokens that took longest, and what the cards and the machine were doing then.
-- param: run_id text = null  the run; the last prompt that was run where none is given
-- param: n integer = 20  how many tokens
WITH chosen AS MATERIALIZED (
    SELECT arg_max(run_id, (started_at, run_id)) AS run_id, arg_max(session_id, (started_at, run_id)) AS session_id
    FROM runs
    WHERE run_id = $run_id::VARCHAR
        OR ($run_id::VARCHAR IS NULL AND kind = 'generate' AND generated_tokens > 1)
),
gaps AS (
    SELECT run_id, "index", token_id, t_s, (t_s - lag(t_s) OVER (ORDER BY "index")) * 1000 AS gap_ms
    -- By a join: DuckDB 1.5 leaves the rest of the file unread for it, not for a comparison with a subquery.
    FROM tokens JOIN chosen USING (run_id)
    WHERE phase = 'decode'
),
slowest AS MATERIALIZED (
    SELECT * FROM gaps WHERE gap_ms IS NOT NULL ORDER BY gap_ms DESC, "index" LIMIT $n
),
readings AS MATERIALIZED (
    SELECT device, t_s, gpu_util_pct, power_w, temperature_c, clock_sm_mhz, host_cpu_pct, ram_used_bytes
    FROM samples JOIN chosen USING (session_id)
),
near AS MATERIALIZED (
    SELECT * FROM readings WHERE t_s BETWEEN (SELECT min(t_s) - 10 FROM slowest) AND (SELECT max(t_s) FROM slowest)
),
-- The last reading of each device before the token was there.
then_ AS (
    SELECT w."index", r.* EXCLUDE (t_s)
    FROM (SELECT s."index", s.t_s, d.device FROM slowest AS s CROSS JOIN (SELECT DISTINCT device FROM near) AS d) AS w
    ASOF JOIN near AS r ON r.device = w.device AND r.t_s <= w.t_s
)
SELECT
    s.run_id,
    s."index",
    s.token_id,
    s.t_s,
    s.gap_ms,
    max(t.gpu_util_pct) AS gpu_util_pct,
    sum(t.power_w) AS power_w,
    max(t.temperature_c) AS temperature_c,
    min(t.clock_sm_mhz) AS clock_sm_mhz,
    max(t.host_cpu_pct) AS host_cpu_pct,
    max(t.ram_used_bytes) / 1048576 AS ram_used_mib
FROM slowest AS s LEFT JOIN then_ AS t USING ("index")
GROUP BY ALL
ORDER BY s.gap_ms DESC, s."index"
