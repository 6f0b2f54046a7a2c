-- Sessions of a day
-- What ran on one day, by the clock here, the earliest first: sessions with their runs, how many were not valid, tokens, energy, notes and tags.
-- param: day text = null  the day, as 2026-11-23; the last one with a session where none is given
WITH chosen AS (
    SELECT *
    FROM sessions
    WHERE started_at::DATE = coalesce($day::VARCHAR::DATE, (SELECT max(started_at)::DATE FROM sessions))
),
ran AS (
    SELECT
        session_id,
        count(*) AS runs,
        count(*) FILTER (valid IS FALSE) AS not_valid,
        string_agg(DISTINCT model_name || ' ' || variant, ', ' ORDER BY model_name || ' ' || variant) AS models,
        sum(generated_tokens)::BIGINT AS generated_tokens,
        max(decode_tokens_per_s) AS best_decode_tokens_per_s,
        sum(energy_j) / 3600 AS energy_wh
    FROM runs
    WHERE session_id IN (SELECT session_id FROM chosen)
    GROUP BY session_id
)
SELECT
    c.session_id,
    c.started_at,
    c.duration_s,
    c.host,
    c.command,
    coalesce(c.status::VARCHAR, 'live') AS status,
    coalesce(r.runs, 0) AS runs,
    coalesce(r.not_valid, 0) AS not_valid,
    r.models,
    coalesce(r.generated_tokens, 0) AS generated_tokens,
    r.best_decode_tokens_per_s,
    r.energy_wh,
    c.note,
    c.tags
FROM chosen AS c LEFT JOIN ran AS r USING (session_id)
ORDER BY c.started_at, c.session_id
